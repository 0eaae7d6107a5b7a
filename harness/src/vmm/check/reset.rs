//! A vCPU that was reset: by KVM_ARM_VCPU_INIT, or by another vCPU of its VM with PSCI's CPU_ON (DEN0022), for which KVM resets it
//! when it is loaded already, in the midst of a KVM_RUN (`kvm_reset_vcpu()` in arch/arm64/kvm/reset.c).

use kvm_bindings::{KVM_MP_STATE_STOPPED, kvm_mp_state};

use super::super::case::Case;
use super::super::error::{VmError, failed};
use super::super::raw::reg;
use super::super::vm::Vm;
use super::getting;
use crate::kvm::complaint::Complaint;

/// CPU_ON of PSCI, for 64 bits, and its answer of success.
const CPU_ON: u64 = 0xc400_0003;
const SUCCESS: u64 = 0;
/// Aff3, Aff2, Aff1 and Aff0 of MPIDR_EL1: how CPU_ON names a CPU.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// What opens and limits FP, but for the registers that hold bits which are RES1: KVM sets those of a vCPU with EL2 when it runs
/// first.
const CONTROLS: [(&str, u64); 5] = [
    ("CPACR_EL1", reg::sys(3, 0, 1, 0, 2)),
    ("ZCR_EL1", reg::ZCR_EL1),
    ("CPTR_EL2", reg::sys(3, 4, 1, 1, 2)),
    ("ZCR_EL2", reg::ZCR_EL2),
    ("HCRX_EL2", reg::sys(3, 4, 1, 2, 2)),
];

impl Case<'_> {
    /// After KVM_ARM_VCPU_INIT every FP register is zero (rule P-13), and what opens them is as in a vCPU that never ran (rule
    /// P-16).
    pub(in crate::vmm) fn check_new(&mut self) -> Result<(), VmError> {
        self.check_zero();
        let new = Vm::bare(self.kvm, self.kind)?;
        for (name, id) in CONTROLS {
            // A vCPU without EL2 or SVE has not all of them.
            let (Ok(wanted), Ok(found)) = (new.get(id), self.vm.get(id)) else { continue };
            if found != wanted {
                let complaint = Complaint::new("P-16", format!("KVM_ARM_VCPU_INIT has not reset {name}"));
                self.note(complaint.by(getting(id)).wanted(format!("{wanted:#x}"), format!("{found:#x}")));
            }
        }
        new.retire(self.kind);
        Ok(())
    }

    /// Has the second vCPU turn this one on, where a reset by the doorbell starts it. That its registers are those of a new one
    /// the guest finds out.
    pub(in crate::vmm) fn turn_on(&mut self) -> Result<(), VmError> {
        // There is one: the check looked for it.
        let Some(mut second) = self.rival.exchange(None) else { return Ok(()) };
        let stopped = kvm_mp_state { mp_state: KVM_MP_STATE_STOPPED };
        self.vm.vcpu.set_mp_state(stopped).map_err(failed("KVM_SET_MP_STATE"))?;
        let target = self.vm.get(reg::MPIDR)? & AFFINITY;
        let answer = second.call([CPU_ON, target, self.job.guest_entry, 0])?;
        self.rival.exchange(Some(second));
        if answer != Some(SUCCESS) {
            let complaint = Complaint::new("P-16", "CPU_ON of a vCPU that is stopped");
            let found = answer.map_or("no return".to_owned(), |answer| answer.cast_signed().to_string());
            self.note(complaint.wanted("SUCCESS", found));
        }
        Ok(())
    }
}
