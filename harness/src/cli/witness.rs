//! Who else sees the failures of a run on KVM: the first case of each kind is tried on the CPU of the same QEMU with no
//! hypervisor, and on the same kernel in another QEMU; a board is asked by the log of a run there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use camino::Utf8Path;
use model::scenario::Case;

use super::args::RunArgs;
use super::report::load;
use super::session::{self, say};
use crate::events::{Log, Witness};
use crate::limits;
use crate::options::{Options, TargetKind};
use crate::qemu::{self, Qemu};
use crate::recorder::RecordError;
use crate::result::{CaseResult, Progress, State};

/// Who can be asked about the failures of a run. What the command line names of it is looked at before the run begins.
pub(super) struct Witnesses {
    /// The QEMU of the run.
    same: Qemu,
    other: Result<Qemu, String>,
    board: Option<Log>,
}

/// What somebody says of one case: the answer, and what there is to add to it.
type Answer = (&'static str, String);

impl Witnesses {
    /// Those that there are for a run on KVM; none for any other, and for one that is to ask nobody.
    pub(super) fn find(options: &Options, args: &RunArgs, same: &Qemu) -> Result<Option<Self>> {
        if !options.target.is_kvm() {
            let asks = args.other_qemu.is_some() || args.board.is_some();
            anyhow::ensure!(!asks, "--other-qemu and --board are of --target kvm and kvm-qemu");
            return Ok(None);
        }
        if args.no_witness {
            return Ok(None);
        }
        let other = match &args.other_qemu {
            Some(path) => {
                let other = Qemu::at(path.as_std_path())?;
                anyhow::ensure!(
                    other.banner() != same.banner(),
                    "{path} is the same QEMU as that of the run"
                );
                Ok(other)
            }
            None => {
                qemu::Settings::from_env().other_than(same).ok_or_else(|| "no other QEMU found".to_owned())
            }
        };
        let board = args.board.as_deref().map(board).transpose()?;
        Ok(Some(Self { same: same.clone(), other, board }))
    }

    /// Asks everybody about these failures, each a fingerprint and a case, and tells the answers as they come.
    pub(super) fn ask(
        &self,
        options: &Options,
        cases: &[Arc<Case>],
        failures: &[(String, String)],
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Witness) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let tried = failures.get(..limits::WITNESSED).unwrap_or(failures);
        let named: Vec<Arc<Case>> = tried
            .iter()
            .filter_map(|(_, name)| cases.iter().find(|case| case.name == *name))
            .map(Arc::clone)
            .collect();
        let mut say_of_all = |on: &str, with: &str, answer: &dyn Fn(&str, &str) -> Answer| {
            for (index, (fingerprint, case)) in failures.iter().enumerate() {
                let (answer, why) = if index < tried.len() {
                    answer(fingerprint, case)
                } else {
                    untried(format!("not of the first {} kinds", tried.len()))
                };
                tell(Witness {
                    fingerprint: fingerprint.clone(),
                    case: case.clone(),
                    on: on.to_owned(),
                    with: with.to_owned(),
                    answer: answer.to_owned(),
                    why,
                })?;
            }
            Ok(())
        };
        let nobody = |why: &str| {
            let why = why.to_owned();
            move |_: &str, _: &str| untried(why.clone())
        };

        let bare = Options { target: TargetKind::Bare, host: None, depth: 1, ..options.clone() };
        say(&format!("trying {} without a hypervisor", count(named.len())));
        let answers = within(limits::WITNESS, stop, |halt| run(&bare, &self.same, &named, halt));
        say_of_all(Witness::BARE, self.same.banner(), &|kind, case| found(&answers, kind, case))?;

        if options.target == TargetKind::KvmQemu {
            match &self.other {
                Ok(other) => {
                    say(&format!("trying {} in QEMU {}", count(named.len()), other.version()));
                    let answers = within(limits::WITNESS, stop, |halt| run(options, other, &named, halt));
                    say_of_all(Witness::OTHER_QEMU, other.banner(), &|kind, case| {
                        found(&answers, kind, case)
                    })?;
                }
                Err(why) => say_of_all(Witness::OTHER_QEMU, "", &nobody(why))?,
            }
        }
        match &self.board {
            Some(log) => {
                let kernel = log.environment.kernel.as_ref().map_or("", |kernel| &kernel.release);
                say_of_all(Witness::BOARD, kernel, &|kind, case| on_board(log, kind, case))
            }
            None => Ok(()),
        }
    }
}

fn count(cases: usize) -> String {
    if cases == 1 { "the case that failed".to_owned() } else { format!("{cases} of the cases that failed") }
}

fn untried(why: String) -> Answer {
    (Witness::UNTRIED, why)
}

/// The log of a run on a board, or in its folder.
fn board(path: &Utf8Path) -> Result<Log> {
    let log = load(path)?;
    let target = &log.environment.target;
    anyhow::ensure!(
        target == TargetKind::Kvm.name(),
        "{path} is of a run on `{target}`, not on a board's KVM"
    );
    Ok(log)
}

/// What the log of a board says of a case.
fn on_board(log: &Log, kind: &str, case: &str) -> Answer {
    let Some(case) = log.cases.iter().find(|known| known.name == case) else {
        return untried("not in its log".to_owned());
    };
    match case.verdict() {
        Some(state) => answer(&state, &case.why, case.fingerprint.as_deref() == Some(kind)),
        None => untried("its state is unknown".to_owned()),
    }
}

