//! Translation of an nVHE guest hypervisor's registers to the layouts that the CPU's EL1 has.
//!
//! With HCR_EL2.E2H = 0 the registers CPTR_EL2, TCR_EL2 and SCTLR_EL2 differ from CPACR_EL1, TCR_EL1 and
//! SCTLR_EL1 (rule P-74). Page tables need no translation: HCR_EL2.{NV,NV1} = {1,1} makes the CPU read the EL1
//! tables as an EL2 would. Pure functions.

use crate::bits::cptr;

/// CPTR_EL2 with E2H = 0 as one with E2H = 1: TFP and TZ become FPEN and ZEN.
#[must_use]
pub const fn cptr_to_e2h(nvhe: u64) -> u64 {
    let mut value = nvhe & cptr::TCPAC;
    if nvhe & cptr::TFP == 0 {
        value |= cptr::FPEN;
    }
    if nvhe & cptr::TZ == 0 {
        value |= cptr::ZEN;
    }
    value
}

/// What CPACR_EL1 must be while such a guest's EL2 runs.
#[must_use]
pub const fn cptr_to_cpacr(nvhe: u64) -> u64 {
    cptr_to_e2h(nvhe) & (cptr::FPEN | cptr::ZEN)
}

/// TCR_EL2 with E2H = 0 as TCR_EL1: one range of addresses, the other off.
#[must_use]
pub const fn tcr_to_el1(nvhe: u64) -> u64 {
    const EPD1: u64 = 1 << 23;
    const TBI0: u64 = 1 << 37;
    const DS: u64 = 1 << 59;
    let mut value = EPD1 | (nvhe & 0xff3f);
    value |= ((nvhe >> 16) & 7) << 32;
    if nvhe & (1 << 20) != 0 {
        value |= TBI0;
    }
    if nvhe & (1 << 32) != 0 {
        value |= DS;
    }
    value | ((nvhe & (3 << 21)) << 18)
}

/// SCTLR_EL2 with E2H = 0 as SCTLR_EL1: the fields that both have, and EL1's RES1 bits.
#[must_use]
pub const fn sctlr_to_el1(nvhe: u64) -> u64 {
    const BOTH: u64 = 1
        | 1 << 1
        | 1 << 2
        | 1 << 3
        | 1 << 12
        | 1 << 13
        | 1 << 19
        | 1 << 25
        | 1 << 27
        | 1 << 30
        | 1 << 31
        | 1 << 44;
    (nvhe & BOTH) | (crate::bits::SCTLR_RESET & !BOTH)
}
