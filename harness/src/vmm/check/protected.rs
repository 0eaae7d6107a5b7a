//! A guest of a protected VM (Documentation/virt/kvm/arm/pkvm.rst).
//!
//! Its memory is taken from the host when the guest first touches it, and what the guest does not share is gone: an
//! access kills this program. So it shares the two images through which it is looked at, by a call that only the
//! hypervisor below the host answers.

use arch::host::SHARES;
use kvm_bindings::KVM_EXIT_MMIO;

use super::super::case::Case;
use super::super::error::VmError;
use super::super::other::OtherGuest;
use super::super::rival::{self, Work};
use super::super::task::Report;
use super::host::names;
use super::mmio::Left;
use crate::kvm::complaint::Complaint;

/// What happens between an exit of the guest and its next entry.
#[derive(Clone, Copy, Debug)]
enum Between {
    /// No more than that this thread uses its registers.
    Nothing,
    /// A task or another guest has the CPU.
    Rival(Work),
    /// The next entry is on another CPU.
    Move,
}

impl Between {
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing but this thread in between",
            Self::Rival(Work::Guest) => "another guest in between",
            Self::Rival(_) => "a task in between",
            Self::Move => "the next entry on another CPU",
        }
    }

    const ALL: [Self; 5] =
        [Self::Nothing, Self::Rival(Work::Task), Self::Rival(Work::Guest), Self::Move, Self::Nothing];
}

impl Case<'_> {
    /// The guest finds its registers zero, as KVM resets them, whoever used the CPU before (rule P-12), and keeps them over
    /// exits to this thread, whatever runs meanwhile (rules P-01, P-08). That it leaves nothing in this thread's is looked
    /// at as after every KVM_RUN (rule P-20).
    pub(super) fn check_protected(&mut self) -> Result<(), VmError> {
        if !self.claims.is_protected() {
            self.skip("KVM is not in protected mode");
            return Ok(());
        }
        let mut guest = match OtherGuest::unused(self.kvm, self.claims, SHARES) {
            Ok(guest) => guest,
            Err(error) => {
                self.skip(&format!("no protected VM: {error}"));
                return Ok(());
            }
        };
        guest.give();
        match self.rung(&mut guest) {
            Some(0) => {}
            Some(_) => {
                self.skip("the hypervisor lets a protected VM share no memory");
                return Ok(());
            }
            None => return Ok(()),
        }
        if self.rung(&mut guest).is_none() {
            return Ok(());
        }
        let mut report = Report::NONE;
        guest.look_for_zero(&mut report);
        if report.times > 0 {
            let what = format!("{} of a new protected VM are not zero", names(report.harm.registers));
            self.note(Complaint::new("P-12", what).changed(report.changed()));
        }
        for between in Between::ALL {
            if !self.keeps(&mut guest, between) {
                break;
            }
        }
        Ok(())
    }

    /// Lets the guest load its registers and store them, with something in between. Returns whether it can go on.
    fn keeps(&mut self, guest: &mut OtherGuest, between: Between) -> bool {
        guest.give();
        if self.rung(guest).is_none() {
            return false;
        }
        match between {
            Between::Rival(work) if self.rival.can(work).is_ok() => {
                let of_rival = self.rival.once(work);
                self.of_rival.merge(of_rival);
            }
            Between::Move if self.claims.cpus > 1 => rival::pin(0, 1),
            Between::Nothing | Between::Rival(_) | Between::Move => {}
        }
        let rang = self.rung(guest);
        if matches!(between, Between::Move) {
            rival::pin(0, 0);
        }
        if rang.is_none() {
            return false;
        }
        let mut report = Report::NONE;
        guest.look(&mut report);
        if report.times > 0 {
            let registers = names(report.harm.registers);
            let what = format!("{registers} of a protected VM changed over an exit, with {}", between.name());
            self.note(Complaint::new("P-01", what).changed(report.changed()));
        }
        true
    }

    /// Runs the guest until it rings, and returns what it wrote.
    fn rung(&mut self, guest: &mut OtherGuest) -> Option<u64> {
        let left = self.leave(guest);
        if left != Left::Exit(KVM_EXIT_MMIO) {
            let complaint = Complaint::new("P-01", "a protected VM does not get to its doorbell");
            let wanted = Left::Exit(KVM_EXIT_MMIO).to_string();
            self.note(complaint.by("KVM_RUN").wanted(wanted, left.to_string()));
            return None;
        }
        // SAFETY: the exit's reason says which member of the union the kernel wrote.
        let mmio = unsafe { guest.vm().vcpu.get_kvm_run().__bindgen_anon_1.mmio };
        Some(u64::from_le_bytes(mmio.data))
    }
}
