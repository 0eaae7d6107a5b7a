//! Which rules a check stands for.

use abi::place::Place;
use abi::record::{VECTOR_BOOT, VECTOR_NONE};
use abi::sysreg::SysReg;

use super::finding::{FailureClass, RegisterName};
use crate::compile::Transition;
use crate::oracle::controls::{El, el_of, under_el2};
use crate::oracle::syndrome::ec;

/// What an arrival came by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Came {
    /// No exception, or no arrival.
    Nothing,
    /// A synchronous exception of this class.
    Synchronous(u8),
    /// An interrupt.
    Interrupt,
}

impl Came {
    /// By its vector and ESR_ELx.
    pub(super) const fn by(vector: u64, esr: u64) -> Self {
        match vector {
            VECTOR_NONE | VECTOR_BOOT => Self::Nothing,
            _ if vector & 0x180 == 0 => Self::Synchronous((esr >> 26 & 0x3f) as u8),
            _ => Self::Interrupt,
        }
    }
}

/// Where and after what a register is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The place at which it was to be right.
    pub(super) place: Place,
    /// What the program did last, or does.
    pub(super) transition: Option<Transition>,
    /// What the record that shows it came by.
    pub(super) came: Came,
    /// Where that record was written.
    pub(super) arrived: Place,
}

/// The rules that a wrong register breaks, the closest one first. None where what the scenario itself names says more
/// than this table could: an exception of a plain guest that is no trap of FP, for one.
pub(super) fn broken(what: RegisterName, class: FailureClass, seen: Seen) -> Vec<&'static str> {
    let Seen { place, transition, .. } = seen;
    let mut rules = Vec::new();
    let nested = nested(transition);
    if nested.is_some() && transition.is_some_and(|transition| transition.stopped) && is_fp(what) {
        rules.push("P-83");
    }
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
        RegisterName::Vector | RegisterName::Esr | RegisterName::Far | RegisterName::Hpfar => {
            rules.extend(exception(what, seen));
        }
        RegisterName::Elr => rules.push("P-71"),
        RegisterName::X(_) | RegisterName::Sp | RegisterName::Spsr | RegisterName::Pstate => {
            rules.extend(under_el2(place).then_some("P-82"));
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

/// The rule of a transition between L1 and its guest.
fn nested(transition: Option<Transition>) -> Option<&'static str> {
    match transition? {
        Transition { from, to: Place::L1, .. } if from != Place::L1 => Some("P-80"),
        Transition { from: Place::L1, to, .. } if to != Place::L1 => Some("P-81"),
        _ => None,
    }
}

/// Whether it is one of the registers that hold FP state.
const fn is_fp(what: RegisterName) -> bool {
    use RegisterName::{Ffr, Fpcr, Fpmr, Fpsr, P, V, Z};
    matches!(what, Z(_) | P(_) | Ffr | V(_) | Fpsr | Fpcr | Fpmr)
}