/// What a state elsewhere says of a failure here.
fn answer(state: &State, why: &str, alike: bool) -> Answer {
    match state {
        State::Pass | State::Xpass => (Witness::NO, String::new()),
        State::Fail | State::Crash | State::Timeout | State::Xfail if alike => (Witness::YES, String::new()),
        State::Fail | State::Crash | State::Timeout | State::Xfail => {
            (Witness::YES, "in another way".to_owned())
        }
        State::Flaky => (Witness::YES, "now and then".to_owned()),
        State::Skip(_) | State::Error | State::Miss => untried(why.to_owned()),
    }
}

/// What came of the cases, by name; or why nothing came of any.
type Answers = Result<HashMap<String, CaseResult>, String>;

fn found(answers: &Answers, kind: &str, case: &str) -> Answer {
    let results = match answers {
        Ok(results) => results,
        Err(why) => return untried(why.clone()),
    };
    let Some(result) = results.get(case) else { return untried("the time was up".to_owned()) };
    // Of a failure without findings the hash has what differs between targets.
    let fingerprint = result.findings.first().map(model::fingerprint::fingerprint);
    answer(&result.state, &result.why, fingerprint.is_none_or(|fingerprint| fingerprint == kind))
}

/// Runs the cases on another target or in another QEMU.
fn run(options: &Options, qemu: &Qemu, cases: &[Arc<Case>], halt: &AtomicBool) -> Answers {
    let in_words = |error: anyhow::Error| format!("{:#}", error.root_cause());
    let target = session::target(options, qemu).map_err(in_words)?;
    let runner =
        session::ready(options, cases, target, qemu, halt).map_err(|error| in_words(error.into()))?;
    let mut results = HashMap::new();
    runner.run(halt, &mut |progress| {
        if let Progress::Finished(result) = progress
            && (result.state != State::Miss || !halt.load(Ordering::Relaxed))
        {
            results.insert(result.name.clone(), *result);
        }
    });
    Ok(results)
}

/// Does something that can be halted, and halts it when the time is up or the user wants to stop.
fn within<T>(limit: Duration, stop: &AtomicBool, work: impl FnOnce(&AtomicBool) -> T) -> T {
    let (halt, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let deadline = Instant::now() + limit;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if stop.load(Ordering::Relaxed) || Instant::now() >= deadline {
                    halt.store(true, Ordering::Relaxed);
                }
                thread::sleep(limits::STOP_LATENCY);
            }
        });
        let done = work(&halt);
        over.store(true, Ordering::Relaxed);
        done
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::events::{self, Environment};

    #[test]
    fn only_a_run_on_kvm_asks_others_and_only_if_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(qemu::PROGRAM);
        fs::write(&program, "#!/bin/sh\necho QEMU emulator version 11.1.0\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let qemu = Qemu::at(&program).unwrap();
        let asks = |args: &[&str]| {
            let args = ["holdfast", "run"].iter().chain(args);
            let Command::Run(run) = Cli::try_parse_from(args).unwrap().command else { panic!("not run") };
            let options = run.target.options(None).unwrap();
            Witnesses::find(&options, &run.run, &qemu).unwrap().is_some()
        };
        assert!(asks(&["--target", "kvm-qemu"]));
        assert!(asks(&["--target", "kvm"]));
        assert!(!asks(&["--target", "kvm-qemu", "--no-witness"]));
        assert!(!asks(&["--target", "kvm", "--no-witness"]));
        assert!(!asks(&["--target", "reference"]));
    }

    #[test]
    fn only_a_verdict_is_an_answer() {
        let skip = State::Skip("no-hook".into());
        assert_eq!(answer(&State::Pass, "", false), ("no", String::new()));
        assert_eq!(answer(&State::Fail, "", true), ("yes", String::new()));
        assert_eq!(answer(&State::Crash, "", false), ("yes", "in another way".into()));
        assert_eq!(answer(&skip, "nothing preempts", false), ("untried", "nothing preempts".into()));
        assert_eq!(answer(&State::Error, "broken", true), ("untried", "broken".into()));
    }

    #[test]
    fn a_board_that_did_not_run_the_case_says_nothing() {
        let case = |name: &str, state: &str| events::Case {
            name: name.into(),
            state: state.into(),
            fingerprint: Some("f".into()),
            ..events::Case::default()
        };
        let log = Log {
            environment: Environment::default(),
            cases: vec![case("a", "pass"), case("b", "fail")],
            witnesses: Vec::new(),
            summary: None,
        };
        assert_eq!(on_board(&log, "f", "a").0, "no");
        assert_eq!(on_board(&log, "f", "b"), ("yes", String::new()));
        assert_eq!(on_board(&log, "g", "b"), ("yes", "in another way".into()));
        assert_eq!(on_board(&log, "f", "c").0, "untried");
    }

    #[test]
    fn who_takes_too_long_is_halted() {
        let waits = |halt: &AtomicBool| {
            while !halt.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        };
        within(Duration::ZERO, &AtomicBool::new(false), waits);
        within(Duration::from_secs(3600), &AtomicBool::new(true), waits);
    }
}
