//! What an accessor reaches at a place.

use abi::op::mask;
use abi::place::Place;
use abi::sysreg::SysReg;

use super::controls::{self, Controls, El, el_of, el1_of, hcr};
use super::file::{Bits, RegisterFile};
use crate::machine::Machine;

/// The register behind an accessor's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Storage {
    /// CPACR_EL1 of the context of this place at EL1.
    Cpacr(Place),
    /// ZCR_EL1 of the context of this place at EL1.
    Zcr(Place),
    /// SCTLR_EL1 of the context of this place at EL1.
    Sctlr(Place),
    /// CPTR_EL2.
    Cptr,
    /// ZCR_EL2.
    Zcr2,
    /// HCR_EL2.
    Hcr,
    /// HCRX_EL2.
    Hcrx,
    /// SCTLR_EL2.
    Sctlr2,
    /// FPSR, FPCR or FPMR, by its bit of [`abi::op::mask`].
    Status(u64),
    /// A register that cannot be written and whose known bits never change.
    Constant(Bits),
    /// ACTLR_EL1: anything.
    Actlr,
}

/// What `reg` reaches at `place`, or nothing if the accessor is UNDEFINED there.
///
/// Rule P-58: with E2H = 1 at EL2 the EL1 names reach the EL2 registers, and `_EL12` the EL1 ones; with
/// E2H = 0 the `_EL12` names are UNDEFINED.
#[must_use]
pub fn reach(reg: SysReg, place: Place, controls: &Controls, machine: &Machine) -> Option<Storage> {
    let el = el_of(place);
    let at_el2 = el == El::El2;
    let host = at_el2 && controls.e2h();
    // The EL1 bank that a plain `_EL1` name reaches here: L1 reaches the installed one.
    let bank = el1_of(place).unwrap_or(controls.installed);
    let features = machine.features;
    let when = |present: bool, storage: Storage| present.then_some(storage);
    match reg {
        SysReg::Fpcr => Some(Storage::Status(mask::FPCR)),
        SysReg::Fpsr => Some(Storage::Status(mask::FPSR)),
        SysReg::Fpmr => when(features.fpmr, Storage::Status(mask::FPMR)),
        _ if el == El::El0 => None,
        SysReg::CpacrEl1 if host => Some(Storage::Cptr),
        SysReg::CpacrEl1 => Some(Storage::Cpacr(bank)),
        SysReg::CpacrEl12 => when(host, Storage::Cpacr(bank)),
        SysReg::CptrEl2 => when(at_el2, Storage::Cptr),
        SysReg::ZcrEl1 if host => when(features.sve, Storage::Zcr2),
        SysReg::ZcrEl1 => when(features.sve, Storage::Zcr(bank)),
        // A hypervisor cannot hide what is plain memory to a virtual EL2.
        SysReg::ZcrEl12 if host && !features.sve && machine.quirks.zcr_el12_is_memory => {
            Some(Storage::Constant(Bits::UNKNOWN))
        }
        SysReg::ZcrEl12 => when(features.sve && host, Storage::Zcr(bank)),
        SysReg::ZcrEl2 => when(features.sve && at_el2, Storage::Zcr2),
        SysReg::HcrEl2 => when(at_el2, Storage::Hcr),
        SysReg::HcrxEl2 => when(at_el2, Storage::Hcrx),
        SysReg::SctlrEl1 if host => Some(Storage::Sctlr2),
        SysReg::SctlrEl1 => Some(Storage::Sctlr(bank)),
        SysReg::SctlrEl12 => when(host, Storage::Sctlr(bank)),
        SysReg::SctlrEl2 => when(at_el2, Storage::Sctlr2),
        SysReg::ActlrEl1 => Some(Storage::Actlr),
        SysReg::CurrentEl => Some(Storage::Constant(Bits::all(if at_el2 { 0b10 << 2 } else { 0b01 << 2 }))),
        // ID_AA64PFR0_EL1: FP [19:16] and AdvSIMD [23:20] are 0 or 1, SVE [35:32] says whether (P-72, P-73).
        SysReg::IdAa64Pfr0El1 => constant(u64::from(features.sve) << 32, 0xf << 32 | 0xe << 16 | 0xe << 20),
        // ID_AA64PFR1_EL1: SME [27:24].
        SysReg::IdAa64Pfr1El1 => constant(0, if features.sme { 0 } else { 0xf << 24 }),
        // ID_AA64PFR2_EL1: FPMR [35:32].
        SysReg::IdAa64Pfr2El1 => constant(u64::from(features.fpmr) << 32, 0xf << 32),
        // ID_AA64ZFR0_EL1 reads as zero without SVE and SME.
        SysReg::IdAa64Zfr0El1 => constant(0, if features.sve || features.sme { 0 } else { u64::MAX }),
        SysReg::SmcrEl1 | SysReg::Tpidr2El0 => when(features.sme, Storage::Constant(Bits::UNKNOWN)),
    }
}

const fn constant(value: u64, known: u64) -> Option<Storage> {
    Some(Storage::Constant(Bits { value, known }))
}

impl Storage {
    /// What it holds.
    #[must_use]
    pub fn read(self, controls: &Controls, file: &RegisterFile) -> Bits {
        match self {
            Self::Cpacr(place) => controls.el1(place).cpacr,
            Self::Zcr(place) => controls.el1(place).zcr,
            Self::Sctlr(place) => controls.el1(place).sctlr,
            Self::Cptr => controls.el2.cptr,
            Self::Zcr2 => controls.el2.zcr,
            Self::Hcr => controls.el2.hcr,
            Self::Hcrx => controls.el2.hcrx,
            Self::Sctlr2 => controls.el2.sctlr,
            Self::Status(mask::FPSR) => file.fpsr,
            Self::Status(mask::FPCR) => file.fpcr,
            Self::Status(_) => file.fpmr,
            Self::Constant(bits) => bits,
            Self::Actlr => Bits::UNKNOWN,
        }
    }

