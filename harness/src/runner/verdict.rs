//! From how a job ended to the state of its case.

use std::fmt::Write as _;

use abi::doorbell::Sweep;
use abi::hyp::End;
use abi::job::Status;
use abi::record::Arrival;
use abi::skip;
use model::compile::Program;
use model::judge;

use super::Job;
use crate::qemu::machine::JobEnd;
use crate::result::{Finding, HypReport, State};
use crate::target::CaseEnd;

/// A state, and what explains it.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) why: String,
    pub(super) findings: Vec<Finding>,
    /// The sweep point of the pass that showed it.
    pub(super) point: Option<u64>,
    pub(super) unexpected: Option<Arrival>,
    /// The ring that it was made from.
    pub(super) dump: Vec<u8>,
}

impl Verdict {
    pub(super) fn new(state: State, why: impl Into<String>) -> Self {
        Self { state, why: why.into(), findings: Vec::new(), point: None, unexpected: None, dump: Vec::new() }
    }

    pub(super) fn with_dump(self, dump: Vec<u8>) -> Self {
        Self { dump, ..self }
    }
}

/// The verdict over the ring of a complete pass; `None` if the oracle finds nothing wrong.
pub(super) fn judge(program: &Program, ring: &[u8], point: Option<u64>) -> Option<Verdict> {
    let (state, why, findings) = match judge::judge(program, ring) {
        Ok(findings) if findings.is_empty() => return None,
        Ok(findings) => (State::Fail, String::new(), findings),
        // A ring that does not parse, or does not fit the program, accuses the suite, not the target.
        Err(error) => (State::Error, error.to_string(), Vec::new()),
    };
    let findings = findings.into_iter().map(|finding| convert(finding, point)).collect();
    Some(Verdict { findings, point, dump: ring.to_vec(), ..Verdict::new(state, why) })
}

/// The verdict over a case in which the oracle found nothing wrong.
pub(super) fn clean(job: &Job, hyp: Option<&HypReport>, inner: &[HypReport]) -> Verdict {
    let harmed: u64 = hyp.iter().copied().chain(inner).map(|hyp| hyp.counters.neighbors_harmed).sum();
    if harmed > 0 {
        let why = format!("the host task or the other guest found its own registers changed {harmed} times");
        return Verdict::new(State::Fail, why);
    }
    let not_disturbed = |why: &str| Verdict::new(State::Skip(skip::NOT_DISTURBED.to_owned()), why);
    if job.program.needs.disturbances > 0 && hyp.is_some_and(|hyp| hyp.disturbed == 0) {
        return not_disturbed("no disturbance happened");
    }
    if job.sweep.is_some_and(|sweep| sweep.kind != Sweep::Off)
        && hyp.is_some_and(|hyp| hyp.counters.sweep_points == 0)
    {
        return not_disturbed("the sweep had no points");
    }
    Verdict::new(State::Pass, "")
}

/// The verdict over a case whose machine answered, but whose program did not run to its end.
pub(super) fn cut_short(
    end: CaseEnd,
    hyp: Option<&HypReport>,
    inner: &[HypReport],
    program: &Program,
    ring: &[u8],
    point: Option<u64>,
) -> Verdict {
    let mut verdict = match end {
        CaseEnd::Payload(status) => payload_end(status),
        CaseEnd::Hypervisor(end) => hypervisor_end(end, hyp),
        CaseEnd::Inner(end) => {
            let report = inner.iter().rfind(|inner| inner.end == Some(end));
            let verdict = hypervisor_end(end, report);
            Verdict { why: format!("inner hypervisor: {}", verdict.why), ..verdict }
        }
    };
    if let Ok(partial) = judge::judge_partial(program, ring) {
        verdict.findings = partial.findings.into_iter().map(|finding| convert(finding, point)).collect();
        verdict.unexpected = partial.unexpected;
    }
    verdict.point = point;
    verdict.with_dump(ring.to_vec())
}

fn payload_end(status: Status) -> Verdict {
    match status {
        Status::Unexpected => Verdict::new(State::Crash, "an arrival that the program did not ask for"),
        Status::Panic => Verdict::new(State::Crash, "the payload panicked"),
        Status::RingFull => Verdict::new(State::Error, "the records do not fit into the ring"),
        Status::BadJob => Verdict::new(State::Error, "the payload refuses the job"),
        Status::Done | Status::SweepDiffers => {
            Verdict::new(State::Error, "the case is over and yet cut short: the harness contradicts itself")
        }
    }
}

fn hypervisor_end(end: End, hyp: Option<&HypReport>) -> Verdict {
    let state = match end {
        End::Budget => State::Timeout,
        End::UnknownExit | End::WildAccess | End::Idle | End::Broken => State::Crash,
        End::BadJob | End::Payload => State::Error,
    };
    let mut why = match end {
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
        // Writing to a string cannot fail.
        let _ = match end {
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

fn convert(_finding: judge::Finding, _point: Option<u64>) -> Finding {
    Finding::default()
}
