//! From TOML to a [`Document`], with every position kept.
//!
//! The file is walked as spanned TOML values rather than through `serde`: so every key that is unknown,
//! missing, twice or of the wrong type is named with its line and column, and `steps` can stand where it reads
//! best, at the end. A key after a table's head belongs to that table in TOML; `steps` is taken from there.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::document::{Axis, Document, Except, Line, Value};
use super::error::{ParseError, Source};
use super::names::{DISTURBANCES, SWEEPS};
use super::node::{Entry, Node, STEPS};
use super::settings::{self, Settings};
use super::step::SweepSpec;
use super::{lines, suggest, template};
use crate::rules;

/// The largest scenario file, in bytes.
const FILE_MAX: usize = 256 << 10;

/// Keys of the file.
const KEYS: [&str; 8] = ["title", "rules", "why", "machine", "matrix", "except", "sweep", STEPS];
const REASON: &str = "reason";

/// Where in the file the parts of a document stand, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    /// Settings, by name, from `[machine]` or `[matrix]`.
    pub(super) settings: BTreeMap<String, Range<usize>>,
    /// The head of the matrix, if there is one.
    pub(super) matrix: Range<usize>,
    /// The key `steps`.
    pub(super) steps: Range<usize>,
    /// The text of each line of the document, without its comment.
    pub(super) lines: Vec<Range<usize>>,
}

/// Reads a file as far as that goes without multiplying out its matrix.
pub(super) fn read(source: Source<'_>) -> Result<(Document, Positions), ParseError> {
    if source.text.len() > FILE_MAX {
        return Err(source.error(0..0, format!("a scenario file has at most {FILE_MAX} bytes")));
    }
    let toml = DeTable::parse(source.text).map_err(|error| {
        source.error(error.span().unwrap_or_default(), error.message().trim().replace('\n', "; "))
    })?;
    let root = Node::new(source, toml.get_ref());
    root.allow("a key", KEYS)?;
    let mut reader = Reader { source, positions: Positions::default() };
    let matrix = reader.matrix(&root)?;
    let document = Document {
        title: one_line(&root.need("title")?)?,
        rules: rule_list(&root.need("rules")?)?,
        why: root.get("why").map(|why| prose(&why)).transpose()?,
        machine: reader.machine(&root, &matrix)?,
        except: reader.except(&root, &matrix)?,
        sweep: root.get("sweep").map(|sweep| sweep_spec(&sweep)).transpose()?,
        lines: reader.lines(&root)?,
        matrix,
    };
    reader.check_variables(&root, &document)?;
    Ok((document, reader.positions))
}

fn one_line(entry: &Entry<'_, '_>) -> Result<String, ParseError> {
    let text = entry.text()?.trim();
    if text.is_empty() {
        return Err(entry.error(format!("`{}` is empty", entry.key)));
    }
    if text.contains(char::is_control) {
        return Err(entry.error(format!("`{}` is one line, without control characters", entry.key)));
    }
    Ok(text.to_owned())
}

fn prose(entry: &Entry<'_, '_>) -> Result<String, ParseError> {
    let lines: Vec<_> = entry.text()?.lines().map(str::trim_end).collect();
    let text = lines.join("\n").trim().to_owned();
    if text.is_empty() {
        return Err(entry.error(format!("`{}` is empty", entry.key)));
    }
    if text.contains(|c: char| c.is_control() && c != '\n') {
        return Err(entry.error(format!("`{}` has control characters", entry.key)));
    }
    Ok(text)
}

fn rule_list(entry: &Entry<'_, '_>) -> Result<Vec<String>, ParseError> {
    let mut ids: Vec<String> = Vec::new();
    for item in entry.list()? {
        let id = item.text()?;
        if rules::get(id).is_none() {
            let near = suggest::nearest(id, rules::all().iter().map(|rule| rule.id));
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(item.error(format!("there is no rule {}{hint}", suggest::quote(id))));
        }
        if ids.iter().any(|known| known == id) {
            return Err(item.error(format!("rule {id} is in the list already")));
        }
        ids.push(id.to_owned());
    }
    Ok(ids)
}

fn sweep_spec(entry: &Entry<'_, '_>) -> Result<SweepSpec, ParseError> {
    let table = entry.table()?;
    table.allow("a key of [sweep]", ["kind", "disturb"])?;
    let kind = table.get("kind").ok_or_else(|| entry.key_error("the key `kind` of [sweep] is missing"))?;
    let disturbance = match table.get("disturb") {
        // A sweep without a disturbance would be none.
        Some(disturb) => disturb
            .named("a disturbance", DISTURBANCES)?
            .ok_or_else(|| disturb.error("a sweep disturbs at each point: leave out [sweep] to have none"))?,
        None => abi::doorbell::Disturbance::Clobber,
    };
    Ok(SweepSpec { kind: kind.named("a kind of sweep", SWEEPS)?, disturbance })
}

/// Reads the parts whose positions are asked for later.
struct Reader<'a> {
    source: Source<'a>,
    positions: Positions,
}

