//! From how a job ended to the state of its case.

use std::fmt::Write as _;

use abi::hyp::End;
use abi::job::Status;
use abi::op::Code;
use abi::record::{Arrival, RecordHeader};
use abi::skip;
use model::compile::Program;
use model::judge::{RingError, judge, names, neighbor};
use zerocopy::FromBytes as _;

use super::length;
use crate::kvm::complaint::{self, Complaint};
use crate::kvm::exit::Gave;
use crate::qemu::machine::JobEnd;
use crate::result::{Finding, HypReport, State};
use crate::target::CaseEnd;

/// A state, and what explains it.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) why: String,
    pub(super) findings: Vec<Finding>,
    /// What KVM did wrong as its user sees it.
    pub(super) complaints: Vec<Complaint>,
    /// The sweep point of the pass that showed it.
    pub(super) point: Option<u64>,
    pub(super) unexpected: Option<Arrival>,
    /// The line of the step that was under way when the case ended before its time.
    pub(super) stopped_at: Option<u32>,
    /// The ring that it was made from.
    pub(super) dump: Vec<u8>,
}

impl Verdict {
    pub(super) fn new(state: State, why: impl Into<String>) -> Self {
        Self {
            state,
            why: why.into(),
            findings: Vec::new(),
            complaints: Vec::new(),
            point: None,
            unexpected: None,
            stopped_at: None,
            dump: Vec::new(),
        }
    }

    /// That over a case of which there are complaints; without words of its own they are theirs.
    pub(super) fn with_complaints(self, complaints: Vec<Complaint>) -> Self {
        let why = if self.why.is_empty() { complaint::in_words(&complaints) } else { self.why };
        Self { why, complaints, ..self }
    }

    pub(super) fn with_dump(self, dump: Vec<u8>) -> Self {
        Self { dump, ..self }
    }
}

/// The verdict over the ring of a pass that the payload says is complete; `None` if nothing is wrong with it.
pub(super) fn complete(program: &Program, ring: &[u8], point: Option<u64>) -> Option<Verdict> {
    let verdict = match judge(program, ring) {
        Ok(judgement) if judgement.passed() => return None,
        Ok(judgement) if judgement.crash.is_some() => {
            Verdict::new(State::Error, "the payload says that it is done, and its records that it crashed")
        }
        Ok(judgement) if judgement.findings.is_empty() => Verdict::new(
            State::Error,
            format!(
                "the payload says that it is done, and {} of {} records are there",
                judgement.checked, judgement.expected
            ),
        ),
        Ok(judgement) => Verdict { findings: judgement.findings, ..Verdict::new(State::Fail, "") },
        Err(RingError::BadLength { offset, .. })
            if let Some((finding, before)) = length::changed_in_dump(program, ring, offset) =>
        {
            failed(program, before, finding)
        }
        // A ring that does not parse, or does not fit the program, accuses the suite, not the target.
        Err(error) => Verdict::new(State::Error, error.to_string()),
    };
    Some(Verdict { point, ..verdict.with_dump(ring.to_vec()) })
}

/// The verdict over a pass that ended with this finding, after the records `before` it.
fn failed(program: &Program, before: &[u8], last: Finding) -> Verdict {
    let mut findings = judge(program, before).map(|judgement| judgement.findings).unwrap_or_default();
    findings.push(last);
    Verdict { findings, ..Verdict::new(State::Fail, "") }
}

/// The verdict over a case in which the oracle found nothing wrong.
pub(super) fn clean(program: &Program, swept: bool, hyp: Option<&HypReport>, inner: &[HypReport]) -> Verdict {
    let harmed = hyp.into_iter().chain(inner).find(|hyp| hyp.counters.neighbors_harmed > 0);
    if let Some(hyp) = harmed {
        return harm(program, hyp);
    }
    let not_disturbed = |why: &str| Verdict::new(State::Skip(skip::NOT_DISTURBED.to_owned()), why);
    let needed = program.needs.disturbances as u64;
    if let Some(hyp) = hyp.filter(|hyp| hyp.disturbed < needed) {
        return not_disturbed(&format!("{} of {needed} disturbances happened", hyp.disturbed));
    }
    if swept && hyp.is_some_and(|hyp| hyp.counters.sweep_points == 0) {
        return not_disturbed("the sweep had no points");
    }
    Verdict::new(State::Pass, "")
}

