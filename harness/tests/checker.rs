//! The checker, checked: a payload or an oracle that ignores a register, a lane or a flag must not go unseen.
//!
//! A real round trip runs on the reference target, in one machine for all of this file. Then the payload is made
//! to forget: a register in a fill, for real, and in the records whatever a payload could lose there. Each such
//! *mutant* must be found, with the right register, lanes and bits named and nothing else. Last, the check itself
//! is weakened, to see that these tests would notice.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lab;
#[macro_use]
mod trials;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use abi::op::{Code, mask};
use abi::record::{FpImage, Kind, RecordHeader};
use harness::options::Strategy;
use harness::qemu::Qemu;
use harness::result::{CaseResult, Progress, State};
use harness::runner::{Plan, Planned, Runner, Sweeping, Work};
use lab::Lab;
use model::compile::{Expected, Item, Program};
use model::judge::{Finding, Judgement, RegisterName, judge};
use model::oracle::file::Effect;
use model::scenario::{Case, parse};
use trials::Missing;
use zerocopy::FromBytes as _;

tests! {
    the_real_run_passes,
    a_register_forgotten_in_a_fill_fails_the_case_and_is_named,
    whatever_is_lost_in_the_records_is_found_and_named,
    a_check_that_ignores_a_register_is_noticed,
    an_oracle_that_forgets_a_fill_is_noticed,
    a_check_that_ignores_lanes_or_flags_is_noticed,
}

const SCENARIO: &str = r#"
title = "what each level leaves is what the next one finds"
rules = ["P-80", "P-81"]
[matrix]
sve = [true, false]
steps = """
L1  fill all
L1  eret L2
L2  expect all
L2  fill all
L2  hvc
L1  expect all
"""
"#;

/// How many fills the scenario has, and how many dumps: each fill is compared by the next dump.
const FILLS: usize = 2;

/// What a run was told and what it recorded.
struct Evidence {
    program: Arc<Program>,
    /// What the scenario's registers are called, with their bits of [`mask`].
    registers: Vec<(u64, RegisterName)>,
    /// The records of a run with nothing wrong.
    right: Vec<u8>,
    /// The mutants of these records.
    in_records: Vec<Mutant>,
    /// The mutants whose payload forgot a register in a fill, and what the runner made of them.
    forgotten: Vec<(Mutant, State, Vec<Finding>)>,
}

/// The records of a payload that ignores something.
struct Mutant {
    /// What it does, in words.
    what: String,
    register: RegisterName,
    /// The failure class, where there can be only one.
    class: Option<&'static str>,
    ring: Vec<u8>,
}

/// The evidence of a guest with SVE and of one without.
static EVIDENCE: LazyLock<Result<Vec<Evidence>, Missing>> = LazyLock::new(|| Ok(collect(&trials::qemu()?)));

/// Runs the scenario, right and with every forgetful payload.
fn collect(qemu: &Qemu) -> Vec<Evidence> {
    let target = lab::target(qemu, Strategy::default());
    let cases = parse("checker::round_trip", "checker.toml", SCENARIO).unwrap().cases();
    let cases: Vec<Arc<Case>> = cases.into_iter().map(Arc::new).collect();
    let mut lab = Lab::boot(qemu, &target, &cases[0]);
    let mut jobs = Vec::new();
    let mut evidence = Vec::new();
    for case in &cases {
        let program = lab::program(case, &target);
        let registers = registers(&program);
        for op in fills(&program) {
            for (bit, register) in &registers {
                let case = Case { name: mutant_name(case, op, *register), ..case.as_ref().clone() };
                let mut planned = Planned::new(Arc::new(case), &target, Sweeping::default());
                if let Work::Run(job) = &mut planned.work {
                    Arc::make_mut(&mut job.program).ops[op].arg[0] &= !bit;
                }
                jobs.push(planned);
            }
        }
        let (_, right) = lab.run(&target, &case.guest, &program);
        let (in_records, forgotten) = (Vec::new(), Vec::new());
        evidence.push(Evidence { program, registers, right, in_records, forgotten });
    }
    drop(lab);
    let runner = Runner::new(Plan { jobs, workers: 1, timeout_scale: 1.0 }, target, qemu.clone());
    let mut results: HashMap<String, CaseResult> = HashMap::new();
    runner.run(&AtomicBool::new(false), &mut |progress| {
        if let Progress::Finished(result) = progress {
            results.insert(result.name.clone(), *result);
        }
    });
    for (case, evidence) in cases.iter().zip(&mut evidence) {
        evidence.in_records = evidence.mutate_records();
        for (number, op) in fills(&evidence.program).into_iter().enumerate() {
            for (_, register) in &evidence.registers {
                let what = mutant_name(case, op, *register);
                let result = results.remove(&what).unwrap();
                // What was never filled is zero, what was filled once is old.
                let class = Some(if number == 0 { "zeroed" } else { "stale" });
                let mutant = Mutant { what, register: *register, class, ring: result.dump };
                evidence.forgotten.push((mutant, result.state, result.findings));
            }
        }
    }
    evidence
}

