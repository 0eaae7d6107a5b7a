//! CPTR_EL2 and ZCR_EL2 for an entry.
//!
//! Computed afresh each time from who owns the registers and which context runs (rule P-75): nothing is
//! cached that could go stale.

use crate::Hyp;
use crate::bits::cptr;
use crate::fp::{self, Owner};
use abi::hyp::Event;
use arch::write;

/// What decides about traps and length.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// Who owns the registers.
    pub owner: Owner,
    /// ZCR_EL2.LEN for the vCPU's largest vector length; `None` if it has no SVE.
    pub len_max: Option<u64>,
    /// CPTR_EL2 and ZCR_EL2.LEN of the guest hypervisor, if its guest runs now. CPTR in the layout of E2H = 1.
    pub l1: Option<(u64, u64)>,
}

/// CPTR_EL2 (layout of E2H = 1) and ZCR_EL2.LEN for an entry.
///
/// The guest hypervisor's traps are added to our own. With TGE = 0, which is so for its guest, only bit 0 of
/// each xEN field decides: 01 and 11 both mean no trap (rule P-68).
#[must_use]
pub const fn for_entry(inputs: Inputs) -> (u64, u64) {
    let (mut open, mut len) = match (inputs.owner, inputs.len_max) {
        (Owner::Free, len) => (0, len),
        (Owner::Guest, None) => (cptr::FPEN, None),
        (Owner::Guest, Some(len)) => (cptr::FPEN | cptr::ZEN, Some(len)),
    };
    if len.is_none() {
        // CPACR_EL1.ZEN is hidden from a guest without SVE.
        open |= cptr::TCPAC;
    }
    if let Some((l1_cptr, l1_len)) = inputs.l1 {
        if l1_cptr & cptr::FPEN0 == 0 {
            open &= !cptr::FPEN;
        }
        if l1_cptr & cptr::ZEN0 == 0 {
            open &= !cptr::ZEN;
        }
        open |= l1_cptr & cptr::TCPAC;
        if let Some(max) = len {
            // Rule P-86: the effective length is the smaller; what L1 wrote stays as it was written.
            len = Some(if l1_len < max { l1_len } else { max });
        }
    }
    (
        open,
        match len {
            Some(len) => len,
            None => 0,
        },
    )
}

impl Hyp {
    /// Whether traps and length stay as they are, which only a fault makes them.
    #[cfg(not(feature = "faults"))]
    #[inline(always)]
    pub const fn traps_stay(&self) -> bool {
        false
    }

    /// Programs traps and length for the next entry.
    pub fn arm_traps(&mut self) {
        let l2 = self.config.el2() && !self.vcpu.in_el2;
        let l1 = l2.then(|| (self.vcpu.l1_cptr(), self.vcpu.zcr_el2 & 0xf));
        let len_max = self.config.sve().then(|| self.config.len_max());
        let inputs = Inputs { owner: self.fp.owner, len_max, l1 };
        let (cptr, len) = for_entry(inputs);
        #[cfg(feature = "faults")]
        let (cptr, len) = self.arm_traps_wrongly(inputs, cptr, len);
        if self.fp.owner == Owner::Guest && self.cpu.sve {
            // The length first: ZCR_EL2 itself traps to EL2 once CPTR_EL2.ZEN is closed.
            fp::open();
            write!("S3_0_C1_C2_0", len);
        }
        write!("S3_0_C1_C0_2", cptr);
        self.event(Event::Traps, [cptr, len]);
    }
}
