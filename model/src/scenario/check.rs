//! What can be said of a case's steps without the oracle: which places and operands go together.

use abi::doorbell::Disturbance;
use abi::op::{Hole, Idle};
use abi::place::Place;
use abi::sysreg::SysReg;

use super::field;
use super::settings::{Family, has_length};
use super::step::{
    Control, ControlReg, EretTarget, Expect, GuestSpec, Interrupt, L1Mode, Length, Step, Verb,
};
use super::suggest;

/// A step's index and what is wrong with it.
type Wrong = (usize, String);

/// Which family of places the steps are of; they begin at its home, L1 or G.
pub(super) fn family(steps: &[Step]) -> Result<Family, Wrong> {
    let first = steps.first().map_or(Place::L1, |step| step.place);
    if !matches!(first, Place::L1 | Place::G) {
        return Err((0, format!("a scenario begins at L1 or G, not at {}", first.name())));
    }
    let family = family_of(first);
    for (index, step) in steps.iter().enumerate() {
        let target = match step.verb {
            Verb::Eret { to: EretTarget::Place(place), .. } => Some(place),
            Verb::Eret { to: EretTarget::L1t, .. } => Some(Place::L1),
            _ => None,
        };
        let other =
            [Some(step.place), target].into_iter().flatten().find(|place| family_of(*place) != family);
        if let Some(other) = other {
            let message = format!(
                "{} and {} in one scenario: a guest has an EL2 of its own or it has none",
                first.name(),
                other.name()
            );
            return Err((index, message));
        }
    }
    Ok(family)
}

/// Checks each step of a case with this guest.
pub(super) fn steps(guest: &GuestSpec, steps: &[Step]) -> Result<(), Wrong> {
    let mut window = None;
    for (index, step) in steps.iter().enumerate() {
        one(guest, step).map_err(|message| (index, message))?;
        window = match (&step.verb, window) {
            (Verb::Window(true), None) => Some(index),
            (Verb::Window(false), Some(_)) => None,
            (Verb::Window(true), Some(_)) => return Err((index, "the window is open already".to_owned())),
            (Verb::Window(false), None) => return Err((index, "there is no open window".to_owned())),
            (_, window) => window,
        };
    }
    window.map_or(Ok(()), |index| Err((index, "no `sweep off` closes this window".to_owned())))
}

fn one(guest: &GuestSpec, step: &Step) -> Result<(), String> {
    let place = step.place;
    at_place(guest, place)?;
    match &step.verb {
        Verb::Set { reg, .. } => {
            control(guest, place, reg)?;
            writable(reg)
        }
        Verb::Expect(Expect::Control(reg)) => control(guest, place, reg),
        Verb::Vl(length) => {
            not_at_el0(place, "has no ZCR")?;
            has_vl(guest, *length)
        }
        Verb::Trap(_) | Verb::Untrap(_) => not_at_el0(place, "has no level below"),
        Verb::Eret { to, .. } => eret(guest, place, *to),
        Verb::Map { hole, .. } => {
            not_at_el0(place, "has no page tables")?;
            match hole {
                Hole::Stage2 if place != Place::L1 => Err(format!("{} has no stage 2: L1 has", place.name())),
                hole => stage(guest, *hole),
            }
        }
        Verb::Abort(hole) => match hole {
            Hole::Stage2 if !under_stage2(place) => {
                Err(format!("{} runs under no stage 2 of L1", place.name()))
            }
            hole => stage(guest, *hole),
        },
        Verb::WfiTimer(disturbance) => {
            not_at_el0(place, "has no timer that sends interrupts")?;
            match disturbance {
                None | Some(Disturbance::Preempt | Disturbance::OtherVcpu) => Ok(()),
                Some(other) => Err(format!(
                    "a vCPU that waits gives its CPU to others, by preempt or other-vcpu, not by {}",
                    other.name()
                )),
            }
        }
        Verb::Timer(Idle::Wfi) => {
            not_at_el0(place, "may not wait: that is SCTLR_ELx.nTWI, which no step sets")
        }
        Verb::Pend(Interrupt::VirtualIrq | Interrupt::VirtualSError) if place != Place::L1 => {
            Err(format!("{} has no HCR_EL2: virtual interrupts are made by L1", place.name()))
        }
        _ => Ok(()),
    }
}

fn at_place(guest: &GuestSpec, place: Place) -> Result<(), String> {
    if place == Place::L1El0 && guest.l1 != Some(L1Mode::Vhe) {
        return Err("L1.el0 is there with l1 = vhe only: it needs HCR_EL2.{E2H,TGE} = {1,1}".to_owned());
    }
    Ok(())
}