fn mutant_name(case: &Case, op: usize, register: RegisterName) -> String {
    format!("{}: operation {op} fills all but {register}", case.name)
}

fn fills(program: &Program) -> Vec<usize> {
    let ops = program.ops.iter().enumerate();
    let fills: Vec<usize> = ops.filter(|(_, op)| op.code == Code::Fill as u16).map(|(at, _)| at).collect();
    assert_eq!(fills.len(), FILLS);
    fills
}

/// The registers that the scenario fills: all that there are.
fn registers(program: &Program) -> Vec<(u64, RegisterName)> {
    let filled = program.ops[fills(program)[0]].arg[0];
    let vector = if filled & mask::V_ONLY == 0 { RegisterName::Z } else { RegisterName::V };
    let mut names: Vec<(u64, RegisterName)> = (0..32).map(|reg| (1 << reg, vector(reg))).collect();
    names.extend((0..16).map(|reg| (1 << (32 + reg), RegisterName::P(reg))));
    names.extend([
        (mask::FFR, RegisterName::Ffr),
        (mask::FPSR, RegisterName::Fpsr),
        (mask::FPCR, RegisterName::Fpcr),
        (mask::FPMR, RegisterName::Fpmr),
    ]);
    names.retain(|(bit, _)| filled & bit != 0);
    names
}

/// Where the dumps of a ring are: index of the operation, and the body.
fn dumps(ring: &[u8]) -> Vec<(usize, Range<usize>)> {
    let mut dumps = Vec::new();
    let mut at = 0;
    while at < ring.len() {
        let (header, _) = RecordHeader::read_from_prefix(&ring[at..]).unwrap();
        let body = at + size_of::<RecordHeader>()..at + size_of::<RecordHeader>() + header.len as usize;
        at = body.end;
        if header.kind == Kind::Dump as u16 {
            dumps.push((usize::from(header.op), body));
        }
    }
    assert_eq!(dumps.len(), FILLS);
    dumps
}

/// Where a register lies in a dump.
fn slot(ring: &[u8], dump: &Range<usize>, register: RegisterName) -> Range<usize> {
    let (image, _) = FpImage::read_from_prefix(&ring[dump.clone()]).unwrap();
    let vl = image.vl_bytes as usize;
    let (at, len) = match register {
        RegisterName::Fpsr => (0, 8),
        RegisterName::Fpcr => (8, 8),
        RegisterName::Fpmr => (16, 8),
        RegisterName::Ffr => (32, vl / 8),
        RegisterName::P(reg) => (64 + usize::from(reg) * vl / 8, vl / 8),
        RegisterName::Z(reg) | RegisterName::V(reg) => (FpImage::LEN + usize::from(reg) * vl, vl),
        other => panic!("{other} is in no dump"),
    };
    dump.start + at..dump.start + at + len
}

/// What a dump of a mutant has that differs from the right one.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Difference {
    op: usize,
    register: RegisterName,
    right: Vec<u8>,
    wrong: Vec<u8>,
}

