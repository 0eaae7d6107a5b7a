//! Running one case: its job, or the several jobs of its sweep.

use std::sync::atomic::Ordering;
use std::time::Instant;

use abi::doorbell::Sweep;
use abi::job::{JobHeader, Status};
use abi::skip;
use model::scenario::Case;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::budget::{self, Budget};
use super::ready::{Ready, chain};
use super::verdict::{self, Verdict};

pub(super) mod traced;

use super::{Job, Shared};
use crate::kvm::complaint::{self, Complaint};
use crate::kvm::log;
use crate::kvm::mailbox::CaseText;
use crate::limits;
use crate::qemu::machine::{JobEnd, MachineError};
use crate::result::{CaseResult, HypReport, State, SweepOutcome};
use crate::target::{CaseEnd, Launch, Outcome, OutcomeError, Ring, SweepRun, TargetError};
use crate::window;

/// What becomes of the machine that ran a case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It waits for the next job.
    Reusable,
    /// It is dead, deaf, or of doubtful memory.
    Lost,
    /// It ran out of time without having run for most of it: no verdict over the guest, and a machine to get rid of.
    Starved,
    /// It ran the case, and has no room for many more.
    Spent,
    /// It waits for the next job. What was to be done to the guest was not done in time, which may be otherwise another
    /// time.
    Undisturbed,
}

/// A failure of the harness in the midst of a case.
#[derive(Debug, thiserror::Error)]
enum CaseError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
}

/// Runs a case on a machine that waits for a job.
pub(super) fn run(shared: &Shared<'_>, case: &Case, job: &Job, machine: &mut Ready) -> (CaseResult, Fate) {
    let begun = Instant::now();
    let said = CaseText { kernel_log: std::mem::take(&mut machine.log), ..CaseText::default() };
    let mut run = Run {
        shared,
        case,
        job,
        machine,
        hyp: None,
        inner: Vec::new(),
        said,
        fate: Fate::Reusable,
        starved: false,
    };
    let mut verdict = match run.jobs() {
        Ok(verdict) => verdict,
        Err(error) => {
            run.fate = Fate::Lost;
            Verdict::new(State::Error, chain(&error))
        }
    };
    if verdict.state == State::Timeout && verdict.findings.is_empty() && !run.said.complaints.is_empty() {
        // What KVM did wrong comes before what became of its guest.
        let why = format!("{}; and then {}", complaint::in_words(&run.said.complaints), verdict.why);
        verdict = Verdict::new(State::Fail, why);
    }
    if run.starved && verdict.state == State::Timeout && verdict.findings.is_empty() {
        run.fate = Fate::Starved;
    }
    let missed = verdict.state == State::Skip(skip::NOT_DISTURBED.to_owned());
    if missed && job.sweep.is_none() && run.said.skipped.is_none() && shared.target.kvm().is_some() {
        run.fate = Fate::Undisturbed;
    }
    let said = std::mem::take(&mut run.said);
    if matches!(verdict.state, State::Fail | State::Crash | State::Timeout) {
        // Whatever else is wrong, what the monitor found and what its kernel said of itself are findings of their own.
        let found = complaints(said.complaints, &said.kernel_log);
        let new =
            found.into_iter().filter(|new| !verdict.complaints.iter().any(|it| it.kind() == new.kind()));
        let all = verdict.complaints.iter().cloned().chain(new).collect();
        verdict = verdict.with_complaints(all);
    }
    let duration = begun.elapsed();
    let console = said.kernel_log + &run.machine.machine.take_console();
    let lost = run.fate == Fate::Lost;
    let kernel_trace = run.trace(&verdict).map(Box::new);
    if kernel_trace.is_some() {
        // That was another run.
        drop(run.machine.machine.take_console());
    }
    let Run { hyp, fate, .. } = run;
    let fate = if fate == Fate::Reusable && said.spent { Fate::Spent } else { fate };
    let verdict = match log::splat(&console).filter(|_| shared.target.kvm().is_some()) {
        Some(splat) if lost && matches!(verdict.state, State::Crash | State::Timeout) => {
            let why = format!("the host kernel died: {splat}; {}", verdict.why);
            Verdict { state: State::Crash, why, complaints: vec![Complaint::of_kernel(splat)], ..verdict }
        }
        _ => verdict,
    };
    let passed = verdict.state == State::Pass;
    let sweep = job.sweep.map(|sweep| SweepOutcome {
        kind: sweep.kind,
        points: hyp.as_ref().map_or(0, |hyp| hyp.counters.sweep_points),
        points_live: hyp.as_ref().map_or(0, |hyp| hyp.counters.sweep_points_live),
        failing_point: verdict.point,
    });
    let result = CaseResult {
        name: case.name.clone(),
        fault: job.fault,
        state: verdict.state,
        why: verdict.why,
        findings: verdict.findings,
        complaints: verdict.complaints,
        sweep,
        hyp,
        kernel_trace,
        unexpected: verdict.unexpected,
        stopped_at: verdict.stopped_at,
        dump: if passed { Vec::new() } else { verdict.dump },
        console,
        duration,
        machine: machine.number,
    };
    (result, fate)
}

