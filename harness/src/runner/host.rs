//! A machine with an agent: from a snapshot, if there is one, else booted, and then saved for the ones after it.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::ready::{Stage, StartError, answered, chain, ended};
use crate::kvm::boot::Beginning;
use crate::kvm::log;
use crate::kvm::mailbox::Request;
use crate::kvm::snapshot::{Savable, Snapshot};
use crate::limits;
use crate::qemu::Qemu;
use crate::qemu::command::MachineConfig;
use crate::qemu::machine::{JobEnd, Machine, MachineError};
use crate::target::{Kvm, Target};

/// Starts a machine whose agent was greeted, and tells what its kernel logged of KVM so far.
pub(super) fn start(
    target: &Target,
    kvm: &Kvm,
    qemu: &Qemu,
    config: MachineConfig,
    stop: &AtomicBool,
) -> Result<(Machine, String), StartError> {
    let host = Hosts { target, kvm, qemu, config, stop };
    if let Some(snapshot) = kvm.snapshot(&config) {
        match host.restored(&snapshot) {
            Err(StartError::Stopped) => return Err(StartError::Stopped),
            Ok(machine) => {
                kvm.snapshot_worked();
                // The host that was saved has told.
                return Ok((machine, String::new()));
            }
            Err(error) => kvm.snapshot_failed(format!("a saved host does not go on: {}", chain(&error))),
        }
    }
    if !kvm.saves(&config) {
        return host.booted(Beginning::Boot);
    }
    let why = match Savable::new() {
        Ok((savable, beginning)) => {
            let (mut machine, log) = host.booted(beginning)?;
            // It may have fewer CPUs online than it was given.
            if !kvm.saves(&config) {
                return Ok((machine, log));
            }
            match host.save(&mut machine, savable) {
                Ok(()) => return Ok((machine, log)),
                Err(StartError::Stopped) => return Err(StartError::Stopped),
                Err(error) => chain(&error),
            }
        }
        Err(error) => error.to_string(),
    };
    kvm.snapshot_failed(format!("a host cannot be saved: {why}"));
    host.booted(Beginning::Boot)
}

/// Hosts of one kind.
struct Hosts<'a> {
    target: &'a Target,
    kvm: &'a Kvm,
    qemu: &'a Qemu,
    config: MachineConfig,
    stop: &'a AtomicBool,
}

impl Hosts<'_> {
    /// Starts a machine with the greeting in its mailbox.
    fn launched(&self, beginning: Beginning) -> Result<Machine, StartError> {
        let memory = Machine::new_memory()?;
        self.target.load(&memory)?;
        Ok(Machine::start(self.kvm.launcher(self.qemu, self.config, beginning), memory)?)
    }

    /// Starts a machine and greets its agent; tells what its kernel logged of KVM.
    fn booted(&self, beginning: Beginning) -> Result<(Machine, String), StartError> {
        let mut machine = self.launched(beginning)?;
        let begun = Instant::now();
        let mut end = machine.run(limits::GREETING, self.stop)?;
        let mut asked = false;
        // All of the boot takes longer than an answer.
        while end == JobEnd::TimedOut
            && begun.elapsed() < limits::BOOT_HOST
            && (!asked || machine.cpu_share().is_denied())
        {
            asked = machine.console().contains(log::ASKS_KVM);
            end = machine.wait(limits::GREETING, self.stop)?;
        }
        let stage = if self.kvm.host().is_some() { Stage::Boot } else { Stage::Own };
        ended(&mut machine, end, begun.elapsed(), stage)?;
        let log = self.target.greeted(machine.memory())?;
        Ok((machine, log))
    }

    /// Saves a host for the machines to come. It goes on in any case, or this is an error.
    fn save(&self, machine: &mut Machine, savable: Savable) -> Result<(), StartError> {
        self.asked(machine, Request::Rest)?;
        let saved = savable.save();
        self.asked(machine, Request::Resume)?;
        match saved {
            Ok(snapshot) => self.kvm.keep(self.config, snapshot),
            Err(error) => self.kvm.snapshot_failed(format!("a host cannot be saved: {}", chain(&error))),
        }
        Ok(())
    }

    /// Starts a copy of a saved host.
    fn restored(&self, snapshot: &Snapshot) -> Result<Machine, StartError> {
        let beginning = snapshot.beginning().map_err(MachineError::Start)?;
        let mut machine = self.launched(beginning)?;
        self.asked(&mut machine, Request::Resume)?;
        Ok(machine)
    }

    /// Asks the agent for something, and waits until it is done.
    fn asked(&self, machine: &mut Machine, request: Request) -> Result<(), StartError> {
        self.target.ask(machine.memory(), request)?;
        answered(machine, limits::RESUME_HOST, self.stop, Stage::Own)?;
        Ok(self.target.done(machine.memory())?)
    }
}