/// The level that ERET leaves is EL1 or EL2, and it reaches no higher one.
fn eret(guest: &GuestSpec, from: Place, to: EretTarget) -> Result<(), String> {
    not_at_el0(from, "has no ERET")?;
    let to = match to {
        EretTarget::Place(to) => to,
        EretTarget::L1t if from != Place::L1 => return Err("L1t is reached from L1 only".to_owned()),
        _ => return Ok(()),
    };
    at_place(guest, to)?;
    let reached = match from {
        Place::L1 => true,
        Place::L2 => matches!(to, Place::L2 | Place::L2El0),
        Place::L2b => to == Place::L2b,
        Place::G => matches!(to, Place::G | Place::GEl0),
        Place::L1El0 | Place::L2El0 | Place::GEl0 => false,
    };
    if reached { Ok(()) } else { Err(format!("no ERET of {} reaches {}", from.name(), to.name())) }
}

fn stage(guest: &GuestSpec, hole: Hole) -> Result<(), String> {
    match hole {
        Hole::Stage1 if !guest.mmu => Err("there is no stage 1 with mmu = false".to_owned()),
        Hole::Stage2 if !guest.stage2 => Err("L1 has no stage 2 with stage2 = false".to_owned()),
        Hole::Stage1 | Hole::Stage2 => Ok(()),
    }
}

fn has_vl(guest: &GuestSpec, length: Length) -> Result<(), String> {
    if !guest.sve {
        return Err("there are no vector lengths with sve = false".to_owned());
    }
    match length {
        Length::Bits(bits) if bits > guest.vl_max => {
            Err(format!("the guest's largest vector length is {}, not {bits}", guest.vl_max))
        }
        Length::Bits(bits) if !has_length(guest.cpu, bits) => {
            Err(format!("no CPU but `all-lengths` has the vector length {bits}"))
        }
        _ => Ok(()),
    }
}

/// Whether the register exists at the place under that name, and the field in its layout there.
fn control(guest: &GuestSpec, place: Place, control: &Control) -> Result<(), String> {
    let (ControlReg::Named(reg) | ControlReg::OfL2(reg)) = control.reg;
    let name = reg.name();
    let at_l1 = place == Place::L1;
    if matches!(control.reg, ControlReg::OfL2(_)) && !at_l1 {
        return Err(format!("only L1 reaches {control}; at {} it is {name}", place.name()));
    }
    if is_el0(place) && !matches!(reg, SysReg::Fpcr | SysReg::Fpsr | SysReg::Fpmr) {
        return Err(format!("{} does not reach {name}", place.name()));
    }
    if name.ends_with("_el12") && !(at_l1 && guest.l1 == Some(L1Mode::Vhe)) {
        return Err(format!(
            "{name} is an accessor of a VHE L1: `l2.` names that register in any mode of L1"
        ));
    }
    if name.ends_with("_el2") && !at_l1 {
        return Err(format!("only L1 reaches {name}"));
    }
    let Some(name) = &control.field else { return Ok(()) };
    if field::field(control.reg, place, guest.l1, name).is_some() {
        return Ok(());
    }
    let names = field::fields(control.reg, place, guest.l1).iter().map(|field| field.name);
    let what = format!("a field of {} as {} has it here", reg.name(), place.name());
    Err(suggest::unknown(name, &what, names))
}

fn writable(control: &Control) -> Result<(), String> {
    let (ControlReg::Named(reg) | ControlReg::OfL2(reg)) = control.reg;
    let read_only = matches!(
        reg,
        SysReg::IdAa64Pfr0El1
            | SysReg::IdAa64Pfr1El1
            | SysReg::IdAa64Pfr2El1
            | SysReg::IdAa64Zfr0El1
            | SysReg::CurrentEl
    );
    if read_only { Err(format!("{} is read-only", reg.name())) } else { Ok(()) }
}

fn not_at_el0(place: Place, why: &str) -> Result<(), String> {
    if is_el0(place) { Err(format!("{} {why}", place.name())) } else { Ok(()) }
}

const fn is_el0(place: Place) -> bool {
    matches!(place, Place::L1El0 | Place::L2El0 | Place::GEl0)
}

const fn under_stage2(place: Place) -> bool {
    matches!(place, Place::L2 | Place::L2El0 | Place::L2b)
}

const fn family_of(place: Place) -> Family {
    match place {
        Place::G | Place::GEl0 => Family::Plain,
        Place::L1 | Place::L1El0 | Place::L2 | Place::L2El0 | Place::L2b => Family::Nested,
    }
}
