//! Decoding of `ESR_ELx`. Pure: runs on any host, reads no register.

/// ESR_ELx.EC values.
pub mod ec {
    /// Unknown reason: an undefined instruction.
    pub const UNKNOWN: u8 = 0x00;
    /// WFI, WFE.
    pub const WFX: u8 = 0x01;
    /// FP or AdvSIMD access.
    pub const FP: u8 = 0x07;
    /// ERET with failing or trapped pointer authentication instruction.
    pub const PAUTH: u8 = 0x09;
    /// Illegal execution state.
    pub const ILLEGAL: u8 = 0x0e;
    /// SVC from AArch64.
    pub const SVC: u8 = 0x15;
    /// HVC from AArch64.
    pub const HVC: u8 = 0x16;
    /// SMC from AArch64.
    pub const SMC: u8 = 0x17;
    /// MSR, MRS, system instruction.
    pub const SYSREG: u8 = 0x18;
    /// SVE access.
    pub const SVE: u8 = 0x19;
    /// ERET, ERETAA, ERETAB.
    pub const ERET: u8 = 0x1a;
    /// Pointer authentication failure (FEAT_FPAC).
    pub const FPAC: u8 = 0x1c;
    /// SME access.
    pub const SME: u8 = 0x1d;
    /// Instruction abort from a lower level.
    pub const IABORT_LOWER: u8 = 0x20;
    /// Instruction abort from the same level.
    pub const IABORT_SAME: u8 = 0x21;
    /// PC alignment.
    pub const PC_ALIGN: u8 = 0x22;
    /// Data abort from a lower level.
    pub const DABORT_LOWER: u8 = 0x24;
    /// Data abort from the same level.
    pub const DABORT_SAME: u8 = 0x25;
    /// SP alignment.
    pub const SP_ALIGN: u8 = 0x26;
    /// SError.
    pub const SERROR: u8 = 0x2f;
    /// Software step from a lower level.
    pub const STEP_LOWER: u8 = 0x32;
    /// BRK.
    pub const BRK: u8 = 0x3c;
}

/// The exception class, bits 31:26.
#[must_use]
pub const fn class(esr: u64) -> u8 {
    ((esr >> 26) & 0x3f) as u8
}

/// The syndrome, bits 24:0.
#[must_use]
pub const fn iss(esr: u64) -> u64 {
    esr & 0x1ff_ffff
}

/// Instruction length bit: 1 for a 32-bit instruction.
pub const IL: u64 = 1 << 25;