/// The rules of an exception that came wrongly, did not come, or is described wrongly: those of the traps of FP and SVE
/// if one was expected or came.
fn exception(what: RegisterName, seen: Seen) -> Vec<&'static str> {
    const FP: &str = "P-65";
    const SVE: &str = "P-66";
    let Seen { place, transition, came, arrived } = seen;
    let cause = transition.map_or("", |transition| transition.what);
    let expected = match cause {
        "fp trap" => Some(FP),
        "sve trap" => Some(SVE),
        _ => None,
    };
    let came = match came {
        Came::Synchronous(ec::FP) => Some(FP),
        Came::Synchronous(ec::SVE) => Some(SVE),
        _ => None,
    };
    let nested = under_el2(place);
    match (expected, came) {
        // What is UNDEFINED, and whose system register access is trapped, depends on the register.
        (None, _) if matches!(cause, "undefined" | "sysreg trap") => came.into_iter().collect(),
        (None, None) => nested.then_some("P-82").into_iter().collect(),
        _ => {
            // Who traps, and for whom: by what was expected, or by what came if that was nothing.
            let (from, to) = match transition {
                Some(transition) if expected.is_some() => (transition.from, transition.to),
                _ => (place, arrived),
            };
            let own = matches!(from, Place::L1 | Place::L1El0);
            let by_l1 = match (to, own) {
                (Place::L1, true) => &["P-90"][..],
                (Place::L1, false) if what != RegisterName::Vector => &["P-85"],
                (Place::L1, false) if expected.is_none() => &["P-84"],
                (Place::L1, false) => &["P-84", "P-85"],
                _ => &[],
            };
            let second = came.filter(|rule| expected != Some(*rule));
            by_l1.iter().copied().chain(expected).chain(second).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        what: RegisterName,
        (cause, from, to): (&'static str, Place, Place),
        (vector, ec): (u64, u8),
        expected: &[&str],
    ) {
        let class = FailureClass::Misrouted;
        let came = Came::by(vector, u64::from(ec) << 26);
        let arrived = if vector >= 0x400 { Place::L1 } else { to };
        let seen = Seen {
            place: to,
            transition: Some(Transition { what: cause, from, to, stopped: false }),
            came,
            arrived,
        };
        assert_eq!(broken(what, class, seen), expected, "{what} after {cause}");
    }

    #[test]
    fn registers_have_the_rule_of_the_transition_and_of_a_stop_at_its_end() {
        let broken = |from, to, stopped| {
            let transition = Some(Transition { what: "eret", from, to, stopped });
            let seen = Seen { place: to, transition, came: Came::Nothing, arrived: to };
            broken(RegisterName::Fpsr, FailureClass::Zeroed, seen)
        };
        assert_eq!(broken(Place::L1, Place::L2, false), ["P-81", "P-01"]);
        assert_eq!(broken(Place::L1, Place::L2, true), ["P-83", "P-81", "P-01"]);
        assert_eq!(broken(Place::L2, Place::L1, true), ["P-83", "P-80", "P-01"]);
        assert_eq!(broken(Place::G, Place::GEl0, true), ["P-01"]);
    }

    #[test]
    fn traps_of_fp_and_sve_have_the_rules_of_who_set_them() {
        use Place::{G, L1, L2};
        let fp = |from, to| ("fp trap", from, to);
        let vector = RegisterName::Vector;
        check(vector, fp(L2, L1), (VECTOR_NONE, 0), &["P-84", "P-85", "P-65"]);
        check(vector, fp(L1, L1), (VECTOR_NONE, 0), &["P-90", "P-65"]);
        check(vector, fp(L2, L2), (VECTOR_NONE, 0), &["P-65"]);
        check(vector, fp(G, G), (VECTOR_NONE, 0), &["P-65"]);
        check(RegisterName::Esr, ("sve trap", L2, L1), (0x400, ec::FP), &["P-85", "P-66", "P-65"]);
        check(RegisterName::Esr, ("sve trap", G, G), (0x200, ec::UNKNOWN), &["P-66"]);
    }

    #[test]
    fn a_trap_that_came_by_itself_has_the_rule_of_its_class() {
        use Place::{G, L1, L2};
        check(RegisterName::Vector, ("v", L2, L2), (0x400, ec::FP), &["P-84", "P-65"]);
        check(RegisterName::Vector, ("v", L2, L2), (0x200, ec::FP), &["P-65"]);
        check(RegisterName::Vector, ("z", G, G), (0x200, ec::SVE), &["P-66"]);
        check(RegisterName::Vector, ("zcr_el2", L1, L1), (0x200, ec::SVE), &["P-90", "P-66"]);
        check(RegisterName::Vector, ("eret", L1, L2), (0x480, 0), &["P-82"]);
        check(RegisterName::Vector, ("unmask", G, G), (0x380, ec::SERROR), &[]);
    }

    #[test]
    fn other_exceptions_have_the_rule_of_transitions_or_the_scenarios_own() {
        use Place::{G, L1, L2};
        for what in [RegisterName::Esr, RegisterName::Far, RegisterName::Hpfar, RegisterName::Vector] {
            check(what, ("stage 2 abort", L2, L1), (0x400, ec::DABT_LOWER), &["P-82"]);
            check(what, ("authentication failure", L1, L1), (0x200, ec::PAC_FAIL), &["P-82"]);
            check(what, ("stage 1 abort", G, G), (0x200, ec::DABT_SAME), &[]);
            check(what, ("serror", L2, L1), (0x580, ec::SERROR), &["P-82"]);
            check(what, ("undefined", G, G), (0x200, ec::UNKNOWN), &[]);
        }
        check(RegisterName::Esr, ("undefined", G, G), (0x200, ec::SVE), &["P-66"]);
        check(RegisterName::Spsr, ("svc", G, G), (0x200, ec::SVC), &[]);
        check(RegisterName::Spsr, ("hvc", L2, L1), (0x400, ec::HVC), &["P-82"]);
    }
}
