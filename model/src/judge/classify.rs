//! Whose value a wrong value is.

use abi::pattern::{self, Owner};

use super::finding::{FailureClass, LANES_MAX, LaneDiff, Origin, RegisterName};
use crate::compile::{Item, Program};
use crate::oracle::file::{Effect, RegisterFile};
use crate::oracle::fill;
use crate::oracle::value::{Kind, Slices, Value, cut_at, from_bytes, to_bytes};

/// How many generations of somebody else's predicate patterns are tried.
const FOREIGN_GENERATIONS: u16 = 64;

/// What the registers held before, made again from the script when something is wrong.
pub(super) struct History {
    files: Vec<(u16, RegisterFile)>,
}

impl History {
    /// The register file before each write among the first `items` of the script, and after the last.
    pub(super) fn new(program: &Program, items: usize) -> Self {
        let mut file = RegisterFile::new(&program.machine);
        let mut files = Vec::new();
        let mut generation = 0;
        for item in program.script.iter().take(items) {
            let Item::Effect(effect) = item else { continue };
            if !matches!(effect, Effect::Narrow(_)) {
                files.push((generation, file.clone()));
            }
            if let Effect::Fill { generation: new, .. } = effect {
                generation = *new;
            }
            // The compiler applied the same effects in the same order, so none is ambiguous.
            let _ = file.apply(effect, &program.machine);
        }
        files.push((generation, file));
        Self { files }
    }

    /// Earlier states, the latest first, with the number of the last fill before each.
    fn backwards(&self) -> impl Iterator<Item = &(u16, RegisterFile)> {
        self.files.iter().rev()
    }

    /// The generation of an earlier fill after which a status register held `value`.
    pub(super) fn status(&self, value: u64, of: impl Fn(&RegisterFile) -> u64) -> Option<u16> {
        self.backwards().skip(1).find(|(_, file)| of(file) == value).map(|(generation, _)| *generation)
    }
}

/// A verdict on a vector or predicate register.
pub(super) struct Classified {
    pub(super) class: FailureClass,
    pub(super) origin: Option<Origin>,
    pub(super) lanes: Vec<LaneDiff>,
}

/// Classifies `seen`, which is none of the legal values `legal` (the expected one first), of `name`.
pub(super) fn register(
    name: RegisterName,
    value: &Value,
    vq: usize,
    seen: &Slices,
    history: &History,
) -> Classified {
    let kind = value.kind();
    let seen_bytes = to_bytes(kind, seen, vq);
    let legal = value.alternatives(vq, 64);
    let closest = legal.iter().min_by_key(|bytes| lanes_of(bytes, &seen_bytes, kind).len());
    let nothing = Vec::new();
    let expected = closest.unwrap_or(&nothing);
    let lanes = lanes_of(expected, &seen_bytes, kind);
    let (class, origin) = by_lanes(name, Owner::Scenario, &lanes)
        .or_else(|| by_length(legal.first().unwrap_or(&nothing), &seen_bytes, kind))
        .or_else(|| by_history(name, vq, seen, kind, history))
        .or_else(|| by_foreign_predicate(vq, seen, kind))
        .unwrap_or((FailureClass::Garbage, None));
    Classified { class, origin, lanes: lanes.into_iter().take(LANES_MAX).collect() }
}

/// The 64-bit lanes that differ.
pub(super) fn lanes_of(expected: &[u8], actual: &[u8], kind: Kind) -> Vec<LaneDiff> {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let pairs = expected.chunks(8).zip(actual.chunks(8)).enumerate();
    pairs
        .map(|(lane, (expected, actual))| (lane, word(expected), word(actual)))
        .filter(|(_, expected, actual)| expected != actual)
        .map(|(lane, expected, actual)| {
            let origin = (kind == Kind::Vector).then(|| decode(actual)).flatten();
            LaneDiff { lane, expected, actual, origin }
        })
        .collect()
}

fn decode(word: u64) -> Option<Origin> {
    let (owner, generation, reg, lane) = pattern::decode(word)?;
    Some(Origin { owner, generation, reg: RegisterName::Z(reg), lane: Some(lane) })
}