/// The verdict over a case in which the host task or the other guest found its own registers changed.
fn harm(program: &Program, hyp: &HypReport) -> Verdict {
    let finding = neighbor(program, &hyp.harm);
    let who = finding.as_ref().map_or("a neighbor of the guest", |finding| finding.holder.name());
    let why = match names(hyp.harm.registers).as_slice() {
        [] => format!("{who} found its own registers changed"),
        [only] => format!("{who} found its own {only} changed"),
        [first, rest @ ..] => {
            format!("{who} found its own {first} and {} more registers changed", rest.len())
        }
    };
    Verdict { findings: finding.into_iter().collect(), ..Verdict::new(State::Fail, why) }
}

/// The verdict over a case whose machine answered, but whose program did not run to its end.
pub(super) fn cut_short(
    end: CaseEnd,
    hyp: Option<&HypReport>,
    inner: &[HypReport],
    program: &Program,
    cursor: u64,
    ring: &[u8],
    point: Option<u64>,
) -> Verdict {
    let mut verdict = match end {
        CaseEnd::Payload(Status::BadJob) => {
            if let Some((finding, before)) = length::refused_fill(program, ring) {
                let verdict = failed(program, before, finding);
                return Verdict { point, ..verdict.with_dump(ring.to_vec()) };
            }
            refused(program, cursor)
        }
        CaseEnd::Payload(status) => payload_end(status),
        CaseEnd::Hypervisor(end) => hypervisor_end(end, hyp),
        CaseEnd::Inner(end) => {
            let report = inner.iter().rfind(|inner| inner.end == Some(end));
            let verdict = hypervisor_end(end, report);
            Verdict { why: format!("inner hypervisor: {}", verdict.why), ..verdict }
        }
    };
    // What was recorded before the end may tell more. What cannot be read tells nothing.
    if let Ok(judgement) = judge(program, ring) {
        verdict.findings = judgement.findings;
        verdict.unexpected = judgement.crash.and_then(|_| last_arrival(ring));
    }
    verdict.point = point;
    verdict.stopped_at = stopped_at(program, cursor, ring);
    verdict.with_dump(ring.to_vec())
}

/// The line of the step that was under way: of the operation at the cursor, or of the one before if that has left its
/// place and arrived nowhere.
pub(super) fn stopped_at(program: &Program, cursor: u64, ring: &[u8]) -> Option<u32> {
    let cursor = usize::try_from(cursor).ok()?;
    let left = cursor.checked_sub(1).filter(|before| {
        let leaves = program.ops.get(*before).is_some_and(|op| op.code == Code::Go as u16);
        leaves && last_header(ring).is_none_or(|header| usize::from(header.op) < *before)
    });
    let op = program.ops.get(left.unwrap_or(cursor)).or_else(|| program.ops.last())?;
    program.steps.get(usize::from(op.step)).map(|note| note.line)
}

/// The header of the last record of a ring, as far as it can be read.
fn last_header(ring: &[u8]) -> Option<RecordHeader> {
    let (mut rest, mut last) = (ring, None);
    while let Ok((header, after)) = RecordHeader::read_from_prefix(rest) {
        last = Some(header);
        rest = after.get(usize::try_from(header.len).ok()?..)?;
    }
    last
}

/// The arrival in the last record of a ring.
fn last_arrival(ring: &[u8]) -> Option<Arrival> {
    let at = ring.len().checked_sub(size_of::<Arrival>())?;
    Arrival::read_from_bytes(ring.get(at..)?).ok()
}

fn payload_end(status: Status) -> Verdict {
    match status {
        Status::Unexpected => Verdict::new(State::Crash, "an arrival that the program did not ask for"),
        Status::Panic => Verdict::new(State::Crash, "the payload panicked"),
        Status::RingFull => Verdict::new(State::Error, "the records do not fit into the ring"),
        Status::BadJob | Status::Done | Status::SweepDiffers => {
            Verdict::new(State::Error, "the case is over and yet cut short: the harness contradicts itself")
        }
    }
}

/// A job that the payload refuses at the operation at the cursor.
fn refused(program: &Program, cursor: u64) -> Verdict {
    let op = usize::try_from(cursor).ok().and_then(|cursor| program.ops.get(cursor));
    let note = op.and_then(|op| program.steps.get(usize::from(op.step)));
    let at = note.map_or_else(String::new, |note| format!(", at line {}", note.line));
    Verdict::new(State::Error, format!("the payload refuses the job: operation {cursor}{at}"))
}

