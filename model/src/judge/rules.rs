//! Which rules a check stands for.

use abi::place::Place;
use abi::sysreg::SysReg;

use super::finding::{FailureClass, RegisterName};
use crate::compile::Transition;
use crate::oracle::controls::{El, el_of, under_el2};

/// The rules that a wrong register at `place` breaks, the closest one first.
pub(super) fn broken(
    what: RegisterName,
    class: FailureClass,
    place: Place,
    transition: Option<Transition>,
) -> Vec<&'static str> {
    let mut rules = Vec::new();
    match class {
        FailureClass::Leaked { .. } => rules.push("P-12"),
        FailureClass::Truncated { .. } => rules.push("P-55"),
        _ => {}
    }
    if let Some(transition) = transition
        && transition.what == "reset"
    {
        rules.push("P-13");
    }
    let up = transition.is_some_and(|step| step.to == Place::L1 && step.from != Place::L1);
    let down = transition.is_some_and(|step| step.from == Place::L1 && step.to != Place::L1);
    let nested = match (up, down) {
        (true, _) => Some("P-80"),
        (_, true) => Some("P-81"),
        _ => None,
    };
    match what {
        RegisterName::Z(_) | RegisterName::P(_) | RegisterName::Ffr => {
            rules.extend(nested);
            rules.push("P-02");
        }
        RegisterName::V(_) | RegisterName::Fpsr | RegisterName::Fpcr => {
            rules.extend(nested);
            rules.push("P-01");
        }
        RegisterName::Fpmr => {
            rules.extend(nested);
            rules.push("P-05");
        }
        RegisterName::Vl if matches!(el_of(place), El::El1 | El::El0) && under_el2(place) => {
            rules.extend(["P-86", "P-50"]);
        }
        RegisterName::Vl => rules.extend(["P-50", "P-51"]),
        RegisterName::Vector => rules.extend(routed(class, place, transition)),
        RegisterName::Esr | RegisterName::Far | RegisterName::Hpfar => rules.extend(["P-85", "P-66"]),
        RegisterName::Elr => rules.push("P-71"),
        RegisterName::X(_) | RegisterName::Sp | RegisterName::Spsr | RegisterName::Pstate => {
            rules.push("P-82");
        }
        RegisterName::Control(SysReg::ZcrEl1 | SysReg::ZcrEl2 | SysReg::ZcrEl12) => {
            rules.extend(["P-87", "P-54", "P-07"]);
        }
        RegisterName::Control(
            SysReg::IdAa64Pfr0El1 | SysReg::IdAa64Pfr1El1 | SysReg::IdAa64Pfr2El1 | SysReg::IdAa64Zfr0El1,
        ) => rules.extend(["P-73", "P-72"]),
        RegisterName::Control(_) if under_el2(place) => rules.extend(["P-87", "P-07"]),
        RegisterName::Control(_) => rules.push("P-07"),
    }
    rules
}

fn routed(class: FailureClass, place: Place, transition: Option<Transition>) -> Vec<&'static str> {
    let what = transition.map_or("", |transition| transition.what);
    let nested = under_el2(place);
    match (what, class) {
        ("undefined", _) => vec!["P-72", "P-70"],
        ("fp trap" | "sve trap" | "sysreg trap", _) if nested => vec!["P-84", "P-85"],
        ("fp trap" | "sve trap" | "sysreg trap", _) => vec!["P-65", "P-66"],
        (_, FailureClass::Trapped) => vec!["P-65", "P-84"],
        _ => vec!["P-82"],
    }
}
