//! Takes the results of a run as they come: folds repeats, applies expectations, writes the log and the run
//! folder, and shows every event to the reporters.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use abi::doorbell::Disturbance;
use model::scenario::Case as Source;
use model::scenario::step::SweepSpec;

use crate::diagnose::Space;
use crate::events::{Case, Environment, EventWriter, Summary, Witness, WriteError, convert};
use crate::expectations::Expectations;
use crate::report::Reporter;
use crate::result::{CaseResult, State};
use crate::run_folder::{FolderError, RunFolder};
use crate::target::Target;

/// What a run gave cannot be kept: the run is void.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// In the log.
    #[error(transparent)]
    Log(#[from] WriteError),
    /// In the run folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A report.
    #[error("cannot write the report")]
    Report(#[source] io::Error),
}

/// Records one run.
pub struct Recorder<'a> {
    environment: Environment,
    log: EventWriter<File>,
    folder: RunFolder,
    expectations: &'a Expectations,
    sources: HashMap<String, Arc<Source>>,
    target: &'a Target,
    space: OnceCell<Space<'static>>,
    reporters: Vec<Box<dyn Reporter + 'a>>,
    /// The runs of each case that has not run as often as it is to.
    open: HashMap<String, Runs>,
    /// The first failure of each kind: fingerprint and case.
    kinds: Vec<(String, String)>,
    summary: Summary,
}

/// What the runs of one case gave so far.
#[derive(Debug)]
struct Runs {
    states: Vec<State>,
    worst: Box<CaseResult>,
}

impl<'a> Recorder<'a> {
    /// Begins: writes the first line.
    ///
    /// # Errors
    ///
    /// If something cannot be written.
    pub fn new(
        environment: Environment,
        folder: RunFolder,
        cases: &[Arc<Source>],
        target: &'a Target,
        expectations: &'a Expectations,
        reporters: Vec<Box<dyn Reporter + 'a>>,
    ) -> Result<Self, RecordError> {
        let mut log = EventWriter::create(&folder.events())?;
        log.environment(&environment)?;
        let mut recorder = Self {
            environment,
            log,
            folder,
            expectations,
            sources: cases.iter().map(|case| (case.name.clone(), Arc::clone(case))).collect(),
            target,
            space: OnceCell::new(),
            reporters,
            open: HashMap::new(),
            kinds: Vec::new(),
            summary: Summary::default(),
        };
        report(&mut recorder.reporters, |reporter| reporter.environment(&recorder.environment))?;
        Ok(recorder)
    }

    /// Takes a result. The case is recorded when it has run as often as it is to; its verdict is returned, or
    /// that of this run if others are to come.
    ///
    /// # Errors
    ///
    /// If something cannot be written.
    pub fn result(&mut self, result: Box<CaseResult>) -> Result<State, RecordError> {
        if self.environment.repeat <= 1 {
            return self.record(&[], &result);
        }
        let verdict = self.case(&[], &result).verdict().unwrap_or(State::Error);
        let runs = match self.open.remove(&result.name) {
            Some(runs) => runs.and(result),
            None => Runs { states: vec![result.state.clone()], worst: result },
        };
        if (runs.states.len() as u64) < u64::from(self.environment.repeat) {
            self.open.insert(runs.worst.name.clone(), runs);
            return Ok(verdict);
        }
        self.record(&runs.states, &runs.worst)
    }

    /// The line of a case that had these states in its runs.
    fn case(&self, states: &[State], result: &CaseResult) -> Case {
        let source = self.sources.get(&result.name).map(Arc::as_ref);
        let mut case = convert::case(result, source, || self.space.get_or_init(|| Space::of(self.target)));
        fold(states, &mut case);
        self.expectations.apply(&self.environment, &mut case);
        case
    }

    fn record(&mut self, states: &[State], result: &CaseResult) -> Result<State, RecordError> {
        let mut case = self.case(states, result);
        let state = case.verdict().unwrap_or(State::Error);
        if state.is_nonconformant() || state.is_void() {
            let again = self.environment.again(&case.name);
            let replay = self.sources.get(&result.name).map(|source| self.as_run(source, result).print());
            case.artefacts = self.folder.keep(result, replay.as_deref(), &again)?;
        }
        self.log.case(&case)?;
        if let Some(fingerprint) = case.fingerprint.as_ref().filter(|_| state.is_nonconformant())
            && self.kinds.iter().all(|(kind, _)| kind != fingerprint)
        {
            self.kinds.push((fingerprint.clone(), case.name.clone()));
        }
        self.summary.count(&state);
        let points = case.sweep.as_ref().map_or(0, |sweep| sweep.points);
        self.summary.sweep_points = self.summary.sweep_points.saturating_add(points);
        report(&mut self.reporters, |reporter| reporter.case(&case))?;
        Ok(state)
    }

