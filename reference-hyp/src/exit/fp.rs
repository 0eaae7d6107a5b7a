//! FP, SVE and SME accesses that trapped.

use abi::fault::Fault;
use abi::hyp::End;
use arch::esr;

use crate::Hyp;
use crate::bits::cptr;
use crate::fp::Owner;
use crate::inject::Vector;

impl Hyp {
    /// EC 0x07, 0x19 or 0x1d.
    ///
    /// Traps come for two reasons: the registers are not this vCPU's, or L1 wants the trap. If L1's own
    /// controls do not ask for *this* exception class, the registers are given and the instruction is tried
    /// again under the merged controls: what traps then is what the architecture gives. (With L1's FPEN = 00
    /// and ZEN = 11 a closed CPU reports EC 0x19 first, and L1 must get 0x07.)
    pub fn fp_trap(&mut self, esr: u64) {
        let class = esr::class(esr);
        if class == esr::ec::SME {
            return if self.fault(Fault::SpPanicOnEc1d) {
                self.end(End::Broken, esr)
            } else {
                self.undefined()
            };
        }
        if class == esr::ec::SVE && !self.config.sve() {
            return if self.fault(Fault::SpPanicOnEc19) {
                self.end(End::Broken, esr)
            } else {
                self.undefined()
            };
        }
        let l2 = self.config.el2() && !self.vcpu.in_el2;
        let wanted = if class == esr::ec::SVE { cptr::ZEN0 } else { cptr::FPEN0 };
        if l2 && self.vcpu.l1_cptr() & wanted == 0 {
            #[cfg(feature = "faults")]
            if self.eats_trap(class) {
                return self.fp_take();
            }
            return self.nested_exception(Vector::Sync, Some(esr), 0);
        }
        if l2
            && class == esr::ec::SVE
            && self.vcpu.l1_cptr() & cptr::FPEN0 == 0
            && self.fault(Fault::NvFpenAsReported)
        {
            return self.nested_exception(Vector::Sync, Some(esr), 0);
        }
        if self.fp.owner == Owner::Guest {
            return self.end(End::UnknownExit, esr);
        }
        self.fp_take();
        // Only the fault of an instruction that also made the first use looks at this.
        if self.faults.may(Fault::RmTrapDropsFault) {
            self.faults.latch = Some(self.vcpu.frame.pc);
        }
    }

    /// Consumes a trap that L1 asked for.
    #[cfg(feature = "faults")]
    fn eats_trap(&mut self, class: u8) -> bool {
        let fault = if class == esr::ec::SVE { Fault::NvEatSveTrap } else { Fault::NvEatFpTrap };
        let eats = self.fault(fault);
        if eats {
            self.faults.latch = Some(crate::traps_faults::EATEN);
        }
        eats
    }
}
