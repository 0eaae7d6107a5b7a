//! What a neighbor of the vCPU found changed in its own registers: the same words as for the vCPU's.

use abi::doorbell;
use abi::hyp::Harm;
use abi::op::{Code, Op, mask};
use abi::pattern::{self, Owner};

use super::classify::{by_lanes, by_length, lanes_of};
use super::finding::{FailureClass, Finding, LANES_MAX, LaneDiff, Origin, RegisterName};
use crate::compile::Program;
use crate::oracle::value::Kind;

/// The generations that a neighbor's registers alternate between.
const GENERATIONS: [u16; 2] = [1, 2];

/// The finding of a neighbor that was harmed; `None` if none was, or if the harm makes no sense.
#[must_use]
pub fn neighbor(program: &Program, harm: &Harm) -> Option<Finding> {
    let holder = Owner::ALL.into_iter().find(|owner| *owner as u64 == harm.neighbor)?;
    let what = *names(harm.registers).first()?;
    let len = usize::try_from(harm.len).ok()?;
    let (expected, found) = (harm.expected.get(..len)?, harm.found.get(..len)?);
    let Difference { class, origin, lanes } = difference(what, holder, expected, found);
    let asks = |op: &Op| op.code == Code::Doorbell as u16 && op.arg[0] == doorbell::DISTURB;
    let number = usize::try_from(harm.disturbance).ok()?.checked_sub(1);
    let mut ops = program.ops.iter().enumerate();
    let asked = number.and_then(|number| ops.clone().filter(|(_, op)| asks(op)).nth(number));
    // A sweep disturbs more often than the program asks for, and the thread of a VMM looks whenever the vCPU exits.
    let (index, op) = asked.or_else(|| ops.next_back())?;
    let step = usize::from(op.step);
    Some(Finding {
        step,
        op: index,
        line: program.steps.get(step).map_or(0, |note| note.line),
        place: program.steps.get(step).map_or(program.home, |note| note.place),
        rules: vec![match (holder, what) {
            (Owner::HostTask, RegisterName::Fpmr) => "P-22",
            (Owner::HostTask, RegisterName::Fpsr | RegisterName::Fpcr) => "P-20",
            (Owner::HostTask, _) => "P-21",
            _ => "P-08",
        }],
        what,
        holder,
        class,
        origin,
        expected: vec![expected.to_vec()],
        actual: found.to_vec(),
        lanes,
        transition: None,
    })
}

/// In what a register differs from what its owner left there.
#[derive(Clone, Debug)]
pub struct Difference {
    /// What kind of wrong it is.
    pub class: FailureClass,
    /// Whose value was found, if it could be told.
    pub origin: Option<Origin>,
    /// The lanes, of a register that has any; at most [`LANES_MAX`].
    pub lanes: Vec<LaneDiff>,
}

/// The difference between what `holder` left in its register `what` and what was found there.
#[must_use]
pub fn difference(what: RegisterName, holder: Owner, expected: &[u8], found: &[u8]) -> Difference {
    let kind = if matches!(what, RegisterName::Z(_)) { Kind::Vector } else { Kind::Predicate };
    let lanes = match what {
        RegisterName::Z(_) | RegisterName::P(_) | RegisterName::Ffr => lanes_of(expected, found, kind),
        _ => Vec::new(),
    };
    let (class, origin) = match what {
        RegisterName::Z(_) => by_lanes(what, holder, &lanes).or_else(|| by_length(expected, found, kind)),
        RegisterName::P(reg) => by_length(expected, found, kind).or_else(|| by_predicate(reg, holder, found)),
        RegisterName::Ffr => by_length(expected, found, kind),
        _ if found.iter().all(|byte| *byte == 0) => Some((FailureClass::Zeroed, None)),
        _ => Some((FailureClass::Bits, None)),
    }
    .unwrap_or((FailureClass::Garbage, None));
    Difference { class, origin, lanes: lanes.into_iter().take(LANES_MAX).collect() }
}

/// The registers of a [`mask`].
#[must_use]
pub fn names(registers: u64) -> Vec<RegisterName> {
    let name = |bit: u8| match 1u64 << bit {
        z if z & mask::Z != 0 => Some(RegisterName::Z(bit)),
        p if p & mask::P != 0 => Some(RegisterName::P(bit - 32)),
        mask::FFR => Some(RegisterName::Ffr),
        mask::FPSR => Some(RegisterName::Fpsr),
        mask::FPCR => Some(RegisterName::Fpcr),
        mask::FPMR => Some(RegisterName::Fpmr),
        _ => None,
    };
    (0..64).filter(|bit| registers >> bit & 1 != 0).filter_map(name).collect()
}

