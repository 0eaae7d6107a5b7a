//! The control registers, by bank, and what they say about FP and SVE at a place.

use abi::place::Place;

use super::file::Bits;
use crate::machine::Machine;
use crate::scenario::step::L1Mode;

/// CPACR_EL1.FPEN; CPTR_EL2.FPEN with E2H = 1.
pub const FPEN: u64 = 3 << 20;
/// CPACR_EL1.ZEN; CPTR_EL2.ZEN with E2H = 1.
pub const ZEN: u64 = 3 << 16;
/// CPTR_EL2.TCPAC, in both layouts.
pub const TCPAC: u64 = 1 << 31;
/// CPTR_EL2.TFP, with E2H = 0.
pub const TFP: u64 = 1 << 10;
/// CPTR_EL2.TZ, with E2H = 0.
pub const TZ: u64 = 1 << 8;
/// ZCR_ELx.LEN.
pub const LEN: u64 = 0xf;
/// HCRX_EL2.EnFPM.
pub const HCRX_ENFPM: u64 = 1 << 23;
/// SCTLR_ELx.EnFPM.
pub const SCTLR_ENFPM: u64 = 1 << 34;

/// Bits of HCR_EL2.
pub mod hcr {
    /// Stage 2.
    pub const VM: u64 = 1;
    /// FIQ to EL2.
    pub const FMO: u64 = 1 << 3;
    /// IRQ to EL2, and virtual IRQs.
    pub const IMO: u64 = 1 << 4;
    /// SError to EL2, and virtual SErrors.
    pub const AMO: u64 = 1 << 5;
    /// A virtual FIQ is pending.
    pub const VF: u64 = 1 << 6;
    /// A virtual IRQ is pending.
    pub const VI: u64 = 1 << 7;
    /// A virtual SError is pending.
    pub const VSE: u64 = 1 << 8;
    /// Traps WFI.
    pub const TWI: u64 = 1 << 13;
    /// Traps WFE.
    pub const TWE: u64 = 1 << 14;
    /// Traps SMC.
    pub const TSC: u64 = 1 << 19;
    /// Traps ACTLR_EL1.
    pub const TACR: u64 = 1 << 21;
    /// EL0 belongs to EL2.
    pub const TGE: u64 = 1 << 27;
    /// EL2 is a host.
    pub const E2H: u64 = 1 << 34;
}

/// An Exception level.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum El {
    /// EL0.
    El0,
    /// EL1.
    El1,
    /// EL2.
    El2,
}

/// The Exception level of a place.
#[must_use]
pub const fn el_of(place: Place) -> El {
    match place {
        Place::L1 => El::El2,
        Place::L2 | Place::L2b | Place::G => El::El1,
        Place::L1El0 | Place::L2El0 | Place::GEl0 => El::El0,
    }
}

/// The place at EL1 whose controls hold at `place`: none at EL2 and in a host's EL0 (IsInHost()).
#[must_use]
pub const fn el1_of(place: Place) -> Option<Place> {
    match place {
        Place::L1 | Place::L1El0 => None,
        Place::L2 | Place::L2El0 => Some(Place::L2),
        Place::L2b => Some(Place::L2b),
        Place::G | Place::GEl0 => Some(Place::G),
    }
}

/// Whether EL2 is the payload's and its controls hold at `place`.
#[must_use]
pub const fn under_el2(place: Place) -> bool {
    !matches!(place, Place::G | Place::GEl0)
}

/// The EL1 registers of one context.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct El1Bank {
    /// CPACR_EL1.
    pub cpacr: Bits,
    /// ZCR_EL1.
    pub zcr: Bits,
    /// SCTLR_EL1.
    pub sctlr: Bits,
}

/// The EL2 registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct El2Bank {
    /// CPTR_EL2, in the layout of the E2H in force (rule P-74).
    pub cptr: Bits,
    /// ZCR_EL2.
    pub zcr: Bits,
    /// HCR_EL2.
    pub hcr: Bits,
    /// HCRX_EL2.
    pub hcrx: Bits,
    /// SCTLR_EL2.
    pub sctlr: Bits,
}

/// Every control register that the oracle follows (rule P-87: they are separate).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Controls {
    /// How L1 runs.
    pub l1: Option<L1Mode>,
    /// The EL1 bank of L2.
    pub l2: El1Bank,
    /// The EL1 bank of L2b.
    pub l2b: El1Bank,
    /// The EL1 bank of G.
    pub g: El1Bank,
    /// The EL2 bank of L1.
    pub el2: El2Bank,
    /// Whose EL1 bank is in the registers: L2 or L2b.
    pub installed: Place,
    /// [`crate::machine::Choices::amo_is_one_at_vhe_el2`].
    pub amo_is_one_at_vhe_el2: bool,
}

