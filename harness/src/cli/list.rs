//! `holdfast list`: what there is. Starts nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use abi::doorbell::{self, Sweep};
use abi::fault::Fault;
use abi::op::{Code, Op};
use anyhow::Result;
use model::compile::Program;
use model::rules::{self, Rule};
use model::scenario::Case;
use serde::Serialize;

use super::args::{List, ListFormat};
use super::exit::Exit;
use crate::limits;
use crate::options::Options;
use crate::qemu::Version;
use crate::runner::{Sweeping, Work, plan};
use crate::suite::{Suite, select};
use crate::target::{Target, TargetConfig};
use crate::window;

/// Case names of a rule that are shown to people.
const NAMES_SHOWN: usize = 4;

/// Runs the command.
pub(super) fn run(args: &List, to: &mut dyn Write) -> Result<Exit> {
    if args.faults {
        return faults(args, to);
    }
    let cases = select(&Suite::embedded()?.cases(), &args.filters);
    if args.rules {
        return rules(args.format, &cases, to);
    }
    if args.windows {
        return windows(args.format, cases, to);
    }
    match args.format {
        ListFormat::Names => {
            for case in &cases {
                writeln!(to, "{}", case.name)?;
            }
        }
        ListFormat::Json => {
            for case in &cases {
                line(to, &CaseLine::of(case))?;
            }
            line(to, &Line::Summary { cases: cases.len() })?;
        }
        ListFormat::Human => people(&cases, to)?,
    }
    Ok(if cases.is_empty() { Exit::NothingRan } else { Exit::Success })
}

fn people(cases: &[Arc<Case>], to: &mut dyn Write) -> Result<()> {
    let mut by_scenario: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        by_scenario.entry(&case.scenario_name).or_default().push(case);
    }
    for (name, cases) in &by_scenario {
        let Some(first) = cases.first() else { continue };
        writeln!(to, "{name}  ({}; {})", count(cases.len(), "case"), first.rules.join(" "))?;
        writeln!(to, "    {}", first.title)?;
        for case in cases {
            let matrix = case.name.strip_prefix(&case.scenario_name).filter(|rest| !rest.is_empty());
            let sweep = case.sweep.map_or_else(String::new, |sweep| {
                format!("; sweep {} {}", sweep.kind.name(), sweep.disturbance.name())
            });
            writeln!(to, "    {}  needs {}{sweep}", matrix.unwrap_or("-"), needs(case))?;
        }
    }
    writeln!(to, "{} in {}", count(cases.len(), "case"), count(by_scenario.len(), "scenario"))?;
    Ok(())
}

/// The windows of every case, as the reference hypervisor's payload would open them in a sweep.
fn windows(format: ListFormat, cases: Vec<Arc<Case>>, to: &mut dyn Write) -> Result<Exit> {
    let options = Options::default();
    let target = Target::new(TargetConfig::new(&options), Version::FULL)?;
    let sweeping = Sweeping { kind: Some(Sweep::StepAll), disturbance: None };
    let planned = plan(cases, &target, sweeping, options.workers);
    let bound = window::bound(&target.payload().image)?;
    let mut total = 0;
    for planned in &planned {
        let name = planned.case.name.as_str();
        let (windows, lines, most, why) = match &planned.work {
            Work::Run(job) => {
                let most = (!window::is_explicit(&job.program)).then_some(bound);
                (job.program.windows, lines(&job.program), most, String::new())
            }
            Work::Settled(result) => (0, Vec::new(), None, format!("{}: {}", result.state, result.why)),
        };
        total += windows;
        match format {
            ListFormat::Json => line(to, &WindowsLine { name, windows, most, lines, why })?,
            ListFormat::Names => writeln!(to, "{windows} {name}")?,
            ListFormat::Human if windows == 0 && why.is_empty() => writeln!(to, "  0  {name}")?,
            ListFormat::Human if why.is_empty() => {
                let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
                let most = most.map_or_else(
                    || format!("`sweep on`: at most {}, counted by each run", limits::WINDOW),
                    |most| format!("at most {most}"),
                );
                writeln!(
                    to,
                    "{windows:>3}  {name}  lines {}; instructions in each: {most}",
                    lines.join(" ")
                )?;
            }
            ListFormat::Human => writeln!(to, "  -  {name}  {why}")?,
        }
    }
    match format {
        ListFormat::Json => line(to, &Line::WindowsSummary { cases: planned.len(), windows: total })?,
        ListFormat::Human => writeln!(to, "{} in {}", count(total, "window"), count(planned.len(), "case"))?,
        ListFormat::Names => {}
    }
    Ok(if planned.is_empty() { Exit::NothingRan } else { Exit::Success })
}

/// The lines of the steps that open a window.
fn lines(program: &Program) -> Vec<u32> {
    let opens = |op: &&Op| {
        let explicit = op.code == Code::Doorbell as u16 && op.arg[..2] == [doorbell::WINDOW, 1];
        explicit || op.flags & abi::op::flag::WINDOW != 0
    };
    let in_window = program.ops.iter().filter(opens);
    let mut lines: Vec<u32> =
        in_window.filter_map(|op| program.steps.get(usize::from(op.step))).map(|note| note.line).collect();
    lines.dedup();
    lines
}

