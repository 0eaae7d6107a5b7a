//! `holdfast mutants`: the suite against every fault of the reference hypervisor.
//!
//! First the suite runs without a fault: only a case that passes there can kill. Then it runs once for each
//! fault, with limits taken from that first run, so that a case that a fault makes hang is cut short.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use abi::fault::Fault;
use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};
use model::scenario::Case;
use serde::Serialize;

use super::args::{Mutants, PlainFormat};
use super::exit::Exit;
use super::session::{self, say};
use crate::options::{Options, TargetKind};
use crate::progress::Live;
use crate::qemu::Qemu;
use crate::result::{CaseResult, Progress, State};
use crate::runner::Work;
use crate::suite::{Suite, select};

/// A case may take this many times as long as without a fault.
const PATIENCE: u32 = 20;
/// And at least this long: scheduling on a busy machine costs that much.
const LIMIT_MIN: Duration = Duration::from_millis(100);
/// Cases that hang with one fault before the rest of its run is given up: a hypervisor that is dead for
/// good would cost seconds for every case and tell nothing new.
const HANGS_MAX: u32 = 32;
/// Cases that cannot kill of which the names are shown.
const NAMES_SHOWN: usize = 5;

/// Runs the command.
pub(super) fn run(args: &Mutants, to: &mut dyn Write) -> Result<Exit> {
    let options = args.target.options(None)?;
    if options.target != TargetKind::Reference {
        bail!("only the reference hypervisor can commit faults: use --target reference");
    }
    let cases = select(&Suite::embedded()?.cases(), &args.filters);
    let faults: Vec<Fault> = if args.faults.is_empty() { Fault::ALL.to_vec() } else { args.faults.clone() };
    let begun = Instant::now();
    let signal = session::stop_on_signal()?;
    let qemu = session::find_qemu(&options)?;
    let hunt = Hunt { options: &options, qemu: &qemu, signal: &signal };
    let clean = hunt.clean(&cases)?;
    if clean.cases.is_empty() {
        say("no case passes without a fault: there is nothing that could notice one");
        return Ok(Exit::NothingRan);
    }
    for (name, state) in clean.unfit.iter().take(NAMES_SHOWN) {
        say(&format!("{name} is {state} without any fault: it cannot notice one"));
    }
    if clean.unfit.len() > NAMES_SHOWN {
        say(&format!("and {} more do not pass without a fault", clean.unfit.len() - NAMES_SHOWN));
    }
    let mut printer = Printer { to, format: args.format, all: args.all };
    let mut total = Total { unfit: clean.unfit.len(), ..Total::default() };
    for fault in &faults {
        let outcome = hunt.fault(*fault, &clean)?;
        if signal.load(Ordering::Relaxed) {
            say("stopped: the score would be of a part of the faults only");
            return Ok(Exit::Void);
        }
        total.add(&outcome);
        printer.outcome(&outcome)?;
    }
    printer.total(&total, begun.elapsed())?;
    let whole = total.killed == total.faults && total.reached == total.faults && total.unfit == 0;
    Ok(if whole { Exit::Success } else { Exit::Nonconformant })
}

/// The search, and what all its runs have in common.
struct Hunt<'a> {
    options: &'a Options,
    qemu: &'a Qemu,
    signal: &'a AtomicBool,
}

/// The run without a fault.
struct Clean {
    /// The cases that pass.
    cases: Vec<Arc<Case>>,
    /// How long each may take.
    limits: HashMap<String, Duration>,
    /// Cases that ran and did not pass.
    unfit: Vec<(String, State)>,
}

/// The run with one fault.
#[derive(Debug)]
struct Outcome {
    fault: Fault,
    cases: usize,
    /// How often its line ran, in all cases.
    reached: u64,
    /// The cases that noticed it, and how.
    killers: BTreeMap<String, State>,
    /// Cases in which the suite itself broke: they are no killers.
    errors: BTreeMap<String, String>,
    /// Cases that did not run because too many before them hung.
    given_up: usize,
    wall: Duration,
}

#[derive(Debug, Default)]
struct Total {
    /// Cases that do not pass without a fault.
    unfit: usize,
    faults: usize,
    reached: usize,
    killed: usize,
    survivors: Vec<&'static str>,
    unreached: Vec<&'static str>,
}

