//! Where an instruction traps, and with which syndrome: pure functions of controls and place.
//!
//! Everything is from the accessor pseudocode of the Arm ARM (DDI0487): `CheckFPAdvSIMDEnabled64`,
//! `CheckOriginalSVEEnabled`, and the access functions of the registers. An exception to EL1 goes before one to
//! EL2, and at each level ZEN goes before FPEN (rules P-65, P-66).

use abi::op::Touch;
use abi::place::Place;
use abi::sysreg::SysReg;

use super::controls::{self, Controls, El, UnitKind, el_of, el1_of, hcr, under_el2};
use super::syndrome::{Syndrome, ec};
use super::sysreg::reach;
use crate::machine::Machine;

/// What an instruction needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// FP or AdvSIMD registers.
    Fp,
    /// Z or P registers, or FFR, or the vector length.
    Sve,
    /// A system register by MRS, or by MSR with `write`.
    SysReg {
        /// By this accessor.
        reg: SysReg,
        /// Written.
        write: bool,
    },
}

impl Access {
    /// What the one instruction of a touch needs.
    #[must_use]
    pub fn of(touch: Touch) -> Self {
        let read = |reg| Self::SysReg { reg, write: false };
        let write = |reg| Self::SysReg { reg, write: true };
        match touch {
            Touch::V | Touch::LoadQ | Touch::StoreQ | Touch::VRead => Self::Fp,
            Touch::Z
            | Touch::P
            | Touch::Ffr
            | Touch::Rdvl
            | Touch::LoadZ
            | Touch::LoadFirstFault
            | Touch::SetFfr => Self::Sve,
            Touch::Fpsr => read(SysReg::Fpsr),
            Touch::Fpcr => read(SysReg::Fpcr),
            Touch::Fpmr => read(SysReg::Fpmr),
            Touch::ZcrEl1 => read(SysReg::ZcrEl1),
            Touch::ZcrEl1Write => write(SysReg::ZcrEl1),
            Touch::ZcrEl2 => read(SysReg::ZcrEl2),
            Touch::ZcrEl2Write => write(SysReg::ZcrEl2),
            Touch::ZcrEl12 => read(SysReg::ZcrEl12),
            Touch::CpacrEl1 => read(SysReg::CpacrEl1),
            Touch::CpacrEl1Write => write(SysReg::CpacrEl1),
            Touch::SmcrEl1 => read(SysReg::SmcrEl1),
            Touch::Tpidr2El0 => read(SysReg::Tpidr2El0),
        }
    }
}

/// An exception instead of the access.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trap {
    /// Where it arrives.
    pub to: Place,
    /// With which syndrome.
    pub syndrome: Syndrome,
    /// Other syndromes that are accepted, by a quirk.
    pub also: [Option<Syndrome>; 2],
}

impl Trap {
    /// A trap with one legal syndrome.
    #[must_use]
    pub const fn new(to: Place, syndrome: Syndrome) -> Self {
        Self { to, syndrome, also: [None; 2] }
    }
}

/// What the access does at `place`: nothing special, or a trap.
#[must_use]
pub fn trap(access: Access, place: Place, controls: &Controls, machine: &Machine) -> Option<Trap> {
    match access {
        Access::Fp => fp(place, controls),
        // Without FEAT_SVE the encodings are unallocated, whatever FPEN says (rule P-72).
        Access::Sve if !machine.features.sve => Some(absent_sve(place, controls, machine)),
        Access::Sve => sve(place, controls, true),
        Access::SysReg { reg, write } => sysreg(reg, write, place, controls, machine),
    }
}

/// An UNDEFINED instruction at `place`: EC 0 at the level itself, or from EL0 at the one above it.
#[must_use]
pub const fn undefined(place: Place) -> Trap {
    Trap::new(own_level(place), Syndrome::new(ec::UNKNOWN, 0))
}

/// An access to a feature that is not there or, with `hidden`, that a hypervisor hides: the CPU has it, and CPACR_EL1 may
/// trap it before the hypervisor can make it UNDEFINED, by the feature's own field as `own` or by a closed FPEN.
fn absent(place: Place, own: Option<Syndrome>, hidden: bool, controls: &Controls) -> Trap {
    let by_fpen = hidden && (el_of(place) == El::El2 || controls.el1_disables(UnitKind::Fp, place));
    Trap { also: [own, by_fpen.then_some(Syndrome::fp())], ..undefined(place) }
}

