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
use crate::events::KernelTrace;
use crate::kvm::complaint::Complaint;
use crate::kvm::log;
use crate::limits;
use crate::qemu::Qemu;
use crate::qemu::command::MachineConfig;
use crate::qemu::machine::{JobEnd, Machine, MachineError};
use crate::result::{CaseResult, State};
use crate::target::{CaseEnd, Launch, OutcomeError, Target, TargetError};

/// A machine that has run its calibration.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) machine: Machine,
    pub(super) config: MachineConfig,
    pub(super) number: u32,
    pub(super) pace: Pace,
    /// What a host's kernel logged before the first case: it counts with that one's.
    pub(super) log: String,
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
        /// What it wrote meanwhile.
        console: String,
        /// Whether that is the fault of the kernel under test.
        blamed: bool,
    },
    /// It is gone.
    #[error("QEMU ended during its first job ({status}){}", reason(console))]
    Died {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote before.
        console: String,
        /// Whether that is the fault of the kernel under test.
        blamed: bool,
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

    /// What it is for the case that needed the machine: CRASH or TIMEOUT if the kernel under test is to blame, which died or
    /// hung over KVM's first guests (rule P-26); else that case was never run.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::Silent { blamed: true, .. } => State::Timeout,
            Self::Died { blamed: true, .. } => State::Crash,
            _ => State::Miss,
        }
    }

    /// The same as the result of that case, with what the machine wrote.
    #[must_use]
    pub fn result(&self, name: &str) -> CaseResult {
        let why = match self.state() {
            State::Miss => "no machine",
            _ => "the host failed over KVM before any case",
        };
        let mut result = CaseResult::without_findings(name, self.state(), format!("{why}: {}", chain(self)));
        if self.state() != State::Miss {
            let hangs = "the host does not answer when KVM is asked for its first guests";
            let splat = log::splat(self.console());
            result.complaints.push(
                splat.map_or_else(|| Complaint::new(Complaint::OF_KERNEL, hangs), Complaint::of_kernel),
            );
            result.kernel_trace = Some(Box::new(KernelTrace::absent("the host failed before any case")));
        }
        self.console().clone_into(&mut result.console);
        result
    }
}

/// How far a machine has come that does not answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// It has no kernel under test that could be to blame.
    Own,
    /// An emulated host boots: it says on its console when it has come as far as KVM.
    Boot,
    /// An emulated host has answered before.
    Up,
}

/// Starts a machine and measures how fast it is.
pub(super) fn start(shared: &Shared<'_>, config: MachineConfig) -> Result<Ready, StartError> {
    let number = shared.machines.fetch_add(1, Ordering::Relaxed);
    let spare = shared.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Booted { mut machine, mut log, .. } = match spare {
        Some(spare) if spare.config == config => spare,
        _ => boot(shared.target, shared.qemu, config, shared.stop)?,
    };
    let mut fastest = Duration::MAX;
    for _ in 0..limits::CALIBRATION_JOBS {
        let (took, logged) = calibrate(shared, &config, &mut machine, shared.stop)?;
        fastest = fastest.min(took);
        log.push_str(&logged);
    }
    // What the boot wrote belongs to no case; of what a host's kernel wrote the agent tells.
    drop(machine.take_console());
    let nominal = shared.target.calibration();
    let pace = Pace::calibrated(fastest, nominal, shared.plan.timeout_scale);
    Ok(Ready { machine, config, number, pace, log })
}

/// A machine that was started before there was a plan.
#[derive(Debug)]
pub struct Booted {
    pub(super) config: MachineConfig,
    pub(super) machine: Machine,
    /// What the kernel of a host has logged so far of KVM.
    pub(super) log: String,
}

/// Boots the host of a target that has to be asked what it is before anything can be planned; nothing for one that
/// has not. The calling thread has to outlive the run.
///
/// # Errors
///
/// If it does not come up. One that boots and then says nothing is given [`limits::START_FAILURES`] tries.
pub fn ask(target: &Target, qemu: &Qemu, stop: &AtomicBool) -> Result<Option<Booted>, StartError> {
    if target.kvm().is_none() {
        return Ok(None);
    }
    let config = target.machine_config(&GuestSpec::default(), Sweep::Off);
    let mut tries = 1;
    loop {
        match boot(target, qemu, config, stop) {
            Err(StartError::Silent { blamed: true, .. }) if tries < limits::START_FAILURES => tries += 1,
            end => return end.map(Some),
        }
    }
}

/// Starts a machine that waits for its first job. An agent is greeted, and tells what KVM claims.
fn boot(
    target: &Target,
    qemu: &Qemu,
    config: MachineConfig,
    stop: &AtomicBool,
) -> Result<Booted, StartError> {
    let (machine, log) = match target.kvm() {
        Some(kvm) => host::start(target, kvm, qemu, config, stop)?,
        None => {
            let memory = Machine::new_memory()?;
            target.load(&memory)?;
            (Machine::start(&(qemu, config), memory)?, String::new())
        }
    };
    Ok(Booted { config, machine, log })
}