impl Hunt<'_> {
    fn clean(&self, cases: &[Arc<Case>]) -> Result<Clean> {
        let target = session::target(self.options, self.qemu)?;
        let jobs = session::compile(self.options, cases, &target);
        let runner = session::runner(self.options, jobs, target, self.qemu);
        let mut clean = Clean { cases: Vec::new(), limits: HashMap::new(), unfit: Vec::new() };
        let mut live = Live::new("cases without a fault", cases.len() as u64);
        runner.run(self.signal, &mut |progress| {
            let Progress::Finished(result) = progress else { return };
            live.done(result.state.is_nonconformant() || result.state.is_void());
            let CaseResult { name, state, duration, .. } = *result;
            match state {
                State::Pass => {
                    let limit = duration.saturating_mul(PATIENCE).max(LIMIT_MIN);
                    clean.limits.insert(name, limit);
                }
                State::Skip(_) => {}
                state => clean.unfit.push((name, state)),
            }
        });
        clean.cases = cases.iter().filter(|case| clean.limits.contains_key(&case.name)).cloned().collect();
        Ok(clean)
    }

    fn fault(&self, fault: Fault, clean: &Clean) -> Result<Outcome> {
        let begun = Instant::now();
        let options = Options { fault: Some(fault), ..self.options.clone() };
        let target = session::target(&options, self.qemu)?;
        let mut jobs = session::compile(&options, &clean.cases, &target);
        for planned in &mut jobs {
            if let Work::Run(job) = &mut planned.work {
                job.limit = clean.limits.get(&planned.case.name).copied();
            }
        }
        let cases = jobs.len();
        let runner = session::runner(&options, jobs, target, self.qemu);
        let mut outcome = Outcome {
            fault,
            cases,
            reached: 0,
            killers: BTreeMap::new(),
            errors: BTreeMap::new(),
            given_up: 0,
            wall: Duration::ZERO,
        };
        let mut live = Live::new(fault.name(), cases as u64);
        let mut hangs = 0;
        let stop = AtomicBool::new(false);
        runner.run(&stop, &mut |progress| {
            let Progress::Finished(result) = progress else { return };
            live.done(result.state.is_nonconformant());
            hangs += u32::from(result.state == State::Timeout);
            outcome.add(*result, stop.load(Ordering::Relaxed));
            if hangs >= HANGS_MAX || self.signal.load(Ordering::Relaxed) {
                stop.store(true, Ordering::Relaxed);
            }
        });
        outcome.wall = begun.elapsed();
        Ok(outcome)
    }
}

impl Outcome {
    fn add(&mut self, result: CaseResult, stopped: bool) {
        if let Some(hyp) = &result.hyp {
            self.reached = self.reached.saturating_add(hyp.fault_reached);
        }
        match result.state {
            State::Miss if stopped => self.given_up += 1,
            State::Error | State::Miss => {
                self.errors.insert(result.name, result.why);
            }
            state if state.is_nonconformant() => {
                self.killers.insert(result.name, state);
            }
            _ => {}
        }
    }

    fn verdict(&self) -> (&'static str, Style) {
        let bad = AnsiColor::Red.on_default().bold();
        match (self.reached, self.killers.len()) {
            (0, _) => ("unreached", bad),
            (_, 0) => ("survived", bad),
            _ => ("killed", AnsiColor::Green.on_default()),
        }
    }

    /// The killers by scenario.
    fn scenarios(&self) -> BTreeMap<&str, usize> {
        let mut scenarios = BTreeMap::new();
        for name in self.killers.keys() {
            *scenarios.entry(name.split('[').next().unwrap_or_default()).or_default() += 1;
        }
        scenarios
    }
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        let (reached, killed) = (outcome.reached > 0, !outcome.killers.is_empty());
        self.faults += 1;
        self.reached += usize::from(reached);
        self.killed += usize::from(reached && killed);
        if !reached {
            self.unreached.push(outcome.fault.name());
        } else if !killed {
            self.survivors.push(outcome.fault.name());
        }
    }

    /// Killed of all, in percent.
    fn score(&self) -> f64 {
        if self.faults == 0 { 0.0 } else { 100.0 * self.killed as f64 / self.faults as f64 }
    }
}

struct Printer<'a> {
    to: &'a mut dyn Write,
    format: PlainFormat,
    all: bool,
}

