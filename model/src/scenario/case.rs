//! Cases: a scenario's matrix multiplied out.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::document::{Axis, Body, Document, Line};
use super::error::{ParseError, Source};
use super::grammar::parse_step;
use super::needs::Needs;
use super::read::Positions;
use super::settings::{self, Settings};
use super::step::{GuestSpec, Step, SweepSpec};
use super::{check, document::Value};

/// The most cases that one scenario can have.
const CASES_MAX: usize = 4096;
/// The most steps that all cases of one scenario can have together.
const CASE_STEPS_MAX: usize = 1 << 18;

/// One case: what is compiled, run and judged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Case {
    /// `area::file[name=value,…]`, without brackets if there is no matrix. It never changes while the scenario
    /// does not.
    pub name: String,
    /// `area::file`.
    pub scenario_name: String,
    /// The scenario's file.
    pub path: String,
    /// What the scenario is about.
    pub title: String,
    /// The rules that it checks.
    pub rules: Vec<String>,
    /// Which bug it would catch.
    pub why: Option<String>,
    /// The guest that it asks for.
    pub guest: GuestSpec,
    /// How it wants to be swept when nobody says otherwise.
    pub sweep: Option<SweepSpec>,
    /// What happens, in order; at least one step, the first at L1 or G.
    pub steps: Vec<Step>,
    /// The value of each axis of the matrix.
    pub bindings: Vec<(String, String)>,
    /// The scenario's text: [`Step::line`] counts in it.
    pub source: Arc<str>,
}

impl Case {
    /// What the case needs of a target.
    #[must_use]
    pub fn needs(&self) -> Needs {
        Needs::of(&self.guest, &self.steps)
    }

    /// A scenario that has this one case, in the canonical form: what `replay` takes.
    #[must_use]
    pub fn print(&self) -> String {
        let line = |step: &Step| Line {
            number: step.line,
            body: Some(Body::Fixed { place: step.place, verb: step.verb.clone() }),
            comment: None,
        };
        let document = Document {
            title: self.title.clone(),
            rules: self.rules.clone(),
            why: self.why.clone(),
            machine: Settings::of(&self.guest),
            matrix: Vec::new(),
            except: Vec::new(),
            sweep: self.sweep,
            lines: self.steps.iter().map(line).collect(),
        };
        document.print()
    }
}

/// The file that cases are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct File<'a> {
    /// The scenario's name.
    pub(super) name: &'a str,
    /// Its path and text.
    pub(super) source: Source<'a>,
    /// What it says.
    pub(super) document: &'a Document,
    /// Where it says that.
    pub(super) positions: &'a Positions,
}

/// Multiplies out the matrix, and checks every case that this makes.
pub(super) fn expand(file: File<'_>, text: &Arc<str>) -> Result<Vec<Case>, ParseError> {
    let File { source, document, positions, .. } = file;
    let combinations = document
        .matrix
        .iter()
        .try_fold(1_usize, |count, axis| count.checked_mul(axis.values.len()))
        .filter(|count| *count <= CASES_MAX)
        .ok_or_else(|| {
            source.error(positions.matrix.clone(), format!("a scenario has at most {CASES_MAX} cases"))
        })?;
    let steps = document.lines.iter().filter(|line| line.body.is_some()).count();
    if combinations * steps > CASE_STEPS_MAX {
        let message = format!("the cases of a scenario have at most {CASE_STEPS_MAX} steps together");
        return Err(source.error(positions.matrix.clone(), message));
    }
    let mut cases = Vec::with_capacity(combinations);
    for index in 0..combinations {
        let binding = combination(&document.matrix, index);
        if !excepted(document, &binding) {
            cases.push(case(file, text, &binding)?);
        }
    }
    if cases.is_empty() {
        return Err(source.error(positions.matrix.clone(), "the [[except]]s leave no case"));
    }
    Ok(cases)
}

/// One value for each axis.
type Binding<'a> = [(&'a str, &'a Value)];

