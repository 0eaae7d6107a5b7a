//! A machine, from nothing to the point where it can be given cases.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::compile::{CompileError, compile_steps};
use model::machine::Unavailable;
use model::scenario::step::{GuestSpec, L1Mode};

use super::Shared;
use super::budget::{Budget, Pace};
use crate::limits;
use crate::qemu::command::MachineConfig;
use crate::qemu::machine::{JobEnd, Machine, MachineError};
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
pub(super) enum StartError {
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
    pub(super) fn console(&self) -> &str {
        match self {
            Self::Silent { console } | Self::Died { console, .. } => console,
            _ => "",
        }
    }
}

/// Starts a machine and measures how fast it is.
pub(super) fn start(shared: &Shared<'_>, config: MachineConfig) -> Result<Ready, StartError> {
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
        ..GuestSpec::default()
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
