//! The emulated ERET from a guest's EL2, and exceptions to it from its EL1.
//!
//! Both are a put, a change of context and a load. The FP registers are the same at every level, so with
//! `nested=elide` the put and the load leave them alone, and traps and length, which are computed at each
//! entry, are all that tells L1 and L2 apart.

use abi::doorbell::Disturbance;
use abi::fault::Fault;
use abi::hyp::Event;
use arch::{read, write};

use crate::Hyp;
use crate::bits::{hcr, pstate, vncr};
use crate::fp::{self, Owner};
use crate::inject::Vector;
use crate::trace::count;

impl Hyp {
    /// Emulates an ERET that trapped from the guest's EL2. `esr` is the syndrome of the trap (EC 0x1a).
    pub fn nested_eret(&mut self, esr: u64) {
        let spsr = read!("S3_5_C4_C0_0") & !pstate::SS;
        let elr = match self.authenticated_elr(esr, read!("S3_5_C4_C0_1")) {
            Err(_) if self.fault(Fault::NvEretaNoAuth) => read!("S3_5_C4_C0_1"),
            Ok(elr) => elr,
            Err(syndrome) => return self.take_exception(Vector::Sync, Some(syndrome), 0),
        };
        count(&mut self.job.counters.nested_erets);
        self.event(Event::NestedEret, [spsr, elr]);
        self.vcpu.emulated = true;
        let tge = self.vcpu.tge();
        self.vcpu.frame.pstate = match spsr & pstate::MODE {
            pstate::EL2H => spsr & !pstate::MODE | pstate::EL1H,
            pstate::EL2T => spsr & !pstate::MODE | pstate::EL1T,
            pstate::EL1H | pstate::EL1T if !tge => {
                self.switch_to_el1();
                spsr
            }
            pstate::EL0T if !tge => {
                self.switch_to_el1();
                spsr
            }
            pstate::EL0T if self.config.vhe() => spsr,
            // An illegal exception return: the mode stays, PSTATE.IL is set, flags and masks come from SPSR.
            _ => {
                let kept = self.vcpu.frame.pstate & (pstate::MODE | pstate::PAN | pstate::UAO);
                kept | spsr & (pstate::NZCV | pstate::DAIF | pstate::DIT) | pstate::IL
            }
        };
        self.vcpu.frame.pc = elr;
        #[cfg(feature = "faults")]
        {
            self.vcpu.arrived_by_eret = true;
        }
    }

    /// Emulates an exception from the guest's EL1 or EL0 to its EL2. `esr` is `None` for an IRQ.
    pub fn nested_exception(&mut self, vector: Vector, esr: Option<u64>, far: u64) {
        if self.vcpu.in_el2 {
            return self.take_exception(vector, esr, far);
        }
        let spsr = self.vcpu.frame.pstate;
        self.switch_to_el2();
        #[cfg(feature = "faults")]
        self.forget_eaten_trap();
        // From a lower level in AArch64: the third group of vectors.
        self.enter_vector(0x400 + vector as u64, spsr, esr, far);
        count(&mut self.job.counters.nested_exceptions);
        self.event(Event::NestedException, [esr.unwrap_or(0), self.vcpu.frame.pc]);
    }

    /// The guest's EL2 gives the CPU to its EL1.
    fn switch_to_el1(&mut self) {
        if self.l1_hcr(hcr::NV) {
            // L1's guest is a hypervisor. VNCR_EL2 of L1 is an address of its own stage 1, in force right now.
            const BADDR: u64 = 0x001f_ffff_ffff_f000;
            let wanted = self.vcpu.vncr.get(vncr::VNCR_EL2) & BADDR;
            self.l2_vncr = arch::hyp::translated_stage1(wanted).unwrap_or(0);
        }
        self.fp.nested_transition = true;
        self.fp_put();
        self.vcpu.switch_bank_to_el1();
        if self.fault(Fault::NvSpsrEl1NotSwapped) {
            write!("S3_5_C4_C0_0", self.vcpu.bank.spsr);
            write!("S3_5_C4_C0_1", self.vcpu.bank.elr);
        }
        if self.config.sve() {
            // ZCR_EL12 traps to EL2 itself while CPTR_EL2.ZEN is closed.
            fp::open();
            let zcr = read!("S3_5_C1_C2_0");
            if self.fault(Fault::NvZcrSlotAfter) {
                self.vcpu.vncr.set(vncr::ZCR_EL1, zcr);
            } else {
                self.vcpu.zcr_el2 = zcr;
            }
            write!("S3_5_C1_C2_0", self.vcpu.vncr.get(vncr::ZCR_EL1));
        } else {
            self.vcpu.open_hidden_zen();
        }
        self.vcpu.in_el2 = false;
        self.fp_load();
        self.leave_nested_transition();
    }

