//! Trapped system registers and system instructions.

use abi::fault::Fault;
use abi::hyp::{End, Event};
use arch::{esr, read, write};

use crate::Hyp;
use crate::bits::{cptr, hcr, vncr};
use crate::fp::{self, Owner};
use crate::inject::Vector;
use crate::layout;

/// A trapped MSR, MRS or system instruction, from ESR_ELx.ISS of EC 0x18.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Access {
    /// op0, op1, CRn, CRm, op2.
    pub reg: (u8, u8, u8, u8, u8),
    /// The general register; 31 is XZR.
    pub rt: usize,
    /// MRS.
    pub read: bool,
}

impl Access {
    /// Decodes the syndrome.
    pub const fn decode(iss: u64) -> Self {
        const fn field(iss: u64, shift: u32, mask: u64) -> u8 {
            ((iss >> shift) & mask) as u8
        }
        Self {
            reg: (
                field(iss, 20, 3),
                field(iss, 14, 7),
                field(iss, 10, 15),
                field(iss, 1, 15),
                field(iss, 17, 7),
            ),
            rt: field(iss, 5, 31) as usize,
            read: iss & 1 != 0,
        }
    }
}

/// What became of an access.
enum Outcome {
    /// It read or wrote this; the instruction is done.
    Done(u64),
    /// The instruction is undefined here.
    Undefined,
    /// The guest's own controls trap it.
    Trap(u64),
    /// Not known.
    Unknown,
}

const ACTLR_EL1: (u8, u8, u8, u8, u8) = (3, 0, 1, 0, 1);
const CPACR_EL1: (u8, u8, u8, u8, u8) = (3, 0, 1, 0, 2);
const CPTR_EL2: (u8, u8, u8, u8, u8) = (3, 4, 1, 1, 2);
const FPMR: (u8, u8, u8, u8, u8) = (3, 3, 4, 4, 2);

impl Hyp {
    /// EC 0x18.
    pub fn sysreg(&mut self, esr: u64) {
        let access = Access::decode(esr::iss(esr));
        if self.config.el2() && !self.vcpu.in_el2 && self.belongs_to_l1(access) {
            return self.nested_exception(Vector::Sync, Some(esr), 0);
        }
        let value = self.vcpu.frame.x.get(access.rt).copied().unwrap_or(0);
        match self.emulate(access, value) {
            Outcome::Done(result) => {
                if access.read
                    && let Some(x) = self.vcpu.frame.x.get_mut(access.rt)
                {
                    *x = result;
                }
                self.job.counters.sysregs += 1;
                self.event(Event::Sysreg, [esr::iss(esr), if access.read { result } else { value }]);
                self.advance();
            }
            Outcome::Undefined => self.undefined(),
            Outcome::Trap(syndrome) => {
                let syndrome = if self.fault(Fault::NvZcrEc18) { esr } else { syndrome };
                self.take_exception(Vector::Sync, Some(syndrome), 0);
                if self.fault(Fault::NvZcrSkipInsn) {
                    let elr = read!("S3_5_C4_C0_1");
                    write!("S3_5_C4_C0_1", elr.wrapping_add(4));
                }
            }
            Outcome::Unknown => self.end(End::UnknownExit, esr),
        }
    }

    /// Whether an access from L2 trapped because L1 asked for it. ID registers trap for L0 alone, unless L1
    /// traps them as well; so do the registers of features that the guest has not got.
    fn belongs_to_l1(&self, access: Access) -> bool {
        match access.reg {
            (3, 0, 0, 1..=7, _) => self.l1_hcr(hcr::TID3),
            FPMR => self.config.fpmr() || self.l1_hcr(hcr::NV),
            ACTLR_EL1 => self.l1_hcr(hcr::TACR),
            CPACR_EL1 => self.vcpu.l1_cptr() & cptr::TCPAC != 0,
            _ => self.l1_hcr(hcr::NV) || !hidden(access),
        }
    }

    fn emulate(&mut self, access: Access, value: u64) -> Outcome {
        let read_only = |value: u64| if access.read { Outcome::Done(value) } else { Outcome::Undefined };
        match access.reg {
            (3, 0, 0, 1..=7, _) => read_only(self.id_register(access.reg)),
            FPMR if !self.config.fpmr() => Outcome::Undefined,
            _ if hidden(access) => Outcome::Undefined,
            CPACR_EL1 if self.fault(Fault::XhTcpacLostWrite) => Outcome::Done(read!("S3_5_C1_C0_2")),
            CPACR_EL1 if !self.config.sve() => self.cpacr_without_sve(access, value),
            _ if self.vcpu.in_el2 => self.emulate_el2(access, value),
            _ => Outcome::Unknown,
        }
    }