impl Difference {
    /// The 64-bit lanes that differ.
    fn lanes(&self) -> Vec<usize> {
        let pairs = self.right.chunks(8).zip(self.wrong.chunks(8)).enumerate();
        pairs.filter(|(_, (right, wrong))| right != wrong).map(|(lane, _)| lane).collect()
    }

    /// Whether a finding tells this, and no more.
    fn is_told_by(&self, finding: &Finding) -> bool {
        let lanes: Vec<usize> = finding.lanes.iter().map(|diff| diff.lane).collect();
        // Of flags the two values say which bits differ.
        let has_lanes =
            !matches!(self.register, RegisterName::Fpsr | RegisterName::Fpcr | RegisterName::Fpmr);
        finding.op == self.op
            && finding.what == self.register
            && finding.expected.first() == Some(&self.right)
            && finding.actual == self.wrong
            && (!has_lanes || lanes == self.lanes())
    }
}

impl Evidence {
    fn differences(&self, ring: &[u8]) -> Vec<Difference> {
        let mut differences = Vec::new();
        for ((op, right), (_, wrong)) in dumps(&self.right).into_iter().zip(dumps(ring)) {
            for (_, register) in &self.registers {
                let right = &self.right[slot(&self.right, &right, *register)];
                let wrong = &ring[slot(ring, &wrong, *register)];
                if right != wrong {
                    let (right, wrong) = (right.to_vec(), wrong.to_vec());
                    differences.push(Difference { op, register: *register, right, wrong });
                }
            }
        }
        differences
    }

    /// Why a judgement is not the right one over a mutant; `None` if it is.
    fn complaint(&self, mutant: &Mutant, findings: &[Finding]) -> Option<String> {
        let differences = self.differences(&mutant.ring);
        let [difference] = differences.as_slice() else {
            return Some(format!("{}: the mutant differs in {differences:?}", mutant.what));
        };
        let [finding] = findings else {
            return Some(format!("{}: {} findings", mutant.what, findings.len()));
        };
        let class_is_right = mutant.class.is_none_or(|class| finding.class.to_string() == class);
        let told = mutant.register == difference.register && difference.is_told_by(finding) && class_is_right;
        (!told).then(|| format!("{}: told as {finding:?}", mutant.what))
    }