fn hypervisor_end(end: End, hyp: Option<&HypReport>) -> Verdict {
    let state = match end {
        End::Budget => State::Timeout,
        End::UnknownExit | End::WildAccess | End::Idle | End::Broken => State::Crash,
        End::BadJob | End::Payload => State::Error,
    };
    let gave = hyp.and_then(|hyp| Gave::from_arg(hyp.end_arg));
    let mut why = match end {
        End::UnknownExit if let Some(Gave::Error(_)) = gave => "KVM refuses to run the guest".to_owned(),
        End::Budget => "the guest ran beyond its budget".to_owned(),
        End::UnknownExit => "an exit that the hypervisor does not know".to_owned(),
        End::WildAccess => "an access outside the guest's memory".to_owned(),
        End::Idle => "the guest waits for an interrupt that cannot come".to_owned(),
        End::Broken => "the hypervisor met an exception of its own".to_owned(),
        End::BadJob => "the hypervisor refuses the job".to_owned(),
        End::Payload => "the hypervisor tells of an end that the payload does not know of".to_owned(),
    };
    if let Some(hyp) = hyp {
        let [pc, _, far, _] = hyp.end_at;
        // A VM that KVM gave up does not say where.
        let at = if pc == 0 { String::new() } else { format!(" at PC {pc:#x}") };
        // Writing to a string cannot fail.
        let _ = match end {
            End::UnknownExit | End::WildAccess | End::Broken if let Some(gave) = gave => {
                write!(why, ": KVM_RUN gave {gave}{at}")
            }
            End::UnknownExit | End::WildAccess | End::Broken => write!(
                why,
                ": ESR {:#x} (EC {:#04x}) at PC {pc:#x}, FAR {far:#x}",
                hyp.end_arg,
                arch::esr::class(hyp.end_arg)
            ),
            End::Budget | End::Idle => write!(why, ": PC {pc:#x}"),
            End::BadJob | End::Payload => Ok(()),
        };
    }
    Verdict::new(state, why)
}

/// The verdict over a case whose machine is lost.
pub(super) fn lost(end: JobEnd, hyp: Option<&HypReport>) -> Verdict {
    use std::os::unix::process::ExitStatusExt as _;
    match end {
        JobEnd::TimedOut => Verdict::new(State::Timeout, "the machine did not answer in time"),
        JobEnd::Died(_) if hyp.is_some_and(|hyp| hyp.end == Some(End::Broken)) => {
            hypervisor_end(End::Broken, hyp)
        }
        JobEnd::Died(status) => match status.signal() {
            // SIGKILL and SIGTERM come from outside: the user, or the system when memory is short.
            Some(signal @ (9 | 15)) => Verdict::new(
                State::Error,
                format!("QEMU was killed from outside by signal {signal} while the case ran"),
            ),
            _ => Verdict::new(State::Crash, format!("QEMU ended while the case ran ({status})")),
        },
        JobEnd::Answered | JobEnd::Stopped => {
            Verdict::new(State::Error, "the machine is not lost: the harness contradicts itself")
        }
    }
}

#[cfg(test)]
mod tests {
    use abi::op::mask;
    use abi::place::Place;
    use abi::record::{FpImage, Kind, MAGIC};
    use model::compile::compile_steps;
    use model::machine::{Machine, QemuCpu};
    use model::scenario::step::{Cpu, Expect, GuestSpec, RegSet, Step, Verb};
    use zerocopy::{FromZeros, IntoBytes as _};

    use super::*;

    /// A plain guest without SVE that fills V0 to V31 and dumps them.
    fn program() -> Program {
        let guest = GuestSpec { sve: false, vl_max: 128, ..GuestSpec::default() };
        let cpu = QemuCpu { cpu: Cpu::Max, sve: false, vl_max: 0, sme: false, fpmr: false, poe: false };
        let set = RegSet { mask: mask::Z | mask::V_ONLY, all: false };
        let step = |verb, line| Step { place: Place::G, verb, line };
        let steps = [step(Verb::Fill(set), 1), step(Verb::Expect(Expect::Registers(set)), 2)];
        let mut program = compile_steps(&guest, &steps, &Machine::bare(&cpu, &guest).unwrap(), None).unwrap();
        program.link(0x4040_0000);
        program
    }