/// Which of the two units an access needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnitKind {
    /// FP and AdvSIMD.
    Fp,
    /// SVE.
    Sve,
}

impl Controls {
    /// The controls before the program's first operation. FP and SVE controls are unknown, so the oracle takes
    /// them as closed; ZCR_ELx is what the machine says.
    #[must_use]
    pub fn new(machine: &Machine) -> Self {
        let bank = El1Bank { cpacr: Bits::UNKNOWN, zcr: Bits::all(machine.zcr_reset), sctlr: Bits::UNKNOWN };
        let e2h = if machine.features.el2 == Some(L1Mode::Vhe) { hcr::E2H } else { 0 };
        let cptr = match machine.features.el2 {
            Some(L1Mode::Nvhe) => Bits { value: TFP | TZ, known: 0 },
            _ => Bits::UNKNOWN,
        };
        Self {
            l1: machine.features.el2,
            l2: bank,
            l2b: bank,
            g: bank,
            el2: El2Bank {
                cptr,
                zcr: Bits::all(machine.zcr_reset),
                hcr: Bits { value: e2h, known: hcr::E2H },
                hcrx: Bits::UNKNOWN,
                sctlr: Bits::UNKNOWN,
            },
            installed: Place::L2,
            amo_is_one_at_vhe_el2: machine.choices.amo_is_one_at_vhe_el2,
        }
    }

    /// HCR_EL2.E2H of the payload's EL2.
    #[must_use]
    pub const fn e2h(&self) -> bool {
        matches!(self.l1, Some(L1Mode::Vhe))
    }

    /// Whether all of these bits of HCR_EL2 are set.
    #[must_use]
    pub const fn hcr(&self, bits: u64) -> bool {
        self.el2.hcr.value & bits == bits
    }

    /// The EL1 bank of a place at EL1.
    #[must_use]
    pub const fn el1(&self, place: Place) -> &El1Bank {
        match place {
            Place::L2b => &self.l2b,
            Place::G | Place::GEl0 => &self.g,
            _ => &self.l2,
        }
    }

    /// The EL1 bank of a place at EL1, to write.
    pub const fn el1_mut(&mut self, place: Place) -> &mut El1Bank {
        match place {
            Place::L2b => &mut self.l2b,
            Place::G | Place::GEl0 => &mut self.g,
            _ => &mut self.l2,
        }
    }

    /// CPACR_EL1.FPEN or ZEN disables the unit at `place`, a place under an EL1 (DDI0487, CPACR_EL1; P-68: 01
    /// means EL0 only).
    #[must_use]
    pub fn el1_disables(&self, unit: UnitKind, place: Place) -> bool {
        let Some(el1) = el1_of(place) else { return false };
        let at_el0 = el_of(place) == El::El0;
        match self.el1(el1).cpacr.value >> shift(unit) & 3 {
            0b00 | 0b10 => true,
            0b01 => at_el0,
            _ => false,
        }
    }

    /// CPTR_EL2 disables the unit at `place` (DDI0487, CPTR_EL2, both layouts; P-68: 01 means EL0 with TGE = 1).
    #[must_use]
    pub fn el2_disables(&self, unit: UnitKind, place: Place) -> bool {
        if !under_el2(place) {
            return false;
        }
        let cptr = self.el2.cptr.value;
        if !self.e2h() {
            let bit = match unit {
                UnitKind::Fp => TFP,
                UnitKind::Sve => TZ,
            };
            return cptr & bit != 0;
        }
        match cptr >> shift(unit) & 3 {
            0b00 | 0b10 => true,
            0b01 => el_of(place) == El::El0 && self.hcr(hcr::TGE),
            _ => false,
        }
    }

    /// IsFPEnabled() of the manual.
    #[must_use]
    pub fn fp_enabled(&self, place: Place) -> bool {
        !self.el1_disables(UnitKind::Fp, place) && !self.el2_disables(UnitKind::Fp, place)
    }

    /// IsSVEEnabled() of the manual. It does not look at FPEN.
    #[must_use]
    pub fn sve_enabled(&self, place: Place, machine: &Machine) -> bool {
        machine.features.sve
            && !self.el1_disables(UnitKind::Sve, place)
            && !self.el2_disables(UnitKind::Sve, place)
    }
}

const fn shift(unit: UnitKind) -> u32 {
    match unit {
        UnitKind::Fp => FPEN.trailing_zeros(),
        UnitKind::Sve => ZEN.trailing_zeros(),
    }
}