    /// The mutants that a checker does not find, or does not put into the right words.
    fn missed<'m>(
        &self,
        mutants: impl IntoIterator<Item = &'m Mutant>,
        checker: impl Fn(&[u8]) -> Judgement,
    ) -> Vec<String> {
        let complaint = |mutant: &Mutant| self.complaint(mutant, &checker(&mutant.ring).findings);
        mutants.into_iter().filter_map(complaint).collect()
    }

    /// The checker as it is.
    fn checker(&self) -> impl Fn(&[u8]) -> Judgement {
        |ring| judge(&self.program, ring).unwrap()
    }

    /// The mutants in whose records one register of one dump is `change`d, if that changes it.
    fn mutate(
        &self,
        what: &str,
        class: Option<&'static str>,
        change: impl Fn(&mut [u8], RegisterName),
    ) -> Vec<Mutant> {
        let mut mutants = Vec::new();
        for (op, dump) in dumps(&self.right) {
            for (_, register) in &self.registers {
                let mut ring = self.right.clone();
                change(&mut ring[slot(&self.right, &dump, *register)], *register);
                if ring != self.right {
                    let what = format!("{register} of operation {op} {what}");
                    mutants.push(Mutant { what, register: *register, class, ring });
                }
            }
        }
        mutants
    }

    /// Every mutant of the records. A payload that does not store a register leaves what lay there before: nothing,
    /// or an older dump.
    fn mutate_records(&self) -> Vec<Mutant> {
        let mut mutants = self.mutate("lost", Some("zeroed"), |bytes, _| bytes.fill(0));
        for (bits, class) in [(128, "truncated to 128 bits"), (256, "truncated to 256 bits")] {
            mutants.extend(self.mutate(class, Some(class), |bytes, register| {
                if let Some(per_bit) = bytes_per_vector_bit(register) {
                    let kept = (bits * per_bit / 8 / 8).min(bytes.len());
                    bytes[kept..].fill(0);
                }
            }));
        }
        for lane in 0..8 {
            mutants.extend(self.mutate(&format!("without lane {lane}"), None, |bytes, _| {
                if let Some(bytes) = bytes.chunks_mut(8).nth(lane) {
                    bytes.fill(0);
                }
            }));
        }
        // Every bit of FPSR, FPCR and FPMR, and one of each lane of the others, not the same in all.
        for bit in 0..64 {
            mutants.extend(self.mutate(&format!("with bit {bit} flipped"), None, |bytes, register| {
                let at = match bytes_per_vector_bit(register) {
                    Some(_) if bit < bytes.len().div_ceil(8) => 64 * bit + 37 * bit % 64,
                    Some(_) => return,
                    None => bit,
                };
                if let Some(byte) = bytes.get_mut(at / 8) {
                    *byte ^= 1 << (at % 8);
                }
            }));
        }
        mutants.extend(self.stale());
        mutants
    }

    /// The mutants whose second dump has an older value, in a whole register or in one lane.
    fn stale(&self) -> Vec<Mutant> {
        let [(_, first), (op, second)] = &dumps(&self.right)[..] else { panic!("two dumps") };
        let mut mutants = Vec::new();
        for (_, register) in &self.registers {
            let old = self.right[slot(&self.right, first, *register)].to_vec();
            let new = slot(&self.right, second, *register);
            let mut add = |what: String, at: Range<usize>| {
                let mut ring = self.right.clone();
                ring[new.clone()][at.clone()].copy_from_slice(&old[at]);
                let register = *register;
                mutants.push(Mutant { what, register, class: Some("stale"), ring });
            };
            add(format!("{register} of operation {op} as before"), 0..old.len());
            // Words of predicates and flags do not say whose they are: a mixture of two values is no value.
            if let RegisterName::Z(_) | RegisterName::V(_) = register {
                for lane in 0..old.len() / 8 {
                    add(
                        format!("lane {lane} of {register} of operation {op} as before"),
                        8 * lane..8 * lane + 8,
                    );
                }
            }
        }
        mutants
    }
}

/// Eighths of a bit of a register for each bit of vector length; none for a register without one.
const fn bytes_per_vector_bit(register: RegisterName) -> Option<usize> {
    match register {
        RegisterName::Z(_) | RegisterName::V(_) => Some(8),
        RegisterName::P(_) | RegisterName::Ffr => Some(1),
        _ => None,
    }
}

/// Calls `check` for the evidence of each guest.
fn for_each_guest(check: impl Fn(&Evidence)) -> Result<(), Missing> {
    EVIDENCE.as_ref().map_err(Clone::clone)?.iter().for_each(check);
    Ok(())
}

fn the_real_run_passes() -> Result<(), Missing> {
    for_each_guest(|evidence| {
        let judgement = evidence.checker()(&evidence.right);
        assert!(judgement.passed(), "{:?}", judgement.findings);
        let machine = &evidence.program.machine;
        let vectors = if machine.features.sve { 32 + 16 + 1 } else { 32 };
        let status = 2 + usize::from(machine.features.fpmr);
        assert_eq!(evidence.registers.len(), vectors + status);
    })
}

fn a_register_forgotten_in_a_fill_fails_the_case_and_is_named() -> Result<(), Missing> {
    for_each_guest(|evidence| {
        assert_eq!(evidence.forgotten.len(), FILLS * evidence.registers.len());
        for (mutant, state, findings) in &evidence.forgotten {
            assert_eq!(*state, State::Fail, "{}", mutant.what);
            assert_eq!(evidence.complaint(mutant, findings), None);
        }
    })
}

fn whatever_is_lost_in_the_records_is_found_and_named() -> Result<(), Missing> {
    for_each_guest(|evidence| {
        let mutants = &evidence.in_records;
        assert!(mutants.len() > 10 * evidence.registers.len(), "{} mutants", mutants.len());
        assert_eq!(evidence.missed(mutants, evidence.checker()), [""; 0]);
    })
}