    fn record(program: &Program, kind: Kind, body: &[u8]) -> Vec<u8> {
        let op = program.ops.iter().position(|op| op.code == Code::Dump as u16).unwrap();
        let header = RecordHeader {
            magic: MAGIC,
            kind: kind as u16,
            len: body.len() as u32,
            op: op as u16,
            place: Place::G as u8,
            reserved: 0,
            seq: 0,
        };
        [header.as_bytes(), body].concat()
    }

    /// What a right run writes, but for `change`.
    fn ring(program: &Program, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let fill = program.ops.iter().find(|op| op.code == Code::Fill as u16).unwrap();
        let mut body = vec![0; FpImage::LEN + 32 * 16];
        let image = &program.data[fill.data as usize..][..fill.data_len as usize];
        body[..image.len()].copy_from_slice(image);
        body[24..32].copy_from_slice(&16u64.to_le_bytes());
        change(&mut body[FpImage::LEN..]);
        record(program, Kind::Dump, &body)
    }

    #[test]
    fn a_right_pass_passes_and_a_wrong_one_fails() {
        let program = program();
        assert!(complete(&program, &ring(&program, |_| ()), None).is_none());
        let verdict = complete(&program, &ring(&program, |z| z[5 * 16] ^= 1), Some(7)).unwrap();
        assert_eq!((verdict.state, verdict.point, verdict.findings.len()), (State::Fail, Some(7), 1));
        assert_eq!(verdict.findings[0].what.to_string(), "v5");
        assert!(!verdict.dump.is_empty());
    }

    #[test]
    fn records_that_contradict_the_status_are_an_error() {
        let program = program();
        let state = |ring: &[u8]| complete(&program, ring, None).map(|verdict| (verdict.state, verdict.why));
        let missing = state(&[]).unwrap();
        assert_eq!(
            missing,
            (State::Error, "the payload says that it is done, and 0 of 1 records are there".into())
        );
        let whole = ring(&program, |_| ());
        for cut in [1, 16, whole.len() / 2] {
            assert_eq!(state(&whole[..whole.len() - cut]).unwrap().0, State::Error);
        }
        let crash = record(&program, Kind::Unexpected, Arrival::new_zeroed().as_bytes());
        assert_eq!(state(&crash).unwrap().0, State::Error);
    }

    #[test]
    fn no_flipped_bit_of_a_header_goes_unnoticed() {
        let program = program();
        let whole = ring(&program, |_| ());
        for bit in 0..size_of::<RecordHeader>() * 8 {
            // Byte 11 is reserved.
            if bit / 8 == 11 {
                continue;
            }
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(complete(&program, &broken, None).is_some(), "bit {bit}");
        }
    }

    #[test]
    fn an_unexpected_arrival_is_a_crash_and_is_shown() {
        let program = program();
        let mut arrival = Arrival::new_zeroed();
        arrival.esr = 0x5600_0007;
        let ring = record(&program, Kind::Unexpected, arrival.as_bytes());
        let verdict = cut_short(CaseEnd::Payload(Status::Unexpected), None, &[], &program, 0, &ring, None);
        assert_eq!(verdict.state, State::Crash);
        assert_eq!(verdict.unexpected.map(|arrival| arrival.esr), Some(0x5600_0007));
    }

    fn report(end: Option<End>, change: impl FnOnce(&mut HypReport)) -> HypReport {
        let mut report = HypReport {
            end,
            end_arg: 0x1f << 26,
            end_at: [0x4100_0040, 0, 0, 0],
            fault_reached: 0,
            fault_lines: [0; 2],
            disturbed: 0,
            harm: abi::hyp::Harm::NONE,
            counters: FromZeros::new_zeroed(),
            trace: Vec::new(),
        };
        change(&mut report);
        report
    }

    #[test]
    fn what_the_hypervisor_says_is_told() {
        let program = program();
        let state = |end| {
            let hyp = report(Some(end), |_| ());
            let verdict = cut_short(CaseEnd::Hypervisor(end), Some(&hyp), &[], &program, 0, &[], None);
            (verdict.state, verdict.why)
        };
        assert_eq!(
            state(End::Budget),
            (State::Timeout, "the guest ran beyond its budget: PC 0x41000040".into())
        );
        assert_eq!(
            state(End::UnknownExit),
            (
                State::Crash,
                "an exit that the hypervisor does not know: ESR 0x7c000000 (EC 0x1f) at PC 0x41000040, FAR 0x0".into()
            )
        );
        assert_eq!(state(End::BadJob).0, State::Error);
        let inner = [report(Some(End::Idle), |_| ())];
        let verdict = cut_short(CaseEnd::Inner(End::Idle), None, &inner, &program, 0, &[], None);
        assert_eq!(verdict.state, State::Crash);
        assert!(verdict.why.starts_with("inner hypervisor: the guest waits"), "{}", verdict.why);
    }