fn needs(case: &Case) -> String {
    let needs = case.needs().to_string();
    if needs.is_empty() { "nothing".to_owned() } else { needs }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The cases that check a rule.
fn checking<'a>(rule: &Rule, cases: &'a [Arc<Case>]) -> Vec<&'a str> {
    cases
        .iter()
        .filter(|case| case.rules.iter().any(|id| id == rule.id))
        .map(|case| case.name.as_str())
        .collect()
}

/// Why no case checks a rule.
fn why_none(rule: &Rule) -> &'static str {
    rule.scope.why_not().unwrap_or("in reach of this suite, and nobody has written a scenario for it")
}

fn rules(format: ListFormat, cases: &[Arc<Case>], to: &mut dyn Write) -> Result<Exit> {
    let mut checked = 0;
    for rule in rules::all() {
        let names = checking(rule, cases);
        checked += usize::from(!names.is_empty());
        match format {
            ListFormat::Json => line(to, &RuleLine::of(rule, names))?,
            ListFormat::Names => {
                for name in names {
                    writeln!(to, "{} {name}", rule.id)?;
                }
            }
            ListFormat::Human => {
                writeln!(to, "{:<6} {}", rule.id, rule.text)?;
                match names.as_slice() {
                    [] => writeln!(to, "       no case: {}", why_none(rule))?,
                    names => {
                        writeln!(to, "       {}", count(names.len(), "case"))?;
                        for name in names.iter().take(NAMES_SHOWN) {
                            writeln!(to, "         {name}")?;
                        }
                        if names.len() > NAMES_SHOWN {
                            writeln!(to, "         … (--format names shows all)")?;
                        }
                    }
                }
            }
        }
    }
    match format {
        ListFormat::Json => line(to, &Line::RulesSummary { rules: rules::all().len(), checked })?,
        ListFormat::Human => writeln!(to, "{checked} of {} rules have a case", rules::all().len())?,
        ListFormat::Names => {}
    }
    Ok(Exit::Success)
}

fn faults(args: &List, to: &mut dyn Write) -> Result<Exit> {
    let chosen = |fault: &&Fault| {
        args.filters.is_empty() || args.filters.iter().any(|filter| fault.name().contains(filter.as_str()))
    };
    let mut faults = 0;
    for fault in Fault::ALL.iter().filter(chosen) {
        faults += 1;
        match args.format {
            ListFormat::Names => writeln!(to, "{}", fault.name())?,
            ListFormat::Json => line(to, &FaultLine::of(*fault))?,
            ListFormat::Human => {
                writeln!(to, "{:<28} {:<12} {}", fault.name(), fault.origin(), fault.rules().join(" "))?;
                writeln!(to, "    {}", fault.what())?;
            }
        }
    }
    match args.format {
        ListFormat::Json => line(to, &Line::FaultsSummary { faults })?,
        ListFormat::Human => writeln!(to, "{}", count(faults, "fault"))?,
        ListFormat::Names => {}
    }
    Ok(if faults == 0 { Exit::NothingRan } else { Exit::Success })
}

fn line(to: &mut dyn Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    writeln!(to)?;
    Ok(())
}

/// The last line, with the `type` that every command's last line has.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Line {
    #[serde(rename = "summary")]
    Summary { cases: usize },
    #[serde(rename = "summary")]
    WindowsSummary { cases: usize, windows: usize },
    #[serde(rename = "summary")]
    RulesSummary { rules: usize, checked: usize },
    #[serde(rename = "summary")]
    FaultsSummary { faults: usize },
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "case")]
struct CaseLine<'a> {
    name: &'a str,
    scenario: &'a str,
    file: &'a str,
    title: &'a str,
    rules: &'a [String],
    needs: Vec<&'static str>,
    sweep: Option<&'static str>,
    steps: usize,
}

impl<'a> CaseLine<'a> {
    fn of(case: &'a Case) -> Self {
        Self {
            name: &case.name,
            scenario: &case.scenario_name,
            file: &case.path,
            title: &case.title,
            rules: &case.rules,
            needs: case.needs().names().collect(),
            sweep: case.sweep.map(|sweep| sweep.kind.name()),
            steps: case.steps.len(),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "windows")]
struct WindowsLine<'a> {
    name: &'a str,
    windows: usize,
    /// The most instructions of each; none if only a run can tell.
    most: Option<u64>,
    lines: Vec<u32>,
    why: String,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "rule")]
struct RuleLine<'a> {
    id: &'static str,
    text: &'static str,
    follows: &'static str,
    area: &'static str,
    cases: Vec<&'a str>,
    why_none: Option<&'static str>,
}

impl<'a> RuleLine<'a> {
    fn of(rule: &Rule, cases: Vec<&'a str>) -> Self {
        let why_none = cases.is_empty().then(|| why_none(rule));
        let (id, text, follows, area) = (rule.id, rule.text, rule.follows, rule.area.name());
        Self { id, text, follows, area, cases, why_none }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "fault")]
struct FaultLine {
    name: &'static str,
    origin: &'static str,
    rules: &'static [&'static str],
    what: &'static str,
}

impl FaultLine {
    const fn of(fault: Fault) -> Self {
        Self { name: fault.name(), origin: fault.origin(), rules: fault.rules(), what: fault.what() }
    }
}