    /// Registers of the guest's EL2 that FEAT_NV2 does not keep in memory.
    fn emulate_el2(&mut self, access: Access, value: u64) -> Outcome {
        let vhe = self.config.vhe();
        macro_rules! cpu {
            ($reg:literal) => {
                if access.read {
                    Outcome::Done(read!($reg))
                } else {
                    write!($reg, value);
                    Outcome::Done(value)
                }
            };
        }
        macro_rules! kept {
            ($place:expr) => {
                if access.read {
                    Outcome::Done($place)
                } else {
                    $place = value;
                    Outcome::Done(value)
                }
            };
        }
        // A register whose layout depends on E2H: the guest's view is kept, the CPU gets the translation.
        macro_rules! translated {
            ($view:expr, $reg:literal, $translate:expr) => {{
                if vhe {
                    return cpu!($reg);
                }
                if !access.read {
                    write!($reg, $translate(value));
                }
                kept!($view)
            }};
        }
        match access.reg {
            CPTR_EL2 if vhe && !self.config.sve() => self.cpacr_without_sve(access, value),
            // The names that only an EL2 with E2H = 1 has.
            (3, 5, ..) if !vhe => Outcome::Undefined,
            (3, 4, 1, 0, 0) => translated!(self.vcpu.el2.sctlr, "S3_5_C1_C0_0", layout::sctlr_to_el1),
            CPTR_EL2 => {
                let hidden = if self.config.sve() { 0 } else { cptr::ZEN };
                translated!(self.vcpu.el2.cptr, "S3_5_C1_C0_2", |value| layout::cptr_to_cpacr(value) | hidden)
            }
            (3, 4, 2, 0, 2) => translated!(self.vcpu.el2.tcr, "S3_5_C2_C0_2", layout::tcr_to_el1),
            (3, 4, 1, 2, 0) => self.zcr_el2(access, value),
            (3, 4, 2, 0, 0) => cpu!("S3_5_C2_C0_0"),
            (3, 4, 2, 0, 1) => cpu!("S3_5_C2_C0_1"),
            (3, 4, 5, 1, 0) => cpu!("S3_5_C5_C1_0"),
            (3, 4, 5, 1, 1) => cpu!("S3_5_C5_C1_1"),
            (3, 4, 10, 2, 0) => cpu!("S3_5_C10_C2_0"),
            (3, 4, 10, 3, 0) => cpu!("S3_5_C10_C3_0"),
            (3, 4, 12, 0, 0) => cpu!("S3_5_C12_C0_0"),
            (3, 4, 13, 0, 1) => cpu!("S3_5_C13_C0_1"),
            (3, 4, 1, 1, 1) => kept!(self.vcpu.el2.mdcr),
            (3, 4, 6, 0, 4) => kept!(self.vcpu.el2.hpfar),
            (3, 4, 14, 1, 0) => kept!(self.vcpu.el2.cnthctl),
            // No group trap register is offered; HSTR_EL2 and HACR_EL2 control nothing in AArch64.
            (3, 4, 1, 1, 3 | 7) => Outcome::Done(0),
            // TLB maintenance of every regime: what this guest's levels have in the TLB goes, and so does the
            // shadow, for L1 may have changed its stage 2.
            (1, 0 | 4, 8 | 9, _, _) => {
                self.shadow.clear();
                arch::hyp::invalidate_guest_tlb();
                Outcome::Done(0)
            }
            // AT S1E1R, AT S1E1W: of the guest's EL1, whose registers are in memory now. PAR_EL1 is the CPU's.
            (1, 0, 7, 8, 0 | 1) => {
                self.vcpu.switch_bank_to_el1();
                arch::sysreg::isb();
                // The result stands in PAR_EL1, for the guest to read.
                arch::hyp::translate_stage1(value);
                self.vcpu.switch_bank_to_el2();
                Outcome::Done(0)
            }
            _ => Outcome::Unknown,
        }
    }

    /// CPACR_EL1 of a guest without SVE, and CPTR_EL2 of a VHE one.
    ///
    /// ZEN is RES0 for it. In the CPU it is open: closed it would send the guest's SVE instructions to the guest
    /// as EC 0x19, and they must be UNDEFINED (rule P-72). So the register traps, and ZEN is hidden.
    fn cpacr_without_sve(&mut self, access: Access, value: u64) -> Outcome {
        if self.vcpu.in_el2 && !self.config.vhe() {
            // An nVHE EL2 means its guest's register, which is in memory.
            if !access.read {
                self.vcpu.vncr.set(vncr::CPACR_EL1, value & !cptr::ZEN);
            }
            return Outcome::Done(self.vcpu.vncr.get(vncr::CPACR_EL1));
        }
        if access.read {
            return Outcome::Done(read!("S3_5_C1_C0_2") & !cptr::ZEN);
        }
        write!("S3_5_C1_C0_2", value | cptr::ZEN);
        Outcome::Done(value & !cptr::ZEN)
    }