fn absent_sve(place: Place, controls: &Controls, machine: &Machine) -> Trap {
    let by_zen = machine.quirks.hidden_zen_reaches_cpu.then_some(Syndrome::sve());
    absent(place, by_zen, machine.quirks.sve_is_hidden, controls)
}

/// Where an exception goes that nothing routes elsewhere: to the level itself; from EL0 to EL1, or to EL2 with
/// HCR_EL2.TGE = 1, which is what [`Place::L1El0`] is.
#[must_use]
pub const fn own_level(place: Place) -> Place {
    match el1_of(place) {
        Some(el1) => el1,
        None => Place::L1,
    }
}

/// `CheckFPAdvSIMDEnabled64`.
fn fp(place: Place, controls: &Controls) -> Option<Trap> {
    let disabled_by_el1 = controls.el1_disables(UnitKind::Fp, place);
    if disabled_by_el1 {
        return Some(Trap::new(own_level(place), Syndrome::fp()));
    }
    controls.el2_disables(UnitKind::Fp, place).then_some(Trap::new(Place::L1, Syndrome::fp()))
}

/// `CheckOriginalSVEEnabled`; without `with_fp` what the accessors of ZCR_ELx check, which is ZEN alone.
fn sve(place: Place, controls: &Controls, with_fp: bool) -> Option<Trap> {
    let at_el1 = own_level(place);
    if controls.el1_disables(UnitKind::Sve, place) {
        return Some(Trap::new(at_el1, Syndrome::sve()));
    }
    if with_fp && controls.el1_disables(UnitKind::Fp, place) {
        return Some(Trap::new(at_el1, Syndrome::fp()));
    }
    if controls.el2_disables(UnitKind::Sve, place) {
        return Some(Trap::new(Place::L1, Syndrome::sve()));
    }
    (with_fp && controls.el2_disables(UnitKind::Fp, place)).then_some(Trap::new(Place::L1, Syndrome::fp()))
}

fn sysreg(reg: SysReg, write: bool, place: Place, controls: &Controls, machine: &Machine) -> Option<Trap> {
    if reach(reg, place, controls, machine).is_none() {
        let sme_is_hidden = machine.quirks.sme_is_hidden;
        return Some(match reg {
            SysReg::ZcrEl1 | SysReg::ZcrEl12 | SysReg::ZcrEl2 if !machine.features.sve => {
                absent_sve(place, controls, machine)
            }
            SysReg::SmcrEl1 => {
                absent(place, sme_is_hidden.then_some(Syndrome::sme()), sme_is_hidden, controls)
            }
            _ => undefined(place),
        });
    }
    let at_el1_under_el2 = el_of(place) == El::El1 && under_el2(place);
    let to_el2 = Trap::new(Place::L1, Syndrome::sysreg(reg, write));
    match reg {
        SysReg::Fpsr | SysReg::Fpcr => fp(place, controls),
        SysReg::Fpmr => fpmr(write, place, controls),
        // Rules P-69 and P-70: ZEN (TZ), from EL1 upwards, and by the quirk FPEN (TFP), too.
        SysReg::ZcrEl12 if machine.quirks.zcr_el12_is_memory => None,
        SysReg::ZcrEl2 if machine.quirks.zcr_el2_is_emulated => sve(place, controls, false),
        SysReg::ZcrEl1 | SysReg::ZcrEl12 | SysReg::ZcrEl2 => {
            sve(place, controls, machine.quirks.zcr_checks_fpen)
        }
        SysReg::CpacrEl1 if at_el1_under_el2 => {
            (controls.el2.cptr.value & controls::TCPAC != 0).then_some(to_el2)
        }
        SysReg::ActlrEl1 if at_el1_under_el2 => controls.hcr(hcr::TACR).then_some(to_el2),
        _ => None,
    }
}

