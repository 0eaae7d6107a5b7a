//! What ESR_ELx holds after an exception.

use abi::sysreg::SysReg;

/// ESR_ELx.EC.
pub mod ec {
    /// Unknown reason: UNDEFINED instructions.
    pub const UNKNOWN: u8 = 0x00;
    /// Trapped WFI or WFE.
    pub const WFX: u8 = 0x01;
    /// Trapped FP or AdvSIMD.
    pub const FP: u8 = 0x07;
    /// Illegal Execution state.
    pub const ILLEGAL_STATE: u8 = 0x0e;
    /// SVC.
    pub const SVC: u8 = 0x15;
    /// Trapped SME.
    pub const SME: u8 = 0x1d;
    /// HVC.
    pub const HVC: u8 = 0x16;
    /// SMC.
    pub const SMC: u8 = 0x17;
    /// Trapped MSR, MRS or system instruction.
    pub const SYSREG: u8 = 0x18;
    /// Trapped SVE.
    pub const SVE: u8 = 0x19;
    /// Pointer authentication failure.
    pub const PAC_FAIL: u8 = 0x1c;
    /// Data abort from a lower level.
    pub const DABT_LOWER: u8 = 0x24;
    /// Data abort from the same level.
    pub const DABT_SAME: u8 = 0x25;
    /// SError.
    pub const SERROR: u8 = 0x2f;
    /// BRK.
    pub const BRK: u8 = 0x3c;
}

/// A value of ESR_ELx and the bits of it that the architecture fixes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Syndrome {
    /// The value; bits outside `mask` are zero.
    pub value: u64,
    /// The bits that are compared.
    pub mask: u64,
}

/// ESR_ELx.IL: all exceptions of the payload are of 32-bit instructions, or of kinds where IL is 1 anyway.
const IL: u64 = 1 << 25;
/// EC, IL and all of ISS.
const WHOLE: u64 = 0xffff_ffff;
/// Bits 24:20 of ISS for an instruction of AArch64 state: CV = 1, COND = 0b1110 (ConditionSyndrome()).
const COND_AL: u64 = 0x1e << 20;

impl Syndrome {
    /// A syndrome with this class and all of this ISS.
    #[must_use]
    pub const fn new(ec: u8, iss: u64) -> Self {
        Self { value: (ec as u64) << 26 | IL | iss, mask: WHOLE }
    }

    /// ESR_ELx.EC.
    #[must_use]
    pub const fn ec(self) -> u8 {
        (self.value >> 26 & 0x3f) as u8
    }

    /// Whether ESR_ELx may hold `esr`.
    #[must_use]
    pub const fn allows(self, esr: u64) -> bool {
        (esr ^ self.value) & self.mask == 0
    }

    /// A trapped FP or AdvSIMD access, rule P-65.
    #[must_use]
    pub const fn fp() -> Self {
        Self::new(ec::FP, COND_AL)
    }

    /// A trapped SVE or ZCR_ELx access, rules P-66 and P-69: ISS is RES0.
    #[must_use]
    pub const fn sve() -> Self {
        Self::new(ec::SVE, 0)
    }

    /// An SME access that CPACR_EL1.SMEN traps, rule P-67: SMTC is 0.
    #[must_use]
    pub const fn sme() -> Self {
        Self::new(ec::SME, 0)
    }

    /// A trapped MRS of `reg` into X0 or, with `write`, an MSR from it.
    #[must_use]
    pub const fn sysreg(reg: SysReg, write: bool) -> Self {
        let (op0, op1, crn, crm, op2) = reg.encoding();
        let iss = (op0 as u64) << 20
            | (op2 as u64) << 17
            | (op1 as u64) << 14
            | (crn as u64) << 10
            | (crm as u64) << 1
            | !write as u64;
        Self::new(ec::SYSREG, iss)
    }

    /// WFI or, with TI = 1, WFE. RN and RV belong to FEAT_WFxT.
    #[must_use]
    pub const fn wfx(wfe: bool) -> Self {
        let fixed = Self::new(ec::WFX, COND_AL | wfe as u64);
        Self { mask: 0xff00_0000 | 0xf << 20 | 0x3, ..fixed }
    }

    /// An SError: its ISS is IMPLEMENTATION DEFINED or says how it came to be.
    #[must_use]
    pub const fn serror() -> Self {
        Self { value: (ec::SERROR as u64) << 26 | IL, mask: 0xfe00_0000 }
    }

    /// A translation fault at level 3 on a read. `isv` gives bits 24:14, which only a stage 2 fault of a
    /// general-purpose load has.
    #[must_use]
    pub const fn data_abort(same_level: bool, isv: u64) -> Self {
        const TRANSLATION_LEVEL_3: u64 = 0b00_0111;
        // SET, bits 12:11, has another meaning with FEAT_LS64, and VNCR, bit 13, with FEAT_NV2: zero in both.
        Self::new(if same_level { ec::DABT_SAME } else { ec::DABT_LOWER }, isv | TRANSLATION_LEVEL_3)
    }

    /// Bits 24:14 of the ISS for `ldr x0, [x1]`: ISV, SAS = 64 bits, SRT = X0, SF.
    pub const ISV_LDR_X0: u64 = 1 << 24 | 0b11 << 22 | 1 << 15;
    /// ISS.WnR.
    pub const WNR: u64 = 1 << 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        assert_eq!(Syndrome::fp().value, 0x1fe0_0000);
        assert_eq!(Syndrome::sve().value, 0x6600_0000);
        // Bits as the kernel's ESR_ELx_SYS64_ISS_* have them: op0 3, op2 1, op1 0, CRn 1, Rt 0, CRm 0, read.
        assert_eq!(Syndrome::sysreg(SysReg::ActlrEl1, false).value, 0x6232_0401);
        assert_eq!(Syndrome::sysreg(SysReg::CpacrEl1, true).value, 0x6234_0400);
        assert_eq!(Syndrome::sysreg(SysReg::Fpmr, false).value, 0x6234_d009);
        assert_eq!(Syndrome::new(ec::HVC, 7).value, 0x5a00_0007);
        assert_eq!(Syndrome::data_abort(false, Syndrome::ISV_LDR_X0).value, 0x93c0_8007);
        assert!(Syndrome::serror().allows(0xbe00_0011));
        assert!(!Syndrome::serror().allows(0x9600_0011));
    }
}