impl<'a> Reader<'a> {
    fn machine(&mut self, root: &Node<'a, '_>, matrix: &[Axis]) -> Result<Settings, ParseError> {
        let mut machine = Settings::default();
        let Some(entry) = root.get("machine") else { return Ok(machine) };
        for setting in entry.table()?.own() {
            if !settings::NAMES.contains(&setting.key) {
                return Err(setting.key_error(suggest::unknown(setting.key, "a setting", settings::NAMES)));
            }
            if matrix.iter().any(|axis| axis.name == setting.key) {
                return Err(setting.key_error(format!("`{}` is an axis of the matrix already", setting.key)));
            }
            machine.set(setting.key, &setting.value()?).map_err(|message| setting.error(message))?;
            self.positions.settings.insert(setting.key.to_owned(), setting.key_at.clone());
        }
        Ok(machine)
    }

    fn matrix(&mut self, root: &Node<'a, '_>) -> Result<Vec<Axis>, ParseError> {
        let Some(entry) = root.get("matrix") else { return Ok(Vec::new()) };
        self.positions.matrix = entry.key_at.clone();
        entry.table()?.own().map(|axis| self.axis(axis)).collect()
    }

    fn axis(&mut self, entry: &Entry<'a, '_>) -> Result<Axis, ParseError> {
        if !template::is_name(entry.key) || entry.key == REASON {
            let message = "expected a name of lower-case letters, digits and `_`, other than `reason`";
            return Err(entry.key_error(message));
        }
        let mut values: Vec<Value> = Vec::new();
        for item in entry.list()? {
            let value = item.value()?;
            if settings::NAMES.contains(&entry.key) {
                Settings::default().set(entry.key, &value).map_err(|message| item.error(message))?;
            }
            let text = value.to_string();
            if values.iter().any(|known| known.to_string() == text) {
                return Err(item.error(format!("`{text}` is in the list already")));
            }
            values.push(value);
        }
        if settings::NAMES.contains(&entry.key) {
            self.positions.settings.insert(entry.key.to_owned(), entry.key_at.clone());
        }
        Ok(Axis { name: entry.key.to_owned(), values })
    }

    fn except(&self, root: &Node<'a, '_>, matrix: &[Axis]) -> Result<Vec<Except>, ParseError> {
        let Some(entry) = root.get("except") else { return Ok(Vec::new()) };
        entry.list()?.iter().map(|item| Self::one_except(item, matrix)).collect()
    }

    fn one_except(entry: &Entry<'a, '_>, matrix: &[Axis]) -> Result<Except, ParseError> {
        let table = entry.table()?;
        let names = matrix.iter().map(|axis| axis.name.as_str());
        table.allow("an axis of the matrix, or `reason`", names.chain([REASON]))?;
        let reason =
            table.get(REASON).ok_or_else(|| entry.error("the key `reason` of [[except]] is missing"))?;
        let mut when = Vec::new();
        for condition in table.own().filter(|condition| condition.key != REASON) {
            let axis = matrix.iter().find(|axis| axis.name == condition.key);
            let items = match condition.value.get_ref() {
                DeValue::Array(_) => condition.list()?,
                _ => vec![condition.clone()],
            };
            let mut values = Vec::new();
            for item in items {
                let value = item.value()?;
                if axis.is_none_or(|axis| !axis.values.contains(&value)) {
                    return Err(item.error(format!("`{}` has no value `{value}`", condition.key)));
                }
                if values.contains(&value) {
                    return Err(item.error(format!("`{value}` is in the list already")));
                }
                values.push(value);
            }
            when.push((condition.key.to_owned(), values));
        }
        if when.is_empty() {
            return Err(entry.error("an [[except]] names at least one axis of the matrix"));
        }
        Ok(Except { when, reason: one_line(&reason)? })
    }

    fn lines(&mut self, root: &Node<'a, '_>) -> Result<Vec<Line>, ParseError> {
        let read = lines::read(self.source, root)?;
        self.positions.lines = read.at;
        self.positions.steps = read.key_at;
        Ok(read.lines)
    }

    /// Makes sure that every `$name` is an axis, and that every axis does something.
    fn check_variables(&self, root: &Node<'a, '_>, document: &Document) -> Result<(), ParseError> {
        let mut used: Vec<&str> = Vec::new();
        for at in &self.positions.lines {
            let text = self.source.text.get(at.clone()).unwrap_or_default();
            for variable in template::variables(text) {
                let names = document.matrix.iter().map(|axis| axis.name.as_str());
                if names.clone().all(|name| name != variable.name) {
                    let place = at.start + variable.at.start..at.start + variable.at.end;
                    let message = match (variable.name, document.matrix.is_empty()) {
                        ("", _) => "expected the name of an axis of the matrix after `$`".to_owned(),
                        (name, true) => format!("found `${name}`, and there is no [matrix]"),
                        (name, false) => suggest::unknown(name, "an axis of the matrix", names),
                    };
                    return Err(self.source.error(place, message));
                }
                used.push(variable.name);
            }
        }
        let idle = |axis: &&Axis| {
            !used.contains(&axis.name.as_str()) && !settings::NAMES.contains(&axis.name.as_str())
        };
        let Some(axis) = document.matrix.iter().find(idle) else { return Ok(()) };
        let message = format!("no step uses `${}`", axis.name);
        let node = root.get("matrix").map(|entry| entry.table()).transpose()?;
        let entry = node.and_then(|node| node.get(&axis.name));
        Err(entry.map_or_else(
            || self.source.error(self.positions.matrix.clone(), message.clone()),
            |entry| entry.key_error(message.clone()),
        ))
    }
}