fn a_check_that_ignores_a_register_is_noticed() -> Result<(), Missing> {
    for_each_guest(|evidence| {
        for (bit, register) in &evidence.registers {
            let mut program = evidence.program.as_ref().clone();
            for item in &mut program.script {
                if let Item::Check(check) = item
                    && let Expected::Dump(dump) = &mut check.expected
                {
                    dump.mask &= !bit;
                }
            }
            let weak = |ring: &[u8]| judge(&program, ring).unwrap();
            assert!(weak(&evidence.right).passed(), "it finds nothing wrong with what is right");
            let forgotten = evidence.forgotten.iter().map(|(mutant, ..)| mutant);
            let own: Vec<&Mutant> = evidence
                .in_records
                .iter()
                .chain(forgotten)
                .filter(|mutant| mutant.register == *register)
                .collect();
            let missed = evidence.missed(own.iter().copied(), weak);
            assert_eq!(missed.len(), own.len(), "{register}: not all of {missed:?}");
        }
    })
}

fn an_oracle_that_forgets_a_fill_is_noticed() -> Result<(), Missing> {
    for_each_guest(|evidence| {
        for (bit, register) in &evidence.registers {
            let mut program = evidence.program.as_ref().clone();
            for item in &mut program.script {
                if let Item::Effect(Effect::Fill { mask, .. }) = item {
                    *mask &= !bit;
                }
            }
            let judgement = judge(&program, &evidence.right).unwrap();
            assert!(judgement.findings.iter().any(|finding| finding.what == *register), "{register}");
        }
    })
}

/// Each mutant is found, says a test above: so a check that does not look where one differs would be noticed.
fn a_check_that_ignores_lanes_or_flags_is_noticed() -> Result<(), Missing> {
    for_each_guest(|evidence| {
        for (_, register) in &evidence.registers {
            let own: Vec<&Mutant> =
                evidence.in_records.iter().filter(|mutant| mutant.register == *register).collect();
            for (what, blind) in blindnesses(evidence, *register) {
                let passes_for_right = |mutant: &&Mutant| {
                    let mut seen = mutant.ring.clone();
                    for (at, blind) in &blind {
                        seen[*at] = evidence.right[*at] & blind | seen[*at] & !blind;
                    }
                    seen == evidence.right
                };
                let missed = own.iter().copied().find(passes_for_right);
                assert!(missed.is_some(), "no mutant is for a check that ignores {what} of {register}");
            }
        }
    })
}

/// What a check may not look at in one register of each dump: in words, and as bits of bytes of the ring.
fn blindnesses(evidence: &Evidence, register: RegisterName) -> Vec<(String, Vec<(usize, u8)>)> {
    let ring = &evidence.right;
    let slots: Vec<_> = dumps(ring).iter().map(|(_, dump)| slot(ring, dump, register)).collect();
    let mut all = Vec::new();
    let mut add = |what: String, blind: &dyn Fn(usize) -> u8| {
        let bytes = slots.iter().flat_map(|slot| slot.clone().enumerate());
        let bytes = bytes.map(|(at, byte)| (byte, blind(at))).filter(|(_, blind)| *blind != 0);
        let blind: Vec<(usize, u8)> = bytes.collect();
        if !blind.is_empty() {
            all.push((what, blind));
        }
    };
    if let Some(per_bit) = bytes_per_vector_bit(register) {
        let kept = 128 * per_bit / 8 / 8;
        add("what is above 128 bits".to_owned(), &|at| if at < kept { 0 } else { 0xff });
        for lane in 0..slots[0].len().div_ceil(8) {
            add(format!("lane {lane}"), &|at| if at / 8 == lane { 0xff } else { 0 });
        }
    } else {
        for bit in 0..64 {
            add(format!("bit {bit}"), &|at| if at == bit / 8 { 1 << (bit % 8) } else { 0 });
        }
    }
    all
}