/// The accessors of FPMR (DDI0487 C5.2.9): EnFPM of SCTLR_ELx at EL0, then of HCRX_EL2, then FPEN.
fn fpmr(write: bool, place: Place, controls: &Controls) -> Option<Trap> {
    let syndrome = Syndrome::sysreg(SysReg::Fpmr, write);
    let host_el0 = place == Place::L1El0;
    if el_of(place) == El::El0 {
        let sctlr = match el1_of(place) {
            Some(el1) => controls.el1(el1).sctlr,
            None => controls.el2.sctlr,
        };
        if sctlr.value & controls::SCTLR_ENFPM == 0 {
            return Some(Trap::new(own_level(place), syndrome));
        }
    }
    let below_el2 = under_el2(place) && el_of(place) != El::El2 && !host_el0;
    if below_el2 && controls.el2.hcrx.value & controls::HCRX_ENFPM == 0 {
        return Some(Trap::new(Place::L1, syndrome));
    }
    fp(place, controls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Machine, QemuCpu};
    use crate::oracle::file::Bits;
    use crate::scenario::step::{Cpu, GuestSpec, L1Mode};

    fn machine(l1: Option<L1Mode>, quirk: bool) -> Machine {
        let cpu = QemuCpu { cpu: Cpu::Max, sve: true, vl_max: 512, sme: false, fpmr: true, poe: false };
        let guest = GuestSpec { l1, ..GuestSpec::default() };
        let mut machine = Machine::reference(&cpu, &guest).unwrap();
        machine.quirks.zcr_checks_fpen = quirk;
        machine
    }

    /// A second formulation, from the prose of P-65 to P-70, as a table of who closes what to whom.
    fn prose(
        what: &str,
        place: Place,
        cpacr: (u64, u64),
        cptr: (u64, u64),
        vhe: bool,
    ) -> Option<(Place, u8)> {
        // (fpen, zen) of each register. In the layout of E2H = 0, 0 is "open" and anything else "trapped".
        let el1 = match place {
            Place::L2 | Place::L2El0 => Some(Place::L2),
            Place::G | Place::GEl0 => Some(Place::G),
            _ => None,
        };
        let user = matches!(place, Place::L2El0 | Place::GEl0 | Place::L1El0);
        let closed_at_el1 = |field: u64| el1.is_some() && (field & 1 == 0 || (field == 1 && user));
        let closed_at_el2 = |field: u64| {
            if matches!(place, Place::G | Place::GEl0) {
                false
            } else if vhe {
                field & 1 == 0 || (field == 1 && place == Place::L1El0)
            } else {
                field != 0
            }
        };
        let mut order = Vec::new();
        let (sve, fp) = match what {
            "v" => (false, true),
            "zcr" => (true, false),
            _ => (true, true),
        };
        if sve && closed_at_el1(cpacr.1) {
            order.push((el1.unwrap(), 0x19));
        }
        if fp && closed_at_el1(cpacr.0) {
            order.push((el1.unwrap(), 0x07));
        }
        if sve && closed_at_el2(cptr.1) {
            order.push((Place::L1, 0x19));
        }
        if fp && closed_at_el2(cptr.0) {
            order.push((Place::L1, 0x07));
        }
        order.first().copied()
    }

    #[test]
    fn every_fpen_and_zen_at_every_place() {
        let places = [Place::L1, Place::L1El0, Place::L2, Place::L2El0, Place::G, Place::GEl0];
        for vhe in [true, false] {
            for quirk in [true, false] {
                for place in places {
                    let guest = matches!(place, Place::G | Place::GEl0);
                    if place == Place::L1El0 && !vhe {
                        continue;
                    }
                    let mode = if vhe { L1Mode::Vhe } else { L1Mode::Nvhe };
                    let machine = machine((!guest).then_some(mode), quirk);
                    let closable = if vhe { 16 } else { 4 };
                    for el1 in 0..16_u64 {
                        for el2 in 0..closable {
                            let mut controls = Controls::new(&machine);
                            let cpacr = (el1 >> 2, el1 & 3);
                            controls.l2.cpacr = Bits::all(cpacr.0 << 20 | cpacr.1 << 16);
                            controls.g.cpacr = controls.l2.cpacr;
                            let cptr;
                            if vhe {
                                cptr = (el2 >> 2, el2 & 3);
                                controls.el2.cptr = Bits::all(cptr.0 << 20 | cptr.1 << 16);
                            } else {
                                cptr = (el2 >> 1, el2 & 1);
                                controls.el2.cptr = Bits::all(cptr.0 << 10 | cptr.1 << 8);
                            }
                            if place == Place::L1El0 {
                                controls.el2.hcr = controls.el2.hcr.written(hcr::TGE, hcr::TGE);
                            }
                            let found = |access| {
                                trap(access, place, &controls, &machine)
                                    .map(|trap| (trap.to, trap.syndrome.ec()))
                            };
                            let expected = |what| prose(what, place, cpacr, cptr, vhe);
                            assert_eq!(found(Access::Fp), expected("v"));
                            assert_eq!(found(Access::Sve), expected("z"));
                            if el_of(place) != El::El0 {
                                let zcr = found(Access::SysReg { reg: SysReg::ZcrEl1, write: true });
                                assert_eq!(zcr, expected(if quirk { "z" } else { "zcr" }));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_lower_level_finds_el2_registers_undefined() {
        let machine = machine(Some(L1Mode::Vhe), true);
        let controls = Controls::new(&machine);
        for reg in [SysReg::ZcrEl2, SysReg::ZcrEl12] {
            let at = |place| trap(Access::SysReg { reg, write: false }, place, &controls, &machine);
            assert_eq!(at(Place::L2), Some(undefined(Place::L2)));
            assert_eq!(at(Place::L2El0), Some(undefined(Place::L2)));
            assert_eq!(at(Place::L1El0), Some(undefined(Place::L1)));
        }
    }

    #[test]
    fn without_sve_its_instructions_are_undefined_even_with_fp_closed() {
        let mut machine = machine(None, true);
        machine.features.sve = false;
        let controls = Controls::new(&machine);
        assert_eq!(trap(Access::Sve, Place::GEl0, &controls, &machine), Some(undefined(Place::G)));
        assert_eq!(
            trap(Access::SysReg { reg: SysReg::ZcrEl1, write: false }, Place::G, &controls, &machine),
            Some(undefined(Place::G))
        );
    }

    #[test]
    fn hidden_sve_may_trap_by_what_the_hypervisor_cannot_hide() {
        let mut machine = machine(None, true);
        (machine.features.sve, machine.quirks.sve_is_hidden) = (false, true);
        let mut controls = Controls::new(&machine);
        let also = |controls: &Controls, machine: &Machine| {
            trap(Access::Sve, Place::G, controls, machine).unwrap().also.map(|esr| esr.map(|esr| esr.ec()))
        };
        controls.g.cpacr = Bits::all(controls::FPEN);
        assert_eq!(also(&controls, &machine), [None, None]);
        machine.quirks.hidden_zen_reaches_cpu = true;
        assert_eq!(also(&controls, &machine), [Some(ec::SVE), None]);
        controls.g.cpacr = Bits::all(0);
        assert_eq!(also(&controls, &machine), [Some(ec::SVE), Some(ec::FP)]);
    }

    #[test]
    fn fpmr_is_closed_by_enfpm_first() {
        let machine = machine(Some(L1Mode::Vhe), true);
        let mut controls = Controls::new(&machine);
        let at = |controls: &Controls, place| {
            let access = Access::SysReg { reg: SysReg::Fpmr, write: false };
            trap(access, place, controls, &machine).map(|trap| (trap.to, trap.syndrome.ec()))
        };
        assert_eq!(at(&controls, Place::L2El0), Some((Place::L2, ec::SYSREG)));
        controls.l2.sctlr = Bits::all(controls::SCTLR_ENFPM);
        assert_eq!(at(&controls, Place::L2El0), Some((Place::L1, ec::SYSREG)));
        assert_eq!(at(&controls, Place::L2), Some((Place::L1, ec::SYSREG)));
        controls.el2.hcrx = Bits::all(controls::HCRX_ENFPM);
        assert_eq!(at(&controls, Place::L2), Some((Place::L2, ec::FP)));
        controls.l2.cpacr = Bits::all(controls::FPEN);
        assert_eq!(at(&controls, Place::L2), Some((Place::L1, ec::FP)));
        controls.el2.cptr = Bits::all(controls::FPEN);
        assert_eq!(at(&controls, Place::L2), None);
        assert_eq!(at(&controls, Place::L1), None);
    }

    #[test]
    fn tcpac_and_tacr() {
        let machine = machine(Some(L1Mode::Nvhe), true);
        let mut controls = Controls::new(&machine);
        let at = |controls: &Controls, reg, place| {
            trap(Access::SysReg { reg, write: false }, place, controls, &machine)
        };
        controls.el2.cptr = Bits::all(0);
        assert_eq!(at(&controls, SysReg::CpacrEl1, Place::L2), None);
        controls.el2.cptr = Bits::all(controls::TCPAC);
        let syndrome = Syndrome::sysreg(SysReg::CpacrEl1, false);
        assert_eq!(at(&controls, SysReg::CpacrEl1, Place::L2), Some(Trap::new(Place::L1, syndrome)));
        assert_eq!(at(&controls, SysReg::CpacrEl1, Place::L1), None);
        assert_eq!(at(&controls, SysReg::ActlrEl1, Place::L2), None);
        controls.el2.hcr = controls.el2.hcr.written(hcr::TACR, hcr::TACR);
        assert_eq!(at(&controls, SysReg::ActlrEl1, Place::L2).unwrap().to, Place::L1);
        assert_eq!(at(&controls, SysReg::ActlrEl1, Place::L1), None);
    }
}
