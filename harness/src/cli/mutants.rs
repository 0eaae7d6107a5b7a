//! `holdfast mutants`: the suite against every fault of the reference hypervisor.
//!
//! First the suite runs without a fault: only a case that passes there can kill, and only one that comes by the
//! fault's line. Each of those then runs once with the fault, all on the same machines, with limits taken from the
//! first run, so that a case that a fault makes hang is cut short. A fault that keeps killing its machine is given
//! up after a few cases.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use abi::fault::Fault;
use abi::skip;
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
use crate::runner::{Job, Planned, Tolerance, Work};
use crate::suite::{Suite, select};
use crate::target::{Target, TargetConfig};

/// A case may take this many times as long as without a fault.
const PATIENCE: u32 = 20;
/// And at least this long: a busy machine may stall one for some hundred milliseconds, and that is no kill.
const LIMIT_MIN: Duration = Duration::from_secs(1);
/// Machines that a fault may kill, and cases that it may make hang, before the rest of its cases is given up:
/// each costs as much as hundreds of others and tells nothing new.
const TOLERATED: u32 = 8;
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
    let stopped = || {
        let stopped = signal.load(Ordering::Relaxed);
        if stopped {
            say("stopped: the score would be of a part only");
        }
        stopped
    };
    if stopped() {
        return Ok(Exit::Void);
    }
    if clean.fit.is_empty() {
        say("no case passes without a fault: there is nothing that could notice one");
        return Ok(Exit::NothingRan);
    }
    for (name, state) in clean.unfit.iter().take(NAMES_SHOWN) {
        say(&format!("{name} is {state} without any fault: it cannot notice one"));
    }
    if clean.unfit.len() > NAMES_SHOWN {
        say(&format!("and {} more do not pass without a fault", clean.unfit.len() - NAMES_SHOWN));
    }
    let outcomes = hunt.faults(&faults, &clean)?;
    if stopped() {
        return Ok(Exit::Void);
    }
    let mut printer = Printer { to, format: args.format, all: args.all };
    let mut total = Total { unfit: clean.unfit.len(), ..Total::default() };
    for outcome in &outcomes {
        total.add(outcome);
        printer.outcome(outcome)?;
    }
    printer.total(&total, begun.elapsed())?;
    let whole = total.killed == total.faults && total.reached == total.faults && total.unfit == 0;
    Ok(if whole { Exit::Success } else { Exit::Nonconformant })
}

/// The search, and what its two runs have in common.
struct Hunt<'a> {
    options: &'a Options,
    qemu: &'a Qemu,
    signal: &'a AtomicBool,
}

/// The run without a fault.
struct Clean {
    /// The cases that pass.
    fit: Vec<Fit>,
    /// Cases that ran and did not pass.
    unfit: Vec<(String, State)>,
}

/// A case that passes without a fault.
struct Fit {
    case: Arc<Case>,
    /// With how long it may take.
    job: Box<Job>,
    /// The faults whose lines it comes by.
    lines: [u64; 2],
}

impl Fit {
    /// Whether the case can notice the fault: up to the first time that it comes by the fault's line it goes as
    /// without one. A hypervisor that does not tell of lines is taken to come by all of them.
    fn comes_by(&self, fault: Fault) -> bool {
        let number = usize::from(fault as u16);
        self.lines == [0; 2]
            || self.lines.get(number / 64).is_some_and(|lines| lines >> (number % 64) & 1 != 0)
    }
}

/// What became of one fault.
#[derive(Debug)]
struct Outcome {
    fault: Fault,
    /// Cases that come by its line, and so ran with it or were to run.
    cases: usize,
    /// How often its line ran, in all cases.
    reached: u64,
    /// The cases that noticed it, and how.
    killers: BTreeMap<String, State>,
    /// Cases that are no killers although they do not pass, and why.
    errors: BTreeMap<String, String>,
    /// Cases that did not run because of what it cost before them.
    given_up: usize,
    /// What all its cases took, on however many machines.
    time: Duration,
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
    /// The target of both runs: the build that can commit faults, without a trace that nobody will read.
    fn target(&self) -> Result<Target> {
        let config = TargetConfig { faults: true, trace: false, ..TargetConfig::new(self.options) };
        Ok(Target::new(config, self.qemu.version())?)
    }

    fn clean(&self, cases: &[Arc<Case>]) -> Result<Clean> {
        let target = self.target()?;
        let jobs = session::compile(self.options, cases, &target);
        let runner = session::runner(self.options, jobs, target, self.qemu);
        let mut unfit = Vec::new();
        let mut passed = HashMap::new();
        let mut live = Live::new("cases without a fault", cases.len() as u64);
        runner.run(self.signal, &mut |progress| {
            let Progress::Finished(result) = progress else { return };
            live.done(result.state.is_nonconformant() || result.state.is_void());
            let CaseResult { name, state, duration, hyp, .. } = *result;
            match state {
                State::Pass => {
                    let limit = duration.saturating_mul(PATIENCE).max(LIMIT_MIN);
                    passed.insert(name, (limit, hyp.map_or([0; 2], |hyp| hyp.fault_lines)));
                }
                State::Skip(_) => {}
                state => unfit.push((name, state)),
            }
        });
        let fit = runner.plan().jobs.iter().filter_map(|planned| match &planned.work {
            Work::Run(job) => {
                let (limit, lines) = *passed.get(&planned.case.name)?;
                let job = Box::new(Job { limit: Some(limit), ..Job::clone(job) });
                Some(Fit { case: Arc::clone(&planned.case), job, lines })
            }
            Work::Settled(..) => None,
        });
        Ok(Clean { fit: fit.collect(), unfit })
    }