/// A case under way.
struct Run<'a> {
    shared: &'a Shared<'a>,
    case: &'a Case,
    job: &'a Job,
    machine: &'a mut Ready,
    /// The outermost hypervisor's report, counted over all jobs.
    hyp: Option<Box<HypReport>>,
    /// The last job's reports of the hypervisors above it.
    inner: Vec<HypReport>,
    /// What an agent said in words.
    said: CaseText,
    fate: Fate,
    /// While the last job ran, the machine had too little of the host's CPUs to say anything by running out of time.
    starved: bool,
}

impl Run<'_> {
    /// Sends jobs until there is a verdict.
    fn jobs(&mut self) -> Result<Verdict, CaseError> {
        let mut sweep = self.job.sweep.map(|sweep| SweepRun {
            kind: sweep.kind,
            disturbance: sweep.disturbance,
            first: 0,
            end: if sweep.kind == Sweep::Timer { limits::TIMER_CHUNK } else { limits::SWEEP_POINTS },
        });
        for _ in 0..limits::SWEEP_RESUMES {
            let (verdict, header) = match self.one_job(sweep)? {
                Step::Over(verdict) => return Ok(verdict),
                Step::Clean { header, resume } => {
                    (self.clean(), if resume { rest(&header, sweep) } else { next_chunk(&header, sweep) })
                }
            };
            match header {
                Some(next) => sweep = Some(next),
                None => return Ok(verdict),
            }
        }
        let why =
            format!("{} differences of swept passes were legal: too many to go on", limits::SWEEP_RESUMES);
        Ok(Verdict::new(State::Error, why))
    }

    /// Sends one job and judges what came back.
    fn one_job(&mut self, sweep: Option<SweepRun>) -> Result<Step, CaseError> {
        let Self { shared, case, job, .. } = *self;
        let target = shared.target;
        let program = &*job.program;
        let hurry = shared.timeouts.load(Ordering::Relaxed) >= limits::HANGS_OF_RUN;
        let limit = job.limit.or_else(|| hurry.then(|| budget::usual(sweep) / limits::HURRY));
        let budget = Budget::of(&program.ops, sweep, limit, &self.machine.config, self.machine.pace);
        let launch =
            Launch { guest: &case.guest, program, sweep, fault: job.fault, budget_ticks: budget.ticks };
        let sent = target.prepare(self.machine.machine.memory(), &launch)?;
        let (begun, before) = (Instant::now(), self.machine.machine.cpu_share());
        let job_end = self.machine.machine.run(budget.timeout, shared.stop)?;
        let share = self.machine.machine.cpu_share().since(before);
        self.starved = share.is_starved(begun.elapsed());
        if job_end != JobEnd::Answered {
            self.fate = Fate::Lost;
        }
        if job_end == JobEnd::Stopped {
            return Ok(Step::Over(Verdict::new(State::Miss, "the run was stopped while this case ran")));
        }
        let outcome = match target.collect(self.machine.machine.memory()) {
            Ok(outcome) => outcome,
            // An agent that did not answer has replied to nothing.
            Err(_) if job_end != JobEnd::Answered => {
                return Ok(Step::Over(verdict::lost(job_end, None)));
            }
            Err(error) => return Err(error.into()),
        };
        self.said.kernel_log.push_str(&outcome.said.kernel_log);
        self.said.spent |= outcome.said.spent;
        let line =
            |op: usize| program.steps.get(usize::from(program.ops.get(op)?.step)).map(|note| note.line);
        let complaints = outcome.said.complaints.iter().cloned();
        self.said.complaints.extend(complaints.map(|complaint| Complaint {
            line: usize::try_from(complaint.op).ok().and_then(line),
            ..complaint
        }));
        if self.said.skipped.is_none() {
            self.said.skipped.clone_from(&outcome.said.skipped);
        }
        let header = outcome.header;
        let end = outcome.end(&sent);
        self.count(outcome);
        let memory = self.machine.machine.memory();
        let first = target.ring(memory, &header, Ring::First);

        let end = match (job_end, end) {
            (JobEnd::Answered, end) => end?,
            (job_end, _) => {
                let ring = first.unwrap_or_default();
                let mut verdict = verdict::lost(job_end, self.hyp.as_deref());
                // In a swept pass the cursor and the ring of the unswept one do not belong together.
                if header.pass == 0 {
                    verdict.stopped_at = verdict::stopped_at(program, header.cursor, &ring);
                }
                return Ok(Step::Over(verdict.with_dump(ring)));
            }
        };
        let first = first?;
        match end {
            CaseEnd::Payload(Status::Done) => {
                let judged = verdict::complete(program, &first, None);
                Ok(judged.map_or(Step::Clean { header, resume: false }, Step::Over))
            }
            CaseEnd::Payload(Status::SweepDiffers) => {
                let points = sweep.map_or(0..0, |sweep| sweep.first..sweep.end);
                if sweep.is_none_or(|sweep| sweep.kind != Sweep::StepAll)
                    && !points.contains(&header.sweep_at)
                {
                    return Err(OutcomeError::Point(header.sweep_at).into());
                }
                if let Some(verdict) = verdict::complete(program, &first, None) {
                    return Ok(Step::Over(verdict));
                }
                let swept = target.ring(memory, &header, Ring::Swept)?;
                let judged = verdict::complete(program, &swept, Some(header.sweep_at));
                Ok(judged.map_or(Step::Clean { header, resume: true }, Step::Over))
            }
            other => {
                let swept =
                    if header.pass == 0 { None } else { Some(target.ring(memory, &header, Ring::Swept)?) };
                let point = swept.as_ref().map(|_| header.sweep_at);
                let ring = swept.unwrap_or(first);
                let (hyp, inner) = (self.hyp.as_deref(), &self.inner);
                let verdict = verdict::cut_short(other, hyp, inner, program, header.cursor, &ring, point);
                Ok(Step::Over(verdict))
            }
        }
    }

    /// The verdict of a case in which the oracle found nothing.
    fn clean(&self) -> Verdict {
        let Self { shared, job, hyp, inner, .. } = self;
        // Deeper down the instructions of the hypervisors in between count, too.
        let stepped =
            job.sweep.is_some_and(|sweep| sweep.kind != Sweep::Timer) && shared.target.config().depth == 1;
        let points = hyp.as_ref().map_or(0, |hyp| hyp.counters.sweep_points);
        match window::excess(&job.program, points).filter(|_| stepped) {
            Some(why) => Verdict::new(State::Error, why),
            None => {
                let complaints = complaints(self.said.complaints.clone(), &self.said.kernel_log);
                if !complaints.is_empty() {
                    return Verdict::new(State::Fail, "").with_complaints(complaints);
                }
                let verdict = verdict::clean(&job.program, job.sweep.is_some(), hyp.as_deref(), inner);
                match &self.said.skipped {
                    // What was not looked at is not known to be right.
                    Some(skipped) if matches!(verdict.state, State::Pass | State::Skip(_)) => {
                        Verdict::new(State::Skip(skipped.code.clone()), skipped.why.as_str())
                    }
                    _ => verdict,
                }
            }
        }
    }

    /// Adds a job's report to those before it; trace and end are the last one's.
    fn count(&mut self, outcome: Outcome) {
        self.inner = outcome.inner;
        let Some(mut hyp) = outcome.hyp else { return };
        if let Some(before) = &self.hyp {
            hyp.fault_reached = hyp.fault_reached.saturating_add(before.fault_reached);
            hyp.disturbed = hyp.disturbed.saturating_add(before.disturbed);
            for (lines, more) in hyp.fault_lines.iter_mut().zip(before.fault_lines) {
                *lines |= more;
            }
            // Counters are 64-bit words and nothing else.
            let words = hyp.counters.as_mut_bytes().chunks_exact_mut(8);
            for (word, add) in words.zip(before.counters.as_bytes().chunks_exact(8)) {
                let sum = u64::read_from_bytes(word).ok().zip(u64::read_from_bytes(add).ok());
                if let Some((a, b)) = sum {
                    word.copy_from_slice(&a.saturating_add(b).to_ne_bytes());
                }
            }
        }
        self.hyp = Some(hyp);
    }
}