    /// The guest's EL1 gives the CPU to its EL2.
    fn switch_to_el2(&mut self) {
        self.fp.nested_transition = true;
        self.fp_put();
        self.vcpu.switch_bank_to_el2();
        if self.config.sve() {
            if !self.fault(Fault::NvNoUntrapOnExit) {
                fp::open();
            }
            let zcr = read!("S3_5_C1_C2_0");
            if self.fault(Fault::NvZcrSlotSwap) {
                self.vcpu.zcr_el2 = zcr;
            } else {
                self.vcpu.vncr.set(vncr::ZCR_EL1, zcr);
            }
            write!("S3_5_C1_C2_0", self.vcpu.zcr_el2);
        } else {
            self.vcpu.hide_zen();
        }
        self.vcpu.in_el2 = true;
        self.fp_load();
        if self.fp.owner == Owner::Guest && self.fault(Fault::NvReloadOld) {
            self.cpu.load(&self.fp.guest, self.config.vq_max);
        }
        self.leave_nested_transition();
    }

    /// The end of the window in which put and load may leave the registers alone.
    fn leave_nested_transition(&mut self) {
        if self.fp.owner == Owner::Guest && self.fault(Fault::NvStaleOwner) {
            self.cpu.load(&self.fp.host_simd, self.cpu.vq);
        }
        if self.fault(Fault::NvPreemptWindow) {
            self.disturb(Disturbance::Clobber);
        }
        self.fp.nested_transition = self.fault(Fault::NvFlagSticky);
    }

    /// The target of an ERET, ERETAA or ERETAB; the syndrome of the failure if it does not authenticate.
    ///
    /// The keys in the CPU are the guest's. Authenticating with an AUT instruction would fault here, at our
    /// own level (FEAT_FPAC), so the code is computed again and compared.
    fn authenticated_elr(&self, esr: u64, elr: u64) -> Result<u64, u64> {
        const ERETA: u64 = 1 << 1;
        const KEY_B: u64 = 1;
        if esr & ERETA == 0 {
            return Ok(elr);
        }
        let modifier = if self.vcpu.frame.pstate & 1 == 0 { read!("sp_el0") } else { read!("S3_4_C4_C1_0") };
        let key_b = esr & KEY_B != 0;
        let (plain, signed) = arch::hyp::sign(elr, modifier, key_b);
        if signed == elr {
            Ok(plain)
        } else {
            // EC 0x1c, ISS: bit 1 data (0: instruction), bit 0 key B.
            Err((u64::from(arch::esr::ec::FPAC) << 26) | arch::esr::IL | u64::from(key_b))
        }
    }

    /// Whether HCR_EL2 of the guest hypervisor has all of `bits`.
    pub fn l1_hcr(&self, bits: u64) -> bool {
        self.vcpu.hcr_el2() & bits == bits
    }

    /// Delivers what is pending for the guest's highest level, if that must happen before the next entry;
    /// returns the bits of HCR_EL2 that let the CPU deliver it itself.
    pub fn deliver_pending(&mut self) -> u64 {
        let pending = self.vcpu.pending;
        if !pending.irq && !pending.serror {
            return 0;
        }
        #[cfg(feature = "faults")]
        if self.vcpu.arrived_by_eret && self.fault(Fault::NvEretIgnoresPending) {
            return 0;
        }
        if self.config.el2() && !self.vcpu.in_el2 {
            // For EL2 from a lower level these are not masked by PSTATE.
            let hcr = self.vcpu.hcr_el2();
            if pending.serror && hcr & hcr::AMO != 0 {
                self.vcpu.pending.serror = self.fault(Fault::NvSErrorTwice);
                let esr = (u64::from(arch::esr::ec::SERROR) << 26) | arch::esr::IL;
                self.nested_exception(Vector::SError, Some(esr), read!("S3_5_C6_C0_0"));
                return self.deliver_pending();
            }
            if pending.irq && hcr & hcr::IMO != 0 {
                self.nested_exception(Vector::Irq, None, 0);
                if self.fp.owner == Owner::Guest && self.fault(Fault::NvIrqReloadOld) {
                    self.cpu.load(&self.fp.guest, self.config.vq_max);
                }
                return self.deliver_pending();
            }
            // What L1 does not route to itself is its guest's, under that one's own masks.
            let irq = if pending.irq { hcr::VI } else { 0 };
            return irq | if pending.serror { hcr::VSE } else { 0 };
        }
        let routed = !self.config.el2() || self.vcpu.tge();
        let hcr = self.vcpu.hcr_el2();
        let mut bits = 0;
        if pending.irq && (routed || hcr & hcr::IMO != 0 || self.fault(Fault::NvImoIgnored)) {
            bits |= hcr::VI;
        }
        if pending.serror && (routed || hcr & hcr::AMO != 0) {
            bits |= hcr::VSE;
        }
        bits
    }
}
