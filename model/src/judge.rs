//! Whether what came back is what the architecture allows.
//!
//! The oracle walks the program's script again, now with what was observed: an observation removes from a
//! register's legal values those that it refutes. After a finding the observed value is taken over, so that one
//! error is told once.

mod arrival;
mod classify;
pub mod finding;
mod neighbor;
pub mod ring;
mod rules;

use abi::op::{RDVL, mask};
use abi::pattern::Owner;
use abi::place::Place;
use abi::sysreg::SysReg;

pub use finding::{FailureClass, Finding, LaneDiff, Origin, RegisterName};
pub use neighbor::{Difference, difference, names, neighbor};
pub use ring::RingError;

use crate::compile::{Check, DumpCheck, Expected, Item, Program};
use crate::oracle::file::{Bits, RegisterFile};
use crate::oracle::value::{Value, from_bytes, to_bytes};
use classify::History;
use ring::{ArrivalRecord, Body, Dump, Record};
use rules::{Came, Seen};

/// What the records of one pass say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Judgement {
    /// What is wrong, in order.
    pub findings: Vec<Finding>,
    /// How many records there were and could be compared.
    pub checked: usize,
    /// How many a whole run has.
    pub expected: usize,
    /// The payload found itself where the program did not send it.
    pub crash: Option<Crash>,
}

impl Judgement {
    /// Everything was recorded and is legal.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings.is_empty() && self.crash.is_none() && self.checked == self.expected
    }
}

/// Where the payload found itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Crash {
    /// The operation that was the last to run.
    pub op: u16,
    /// The place reached.
    pub place: Place,
    /// The vector.
    pub vector: u64,
    /// ESR of the level reached.
    pub esr: u64,
    /// ELR of the level reached.
    pub elr: u64,
    /// FAR of the level reached.
    pub far: u64,
    /// Where the last place was left.
    pub left_pc: u64,
}

/// Judges the records of one pass: of the unswept one or of a swept one.
///
/// A ring that ends early is no error here: [`Judgement::checked`] tells it, and the payload's status says why.
///
/// # Errors
///
/// The ring does not hold what a payload writes.
pub fn judge(program: &Program, ring: &[u8]) -> Result<Judgement, RingError> {
    if program.hole.is_none() && !program.relocations.is_empty() {
        return Err(RingError::NotLinked);
    }
    let records = ring::read(ring)?;
    let mut judge = Judge {
        program,
        file: RegisterFile::new(&program.machine),
        item: 0,
        came: (Came::Nothing, program.home),
        findings: Vec::new(),
    };
    let expected = program.checks().count();
    let mut records = records.iter();
    let mut checked = 0;
    for (index, item) in program.script.iter().enumerate() {
        judge.item = index;
        let check = match item {
            Item::Effect(effect) => {
                // The compiler has applied it; observations only take alternatives away.
                let _ = judge.file.apply(effect, &program.machine);
                continue;
            }
            Item::Check(check) => check,
        };
        let Some(record) = records.next() else {
            return Ok(Judgement { findings: judge.findings, checked, expected, crash: None });
        };
        checked += 1;
        let came = match &record.body {
            Body::Arrival(arrival) | Body::Unexpected(arrival) => Came::by(arrival.vector(), arrival.esr()),
            _ => Came::Nothing,
        };
        judge.came = (came, record.place);
        if let Body::Unexpected(arrival) = &record.body {
            judge.unexpected(check, record, arrival);
            let crash = Some(crash(record, arrival));
            return Ok(Judgement { findings: judge.findings, checked, expected, crash });
        }
        if !judge.check(check, record)? {
            // The cursor went elsewhere: what follows was recorded in another world.
            let crash = records.next().and_then(|record| match &record.body {
                Body::Unexpected(arrival) => Some(crash(record, arrival)),
                _ => None,
            });
            return Ok(Judgement { findings: judge.findings, checked, expected, crash });
        }
    }
    let crash = match records.next().map(|record| (record, &record.body)) {
        None => None,
        Some((record, Body::Unexpected(arrival))) => Some(crash(record, arrival)),
        Some(_) => return Err(RingError::TooMany { expected }),
    };
    Ok(Judgement { findings: judge.findings, checked, expected, crash })
}