/// What a monitor found, and what its kernel's log tells of a bug (rule P-26).
fn complaints(found: Vec<Complaint>, kernel_log: &str) -> Vec<Complaint> {
    found.into_iter().chain(log::splat(kernel_log).map(Complaint::of_kernel)).collect()
}

/// What one job led to.
enum Step {
    /// A verdict.
    Over(Verdict),
    /// Nothing wrong so far.
    Clean {
        /// The payload's header.
        header: JobHeader,
        /// The sweep stopped at a difference that is legal, and can go on behind it.
        resume: bool,
    },
}

/// What is left of a sweep that stopped at a legal difference.
fn rest(header: &JobHeader, sweep: Option<SweepRun>) -> Option<SweepRun> {
    let sweep = sweep?;
    let first = header.sweep_at.checked_add(1)?;
    match sweep.kind {
        // No window of the job reached its point: this was the pass behind the last one.
        Sweep::StepEach if header.sweep_points == 0 => None,
        Sweep::StepEach if first < sweep.end => Some(SweepRun { first, ..sweep }),
        Sweep::Timer if first < sweep.end => Some(SweepRun { first, ..sweep }),
        Sweep::Timer => chunk_behind(sweep),
        Sweep::Off | Sweep::StepAll | Sweep::StepEach => None,
    }
}

