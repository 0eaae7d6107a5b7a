//! Bits of the registers that the hypervisor programs, by the Arm ARM's names.

/// HCR_EL2.
pub mod hcr {
    /// Stage 2 on.
    pub const VM: u64 = 1;
    /// Protected table walk.
    pub const PTW: u64 = 1 << 2;
    /// Route FIQ to EL2.
    pub const FMO: u64 = 1 << 3;
    /// Route IRQ to EL2.
    pub const IMO: u64 = 1 << 4;
    /// Route SError to EL2.
    pub const AMO: u64 = 1 << 5;
    /// Virtual FIQ pending.
    pub const VF: u64 = 1 << 6;
    /// Virtual IRQ pending.
    pub const VI: u64 = 1 << 7;
    /// Virtual SError pending.
    pub const VSE: u64 = 1 << 8;
    /// Default cacheability.
    pub const DC: u64 = 1 << 12;
    /// Trap WFI.
    pub const TWI: u64 = 1 << 13;
    /// Trap WFE.
    pub const TWE: u64 = 1 << 14;
    /// Trap ID group 3.
    pub const TID3: u64 = 1 << 18;
    /// Trap SMC.
    pub const TSC: u64 = 1 << 19;
    /// Trap ACTLR_EL1.
    pub const TACR: u64 = 1 << 21;
    /// Trap TLB maintenance.
    pub const TTLB: u64 = 1 << 25;
    /// Trap general exceptions: EL0 belongs to EL2.
    pub const TGE: u64 = 1 << 27;
    /// EL1 is AArch64.
    pub const RW: u64 = 1 << 31;
    /// EL2 hosts.
    pub const E2H: u64 = 1 << 34;
    /// Pointer authentication keys are not trapped.
    pub const APK: u64 = 1 << 40;
    /// Pointer authentication instructions are not trapped.
    pub const API: u64 = 1 << 41;
    /// Nested virtualization.
    pub const NV: u64 = 1 << 42;
    /// Nested virtualization with an EL2 of E2H = 0.
    pub const NV1: u64 = 1 << 43;
    /// Trap address translation instructions.
    pub const AT: u64 = 1 << 44;
    /// Nested virtualization with registers in memory.
    pub const NV2: u64 = 1 << 45;
    /// Fault injection.
    pub const FIEN: u64 = 1 << 47;
}

/// CPTR_EL2 with E2H = 1, which is CPACR_EL1's layout, and CPTR_EL2 with E2H = 0.
pub mod cptr {
    /// SVE not trapped.
    pub const ZEN: u64 = 3 << 16;
    /// The bit of ZEN that decides with TGE = 0.
    pub const ZEN0: u64 = 1 << 16;
    /// FP and AdvSIMD not trapped.
    pub const FPEN: u64 = 3 << 20;
    /// The bit of FPEN that decides with TGE = 0.
    pub const FPEN0: u64 = 1 << 20;
    /// Trap CPACR_EL1.
    pub const TCPAC: u64 = 1 << 31;
    /// E2H = 0: trap SVE.
    pub const TZ: u64 = 1 << 8;
    /// E2H = 0: trap FP and AdvSIMD.
    pub const TFP: u64 = 1 << 10;
    /// E2H = 0: the bits that are RES1 with SVE and without SME.
    pub const RES1_NVHE: u64 = 0x32ff & !(TZ | TFP);
}

/// HCRX_EL2.
pub mod hcrx {
    /// Memory copy and set instructions are not undefined.
    pub const MSCEN: u64 = 1 << 11;
    /// FPMR is not trapped.
    pub const ENFPM: u64 = 1 << 23;
}

/// PSTATE as SPSR_ELx holds it.
pub mod pstate {
    /// M\[3:0\], the mode, and M\[4\], AArch32.
    pub const MODE: u64 = 0x1f;
    /// EL0.
    pub const EL0T: u64 = 0;
    /// EL1 with SP_EL0.
    pub const EL1T: u64 = 4;
    /// EL1 with SP_EL1.
    pub const EL1H: u64 = 5;
    /// EL2 with SP_EL0.
    pub const EL2T: u64 = 8;
    /// EL2 with SP_EL2.
    pub const EL2H: u64 = 9;
    /// D, A, I and F masked.
    pub const DAIF: u64 = 0x3c0;
    /// Illegal execution state.
    pub const IL: u64 = 1 << 20;
    /// Software step.
    pub const SS: u64 = 1 << 21;
    /// Privileged access never.
    pub const PAN: u64 = 1 << 22;
    /// User access override.
    pub const UAO: u64 = 1 << 23;
    /// Data independent timing.
    pub const DIT: u64 = 1 << 24;
    /// Condition flags.
    pub const NZCV: u64 = 0xf << 28;
}

/// Offsets in the page of VNCR_EL2 where FEAT_NV2 keeps the registers of a guest's EL1 and EL2.
pub mod vncr {
    /// VTTBR_EL2.
    pub const VTTBR_EL2: usize = 0x20;
    /// VTCR_EL2.
    pub const VTCR_EL2: usize = 0x40;
    /// HCR_EL2.
    pub const HCR_EL2: usize = 0x78;
    /// HCRX_EL2.
    pub const HCRX_EL2: usize = 0xa0;
    /// VNCR_EL2.
    pub const VNCR_EL2: usize = 0xb0;
    /// CPACR_EL1.
    pub const CPACR_EL1: usize = 0x100;
    /// SCTLR_EL1.
    pub const SCTLR_EL1: usize = 0x110;
    /// CNTV_CVAL_EL0.
    pub const CNTV_CVAL_EL0: usize = 0x168;
    /// CNTV_CTL_EL0.
    pub const CNTV_CTL_EL0: usize = 0x170;
    /// ZCR_EL1.
    pub const ZCR_EL1: usize = 0x1e0;
    /// VSESR_EL2.
    pub const VSESR_EL2: usize = 0x508;
}

/// What SCTLR_EL1 and SCTLR_EL2 reset to: the bits that are RES1 where a feature is absent, MMU and caches off.
pub const SCTLR_RESET: u64 = 0x30d0_0980;
