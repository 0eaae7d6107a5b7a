//! A worker: one thread, one machine at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use abi::skip;
use model::compile::{CompileError, compile_steps};
use model::machine::Unavailable;
use model::scenario::step::{GuestSpec, L1Mode};

use super::budget::{Budget, Pace};
use super::case::{self, Fate};
use super::{Shared, Work, lock, unrun};
use crate::limits;
use crate::qemu::command::MachineConfig;
use crate::qemu::machine::{JobEnd, Machine, MachineError};
use crate::result::{Progress, State};
use crate::target::{CaseEnd, Launch, OutcomeError, TargetError};

/// A machine that has run its calibration.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) machine: Machine,
    pub(super) config: MachineConfig,
    pub(super) number: u32,
    pub(super) pace: Pace,
}

/// Why a machine did not come up.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
    #[error("this target cannot run its own calibration: {0}")]
    Guest(#[from] Unavailable),
    #[error("the calibration does not compile: {0}")]
    Compile(#[from] CompileError),
    #[error("its first job did not end within {} s{}", limits::BOOT.as_secs(), last_line(console))]
    Silent { console: String },
    #[error("QEMU ended during its first job ({status}){}", last_line(console))]
    Died { status: std::process::ExitStatus, console: String },
    #[error("its first job ended by {0:?}")]
    Job(CaseEnd),
    #[error("the run was stopped")]
    Stopped,
}

impl StartError {
    /// What the machine wrote before it was given up.
    fn console(&self) -> &str {
        match self {
            Self::Silent { console } | Self::Died { console, .. } => console,
            _ => "",
        }
    }
}

/// Runs cases until there are none, or until the run is stopped.
pub(super) fn work(shared: &Shared<'_>, progress: &Sender<Progress>) {
    let mut ready: Option<Ready> = None;
    // The kind of machine that the queue counts this worker for, with or without one at hand.
    let mut joined: Option<MachineConfig> = None;
    let mut failures = 0;
    // Sending fails only if the receiver panicked; then there is nobody to work for.
    while !shared.stop.load(Ordering::Relaxed) {
        let Some((index, config)) = lock(&shared.queue).next(joined) else { break };
        if joined != Some(config) {
            drop(ready.take());
            joined = Some(config);
        }
        let Some(planned) = shared.plan.jobs.get(index) else { break };
        let Work::Run(job) = &planned.work else { continue };
        if let Some(why) = job.tolerance.as_ref().and_then(|tolerance| tolerance.used_up()) {
            let result = unrun(planned, State::Skip(skip::GAVE_UP.to_owned()), &why);
            if progress.send(Progress::Finished(Box::new(result))).is_err() {
                return;
            }
            continue;
        }
        let started = match ready.take() {
            Some(ready) => Ok(ready),
            None => start(shared, config),
        };
        let mut machine = match started {
            Ok(machine) => machine,
            Err(error) => {
                failures += 1;
                joined = None;
                lock(&shared.queue).leave(config);
                let why = format!("no machine: {}", chain(&error));
                let missed = |planned| {
                    let mut result = unrun(planned, State::Miss, &why);
                    error.console().clone_into(&mut result.console);
                    Progress::Finished(Box::new(result))
                };
                if progress.send(missed(planned)).is_err() {
                    return;
                }
                if failures >= limits::START_FAILURES {
                    let rest = lock(&shared.queue).give_up(config);
                    for planned in rest.into_iter().filter_map(|index| shared.plan.jobs.get(index)) {
                        if progress.send(missed(planned)).is_err() {
                            return;
                        }
                    }
                }
                continue;
            }
        };
        failures = 0;
        let begun = Progress::Started { name: planned.case.name.clone(), machine: machine.number };
        if progress.send(begun).is_err() {
            return;
        }
        let (result, fate) = case::run(shared, &planned.case, job, &mut machine);
        let again = fate == Fate::Starved && lock(&shared.queue).again(index, config);
        if !again && result.state == State::Timeout {
            shared.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(tolerance) = job.tolerance.as_ref().filter(|_| !again) {
            tolerance.note(&result.state, fate != Fate::Reusable);
        }
        match fate {
            Fate::Reusable => ready = Some(machine),
            Fate::Lost | Fate::Starved => {
                drop(machine);
                joined = None;
                lock(&shared.queue).leave(config);
            }
        }
        if !again && progress.send(Progress::Finished(Box::new(result))).is_err() {
            return;
        }
    }
}

/// Starts a machine and measures how fast it is.
fn start(shared: &Shared<'_>, config: MachineConfig) -> Result<Ready, StartError> {
    let number = shared.machines.fetch_add(1, Ordering::Relaxed);
    let memory = Machine::new_memory()?;
    shared.target.load(&memory)?;
    let mut machine = Machine::start(shared.qemu, &config, memory)?;
    let mut fastest = Duration::MAX;
    for _ in 0..limits::CALIBRATION_JOBS {
        fastest = fastest.min(calibrate(shared, &config, &mut machine, shared.stop)?);
    }
    // What the boot wrote belongs to no case.
    drop(machine.take_console());
    Ok(Ready { machine, config, number, pace: Pace::calibrated(fastest, shared.plan.timeout_scale) })
}

/// Runs an empty program, and tells how long that took.
fn calibrate(
    shared: &Shared<'_>,
    config: &MachineConfig,
    machine: &mut Machine,
    stop: &AtomicBool,
) -> Result<Duration, StartError> {
    let guest = GuestSpec {
        l1: config.el2.then_some(L1Mode::Vhe),
        cpu: config.cpu,
        sve: config.vl_max != 0,
        vl_max: config.vl_max.max(128),
        fpmr: true,
        mmu: true,
        stage2: false,
        cold: false,
    };
    let promised = shared.target.machine(&guest)?;
    let mut program = compile_steps(&guest, &[], &promised, None)?;
    program.link(shared.target.hole());
    let budget = Budget::of(&program.ops, None, Some(limits::BOOT), config, Pace::unknown(1.0));
    // Without a fault: what a machine is worth must not depend on what its cases are to show.
    let launch =
        Launch { guest: &guest, program: &program, sweep: None, fault: None, budget_ticks: budget.ticks };
    let begun = Instant::now();
    let sent = shared.target.prepare(machine.memory(), &launch)?;
    match machine.run(limits::BOOT, stop)? {
        JobEnd::Answered => {}
        JobEnd::TimedOut => return Err(StartError::Silent { console: machine.take_console() }),
        JobEnd::Died(status) => return Err(StartError::Died { status, console: machine.take_console() }),
        JobEnd::Stopped => return Err(StartError::Stopped),
    }
    let outcome = shared.target.collect(machine.memory()).map_err(OutcomeError::from)?;
    match outcome.end(&sent)? {
        CaseEnd::Payload(abi::job::Status::Done) => Ok(begun.elapsed()),
        other => Err(StartError::Job(other)),
    }
}

/// The end of the console, for an error message.
fn last_line(console: &str) -> String {
    console
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map_or_else(String::new, |line| format!(": {line}"))
}

/// An error and its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
