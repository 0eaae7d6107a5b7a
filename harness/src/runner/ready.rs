//! A machine, from nothing to the point where it can be given cases.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use abi::doorbell::Sweep;
use model::compile::{CompileError, compile_steps};
use model::machine::Unavailable;
use model::scenario::step::{GuestSpec, L1Mode};

use super::budget::{Budget, Pace};
use super::{Shared, host};
use crate::kvm::log;
use crate::limits;
use crate::qemu::Qemu;
use crate::qemu::command::MachineConfig;
use crate::qemu::machine::{JobEnd, Machine, MachineError};
use crate::target::{CaseEnd, Launch, OutcomeError, Target, TargetError};

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
pub enum StartError {
    /// It does not start.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Its images do not fit.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What its first job gave makes no sense.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
    /// It has not got the guest that calibrates it.
    #[error("this target cannot run its own calibration: {0}")]
    Guest(#[from] Unavailable),
    /// The calibration is no program for it.
    #[error("the calibration does not compile: {0}")]
    Compile(#[from] CompileError),
    /// No answer in time.
    #[error("its first job did not end within {} s{}", limit.as_secs(), reason(console))]
    Silent {
        /// The time that it had.
        limit: Duration,
        /// Others had the CPUs of this machine for most of it.
        denied: bool,
        /// What it wrote meanwhile.
        console: String,
    },
    /// It is gone.
    #[error("QEMU ended during its first job ({status}){}", reason(console))]
    Died {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote before.
        console: String,
    },
    /// The payload or a hypervisor ended the calibration.
    #[error("its first job ended by {0:?}")]
    Job(CaseEnd),
    /// The user wants to stop.
    #[error("the run was stopped")]
    Stopped,
}

impl StartError {
    /// What the machine wrote before it was given up.
    #[must_use]
    pub fn console(&self) -> &str {
        match self {
            Self::Silent { console, .. } | Self::Died { console, .. } => console,
            _ => "",
        }
    }
}

/// Starts a machine and measures how fast it is.
pub(super) fn start(shared: &Shared<'_>, config: MachineConfig) -> Result<Ready, StartError> {
    let number = shared.machines.fetch_add(1, Ordering::Relaxed);
    let spare = shared.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut machine = match spare {
        Some(spare) if spare.config == config => spare.machine,
        _ => boot(shared.target, shared.qemu, config, shared.stop)?,
    };
    let mut fastest = Duration::MAX;
    for _ in 0..limits::CALIBRATION_JOBS {
        fastest = fastest.min(calibrate(shared, &config, &mut machine, shared.stop)?);
    }
    // What the boot wrote belongs to no case.
    drop(machine.take_console());
    let nominal = shared.target.calibration();
    let pace = Pace::calibrated(fastest, nominal, shared.plan.timeout_scale);
    Ok(Ready { machine, config, number, pace })
}

/// A machine that was started before there was a plan.
#[derive(Debug)]
pub struct Booted {
    pub(super) config: MachineConfig,
    pub(super) machine: Machine,
}

/// Boots the host of a target that has to be asked what it is before anything can be planned; nothing for one that
/// has not. The calling thread has to outlive the run.
///
/// # Errors
///
/// If it does not come up.
pub fn ask(target: &Target, qemu: &Qemu, stop: &AtomicBool) -> Result<Option<Booted>, StartError> {
    if target.kvm().is_none() {
        return Ok(None);
    }
    let config = target.machine_config(&GuestSpec::default(), Sweep::Off);
    boot(target, qemu, config, stop).map(|machine| Some(Booted { config, machine }))
}

/// Starts a machine that waits for its first job. An agent is greeted, and tells what KVM claims.
fn boot(
    target: &Target,
    qemu: &Qemu,
    config: MachineConfig,
    stop: &AtomicBool,
) -> Result<Machine, StartError> {
    match target.kvm() {
        Some(kvm) => host::start(target, kvm, qemu, config, stop),
        None => {
            let memory = Machine::new_memory()?;
            target.load(&memory)?;
            Ok(Machine::start(&(qemu, config), memory)?)
        }
    }
}

/// Runs what is in memory; anything but an answer is an error.
pub(super) fn answered(machine: &mut Machine, limit: Duration, stop: &AtomicBool) -> Result<(), StartError> {
    match machine.run(limit, stop)? {
        JobEnd::Answered => Ok(()),
        JobEnd::TimedOut => {
            let denied = machine.cpu_share().is_denied();
            Err(StartError::Silent { limit, denied, console: machine.take_console() })
        }
        JobEnd::Died(status) => Err(StartError::Died { status, console: machine.take_console() }),
        JobEnd::Stopped => Err(StartError::Stopped),
    }
}

/// Runs an empty program, and tells how long that took.
fn calibrate(
    shared: &Shared<'_>,
    config: &MachineConfig,
    machine: &mut Machine,
    stop: &AtomicBool,
) -> Result<Duration, StartError> {
    let guest = if shared.target.kvm().is_some() {
        // What every KVM has.
        GuestSpec { sve: false, vl_max: 128, ..GuestSpec::default() }
    } else {
        GuestSpec {
            l1: config.el2.then_some(L1Mode::Vhe),
            cpu: config.cpu,
            sve: config.vl_max != 0,
            vl_max: config.vl_max.max(128),
            ..GuestSpec::default()
        }
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
    answered(machine, limits::BOOT, stop)?;
    let outcome = shared.target.collect(machine.memory())?;
    match outcome.end(&sent)? {
        CaseEnd::Payload(abi::job::Status::Done) => Ok(begun.elapsed()),
        other => Err(StartError::Job(other)),
    }
}

/// What a console says of the end of its machine: the bug that the kernel told of, or the last line.
fn reason(console: &str) -> String {
    let last = || console.lines().rev().find(|line| !line.trim().is_empty());
    match log::splat(console).or_else(last) {
        Some(line) => format!(": {line}"),
        None => ": it wrote nothing to its console, as an image does that is not whole, or a saved host that does not go on".to_owned(),
    }
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
