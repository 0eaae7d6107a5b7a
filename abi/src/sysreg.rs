//! The system registers that a compiled program reads and writes, by name.

macro_rules! sysregs {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, ($op0:literal, $op1:literal, $crn:literal, $crm:literal, $op2:literal);)*) => {
        /// A system register, named as the Arm ARM names its accessor.
        ///
        /// The accessor matters, not the storage: `ZCR_EL1` at a VHE L1 reaches ZCR_EL2 (rule P-58).
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u16)]
        pub enum SysReg { $($(#[$doc])* $variant = $id,)* }

        impl SysReg {
            /// Every register that a program can name.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The register with this number, if there is one.
            #[must_use]
            pub const fn from_u16(value: u16) -> Option<Self> {
                match value { $($id => Some(Self::$variant),)* _ => None }
            }

            /// The name in scenarios and reports: the Arm ARM's, in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The encoding of the accessor: op0, op1, CRn, CRm, op2.
            #[must_use]
            pub const fn encoding(self) -> (u8, u8, u8, u8, u8) {
                match self { $(Self::$variant => ($op0, $op1, $crn, $crm, $op2),)* }
            }
        }
    };
}

sysregs! {
    /// Architectural feature access control of EL1 and EL0; at a VHE EL2 an alias of CPTR_EL2.
    CpacrEl1 = 1, "cpacr_el1", (3, 0, 1, 0, 2);
    /// CPACR_EL1 as a VHE EL2 reaches it.
    CpacrEl12 = 2, "cpacr_el12", (3, 5, 1, 0, 2);
    /// Architectural feature trap register of EL2; its layout depends on HCR_EL2.E2H.
    CptrEl2 = 3, "cptr_el2", (3, 4, 1, 1, 2);
    /// SVE control of EL1; at a VHE EL2 an alias of ZCR_EL2.
    ZcrEl1 = 4, "zcr_el1", (3, 0, 1, 2, 0);
    /// ZCR_EL1 as a VHE EL2 reaches it.
    ZcrEl12 = 5, "zcr_el12", (3, 5, 1, 2, 0);
    /// SVE control of EL2.
    ZcrEl2 = 6, "zcr_el2", (3, 4, 1, 2, 0);
    /// Hypervisor configuration.
    HcrEl2 = 7, "hcr_el2", (3, 4, 1, 1, 0);
    /// Extended hypervisor configuration (EnFPM is bit 23).
    HcrxEl2 = 8, "hcrx_el2", (3, 4, 1, 2, 2);
    /// System control of EL1; at a VHE EL2 an alias of SCTLR_EL2.
    SctlrEl1 = 9, "sctlr_el1", (3, 0, 1, 0, 0);
    /// SCTLR_EL1 as a VHE EL2 reaches it.
    SctlrEl12 = 10, "sctlr_el12", (3, 5, 1, 0, 0);
    /// System control of EL2.
    SctlrEl2 = 11, "sctlr_el2", (3, 4, 1, 0, 0);
    /// Floating-point control.
    Fpcr = 12, "fpcr", (3, 3, 4, 4, 0);
    /// Floating-point status.
    Fpsr = 13, "fpsr", (3, 3, 4, 4, 1);
    /// Floating-point mode (FEAT_FPMR).
    Fpmr = 14, "fpmr", (3, 3, 4, 4, 2);
    /// Feature register with the FP, AdvSIMD and SVE fields.
    IdAa64Pfr0El1 = 15, "id_aa64pfr0_el1", (3, 0, 0, 4, 0);
    /// Feature register with the SME field.
    IdAa64Pfr1El1 = 16, "id_aa64pfr1_el1", (3, 0, 0, 4, 1);
    /// Feature register with the FPMR field.
    IdAa64Pfr2El1 = 17, "id_aa64pfr2_el1", (3, 0, 0, 4, 2);
    /// SVE feature register.
    IdAa64Zfr0El1 = 18, "id_aa64zfr0_el1", (3, 0, 0, 4, 4);
    /// Auxiliary control of EL1: HCR_EL2.TACR traps it, nothing else depends on it.
    ActlrEl1 = 19, "actlr_el1", (3, 0, 1, 0, 1);
    /// The current Exception level, bits 3:2.
    CurrentEl = 20, "currentel", (3, 0, 4, 2, 2);
    /// SME controls of EL1, to check that they are hidden.
    SmcrEl1 = 21, "smcr_el1", (3, 0, 1, 2, 6);
    /// The thread pointer of SME, to check that it is hidden.
    Tpidr2El0 = 22, "tpidr2_el0", (3, 3, 13, 0, 5);
}