/// Whose predicate it is.
fn by_predicate(own: u8, holder: Owner, found: &[u8]) -> Option<(FailureClass, Option<Origin>)> {
    let written = |owner, generation, reg| {
        let parts = found.chunks(8).zip(0u8..);
        parts.into_iter().all(|(part, lane)| {
            pattern::predicate(owner, generation, reg, lane).to_le_bytes().starts_with(part)
        })
    };
    for owner in [holder].into_iter().chain(Owner::ALL) {
        for generation in [0].into_iter().chain(GENERATIONS) {
            for reg in 0..16 {
                if !written(owner, generation, reg) {
                    continue;
                }
                let origin = Some(Origin { owner, generation, reg: RegisterName::P(reg), lane: None });
                let class = match (owner == holder, reg == own) {
                    (false, _) => FailureClass::Leaked { owner },
                    (true, false) => FailureClass::Swapped { with: RegisterName::P(reg) },
                    (true, true) => FailureClass::Stale,
                };
                return Some((class, origin));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile_steps;
    use crate::machine::{Machine, QemuCpu};
    use crate::scenario::step::{Cpu, GuestSpec, Step, Verb};
    use abi::place::Place;

    fn program() -> Program {
        let guest = GuestSpec::default();
        let cpu = QemuCpu { cpu: Cpu::Max, sve: true, vl_max: 512, sme: false, fpmr: true, poe: false };
        let machine = Machine::reference(&cpu, &guest).unwrap();
        let disturb =
            |line| Step { place: Place::G, line, verb: Verb::Disturb(Some(doorbell::Disturbance::Preempt)) };
        compile_steps(&guest, &[disturb(5), disturb(6)], &machine, None).unwrap()
    }

    fn harm(register: u32, fill: impl Fn(Owner, u16, usize) -> Vec<u8>, by: Owner, generation: u16) -> Harm {
        let mut harm = Harm::NONE;
        (harm.neighbor, harm.disturbance, harm.registers) =
            (Owner::HostTask as u64, 2, 1 << register | 1 << 50);
        let (expected, found) = (fill(Owner::HostTask, 2, 0), fill(by, generation, 1));
        harm.len = expected.len() as u64;
        harm.expected[..expected.len()].copy_from_slice(&expected);
        harm.found[..found.len()].copy_from_slice(&found);
        harm
    }

    fn z(reg: u8) -> impl Fn(Owner, u16, usize) -> Vec<u8> {
        move |owner, generation, _| {
            (0..8).flat_map(|lane| pattern::word(owner, generation, reg, lane).to_le_bytes()).collect()
        }
    }

    fn p(reg: u8) -> impl Fn(Owner, u16, usize) -> Vec<u8> {
        move |owner, generation, found| {
            pattern::predicate(owner, generation, reg + u8::from(found == 1), 0).to_le_bytes().to_vec()
        }
    }

    #[test]
    fn the_register_the_class_and_the_disturbance_are_named() {
        let finding = neighbor(&program(), &harm(3, z(3), Owner::HostTask, 1)).unwrap();
        assert_eq!((finding.what, finding.class), (RegisterName::Z(3), FailureClass::Stale));
        assert_eq!(
            (finding.holder, finding.line, finding.rules.as_slice()),
            (Owner::HostTask, 6, &["P-21"][..])
        );
        assert_eq!(finding.lanes.len(), 8);
        assert_eq!(names(1 << 3 | 1 << 47 | 1 << 50).len(), 3);
    }

    #[test]
    fn another_owner_is_a_leak() {
        let owner = Owner::Scenario;
        let finding = neighbor(&program(), &harm(9, z(9), owner, 7)).unwrap();
        assert_eq!(finding.class, FailureClass::Leaked { owner });
        let finding = neighbor(&program(), &harm(33, p(1), Owner::HostTask, 1)).unwrap();
        assert_eq!(finding.class, FailureClass::Swapped { with: RegisterName::P(2) });
    }

    #[test]
    fn nonsense_is_no_finding() {
        let program = program();
        assert_eq!(neighbor(&program, &Harm::NONE), None);
        let good = harm(3, z(3), Owner::HostTask, 1);
        assert_eq!(neighbor(&program, &Harm { len: u64::MAX, ..good }), None);
        assert_eq!(neighbor(&program, &Harm { registers: 0, ..good }), None);
        assert_eq!(neighbor(&program, &Harm { neighbor: 99, ..good }), None);
        // Before any disturbance, and behind the last one.
        assert!(neighbor(&program, &Harm { disturbance: 0, ..good }).is_some());
        assert!(neighbor(&program, &Harm { disturbance: u64::MAX, ..good }).is_some());
    }
}