/// Runs what is in memory; anything but an answer is an error.
pub(super) fn answered(
    machine: &mut Machine,
    limit: Duration,
    stop: &AtomicBool,
    stage: Stage,
) -> Result<(), StartError> {
    let end = machine.run(limit, stop)?;
    ended(machine, end, limit, stage)
}

/// The same, of a job that has ended, or has had this much time.
pub(super) fn ended(
    machine: &mut Machine,
    end: JobEnd,
    limit: Duration,
    stage: Stage,
) -> Result<(), StartError> {
    if end == JobEnd::Answered {
        return Ok(());
    }
    let console = machine.take_console();
    match end {
        JobEnd::TimedOut => {
            let blamed = hangs(stage, &console) && !machine.cpu_share().is_denied();
            Err(StartError::Silent { limit, console, blamed })
        }
        JobEnd::Died(status) => {
            let blamed = dies(stage, &console);
            Err(StartError::Died { status, console, blamed })
        }
        JobEnd::Answered | JobEnd::Stopped => Err(StartError::Stopped),
    }
}

/// Whether a machine that does not answer hangs in the kernel under test, by what it wrote.
fn hangs(stage: Stage, console: &str) -> bool {
    since_asked(stage, console).is_some()
}

/// Whether one that has ended died of the kernel under test.
fn dies(stage: Stage, console: &str) -> bool {
    // One that dies as it makes KVM ready says of what.
    let of_kvm = stage == Stage::Boot && log::splat(console).is_some_and(log::is_of_kvm);
    of_kvm || since_asked(stage, console).is_some_and(|since| log::splat(since).is_some())
}

/// What a machine wrote since its kernel can be blamed. One that dies before KVM is asked for anything may have been given too
/// little memory.
fn since_asked(stage: Stage, console: &str) -> Option<&str> {
    match stage {
        Stage::Own => None,
        Stage::Boot => console.split_once(log::ASKS_KVM).map(|(_, since)| since),
        Stage::Up => Some(console),
    }
}

/// Runs an empty program; tells how long that took, and what a host's kernel logged meanwhile.
fn calibrate(
    shared: &Shared<'_>,
    config: &MachineConfig,
    machine: &mut Machine,
    stop: &AtomicBool,
) -> Result<(Duration, String), StartError> {
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
    let stage = if shared.target.is_emulated_host() { Stage::Up } else { Stage::Own };
    answered(machine, limits::BOOT, stop, stage)?;
    let took = begun.elapsed();
    let outcome = shared.target.collect(machine.memory())?;
    match outcome.end(&sent)? {
        CaseEnd::Payload(abi::job::Status::Done) => Ok((took, outcome.said.kernel_log)),
        other => Err(StartError::Job(other)),
    }
}

/// What a console says of the end of its machine: the bug that the kernel told of, or the last line.
fn reason(console: &str) -> String {
    let last = || console.lines().rev().find(|line| !line.trim().is_empty());
    match log::splat(console).or_else(last) {
        Some(log::ASKS_KVM) => ": it wrote no more to its console once it had booted".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_blamed_for_what_comes_after_kvm_was_asked() {
        let panic = "Kernel panic - not syncing: VFS: Unable to mount root fs";
        let asked = log::ASKS_KVM;
        let (before, after) = (format!("{panic}\n{asked}\n"), format!("{asked}\n{panic}\n"));
        assert!(dies(Stage::Boot, &after) && hangs(Stage::Boot, &after));
        assert!(!dies(Stage::Boot, &before) && hangs(Stage::Boot, &before));
        assert!(!dies(Stage::Boot, panic) && !hangs(Stage::Boot, panic));
        assert!(dies(Stage::Boot, "Kernel panic - not syncing: HYP panic:"));
        assert!(dies(Stage::Boot, "[    0.9] kernel BUG at arch/arm64/kvm/reset.c:53!"));
        assert!(dies(Stage::Up, panic) && hangs(Stage::Up, ""));
        assert!(!dies(Stage::Up, "reboot: Power down"));
        assert!(!dies(Stage::Own, &after) && !hangs(Stage::Own, &after));
    }

    #[test]
    fn what_the_kernel_is_blamed_for_is_a_finding_and_anything_else_no_run() {
        let silent = |blamed| StartError::Silent { limit: limits::GREETING, console: String::new(), blamed };
        let result = silent(true).result("a");
        assert_eq!((result.state, result.complaints[0].rule.as_str()), (State::Timeout, "P-26"));
        let result = silent(false).result("a");
        assert_eq!((result.state, result.complaints.len()), (State::Miss, 0));
        let status = std::os::unix::process::ExitStatusExt::from_raw(0);
        let console = "Internal error: Oops: 0000000096000004 [#1]".to_owned();
        let result = StartError::Died { status, console: console.clone(), blamed: true }.result("a");
        assert_eq!(
            (result.state, &result.complaints[0].what, &result.console),
            (State::Crash, &console, &console)
        );
    }
}
