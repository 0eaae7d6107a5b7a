//! The registers of SME: refused of a vCPU without it, and as planned of one with it.

use kvm_bindings::KVM_ARM_VCPU_SVE;

use super::super::case::Case;
use super::super::raw;
use super::super::vm::{Kind, Vm};
use super::{answer, get, set};
use crate::kvm::sme::{self, Answer, Read, Vcpu};

/// Any more than that are of one kind.
const MOST: usize = 4;

impl Vcpu for Vm {
    fn get(&self, id: u64) -> Read {
        get(self, id)
    }

    fn set(&self, id: u64, value: &[u8]) -> Answer {
        set(self, id, value)
    }

    fn list(&self) -> Result<Vec<u64>, i32> {
        raw::reg_list(&self.vcpu).map_err(|error| error.source.raw_os_error().unwrap_or(libc::EIO))
    }

    fn finalize(&self) -> Answer {
        answer(self.vcpu.vcpu_finalize(&KVM_ARM_VCPU_SVE.cast_signed()))
    }
}

impl Case<'_> {
    /// This vCPU, which has no SME, and a new one that has it if KVM can give it.
    pub(super) fn check_sme(&mut self) {
        let mut complaints = sme::check_absent(&self.vm);
        let vq_max = if self.claims.sve.is_some() { 16 } else { 0 };
        // A kernel that knows no such feature refuses it, and one that means another by its number has no lengths of SME.
        if let Ok(vm) = Vm::bare(self.kvm, Kind { vq_max, sme: true, ..Kind::default() })
            && sme::is_there(&vm)
        {
            complaints.extend(sme::check_present(&vm));
        }
        for complaint in complaints.into_iter().take(MOST) {
            self.note(complaint);
        }
    }
}