/// Lanes that say whose they are: somebody else's weighs more than another register's, and that more than an
/// older value's.
pub(super) fn by_lanes(
    name: RegisterName,
    holder: Owner,
    lanes: &[LaneDiff],
) -> Option<(FailureClass, Option<Origin>)> {
    let reg = match name {
        RegisterName::Z(reg) | RegisterName::V(reg) => reg,
        _ => return None,
    };
    let origins = || lanes.iter().filter_map(|diff| diff.origin);
    if let Some(origin) = origins().find(|origin| origin.owner != holder) {
        return Some((FailureClass::Leaked { owner: origin.owner }, Some(origin)));
    }
    if let Some(origin) = origins().find(|origin| origin.reg != RegisterName::Z(reg)) {
        return Some((FailureClass::Swapped { with: same_view(name, origin.reg) }, Some(origin)));
    }
    origins().next().map(|origin| (FailureClass::Stale, Some(origin)))
}

/// A register of the number of `other`, seen as `name` is.
fn same_view(name: RegisterName, other: RegisterName) -> RegisterName {
    match (name, other) {
        (RegisterName::V(_), RegisterName::Z(reg)) => RegisterName::V(reg),
        (_, other) => other,
    }
}

/// Right up to some vector length, and zero above.
pub(super) fn by_length(
    expected: &[u8],
    actual: &[u8],
    kind: Kind,
) -> Option<(FailureClass, Option<Origin>)> {
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if zero(actual) {
        return Some((FailureClass::Zeroed, None));
    }
    let step = kind.slice_len();
    let kept = expected.chunks(step).zip(actual.chunks(step)).take_while(|(a, b)| a == b).count();
    if kept == 0 || !actual.get(kept * step..).is_some_and(zero) {
        return None;
    }
    let vl = u32::try_from(kept * 128).unwrap_or(u32::MAX);
    Some((FailureClass::Truncated { vl }, None))
}

/// What this register, or another, held before.
fn by_history(
    name: RegisterName,
    vq: usize,
    seen: &Slices,
    kind: Kind,
    history: &History,
) -> Option<(FailureClass, Option<Origin>)> {
    // An old value may have gone through a smaller length since: then it is cut there.
    let held = |value: &Value| {
        let as_seen = |cut: &usize| {
            value.alternatives(vq, 64).iter().any(|old| {
                to_bytes(kind, &cut_at(&from_bytes(kind, old), *cut), vq) == to_bytes(kind, seen, vq)
            })
        };
        !value.is_open(0) && (value.clone().observe(vq, seen) || (1..vq).any(|cut| as_seen(&cut)))
    };
    let same = |file: &RegisterFile| match name {
        RegisterName::Z(reg) | RegisterName::V(reg) => held(&file.z[usize::from(reg) % 32]),
        RegisterName::P(reg) => held(&file.p[usize::from(reg) % 16]),
        _ => held(&file.ffr),
    };
    let origin = |generation, reg| Origin { owner: Owner::Scenario, generation, reg, lane: None };
    if let Some((generation, _)) = history.backwards().find(|(_, file)| same(file)) {
        return Some((FailureClass::Stale, Some(origin(*generation, name))));
    }
    for (generation, file) in history.backwards() {
        for (with, value) in others(file, kind) {
            if held(value) {
                let with = same_view(name, with);
                return Some((FailureClass::Swapped { with }, Some(origin(*generation, with))));
            }
        }
    }
    None
}

/// The registers of a kind.
fn others(file: &RegisterFile, kind: Kind) -> Vec<(RegisterName, &Value)> {
    match kind {
        Kind::Vector => (0..).map(RegisterName::Z).zip(&file.z).collect(),
        Kind::Predicate => {
            let ffr = [(RegisterName::Ffr, &file.ffr)];
            (0..).map(RegisterName::P).zip(&file.p).chain(ffr).collect()
        }
    }
}

/// Predicates are too short to say whose they are: all that somebody else may have written are compared.
fn by_foreign_predicate(vq: usize, seen: &Slices, kind: Kind) -> Option<(FailureClass, Option<Origin>)> {
    if kind != Kind::Predicate {
        return None;
    }
    for owner in Owner::ALL.into_iter().filter(|owner| *owner != Owner::Scenario) {
        for generation in 0..FOREIGN_GENERATIONS {
            for reg in 0..=16 {
                if cut_at(&fill::predicate(owner, generation, reg), vq) == cut_at(seen, vq) {
                    let reg = if reg == 16 { RegisterName::Ffr } else { RegisterName::P(reg) };
                    let origin = Origin { owner, generation, reg, lane: None };
                    return Some((FailureClass::Leaked { owner }, Some(origin)));
                }
            }
        }
    }
    None
}
