//! Accesses that nobody can emulate: ESR_EL2.ISV is 0 for those of vector registers.

use abi::pattern::Owner;
use arch::host::{Call, Q_ACCESS};
use kvm_bindings::{KVM_CAP_ARM_NISV_TO_USER, KVM_EXIT_ARM_NISV, KVM_EXIT_MMIO, kvm_enable_cap};
use std::os::fd::AsRawFd as _;

use super::super::alarm;
use super::super::case::Case;
use super::super::error::{VmError, failed};
use super::super::other::OtherGuest;
use super::super::raw::reg;
use super::super::task::Report;
use crate::kvm::complaint::{self, Complaint};

/// How a KVM_RUN ended.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Left {
    Error(i32),
    Exit(u32),
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Error(errno) => f.write_str(&complaint::errno(*errno)),
            Self::Exit(reason) => write!(f, "exit reason {reason}"),
        }
    }
}

impl Case<'_> {
    /// A guest that loads and stores a Q register where there is no memory: KVM_RUN fails with ENOSYS, or leaves with
    /// KVM_EXIT_ARM_NISV once that was asked for (Documentation/virt/kvm/api.rst, KVM_CAP_ARM_NISV_TO_USER). The guest goes on
    /// behind the instruction with all of its registers, and this thread with its own (rules P-01, P-02, P-20).
    pub(super) fn check_mmio(&mut self) -> Result<(), VmError> {
        self.check_mmio_as(false, &Left::Error(libc::ENOSYS))?;
        self.check_mmio_as(true, &Left::Exit(KVM_EXIT_ARM_NISV))
    }

    fn check_mmio_as(&mut self, to_user: bool, wanted: &Left) -> Result<(), VmError> {
        /// A load and a store.
        const ACCESSES: usize = 2;
        let mut guest = OtherGuest::new(self.kvm, self.claims, Q_ACCESS)?;
        if to_user {
            let capability = kvm_enable_cap { cap: KVM_CAP_ARM_NISV_TO_USER, ..Default::default() };
            guest.vm().fd.enable_cap(&capability).map_err(failed("KVM_ENABLE_CAP(ARM_NISV_TO_USER)"))?;
        }
        guest.give();
        for _ in 0..ACCESSES {
            let left = self.leave(&mut guest);
            if left != *wanted {
                let what = "KVM_RUN of a guest that accesses no memory by a Q register ends otherwise";
                self.note(Complaint::new("P-01", what).wanted(wanted.to_string(), left.to_string()));
                return Ok(());
            }
            let vm = guest.vm();
            let pc = vm.get(reg::PC)?;
            vm.set(reg::PC, pc + 4)?;
        }
        if self.leave(&mut guest) == Left::Exit(KVM_EXIT_MMIO) {
            let mut report = Report::NONE;
            guest.look(&mut report);
            if report.times > 0 {
                let owner = Owner::OtherVcpu.name();
                let what = format!("registers of {owner} changed over an access by a Q register");
                self.note(Complaint::new("P-02", what).changed(report.changed()));
            }
        } else {
            self.complain("P-01", "a guest does not go on after an access by a Q register");
        }
        Ok(())
    }

    /// One KVM_RUN, with every register of this thread in use.
    pub(super) fn leave(&mut self, guest: &mut OtherGuest) -> Left {
        let vcpu = &mut guest.vm().vcpu;
        loop {
            match self.task.call(&Call::kvm_run(vcpu.as_raw_fd()), true) {
                Ok(_) => return Left::Exit(vcpu.get_kvm_run().exit_reason),
                Err(libc::EINTR) if !self.is_late() => drop(alarm::forget()),
                Err(errno) => return Left::Error(errno),
            }
        }
    }
}