impl Printer<'_> {
    fn outcome(&mut self, outcome: &Outcome) -> Result<()> {
        if self.format == PlainFormat::Json {
            return self.line(&FaultLine::of(outcome));
        }
        let (word, style) = outcome.verdict();
        let (name, wall) = (outcome.fault.name(), outcome.wall.as_secs_f64());
        writeln!(
            self.to,
            "{style}{word:<9}{style:#} {name:<28} by {:>4} of {} cases, reached {} times, {wall:.1} s",
            outcome.killers.len(),
            outcome.cases,
            outcome.reached,
        )?;
        if self.all {
            for (case, state) in &outcome.killers {
                writeln!(self.to, "          {state:<8} {case}")?;
            }
        } else {
            for (scenario, cases) in outcome.scenarios() {
                writeln!(self.to, "          {scenario} ({cases})")?;
            }
        }
        for (case, why) in outcome.errors.iter().take(NAMES_SHOWN) {
            writeln!(self.to, "          no killer: {case}: {why}")?;
        }
        if outcome.errors.len() > NAMES_SHOWN {
            writeln!(
                self.to,
                "          no killers: {} more of this kind",
                outcome.errors.len() - NAMES_SHOWN
            )?;
        }
        if outcome.given_up > 0 {
            writeln!(self.to, "          {} cases not run: {HANGS_MAX} hung before them", outcome.given_up)?;
        }
        Ok(())
    }

    fn total(&mut self, total: &Total, wall: Duration) -> Result<()> {
        let wall_s = wall.as_secs_f64();
        if self.format == PlainFormat::Json {
            return self.line(&SummaryLine {
                unfit: total.unfit,
                faults: total.faults,
                reached: total.reached,
                killed: total.killed,
                score: total.score(),
                survivors: &total.survivors,
                unreached: &total.unreached,
                wall_s,
            });
        }
        let Total { faults, reached, killed, survivors, unreached, .. } = total;
        writeln!(
            self.to,
            "\n{faults} faults, {reached} reached, {killed} killed: {:.1} % in {wall_s:.1} s",
            total.score()
        )?;
        for (word, names) in [("survived", survivors), ("unreached", unreached)] {
            if !names.is_empty() {
                writeln!(self.to, "{word}: {}", names.join(" "))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut *self.to, value)?;
        writeln!(self.to)?;
        self.to.flush()?;
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "fault")]
struct FaultLine<'a> {
    name: &'static str,
    origin: &'static str,
    reached: u64,
    killed: bool,
    killers: Vec<Killer<'a>>,
    errors: Vec<&'a str>,
    cases: usize,
    given_up: usize,
    wall_s: f64,
}

#[derive(Serialize)]
struct Killer<'a> {
    name: &'a str,
    state: &'static str,
}

impl<'a> FaultLine<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        Self {
            name: outcome.fault.name(),
            origin: outcome.fault.origin(),
            reached: outcome.reached,
            killed: outcome.reached > 0 && !outcome.killers.is_empty(),
            killers: outcome
                .killers
                .iter()
                .map(|(name, state)| Killer { name, state: state.name() })
                .collect(),
            errors: outcome.errors.keys().map(String::as_str).collect(),
            cases: outcome.cases,
            given_up: outcome.given_up,
            wall_s: outcome.wall.as_secs_f64(),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "summary")]
struct SummaryLine<'a> {
    unfit: usize,
    faults: usize,
    reached: usize,
    killed: usize,
    score: f64,
    survivors: &'a [&'static str],
    unreached: &'a [&'static str],
    wall_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(reached: u64, killers: &[&str]) -> Outcome {
        Outcome {
            fault: Fault::NvFlagSticky,
            cases: 3,
            reached,
            killers: killers.iter().map(|name| ((*name).to_owned(), State::Fail)).collect(),
            errors: BTreeMap::new(),
            given_up: 0,
            wall: Duration::from_millis(1500),
        }
    }

    fn print(format: PlainFormat, outcomes: &[Outcome]) -> String {
        let mut bytes = Vec::new();
        let mut printer = Printer { to: &mut bytes, format, all: false };
        let mut total = Total::default();
        for outcome in outcomes {
            total.add(outcome);
            printer.outcome(outcome).unwrap();
        }
        printer.total(&total, Duration::from_secs(3)).unwrap();
        anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string()
    }

    #[test]
    fn killers_are_named_by_scenario() {
        let text = print(PlainFormat::Human, &[outcome(5, &["a::b[x=1]", "a::b[x=2]", "a::c"])]);
        assert!(text.contains("killed    nv-flag-sticky"), "{text}");
        assert!(text.contains("a::b (2)\n") && text.contains("a::c (1)\n"), "{text}");
        assert!(text.contains("1 faults, 1 reached, 1 killed: 100.0 %"), "{text}");
    }

    #[test]
    fn a_survivor_and_an_unreached_fault_are_told_apart() {
        let text = print(PlainFormat::Human, &[outcome(5, &[]), outcome(0, &[])]);
        assert!(text.contains("survived: nv-flag-sticky\nunreached: nv-flag-sticky"), "{text}");
        assert!(text.contains("0.0 %"), "{text}");
    }

    #[test]
    fn a_failure_without_the_fault_reached_is_no_kill() {
        let mut total = Total::default();
        total.add(&outcome(0, &["a::b"]));
        assert_eq!((total.killed, total.reached), (0, 0));
    }

    #[test]
    fn json_ends_with_a_summary() {
        let text = print(PlainFormat::Json, &[outcome(5, &["a::b"])]);
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["type"], "summary");
        assert_eq!((last["faults"].as_u64(), last["killed"].as_u64()), (Some(1), Some(1)));
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["killers"][0]["name"], "a::b");
    }

    #[test]
    fn errors_do_not_kill() {
        let mut outcome = outcome(5, &[]);
        outcome.add(CaseResult::without_findings("a", State::Error, "bad ring"), false);
        outcome.add(CaseResult::without_findings("b", State::Miss, "stopped"), true);
        outcome.add(CaseResult::without_findings("c", State::Crash, "died"), false);
        assert_eq!((outcome.errors.len(), outcome.given_up, outcome.killers.len()), (1, 1, 1));
    }
}
