//! What becomes of a run when its machines do not behave.
//!
//! These tests kill processes that this one started: they share a file, and with it a process, with no others.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod machines;
#[macro_use]
mod trials;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use abi::op::{Code, Go, Op};
use harness::limits;
use harness::options::{Options, TargetKind};
use harness::qemu::{self, Qemu, Settings};
use harness::result::{CaseResult, Progress, State};
use harness::runner::{Plan, Planned, Ran, Runner, Sweeping, Work, plan};
use harness::target::{Target, TargetConfig};
use machines::{alone, machines};
use rustix::process::{Signal, kill_process};
use trials::Missing;

tests! {
    a_killed_machine_costs_one_case_and_leaves_no_process,
    a_machine_that_stands_still_costs_no_case,
    a_guest_that_waits_for_ever_is_late_every_time,
    a_stopped_run_ends_soon_and_names_what_it_missed,
    a_program_that_is_no_qemu_makes_every_case_a_miss,
}

const SCENARIO: &str = r#"
title = "registers hold what was written"
rules = ["P-01"]
[matrix]
# Long enough to be hit in the midst of one.
n = [2000, 2001, 2002, 2003, 2004, 2005, 2006, 2007, 2008, 2009, 2010, 2011, 2012, 2013, 2014, 2015, 2016, 2017, 2018, 2019]
steps = """
G  fill all
G  churn $n
G  expect all
"""
"#;

fn jobs(target: &Target) -> Vec<Planned> {
    let scenario = model::scenario::parse("test::v", "test/v.toml", SCENARIO).unwrap();
    let jobs = plan(scenario.cases().into_iter().map(Arc::new).collect(), target, Sweeping::default(), 1);
    for planned in &jobs {
        assert!(matches!(planned.work, Work::Run(_)), "{:?}", planned.work);
    }
    jobs
}

/// Runs the cases on one worker, with `during` called as each begins and ends.
fn run(
    qemu: Qemu,
    limit: Option<Duration>,
    mut during: impl FnMut(&Progress, &AtomicBool),
) -> (Ran, Vec<CaseResult>) {
    let options = Options { target: TargetKind::Bare, ..Options::default() };
    let target = Target::new(TargetConfig::new(&options), qemu.version()).unwrap();
    let mut jobs = jobs(&target);
    for planned in &mut jobs {
        if let Work::Run(job) = &mut planned.work {
            job.limit = limit;
        }
    }
    let runner = Runner::new(Plan { jobs, workers: 1, timeout_scale: 1.0 }, target, qemu);
    let (stop, mut results) = (AtomicBool::new(false), Vec::new());
    let ran = runner.run(&stop, &mut |progress| {
        during(&progress, &stop);
        if let Progress::Finished(result) = progress {
            results.push(*result);
        }
    });
    assert_eq!(results.len(), 20, "every case has one result");
    (ran, results)
}

fn counts(results: &[CaseResult]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for result in results {
        *counts.entry(result.state.to_string()).or_default() += 1;
    }
    counts
}

/// Sends a signal to the machine as soon as the first case has ended.
fn signal_once(signal: Signal) -> impl FnMut(&Progress, &AtomicBool) {
    let mut sent = false;
    move |progress, _| {
        if matches!(progress, Progress::Finished(_)) && !sent {
            sent = true;
            for pid in machines() {
                kill_process(pid, signal).unwrap();
            }
        }
    }
}

fn a_killed_machine_costs_one_case_and_leaves_no_process() -> Result<(), Missing> {
    let _alone = alone();
    let qemu = trials::qemu()?;
    let (ran, results) = run(qemu, None, signal_once(Signal::KILL));
    let counts = counts(&results);
    assert_eq!((counts["PASS"], ran.machines), (19, 2), "{counts:?}");
    let error = results.iter().find(|result| result.state == State::Error).unwrap();
    assert_eq!(error.why, "QEMU was killed from outside by signal 9 while the case ran");
    assert!(machines().is_empty());
    Ok(())
}

fn a_machine_that_stands_still_costs_no_case() -> Result<(), Missing> {
    let _alone = alone();
    let qemu = trials::qemu()?;
    let (ran, results) = run(qemu, Some(Duration::from_millis(20)), signal_once(Signal::STOP));
    let counts = counts(&results);
    assert_eq!((counts["PASS"], ran.machines), (20, 2), "{counts:?}");
    assert!(machines().is_empty());
    Ok(())
}

fn a_guest_that_waits_for_ever_is_late_every_time() -> Result<(), Missing> {
    let _alone = alone();
    let qemu = trials::qemu()?;
    let steps = "title = \"waits\"\nrules = [\"P-01\"]\nsteps = \"\"\"\nG  undef\nG  eret skip\n\"\"\"\n";
    let scenario = model::scenario::parse("test::waits", "test/waits.toml", steps).unwrap();
    let options = Options { target: TargetKind::Bare, ..Options::default() };
    let target = Target::new(TargetConfig::new(&options), qemu.version()).unwrap();
    let mut jobs =
        plan(scenario.cases().into_iter().map(Arc::new).collect(), &target, Sweeping::default(), 1);
    let Some(Work::Run(job)) = jobs.first_mut().map(|planned| &mut planned.work) else { panic!() };
    job.limit = Some(Duration::from_millis(20));
    let undef = |op: &&mut Op| (op.code, op.arg[0]) == (Code::Go as u16, Go::Udf as u64);
    // Nothing is pending, and nothing will be: no scenario can ask for this.
    Arc::make_mut(&mut job.program).ops.iter_mut().find(undef).unwrap().arg[0] = Go::Wfi as u64;
    let mut results = Vec::new();
    let ran = Runner::new(Plan { jobs, workers: 1, timeout_scale: 1.0 }, target, qemu).run(
        &AtomicBool::new(false),
        &mut |progress| {
            if let Progress::Finished(result) = progress {
                results.push((result.state, result.why));
            }
        },
    );
    assert_eq!(results, [(State::Timeout, "the machine did not answer in time".to_owned())]);
    assert_eq!(ran.machines, 1 + limits::STALLS);
    Ok(())
}

fn a_stopped_run_ends_soon_and_names_what_it_missed() -> Result<(), Missing> {
    let _alone = alone();
    let qemu = trials::qemu()?;
    let mut stopped = None;
    let (ran, results) = run(qemu, None, |progress, stop| {
        if matches!(progress, Progress::Started { .. }) && stopped.is_none() {
            stopped = Some(Instant::now());
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert!(stopped.unwrap().elapsed() < Duration::from_secs(5));
    assert!(ran.stopped);
    let missed = results.iter().filter(|result| result.state == State::Miss).count();
    assert!(missed > 0, "{:?}", counts(&results));
    assert!(machines().is_empty());
    Ok(())
}

fn a_program_that_is_no_qemu_makes_every_case_a_miss() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(qemu::PROGRAM);
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo QEMU emulator version 11.1.0 && exit\n\
                  echo \"$0: no such machine\" >&2\nexit 1\n";
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = Settings { path: Some(folder.path().into()), ..Settings::default() };
    let qemu = qemu::find(&settings, &mut |_| ()).unwrap();
    let (ran, results) = run(qemu, None, |_, _| ());
    assert_eq!(counts(&results), BTreeMap::from([("MISS".to_owned(), 20)]));
    assert!(results.iter().all(|result| result.why.contains("no such machine")), "{}", results[0].why);
    assert_eq!(ran.machines, 2);
}