fn crash(record: &Record<'_>, arrival: &ArrivalRecord<'_>) -> Crash {
    Crash {
        op: record.op,
        place: record.place,
        vector: arrival.vector(),
        esr: arrival.esr(),
        elr: arrival.elr(),
        far: arrival.far(),
        left_pc: arrival.left_pc(),
    }
}

/// The walk over the script.
struct Judge<'a> {
    program: &'a Program,
    file: RegisterFile,
    item: usize,
    /// What the record that is compared came by, and where.
    came: (Came, Place),
    findings: Vec<Finding>,
}

impl Judge<'_> {
    /// Compares one record. `false` if the rest makes no sense any more.
    fn check(&mut self, check: &Check, record: &Record<'_>) -> Result<bool, RingError> {
        let fits = match (&check.expected, &record.body) {
            // The cursor is advanced before the instruction: the record names this operation or the next.
            (Expected::Arrival(_), Body::Arrival(_)) => {
                usize::from(record.op) == check.op || usize::from(record.op) == check.op + 1
            }
            (Expected::Dump(_), Body::Dump(_)) => usize::from(record.op) == check.op,
            (
                Expected::Register { reg, .. } | Expected::Status { reg, .. },
                Body::Register { reg: seen, .. },
            ) => usize::from(record.op) == check.op && *seen == *reg as u64,
            (Expected::Length(_), Body::Register { reg, .. }) => {
                usize::from(record.op) == check.op && *reg == u64::from(RDVL)
            }
            _ => false,
        };
        let in_place = matches!(check.expected, Expected::Arrival(_)) || record.place == check.place;
        if !fits || !in_place {
            return Err(RingError::OutOfStep {
                seq: record.seq,
                found: record.body.name(),
                op: record.op,
                expected: check.to_string(),
            });
        }
        match (&check.expected, &record.body) {
            (Expected::Arrival(expected), Body::Arrival(seen)) => {
                return Ok(self.arrival(check, expected, record.place, seen));
            }
            (Expected::Dump(expected), Body::Dump(seen)) => self.dump(check, *expected, seen),
            (Expected::Register { reg, bits }, Body::Register { value, .. }) => {
                self.bits(check, RegisterName::Control(*reg), FailureClass::WrongControl, *bits, *value);
            }
            (Expected::Status { reg, mask, compared }, Body::Register { value, .. }) => {
                self.status(check, *mask, *compared, *value, status_name(*reg));
            }
            (Expected::Length(vq), Body::Register { value, .. }) => self.length(check, *vq, *value),
            _ => {}
        }
        Ok(true)
    }

    fn length(&mut self, check: &Check, vq: usize, seen: u64) {
        let bits = Bits::all(16 * vq as u64);
        self.bits(check, RegisterName::Vl, FailureClass::WrongLength, bits, seen);
    }

    fn dump(&mut self, check: &Check, expected: DumpCheck, seen: &Dump<'_>) {
        let what = expected.mask;
        let vq = expected.vq;
        if seen.vl_bytes() != 16 * vq {
            // Nothing else can be compared: the registers were stored at another length.
            return self.length(check, vq, seen.vl_bytes() as u64);
        }
        let v_only = what & mask::V_ONLY != 0;
        for reg in (0..32_u8).filter(|reg| what & 1 << reg != 0) {
            let name = if v_only { RegisterName::V(reg) } else { RegisterName::Z(reg) };
            self.register(check, name, vq, seen.z(usize::from(reg)));
        }
        for reg in (0..16_u8).filter(|reg| what & 1 << (32 + reg) != 0) {
            self.register(check, RegisterName::P(reg), vq, seen.p(usize::from(reg)));
        }
        if what & mask::FFR != 0 {
            self.register(check, RegisterName::Ffr, vq, seen.ffr());
        }
        let [fpsr, fpcr, fpmr] = seen.status();
        for (bit, name, value) in [
            (mask::FPSR, RegisterName::Fpsr, fpsr),
            (mask::FPCR, RegisterName::Fpcr, fpcr),
            (mask::FPMR, RegisterName::Fpmr, fpmr),
        ] {
            if what & bit != 0 {
                self.status(check, bit, u64::MAX, value, name);
            }
        }
    }

    fn register(&mut self, check: &Check, name: RegisterName, vq: usize, bytes: &[u8]) {
        let value = self.value(name);
        let kind = value.kind();
        let seen = from_bytes(kind, bytes);
        let before = value.clone();
        let legal = value.observe(vq, &seen);
        if legal {
            // What may be anything must still be nobody else's (P-12).
            let foreign = (0..vq).filter(|slice| before.is_open(*slice)).any(|slice| {
                let lanes = [seen[slice] as u64, (seen[slice] >> 64) as u64];
                lanes.into_iter().filter_map(abi::pattern::decode).any(|(owner, ..)| is_foreign(owner))
            });
            if !foreign {
                return;
            }
        } else {
            value.adopt(vq, &seen);
        }
        let history = History::new(self.program, self.item);
        let classified = classify::register(name, &before, vq, &seen, &history);
        self.findings.push(Finding {
            step: check.step,
            op: check.op,
            line: check.line,
            place: check.place,
            rules: self.rules(check, name, classified.class),
            what: name,
            holder: Owner::Scenario,
            class: classified.class,
            origin: classified.origin,
            expected: before.alternatives(vq, 16),
            actual: to_bytes(kind, &seen, vq),
            lanes: classified.lanes,
            transition: check.transition.map(|transition| transition.to_string()),
        });
    }

    fn value(&mut self, name: RegisterName) -> &mut Value {
        match name {
            RegisterName::Z(reg) | RegisterName::V(reg) => &mut self.file.z[usize::from(reg) % 32],
            RegisterName::P(reg) => &mut self.file.p[usize::from(reg) % 16],
            _ => &mut self.file.ffr,
        }
    }

    fn status(&mut self, check: &Check, bit: u64, compared: u64, seen: u64, name: RegisterName) {
        let of = |file: &RegisterFile| match bit {
            mask::FPSR => file.fpsr,
            mask::FPCR => file.fpcr,
            _ => file.fpmr,
        };
        let now = of(&self.file);
        let bits = Bits { value: now.value & compared, known: now.known & compared };
        let adopted = now.written(seen, compared);
        match bit {
            mask::FPSR => self.file.fpsr = adopted,
            mask::FPCR => self.file.fpcr = adopted,
            _ => self.file.fpmr = adopted,
        }
        if bits.allows(seen) {
            return;
        }
        let stale = History::new(self.program, self.item).status(seen, |file| of(file).value);
        let class = match stale {
            _ if seen & bits.known == 0 => FailureClass::Zeroed,
            Some(_) => FailureClass::Stale,
            None => FailureClass::Bits,
        };
        self.bits(check, name, class, bits, seen);
        if let (FailureClass::Stale, Some(generation), Some(finding)) =
            (class, stale, self.findings.last_mut())
        {
            finding.origin =
                Some(Origin { owner: abi::pattern::Owner::Scenario, generation, reg: name, lane: None });
        }
    }

    /// Compares the known bits of a 64-bit register.
    fn bits(&mut self, check: &Check, name: RegisterName, class: FailureClass, bits: Bits, seen: u64) {
        if !bits.allows(seen) {
            self.find(check, name, class, vec![bits.value], seen & bits.known);
        }
    }

    fn rules(&self, check: &Check, name: RegisterName, class: FailureClass) -> Vec<&'static str> {
        let (came, arrived) = self.came;
        let seen = Seen { place: check.place, transition: check.transition, came, arrived };
        rules::broken(name, class, seen)
    }

    fn find(
        &mut self,
        check: &Check,
        name: RegisterName,
        class: FailureClass,
        expected: Vec<u64>,
        seen: u64,
    ) {
        self.findings.push(Finding {
            step: check.step,
            op: check.op,
            line: check.line,
            place: check.place,
            rules: self.rules(check, name, class),
            what: name,
            holder: Owner::Scenario,
            class,
            origin: None,
            expected: expected.into_iter().map(|value| value.to_le_bytes().to_vec()).collect(),
            actual: seen.to_le_bytes().to_vec(),
            lanes: Vec::new(),
            transition: check.transition.map(|transition| transition.to_string()),
        });
    }
}

/// Whether a pattern of this owner can never be this vCPU's own.
fn is_foreign(owner: abi::pattern::Owner) -> bool {
    use abi::pattern::Owner;
    !matches!(owner, Owner::Scenario | Owner::OtherCase | Owner::Upper)
}

const fn status_name(reg: SysReg) -> RegisterName {
    match reg {
        SysReg::Fpsr => RegisterName::Fpsr,
        SysReg::Fpcr => RegisterName::Fpcr,
        _ => RegisterName::Fpmr,
    }
}