/// What follows a sweep that ran to its end.
fn next_chunk(header: &JobHeader, sweep: Option<SweepRun>) -> Option<SweepRun> {
    let sweep = sweep.filter(|sweep| sweep.kind == Sweep::Timer)?;
    // No tick of this job fell into a window: later ones will not either.
    if header.sweep_points == 0 { None } else { chunk_behind(sweep) }
}

fn chunk_behind(sweep: SweepRun) -> Option<SweepRun> {
    let end = sweep.end.checked_add(limits::TIMER_CHUNK).filter(|&end| end <= limits::SWEEP_POINTS)?;
    Some(SweepRun { first: sweep.end, end, ..sweep })
}

#[cfg(test)]
mod tests {
    use abi::doorbell::Disturbance;
    use zerocopy::FromZeros as _;

    use super::*;

    fn sweep(kind: Sweep, first: u64, end: u64) -> Option<SweepRun> {
        Some(SweepRun { kind, disturbance: Disturbance::Clobber, first, end })
    }

    fn header(at: u64, points: u64) -> JobHeader {
        let mut header = JobHeader::new_zeroed();
        (header.sweep_at, header.sweep_points) = (at, points);
        header
    }

    #[test]
    fn a_sweep_goes_on_behind_a_legal_difference() {
        let chunk = limits::TIMER_CHUNK;
        assert_eq!(rest(&header(7, 8), sweep(Sweep::StepEach, 0, 100)), sweep(Sweep::StepEach, 8, 100));
        assert_eq!(rest(&header(99, 8), sweep(Sweep::StepEach, 0, 100)), None);
        assert_eq!(rest(&header(7, 0), sweep(Sweep::StepEach, 7, 100)), None);
        assert_eq!(rest(&header(0, 8), sweep(Sweep::StepAll, 0, 100)), None);
        assert_eq!(rest(&header(3, 1), sweep(Sweep::Timer, 0, chunk)), sweep(Sweep::Timer, 4, chunk));
        assert_eq!(
            rest(&header(chunk - 1, 1), sweep(Sweep::Timer, 0, chunk)),
            sweep(Sweep::Timer, chunk, 2 * chunk)
        );
        // The payload's word is not trusted to be a point of the sweep.
        assert_eq!(rest(&header(u64::MAX, 1), sweep(Sweep::StepEach, 0, 100)), None);
    }

    #[test]
    fn a_timer_sweep_ends_with_the_first_job_that_hits_nothing() {
        let chunk = limits::TIMER_CHUNK;
        assert_eq!(
            next_chunk(&header(0, 5), sweep(Sweep::Timer, 3, chunk)),
            sweep(Sweep::Timer, chunk, 2 * chunk)
        );
        assert_eq!(next_chunk(&header(0, 0), sweep(Sweep::Timer, 0, chunk)), None);
        assert_eq!(next_chunk(&header(0, 5), sweep(Sweep::StepEach, 0, chunk)), None);
        assert_eq!(next_chunk(&header(0, 5), None), None);
        let last = limits::SWEEP_POINTS;
        assert_eq!(next_chunk(&header(0, 5), sweep(Sweep::Timer, last - chunk, last)), None);
    }
}
