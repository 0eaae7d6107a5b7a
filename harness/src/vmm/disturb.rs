//! What is done to a vCPU, and the proof that it happened.

use std::time::Instant;

use abi::doorbell::Disturbance;
use kvm_bindings::kvm_vcpu_events;

use super::case::Case;
use super::check::{setting, unreadable};
use super::error::{VmError, failed};
use super::raw;
use super::rival::{self, When, Work};
use super::vm::Vm;
use crate::kvm::complaint::{self, Complaint};

/// How often a guest may ask whether its disturbance has happened before it goes on without.
const PATIENCE: u32 = 150;

/// A disturbance that the host was asked for, and that has to happen while the guest runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    work: Work,
    /// What the kernel's counters say of it.
    happened: u64,
    asked: u32,
    /// Nobody waits for it any longer: the rest of the case's time is the guest's. What a slow host did not get done is no
    /// guest's fault.
    until: Instant,
    /// When it has to happen: [`When::Asleep`] is while the vCPU waits in WFI.
    when: When,
}

impl Awaited {
    /// For how many rounds the guest spins before it asks. An interrupt is to find it with its registers live rather than
    /// this program between two of its runs; a preemption waits for neither.
    const fn rounds(self) -> u64 {
        match self.work {
            Work::Simd => 300_000,
            _ => 20_000,
        }
    }

    /// In how many runs of the guest it has to happen. A preemption is the scheduler's, an interrupt may come just before
    /// the guest's registers are live, or just after.
    const fn enough(self) -> u64 {
        match self.work {
            Work::Simd => 4,
            _ => 1,
        }
    }
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
            Disturbance::HostSimd => Work::Simd,
            Disturbance::Preempt if self.by_signal => Work::Signal,
            Disturbance::Preempt => Work::Task,
            Disturbance::OtherVcpu => Work::Guest,
            Disturbance::Migrate => Work::Migrate,
        };
        let begun = Instant::now();
        let can = self.rival.can(work);
        // The first one that needs a network makes it, at the cost of no guest.
        self.deadline += begun.elapsed();
        if let Err(lacks) = can {
            self.cannot_disturb(lacks);
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
        match self.rival.can(work) {
            Ok(()) => self.await_work(work, When::Asleep),
            Err(lacks) => self.cannot_disturb(lacks),
        }
    }

    /// A guest with EL2 is not to be preempted where nobody asked for it: KVM loses a write to one of its registers by that
    /// (docs/kvm-findings.md). Softirqs, though, may need a thread of their own to get on.
    pub(super) fn urge(&self) {
        let is_simd = self.awaited.is_some_and(|awaited| awaited.work == Work::Simd);
        rival::urge(self.kind.el2 && !is_simd);
    }

    fn await_work(&mut self, work: Work, when: When) {
        let now = Instant::now();
        let until = now + self.deadline.saturating_duration_since(now) / 2;
        self.awaited = Some(Awaited { work, when, until, happened: 0, asked: 0 });
        self.urge();
        self.rival.work(work, when);
    }

    /// The work that is awaited: once the guest spins, with its registers live, for it to happen, or while it waits.
    pub(super) fn awaits(&self) -> Option<(Work, When)> {
        let awaited = self.awaited.filter(|awaited| awaited.asked > 0 || awaited.when == When::Asleep)?;
        Some((awaited.work, awaited.when))
    }

    /// Notes that what is awaited happened so often.
    pub(super) fn happened(&mut self, times: u64) {
        if let Some(awaited) = &mut self.awaited {
            awaited.happened += times;
        }
    }

    /// For how many rounds the guest is to go on spinning: 0 once what was asked for has happened, or never will.
    pub(super) fn rounds(&mut self) -> u64 {
        let Some(awaited) = &mut self.awaited else { return 0 };
        awaited.asked += 1;
        let awaited = *awaited;
        let happened = awaited.happened >= awaited.enough();
        // A wait is over when the guest asks.
        let is_patient = awaited.asked < PATIENCE && Instant::now() < awaited.until;
        if !happened && awaited.when == When::Now && is_patient {
            return awaited.rounds();
        }
        self.awaited = None;
        self.urge();
        self.job.disturbed += u64::from(happened);
        // What was asked for has happened, here and not anywhere after it.
        let found = self.rival.rest();
        self.of_rival.merge(found);
        0
    }

    /// Commits a disturbance at a point of a sweep: the vCPU is out of the guest, and stays so until it is over.
    pub(super) fn disturb_at_point(&mut self, kind: Disturbance) -> Result<(), VmError> {
        let work = match kind {
            Disturbance::Preempt => Work::Task,
            Disturbance::OtherVcpu => Work::Guest,
            Disturbance::Migrate => Work::Migrate,
            Disturbance::Clobber | Disturbance::SaveRestore => return self.disturb(kind),
            Disturbance::HostSimd => {
                // A step is an exit to here, with the vCPU put: there is no entry left that this could come before.
                self.cannot_disturb("a single step leaves no room for SIMD between an exit and an entry");
                return Ok(());
            }
        };
        if self.rival.can(work).is_ok() {
            let found = self.rival.once(work);
            self.of_rival.merge(found);
            self.job.disturbed += 1;
        }
        Ok(())
    }

    /// Reads every register that KVM lists, and goes on with a new VM to which they are written (rule P-102).
    fn save_restore(&mut self) -> Result<(), VmError> {
        self.vm.settle();
        let ids = raw::reg_list(&self.vm.vcpu)?;
        let mut values = Vec::with_capacity(ids.len());
        for id in ids {
            let mut value = vec![0; raw::reg::size(id)];
            match self.vm.vcpu.get_one_reg(id, &mut value) {
                Ok(_) => values.push((id, value)),
                Err(error) => self.note(unreadable(id, error.errno())),
            }
        }
        let events: kvm_vcpu_events =
            self.vm.vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?;
        let new = Vm::new(self.kvm, self.kind, self.memory, self.job.guest_entry)?;
        // Lengths are part of what the VM is made with.
        for (id, value) in values.into_iter().filter(|(id, _)| *id != raw::reg::SVE_VLS) {
            if let Err(error) = new.vcpu.set_one_reg(id, &value) {
                let what = format!("register {id:#018x} cannot be written with what it was read as");
                let complaint = Complaint::new("P-102", what).by(setting(id));
                self.note(complaint.wanted("success", complaint::errno(error.errno())));
            }
        }
        new.vcpu.set_vcpu_events(&events).map_err(failed("KVM_SET_VCPU_EVENTS"))?;
        if let (Some(new), Some(old)) = (&new.gic, &self.vm.gic) {
            new.take_over(old)?;
        }
        let old = std::mem::replace(&mut self.vm, new);
        old.retire(self.kind);
        self.seat_second()?;
        self.set_line()?;
        self.step_or_not()?;
        self.job.disturbed += 1;
        Ok(())
    }
}