    /// The case as it was run: swept in the way that the command line asked for, if it did.
    fn as_run(&self, source: &Source, result: &CaseResult) -> Source {
        let named = |name: &String| Disturbance::ALL.into_iter().find(|what| what.name() == name);
        let asked_for = self.environment.disturbance.as_ref().and_then(named);
        let own = source.sweep.map(|sweep| sweep.disturbance);
        let disturbance = asked_for.or(own).unwrap_or(Disturbance::Clobber);
        let sweep = result.sweep.as_ref().map(|sweep| SweepSpec { kind: sweep.kind, disturbance });
        Source { sweep, ..source.clone() }
    }

    /// The first failure of each kind so far: fingerprint and case.
    #[must_use]
    pub fn kinds(&self) -> &[(String, String)] {
        &self.kinds
    }

    /// Takes what somebody else says of a failure.
    ///
    /// # Errors
    ///
    /// If something cannot be written.
    pub fn witness(&mut self, witness: &Witness) -> Result<(), RecordError> {
        self.log.witness(witness)?;
        report(&mut self.reporters, |reporter| reporter.witness(witness))
    }

    /// Ends: records what ran less often than it was to, if the run was stopped, writes the last line, and lets
    /// the reporters have their say.
    ///
    /// # Errors
    ///
    /// If something cannot be written.
    pub fn end(mut self, wall_s: f64, stopped: bool) -> Result<(Summary, RunFolder), RecordError> {
        let mut open: Vec<Runs> = std::mem::take(&mut self.open).into_values().collect();
        open.sort_by(|a, b| a.worst.name.cmp(&b.worst.name));
        for runs in open {
            self.record(&runs.states, &runs.worst)?;
        }
        self.summary.stopped = stopped;
        self.summary.wall_s = wall_s;
        let summary = self.summary;
        // The log comes first: a report that cannot be written can be made from it later.
        self.log.summary(summary)?;
        report(&mut self.reporters, |reporter| reporter.end(Some(&summary)))?;
        Ok((summary, self.folder))
    }
}

/// Shows something to every reporter. One whose reader went away (`holdfast run | head`) is dropped.
fn report<'a>(
    reporters: &mut Vec<Box<dyn Reporter + 'a>>,
    mut show: impl FnMut(&mut dyn Reporter) -> io::Result<()>,
) -> Result<(), RecordError> {
    let mut error = None;
    reporters.retain_mut(|reporter| match show(reporter.as_mut()) {
        Ok(()) => true,
        Err(gone) if gone.kind() == io::ErrorKind::BrokenPipe => false,
        Err(other) => {
            error = Some(other);
            false
        }
    });
    error.map_or(Ok(()), |error| Err(RecordError::Report(error)))
}

impl Runs {
    fn and(mut self, result: Box<CaseResult>) -> Self {
        self.states.push(result.state.clone());
        if result.state.severity() > self.worst.state.severity() {
            self.worst = result;
        }
        self
    }
}

/// The verdict over all runs of a case: theirs if it is always the same, void if one was, else FLAKY.
fn fold(states: &[State], case: &mut Case) {
    case.repeats = states.iter().map(|state| state.name().to_owned()).collect();
    let mixed = states.iter().any(|state| states.first() != Some(state));
    if mixed && !states.iter().any(State::is_void) {
        case.set_verdict(&State::Flaky);
        let passed = states.iter().filter(|state| **state == State::Pass).count();
        let why = format!("{passed} of {} runs passed", states.len());
        case.why = if case.why.is_empty() { why } else { format!("{why}; {}", case.why) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(states: &[State], expected: &str) {
        let mut states = states
            .iter()
            .map(|state| Box::new(CaseResult::without_findings("a", state.clone(), String::new())));
        let first = states.next().unwrap();
        let runs = Runs { states: vec![first.state.clone()], worst: first };
        let runs = states.fold(runs, Runs::and);
        let mut case = Case::default();
        case.set_verdict(&runs.worst.state);
        fold(&runs.states, &mut case);
        assert_eq!(case.state, expected);
    }

    #[test]
    fn mixed_results_are_flaky() {
        use State::{Error, Fail, Pass, Timeout};
        check(&[Pass, Pass], "pass");
        check(&[Fail, Fail], "fail");
        check(&[Pass, Fail, Pass], "flaky");
        check(&[Fail, Timeout], "flaky");
        check(&[Pass, Error, Pass], "error");
    }
}