/// Combination number `index`; the last axis varies fastest.
fn combination(matrix: &[Axis], mut index: usize) -> Vec<(&str, &Value)> {
    let mut binding = Vec::with_capacity(matrix.len());
    for axis in matrix.iter().rev() {
        if let Some(value) = axis.values.get(index % axis.values.len().max(1)) {
            binding.push((axis.name.as_str(), value));
        }
        index /= axis.values.len().max(1);
    }
    binding.reverse();
    binding
}

fn excepted(document: &Document, binding: &Binding<'_>) -> bool {
    let has = |name: &str, values: &[Value]| {
        binding.iter().any(|(bound, value)| *bound == name && values.contains(value))
    };
    document.except.iter().any(|except| except.when.iter().all(|(name, values)| has(name, values)))
}

fn case(file: File<'_>, text: &Arc<str>, binding: &Binding<'_>) -> Result<Case, ParseError> {
    let File { name, source, document, positions } = file;
    // Spaces would make a name that has to be quoted; no value has a `+` of its own.
    let pair = |(name, value): &(&str, &Value)| format!("{name}={}", value.to_string().replace(' ', "+"));
    let pairs = binding.iter().map(pair).collect::<Vec<_>>().join(",");
    let brackets = if pairs.is_empty() { String::new() } else { format!("[{pairs}]") };
    let error = |at: Range<usize>, message: String| {
        let where_ = if brackets.is_empty() { String::new() } else { format!(" (in {brackets})") };
        source.error(at, format!("{message}{where_}"))
    };

    let mut settings = document.machine.clone();
    for (name, value) in binding.iter().filter(|(name, _)| settings::NAMES.contains(name)) {
        settings.set(name, value).map_err(|message| error(positions.matrix.clone(), message))?;
    }
    let mut steps = Vec::new();
    let mut places = Vec::new();
    for (line, at) in document.lines.iter().zip(&positions.lines) {
        let Some(body) = &line.body else { continue };
        let step = step(line.number, body, source.text.get(at.clone()).unwrap_or_default(), binding);
        let step =
            step.map_err(|(within, message)| error(at.start + within.start..at.start + within.end, message))?;
        steps.push(step);
        places.push(trimmed(source.text, at));
    }
    let step_error = |index: usize, message| {
        error(places.get(index).cloned().unwrap_or_else(|| positions.steps.clone()), message)
    };
    let family = check::family(&steps).map_err(|(index, message)| step_error(index, message))?;
    let guest = settings.guest(family).map_err(|(name, message)| {
        error(positions.settings.get(name).cloned().unwrap_or_else(|| positions.steps.clone()), message)
    })?;
    check::steps(&guest, &steps).map_err(|(index, message)| step_error(index, message))?;
    Ok(Case {
        name: format!("{name}{brackets}"),
        scenario_name: name.to_owned(),
        path: source.path.to_owned(),
        title: document.title.clone(),
        rules: document.rules.clone(),
        why: document.why.clone(),
        guest,
        sweep: document.sweep,
        steps,
        bindings: binding.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect(),
        source: Arc::clone(text),
    })
}

/// The step of a line in one case, or what is wrong with which bytes of the line.
fn step(number: u32, body: &Body, text: &str, binding: &Binding<'_>) -> Result<Step, (Range<usize>, String)> {
    if let Body::Fixed { place, verb } = body {
        return Ok(Step { place: *place, verb: verb.clone(), line: number });
    }
    let value = |name: &str| {
        let bound = binding.iter().find(|(bound, _)| *bound == name);
        bound.map_or(Cow::Borrowed(""), |(_, value)| Cow::Owned(value.to_string()))
    };
    let filled = super::template::Filled::new(text.trim_end(), value);
    let (place, verb) =
        parse_step(&filled.text).map_err(|error| (filled.origin(&error.at), error.message))?;
    Ok(Step { place, verb, line: number })
}

/// The bytes of a line without the white space around its step.
fn trimmed(text: &str, at: &Range<usize>) -> Range<usize> {
    let line = text.get(at.clone()).unwrap_or_default();
    let start = at.start + (line.len() - line.trim_start().len());
    start..start + line.trim().len()
}