    #[test]
    fn an_errno_of_kvm_is_no_reason_to_exit() {
        let why = |end, gave: Gave, pc| {
            let hyp = report(Some(end), |hyp| (hyp.end_arg, hyp.end_at) = (gave.to_arg(), [pc, 0, 0, 0]));
            hypervisor_end(end, Some(&hyp)).why
        };
        assert_eq!(
            why(End::UnknownExit, Gave::Error(5), 0),
            "KVM refuses to run the guest: KVM_RUN gave errno 5 (EIO)"
        );
        assert_eq!(
            why(End::UnknownExit, Gave::Exit { reason: 5, with: 0 }, 0x4100_0040),
            "an exit that the hypervisor does not know: KVM_RUN gave exit reason 5 at PC 0x41000040"
        );
        assert_eq!(
            why(End::WildAccess, Gave::Exit { reason: 6, with: 0x900_0000 }, 0x4100_0040),
            "an access outside the guest's memory: KVM_RUN gave exit reason 6 (KVM_EXIT_MMIO) with 0x9000000 \
             at PC 0x41000040"
        );
    }

    #[test]
    fn the_step_under_way_is_the_one_that_left_and_did_not_arrive() {
        let mut program = program();
        let go = program.ops.iter().position(|op| op.code == Code::Fill as u16).unwrap();
        program.ops[go].code = Code::Go as u16;
        let line = |op: usize| Some(program.steps[usize::from(program.ops[op].step)].line);
        let record = |op: usize| {
            let mut header = RecordHeader::new_zeroed();
            header.op = u16::try_from(op).unwrap();
            header.as_bytes().to_vec()
        };
        let cursor = go as u64 + 1;
        assert_eq!(stopped_at(&program, cursor, &[]), line(go));
        assert_eq!(stopped_at(&program, cursor, &record(go)), line(go + 1));
        assert_eq!(stopped_at(&program, u64::MAX, &[]), line(program.ops.len() - 1));
        assert_eq!(stopped_at(&program, go as u64, &[0xff; 40]), line(go));
    }

    #[test]
    fn a_clean_case_can_still_be_no_pass() {
        let mut program = program();
        let mut state = |disturbances, sweep, hyp: &HypReport| {
            program.needs.disturbances = disturbances;
            clean(&program, sweep, Some(hyp), &[]).state
        };
        let not_disturbed = State::Skip("not-disturbed".into());
        assert_eq!(state(0, false, &report(None, |_| ())), State::Pass);
        assert_eq!(state(1, false, &report(None, |_| ())), not_disturbed);
        assert_eq!(state(1, false, &report(None, |hyp| hyp.disturbed = 1)), State::Pass);
        assert_eq!(state(2, false, &report(None, |hyp| hyp.disturbed = 1)), not_disturbed);
        assert_eq!(state(0, true, &report(None, |_| ())), not_disturbed);
        assert_eq!(state(0, true, &report(None, |hyp| hyp.counters.sweep_points = 1)), State::Pass);
        let harmed = report(None, |hyp| hyp.counters.neighbors_harmed = 1);
        assert_eq!(state(0, false, &harmed), State::Fail);
    }

    #[test]
    fn a_lost_machine_is_blamed_on_who_lost_it() {
        use std::os::unix::process::ExitStatusExt as _;
        use std::process::ExitStatus;
        let died = |raw| lost(JobEnd::Died(ExitStatus::from_raw(raw)), None).state;
        assert_eq!(died(9), State::Error, "SIGKILL");
        assert_eq!(died(11), State::Crash, "SIGSEGV");
        assert_eq!(died(3 << 8), State::Crash, "exit code 3");
        assert_eq!(lost(JobEnd::TimedOut, None).state, State::Timeout);
        let broken = report(Some(End::Broken), |_| ());
        let verdict = lost(JobEnd::Died(ExitStatus::from_raw(3 << 8)), Some(&broken));
        assert_eq!(verdict.state, State::Crash);
        assert!(verdict.why.starts_with("the hypervisor met an exception of its own"), "{}", verdict.why);
    }
}