    /// ZCR_EL2 of the guest's EL2, which the CPU's ZCR_EL1 holds while EL2 runs.
    ///
    /// With HCR_EL2.NV the CPU reports EC 0x18 whatever the guest's own controls say; the guest must see what a
    /// real EL2 does: EC 0x19 if it traps SVE for itself, else no trap at all (rule P-70).
    fn zcr_el2(&mut self, access: Access, value: u64) -> Outcome {
        if !self.config.sve() {
            return Outcome::Undefined;
        }
        let open = if self.fault(Fault::NvOwnZcrWholeZen) { cptr::ZEN } else { cptr::ZEN0 };
        if read!("S3_5_C1_C0_2") & open == 0 {
            return Outcome::Trap((u64::from(esr::ec::SVE) << 26) | esr::IL);
        }
        if !access.read && self.fp.owner == Owner::Free && self.fault(Fault::NvZcrBeforeLoad) {
            // The length is changed before the state is there, and the load puts the old one back.
            return Outcome::Done(value & 0xf);
        }
        // The first use of SVE may be this: the vCPU must own the registers whose length is about to change.
        self.fp_take();
        fp::open();
        if access.read {
            if self.fault(Fault::NvZcrMapped) {
                self.vcpu_put();
                self.other_guest();
                let other = read!("S3_5_C1_C2_0");
                self.vcpu_load();
                return Outcome::Done(other);
            }
            return Outcome::Done(read!("S3_5_C1_C2_0"));
        }
        let len = value & 0xf;
        if len > self.config.len_max() && self.fault(Fault::NvZcrWriteAssert) {
            self.end(End::Broken, 0);
        }
        if len > self.config.len_max() && self.fault(Fault::NvZcrClampStore) {
            write!("S3_5_C1_C2_0", self.config.len_max());
            return Outcome::Done(len);
        }
        // LEN keeps what was written, even above the vCPU's maximum; the rest is RES0.
        let old = read!("S3_5_C1_C2_0");
        self.before_length_change(old, len);
        fp::open();
        write!("S3_5_C1_C2_0", len);
        arch::sysreg::isb();
        self.after_length_change(old, len);
        Outcome::Done(len)
    }

    /// An ID register as this guest is to see it: nothing is promised that is not switched (rule P-73).
    fn id_register(&mut self, reg: (u8, u8, u8, u8, u8)) -> u64 {
        const fn without(value: u64, shift: u32) -> u64 {
            value & !(0xf << shift)
        }
        match reg {
            // ID_AA64PFR0_EL1: EL2, SVE, AMU, MPAM, RME.
            (3, 0, 0, 4, 0) => {
                let mut value = without(without(without(read!("ID_AA64PFR0_EL1"), 44), 40), 52);
                if !self.config.el2() {
                    value = without(value, 8);
                }
                if self.config.sve() || self.fault(Fault::TrIdOverpromise) {
                    value
                } else {
                    without(value, 32)
                }
            }
            // ID_AA64PFR1_EL1: MTE, SME, GCS, NMI, MTEX.
            (3, 0, 0, 4, 1) => {
                let value = read!("ID_AA64PFR1_EL1");
                without(without(without(without(without(value, 8), 24), 44), 36), 52)
            }
            // ID_AA64PFR2_EL1: FPMR.
            (3, 0, 0, 4, 2) => {
                let value = read!("S3_0_C0_C4_2");
                if self.config.fpmr() { value } else { without(value, 32) }
            }
            // ID_AA64ZFR0_EL1.
            (3, 0, 0, 4, 4) if self.config.sve() => read!("S3_0_C0_C4_4"),
            (3, 0, 0, 5, 0) => read!("ID_AA64DFR0_EL1"),
            (3, 0, 0, 6, 0) => read!("ID_AA64ISAR0_EL1"),
            (3, 0, 0, 6, 1) => read!("ID_AA64ISAR1_EL1"),
            (3, 0, 0, 6, 2) => read!("S3_0_C0_C6_2"),
            (3, 0, 0, 6, 3) => read!("S3_0_C0_C6_3"),
            (3, 0, 0, 7, 0) => read!("ID_AA64MMFR0_EL1"),
            (3, 0, 0, 7, 1) => read!("ID_AA64MMFR1_EL1"),
            // ID_AA64MMFR2_EL1: NV.
            (3, 0, 0, 7, 2) => {
                let value = read!("ID_AA64MMFR2_EL1");
                if self.config.el2() { value } else { without(value, 24) }
            }
            (3, 0, 0, 7, 3) => read!("S3_0_C0_C7_3"),
            (3, 0, 0, 7, 4) => read!("S3_0_C0_C7_4"),
            // SME and FP8 feature registers, AArch32, and what is reserved, read as zero.
            _ => 0,
        }
    }
}

/// Registers of features that no guest of this hypervisor has: SME.
const fn hidden(access: Access) -> bool {
    matches!(
        access.reg,
        // SMPRI_EL1, SMCR_EL1, SMPRIMAP_EL2, SMCR_EL2, SVCR, TPIDR2_EL0, SMIDR_EL1.
        (3, 0, 1, 2, 4 | 6) | (3, 4, 1, 2, 5 | 6) | (3, 3, 4, 2, 2) | (3, 3, 13, 0, 5) | (3, 1, 0, 0, 6)
    )
}