    /// Writes the bits of `mask` of a control register. The status registers belong to the register file.
    pub fn write(self, value: u64, mask: u64, controls: &mut Controls, machine: &Machine) {
        let kept = self.followed(controls, machine);
        let written = |old: Bits| old.written(value, mask & kept);
        match self {
            Self::Cpacr(place) => controls.el1_mut(place).cpacr = written(controls.el1(place).cpacr),
            Self::Zcr(place) => controls.el1_mut(place).zcr = zcr(controls.el1(place).zcr, value, mask),
            Self::Sctlr(place) => controls.el1_mut(place).sctlr = written(controls.el1(place).sctlr),
            Self::Cptr => controls.el2.cptr = written(controls.el2.cptr),
            Self::Zcr2 => controls.el2.zcr = zcr(controls.el2.zcr, value, mask),
            Self::Hcr => controls.el2.hcr = written(controls.el2.hcr),
            Self::Hcrx => controls.el2.hcrx = written(controls.el2.hcrx),
            Self::Sctlr2 => controls.el2.sctlr = written(controls.el2.sctlr),
            Self::Status(_) | Self::Constant(_) | Self::Actlr => {}
        }
    }

    /// The writable bits that the oracle follows: what is written there is read back (rules P-07, P-87).
    #[must_use]
    pub fn followed(self, controls: &Controls, machine: &Machine) -> u64 {
        let features = machine.features;
        let zen = if features.sve { controls::ZEN } else { 0 };
        let e0poe = if features.poe { 1 << 29 } else { 0 };
        let enfpm = if features.fpmr { controls::SCTLR_ENFPM } else { 0 };
        match self {
            Self::Cpacr(_) => controls::FPEN | zen | e0poe,
            Self::Cptr if controls.e2h() => controls::FPEN | zen | e0poe | controls::TCPAC,
            Self::Cptr => controls::TFP | controls::TCPAC | if features.sve { controls::TZ } else { 0 },
            Self::Zcr(_) | Self::Zcr2 => controls::LEN,
            Self::Hcr => HCR_FOLLOWED,
            Self::Hcrx if features.fpmr => controls::HCRX_ENFPM,
            Self::Hcrx => 0,
            Self::Sctlr(_) | Self::Sctlr2 => enfpm,
            Self::Status(mask::FPSR) => machine.writable.fpsr,
            Self::Status(mask::FPCR) => machine.writable.fpcr,
            Self::Status(_) => machine.writable.fpmr,
            Self::Constant(_) | Self::Actlr => 0,
        }
    }
}

const HCR_FOLLOWED: u64 = hcr::VM
    | hcr::FMO
    | hcr::IMO
    | hcr::AMO
    | hcr::VF
    | hcr::VI
    | hcr::VSE
    | hcr::TWI
    | hcr::TWE
    | hcr::TSC
    | hcr::TACR
    | hcr::TGE;

/// Rule P-54: LEN holds what is written, bits 8:4 read as zero, and RES0 bits were written as zero or are open.
fn zcr(old: Bits, value: u64, mask: u64) -> Bits {
    let res0_written = value & mask & !0x1ff;
    let new = old.written(value & controls::LEN, mask);
    Bits { value: new.value, known: new.known & !res0_written }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::QemuCpu;
    use crate::scenario::step::{Cpu, GuestSpec, L1Mode};

    fn machine(l1: Option<L1Mode>) -> Machine {
        let cpu = QemuCpu { cpu: Cpu::Max, sve: true, vl_max: 512, sme: false, fpmr: true, poe: false };
        let guest = GuestSpec { l1, ..GuestSpec::default() };
        Machine::reference(&cpu, &guest).unwrap()
    }

    #[test]
    fn vhe_aliases() {
        let vhe = machine(Some(L1Mode::Vhe));
        let nvhe = machine(Some(L1Mode::Nvhe));
        let at = |machine: &Machine, reg, place| reach(reg, place, &Controls::new(machine), machine);
        assert_eq!(at(&vhe, SysReg::ZcrEl1, Place::L1), Some(Storage::Zcr2));
        assert_eq!(at(&vhe, SysReg::ZcrEl12, Place::L1), Some(Storage::Zcr(Place::L2)));
        assert_eq!(at(&vhe, SysReg::CpacrEl1, Place::L1), Some(Storage::Cptr));
        assert_eq!(at(&nvhe, SysReg::ZcrEl1, Place::L1), Some(Storage::Zcr(Place::L2)));
        assert_eq!(at(&nvhe, SysReg::ZcrEl12, Place::L1), None);
        assert_eq!(at(&vhe, SysReg::ZcrEl12, Place::L2), None);
        assert_eq!(at(&vhe, SysReg::ZcrEl2, Place::L2), None);
        assert_eq!(at(&vhe, SysReg::ZcrEl1, Place::L2El0), None);
        assert_eq!(at(&vhe, SysReg::Fpsr, Place::L2El0), Some(Storage::Status(mask::FPSR)));
    }

    #[test]
    fn len_is_stateful_and_the_rest_is_zero() {
        let machine = machine(None);
        let mut controls = Controls::new(&machine);
        Storage::Zcr(Place::G).write(0x1ff, u64::MAX, &mut controls, &machine);
        assert_eq!(controls.g.zcr, Bits::all(0xf));
        Storage::Zcr(Place::G).write(0x203, u64::MAX, &mut controls, &machine);
        assert_eq!(controls.g.zcr, Bits { value: 3, known: !0x200 });
    }
}