    /// Runs with every fault the cases that come by its line, fault by fault on each kind of machine.
    fn faults(&self, faults: &[Fault], clean: &Clean) -> Result<Vec<Outcome>> {
        let mut jobs = Vec::new();
        for fault in faults {
            let tolerance = Arc::new(Tolerance::new(TOLERATED, TOLERATED));
            jobs.extend(clean.fit.iter().filter(|fit| fit.comes_by(*fault)).map(|fit| {
                let tolerance = Some(Arc::clone(&tolerance));
                let job = Job { fault: Some(*fault), tolerance, ..Job::clone(&fit.job) };
                Planned { case: Arc::clone(&fit.case), work: Work::Run(Box::new(job)) }
            }));
        }
        let mut outcomes: BTreeMap<Fault, Outcome> =
            faults.iter().map(|fault| (*fault, Outcome::new(*fault))).collect();
        let mut live = Live::new("cases with a fault", jobs.len() as u64);
        let runner = session::runner(self.options, jobs, self.target()?, self.qemu);
        runner.run(self.signal, &mut |progress| {
            let Progress::Finished(result) = progress else { return };
            live.done(false);
            if let Some(outcome) = result.fault.and_then(|fault| outcomes.get_mut(&fault)) {
                outcome.add(*result);
            }
        });
        Ok(outcomes.into_values().collect())
    }
}

impl Outcome {
    const fn new(fault: Fault) -> Self {
        Self {
            fault,
            cases: 0,
            reached: 0,
            killers: BTreeMap::new(),
            errors: BTreeMap::new(),
            given_up: 0,
            time: Duration::ZERO,
        }
    }

    fn add(&mut self, result: CaseResult) {
        let reached = result.hyp.as_ref().map_or(0, |hyp| hyp.fault_reached);
        self.cases += 1;
        self.reached = self.reached.saturating_add(reached);
        self.time = self.time.saturating_add(result.duration);
        match result.state {
            State::Skip(code) if code == skip::GAVE_UP => self.given_up += 1,
            State::Error | State::Miss => {
                self.errors.insert(result.name, result.why);
            }
            // Something else is wrong: what was never committed cannot have been noticed.
            state if state.is_nonconformant() && reached == 0 => {
                self.errors.insert(result.name, format!("{state}, and the fault was not reached"));
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
        let (name, time) = (outcome.fault.name(), outcome.time.as_secs_f64());
        writeln!(
            self.to,
            "{style}{word:<9}{style:#} {name:<28} by {:>4} of {} cases, reached {} times, {time:.1} s",
            outcome.killers.len(),
            outcome.cases - outcome.given_up,
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
            writeln!(
                self.to,
                "          {} cases not run: {TOLERATED} before them killed their machine or hung",
                outcome.given_up
            )?;
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
    time_s: f64,
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
            time_s: outcome.time.as_secs_f64(),
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
    use crate::result::HypReport;

    use super::*;

    fn outcome(reached: u64, killers: &[&str]) -> Outcome {
        Outcome {
            cases: 3,
            reached,
            killers: killers.iter().map(|name| ((*name).to_owned(), State::Fail)).collect(),
            time: Duration::from_millis(1500),
            ..Outcome::new(Fault::NvFlagSticky)
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
    fn only_a_case_that_reached_the_fault_kills() {
        let mut outcome = outcome(5, &[]);
        let mut add = |name, state, reached| {
            let mut result = CaseResult::without_findings(name, state, "why");
            result.hyp = Some(Box::new(HypReport {
                end: None,
                end_arg: 0,
                end_at: [0; 4],
                fault_reached: reached,
                fault_lines: [0; 2],
                disturbed: 0,
                harm: abi::hyp::Harm::NONE,
                counters: zerocopy::FromZeros::new_zeroed(),
                trace: Vec::new(),
            }));
            outcome.add(result);
        };
        add("a", State::Error, 1);
        add("b", State::Skip(skip::GAVE_UP.to_owned()), 0);
        add("c", State::Miss, 0);
        add("d", State::Crash, 1);
        add("e", State::Timeout, 0);
        assert_eq!(outcome.errors.keys().collect::<Vec<_>>(), ["a", "c", "e"]);
        assert_eq!((outcome.killers.len(), outcome.given_up, outcome.reached), (1, 1, 7));
        assert_eq!(outcome.errors["e"], "TIMEOUT, and the fault was not reached");
    }

    #[test]
    fn what_was_not_run_is_said() {
        let mut hung = outcome(5, &["a::b"]);
        hung.given_up = 2;
        let text = print(PlainFormat::Human, &[hung]);
        assert!(text.contains("by    1 of 1 cases"), "{text}");
        assert!(text.contains("2 cases not run: 8 before them"), "{text}");
    }
}
