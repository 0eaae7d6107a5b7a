//! SMCCC calls of a guest that the kernel leaves to its user (Documentation/virt/kvm/devices/vm.rst,
//! KVM_ARM_VM_SMCCC_FILTER): an exit that completes no access and has no fault.

use abi::pattern::Owner;
use arch::host::{CALL_HVC, CALL_SMC, CALLS};
use kvm_bindings::{KVM_EXIT_HYPERCALL, KVM_EXIT_MMIO, KVM_HYPERCALL_EXIT_SMC};

use super::super::case::Case;
use super::super::error::VmError;
use super::super::other::OtherGuest;
use super::super::rival::Work;
use super::super::task::Report;
use super::super::vm::forward_calls;
use super::mmio::Left;
use crate::kvm::complaint::Complaint;

impl Case<'_> {
    /// A guest that makes a call by HVC and one by SMC, with every register in use. While each is here, another task and
    /// another guest have the CPU. The guest keeps all of its registers, for a call without the hint that they are not in
    /// use keeps them (SMCCC, DEN0028; rules P-01, P-02, P-17).
    pub(super) fn check_hypercall(&mut self) -> Result<(), VmError> {
        let mut guest = OtherGuest::unused(self.kvm, self.claims, CALLS)?;
        let count = CALL_HVC.abs_diff(CALL_SMC) + 1;
        if let Err(error) = forward_calls(&guest.vm().fd, CALL_HVC.min(CALL_SMC), count) {
            self.skip(&format!("the kernel forwards no SMCCC calls: {error}"));
            return Ok(());
        }
        guest.load();
        for (name, wanted) in [("HVC", (CALL_HVC, false)), ("SMC", (CALL_SMC, true))] {
            guest.give();
            let left = self.leave(&mut guest);
            let found = (left == Left::Exit(KVM_EXIT_HYPERCALL)).then(|| {
                // SAFETY: the exit's reason says which member of the union the kernel wrote.
                let call = unsafe { guest.vm().vcpu.get_kvm_run().__bindgen_anon_1.hypercall };
                // SAFETY: of these flags every number is one.
                let flags = unsafe { call.__bindgen_anon_1.flags };
                (call.nr, flags & u64::from(KVM_HYPERCALL_EXIT_SMC) != 0)
            });
            if found != Some((u64::from(wanted.0), wanted.1)) {
                let what = format!("KVM_RUN of a guest that calls its monitor by {name} ends otherwise");
                let words = |number: u32| format!("KVM_EXIT_HYPERCALL {number:#x} by {name}");
                let found = match found {
                    Some((number, is_smc)) => {
                        format!("KVM_EXIT_HYPERCALL {number:#x} by {}", if is_smc { "SMC" } else { "HVC" })
                    }
                    None => left.to_string(),
                };
                self.note(Complaint::new("P-17", what).wanted(words(wanted.0), found));
                return Ok(());
            }
            for work in [Work::Task, Work::Guest] {
                if self.rival.can(work).is_ok() {
                    let of_rival = self.rival.once(work);
                    self.of_rival.merge(of_rival);
                }
            }
            if self.leave(&mut guest) != Left::Exit(KVM_EXIT_MMIO) {
                self.complain(
                    "P-17",
                    format!("a guest does not go on after a call to its monitor by {name}"),
                );
                return Ok(());
            }
            let mut report = Report::NONE;
            guest.look(&mut report);
            if report.times > 0 {
                let registers = super::host::names(report.harm.registers);
                let owner = Owner::OtherVcpu.name();
                let what = format!("{registers} of {owner} changed over a call to its monitor by {name}");
                self.note(Complaint::new("P-17", what).changed(report.changed()));
            }
        }
        Ok(())
    }
}
