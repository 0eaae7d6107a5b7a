//! What is done to a vCPU, and the proof that it happened.

use abi::doorbell::Disturbance;
use kvm_bindings::kvm_vcpu_events;

use super::case::Case;
use super::raw;
use super::rival::{When, Work};
use super::vm::{Vm, VmError, failed};
use super::witness::Witness;

/// How often a guest may ask whether its disturbance has happened before it goes on without.
const PATIENCE: u32 = 100;

/// A disturbance that the host was asked for, and that has to happen while the guest runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    /// [`super::case::Case`]'s count of what happened when it was asked for.
    since: u64,
    asked: u32,
    work: Work,
    /// When it has to happen: [`When::Asleep`] is while the vCPU waits in WFI.
    when: When,
}

impl Case<'_> {
    /// Commits a disturbance, or begins to: between an exit and the next entry.
    pub(super) fn disturb(&mut self, kind: Disturbance) -> Result<(), VmError> {
        let work = match kind {
            Disturbance::Clobber => {
                self.everything = true;
                self.job.disturbed += 1;
                return Ok(());
            }
            Disturbance::SaveRestore => return self.save_restore(),
            // Nothing in a plain host uses SIMD in an interrupt: it has to be given something that does.
            Disturbance::HostSimd => return Ok(()),
            Disturbance::Preempt if self.by_signal => Work::Signal,
            Disturbance::Preempt => Work::Task,
            Disturbance::OtherVcpu => Work::Guest,
            Disturbance::Migrate => Work::Migrate,
        };
        if !self.rival.can(work) {
            return Ok(());
        }
        self.await_work(work, When::Now);
        Ok(())
    }

    /// Begins a disturbance that is to happen while the vCPU waits in its next WFI.
    pub(super) fn disturb_waiting(&mut self, kind: Disturbance) {
        let work = match kind {
            Disturbance::Preempt => Work::Task,
            Disturbance::OtherVcpu => Work::Guest,
            // The language has no others.
            _ => return,
        };
        if self.rival.can(work) {
            self.await_work(work, When::Asleep);
        }
    }

    fn await_work(&mut self, work: Work, when: When) {
        self.awaited = Some(Awaited { since: self.job.disturbed, asked: 0, work, when });
        self.rival.work(work, when);
    }

    /// How often the guest was disturbed since then. Only what it was made to suffer counts, not what happened by itself.
    pub(super) fn suffered(&self, before: &Witness) -> u64 {
        let Some(awaited) = self.awaited else { return 0 };
        let now = Witness::now(self.rival);
        match awaited.when {
            When::Now if awaited.work == Work::Signal => before.signals(&now),
            When::Now => before.preemptions(&now),
            When::Asleep => u64::from(before.slept_beside_rival(&now)),
        }
    }

    /// Whether a disturbance that was asked for has yet to happen.
    pub(super) fn is_awaited(&mut self) -> bool {
        let Some(awaited) = &mut self.awaited else { return false };
        awaited.asked += 1;
        // A wait is over when the guest asks.
        let awaits =
            awaited.when == When::Now && self.job.disturbed == awaited.since && awaited.asked < PATIENCE;
        if !awaits {
            self.awaited = None;
            // What was asked for has happened, here and not anywhere after it.
            let found = self.rival.rest();
            self.of_rival.merge(found);
        }
        awaits
    }

    /// Commits a disturbance at a point of a sweep: the vCPU is out of the guest, and stays so until it is over.
    pub(super) fn disturb_at_point(&mut self, kind: Disturbance) -> Result<(), VmError> {
        let work = match kind {
            Disturbance::Preempt => Work::Task,
            Disturbance::OtherVcpu => Work::Guest,
            Disturbance::Migrate => Work::Migrate,
            Disturbance::Clobber | Disturbance::HostSimd | Disturbance::SaveRestore => {
                return self.disturb(kind);
            }
        };
        if self.rival.can(work) {
            let found = self.rival.once(work);
            self.of_rival.merge(found);
            self.job.disturbed += 1;
        }
        Ok(())
    }

    /// Reads every register that KVM lists, and goes on with a new VM to which they are written (rule P-102).
    fn save_restore(&mut self) -> Result<(), VmError> {
        self.settle();
        let ids = raw::reg_list(&self.vm.vcpu)?;
        let mut values = Vec::with_capacity(ids.len());
        for id in ids {
            let mut value = vec![0; raw::reg::size(id)];
            match self.vm.vcpu.get_one_reg(id, &mut value) {
                Ok(_) => values.push((id, value)),
                Err(error) => self
                    .complain("P-95", format!("register {id:#018x} is listed and cannot be read: {error}")),
            }
        }
        let events: kvm_vcpu_events =
            self.vm.vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?;
        let new = Vm::new(self.kvm, self.kind, self.memory, self.job.guest_entry)?;
        // Lengths are part of what the VM is made with.
        for (id, value) in values.into_iter().filter(|(id, _)| *id != raw::reg::SVE_VLS) {
            if let Err(error) = new.vcpu.set_one_reg(id, &value) {
                let what = format!("register {id:#018x} cannot be written with what it was read as: {error}");
                self.complain("P-102", what);
            }
        }
        new.vcpu.set_vcpu_events(&events).map_err(failed("KVM_SET_VCPU_EVENTS"))?;
        if let (Some(new), Some(old)) = (&new.gic, &self.vm.gic) {
            new.take_over(old)?;
        }
        let old = std::mem::replace(&mut self.vm, new);
        old.retire(self.kind);
        self.set_line()?;
        self.step_or_not()?;
        self.job.disturbed += 1;
        Ok(())
    }
}
