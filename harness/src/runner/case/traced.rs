//! A case that failed on KVM, once more with the trace events of the host's kernel on.
//!
//! Only then, and only for the first case of each kind of failure: tracing changes the code that is under test, if only
//! by some nops. What this run comes to changes no verdict.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use abi::doorbell::Sweep;
use abi::job::Status;
use model::compile::Program;

use super::{CaseError, Fate, Run};
use crate::events::{KernelTrace, convert};
use crate::kvm::complaint::Complaint;
use crate::kvm::{log, trace};
use crate::limits;
use crate::qemu::machine::JobEnd;
use crate::result::{HypReport, State};
use crate::runner::budget::Budget;
use crate::runner::ready::chain;
use crate::runner::verdict::{self, Verdict};
use crate::target::{CaseEnd, Launch, Outcome, OutcomeError, Ring, SweepRun};

/// The kinds of failure of a run that have been traced.
#[derive(Debug, Default)]
pub(in crate::runner) struct Kinds(Mutex<HashSet<String>>);

impl Kinds {
    /// Takes the first of its kind, of not too many; of any other, why it is not traced.
    fn take(&self, kind: String) -> Result<(), String> {
        // A set is whole after every operation.
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.contains(&kind) {
            return Err("only the first case of each kind of failure is traced".to_owned());
        }
        if kinds.len() >= limits::TRACED {
            return Err(format!("only the first {} kinds of failure are traced", limits::TRACED));
        }
        kinds.insert(kind);
        Ok(())
    }
}

/// What is equal for equal failures.
fn kind(verdict: &Verdict, hyp: Option<&HypReport>) -> String {
    match verdict.findings.first() {
        Some(finding) => model::fingerprint::fingerprint(finding),
        None if let Some(complaint) = verdict.complaints.first() => complaint.kind(),
        None => convert::end(&verdict.state, verdict.unexpected.as_ref(), hyp)
            .unwrap_or_else(|| convert::without_digits(&verdict.why)),
    }
}

/// The same, and where a guest ended that shows no more than that: with it the event log has as many fingerprints.
fn kind_of_log(verdict: &Verdict, hyp: Option<&HypReport>) -> String {
    let kind = kind(verdict, hyp);
    if !verdict.findings.is_empty() || !verdict.complaints.is_empty() {
        return kind;
    }
    let [pc, ..] = hyp.map_or([0; 4], |hyp| hyp.end_at);
    format!("{kind} {:#x}", verdict.unexpected.map_or(pc, |arrival| arrival.elr))
}

impl Run<'_> {
    /// What the host kernel traces of the case, if it had this verdict and is the first of its kind.
    pub(super) fn trace(&mut self, verdict: &Verdict) -> Option<KernelTrace> {
        let failed = matches!(verdict.state, State::Fail | State::Crash | State::Timeout);
        if self.shared.target.kvm().is_none() || !failed {
            return None;
        }
        if self.fate == Fate::Starved {
            return Some(KernelTrace::absent("this machine was too busy to run it once more"));
        }
        if let Err(why) = self.shared.kinds.take(kind_of_log(verdict, self.hyp.as_deref())) {
            return Some(KernelTrace::absent(why));
        }
        if self.fate != Fate::Reusable {
            return Some(KernelTrace::absent("the host is gone"));
        }
        Some(self.traced(verdict).unwrap_or_else(|why| {
            self.fate = Fate::Lost;
            KernelTrace::absent(format!("the second run ended early: {why}"))
        }))
    }

    fn traced(&mut self, verdict: &Verdict) -> Result<KernelTrace, String> {
        let Self { shared, case, job, .. } = *self;
        let target = shared.target;
        let program = &*job.program;
        let cut = verdict.findings.first().filter(|_| verdict.point.is_none());
        let cut = cut.and_then(|finding| cut_behind(program, finding.op));
        let sweep = job.sweep.zip(verdict.point).map(|(sweep, point)| SweepRun {
            kind: sweep.kind,
            disturbance: sweep.disturbance,
            first: if sweep.kind == Sweep::StepAll { 0 } else { point },
            end: point.saturating_add(1),
        });
        let ops = &cut.as_ref().unwrap_or(program).ops;
        let budget = Budget::of(ops, sweep, job.limit, &self.machine.config, self.machine.pace);
        let launch = Launch {
            guest: &case.guest,
            program: cut.as_ref().unwrap_or(program),
            sweep,
            fault: None,
            budget_ticks: budget.ticks,
        };
        let in_words = |error: CaseError| chain(&error);
        let machine = &mut self.machine.machine;
        let sent = target.prepare(machine.memory(), &launch).map_err(CaseError::from).map_err(in_words)?;
        target.ask_for_trace(machine.memory()).map_err(|error| chain(&error))?;
        // Not ended by a failure that stops the run: this is what that one is to be told with.
        let never = AtomicBool::new(false);
        match machine.run(budget.timeout, &never).map_err(|error| chain(&error))? {
            JobEnd::Answered => {}
            JobEnd::TimedOut | JobEnd::Stopped => return Err("no answer in time".to_owned()),
            JobEnd::Died(status) => return Err(format!("the host died ({status})")),
        }
        let outcome = target.collect(machine.memory()).map_err(|error| chain(&error))?;
        let traced = outcome.said.traced.clone().unwrap_or_default();
        let again: Result<Verdict, OutcomeError> = outcome.end(&sent).and_then(|end| {
            let swept = end == CaseEnd::Payload(Status::SweepDiffers);
            let ring = if swept { Ring::Swept } else { Ring::First };
            let ring = target.ring(machine.memory(), &outcome.header, ring)?;
            Ok(judged(program, end, &outcome, &ring, cut.is_some()))
        });
        let hyp = self.hyp.as_deref();
        let end = match again {
            Ok(again) if kind(&again, outcome.hyp.as_deref()) == kind(verdict, hyp) => KernelTrace::SAME,
            Ok(Verdict { state: State::Pass | State::Skip(_), .. }) => KernelTrace::PASSED,
            Ok(_) | Err(_) => KernelTrace::OTHER,
        };
        // A complaint stops the trace as the end of the program does.
        let is_cut = cut.is_some() || !outcome.said.complaints.is_empty();
        Ok(trace::read(&traced, end, is_cut))
    }
}

/// The program up to this operation. Behind its last one a payload ends the case, wherever it is, as a bad job.
fn cut_behind(program: &Program, op: usize) -> Option<Program> {
    let ops = program.ops.get(..=op)?.to_vec();
    Some(Program { ops, ..program.clone() })
}

/// The verdict over the second run.
fn judged(program: &Program, end: CaseEnd, outcome: &Outcome, ring: &[u8], cut: bool) -> Verdict {
    let hyp = outcome.hyp.as_deref();
    match end {
        CaseEnd::Payload(Status::Done | Status::SweepDiffers) => {}
        CaseEnd::Payload(Status::BadJob) if cut => {}
        other => return verdict::cut_short(other, hyp, &[], program, outcome.header.cursor, ring, None),
    }
    let found = verdict::complete(program, ring, None).filter(|verdict| !verdict.findings.is_empty());
    let said = &outcome.said;
    found.unwrap_or_else(|| match (said.complaints.as_slice(), log::splat(&said.kernel_log)) {
        ([], None) => verdict::clean(program, false, hyp, &[]),
        ([], Some(splat)) => Verdict::new(State::Fail, "").with_complaints(vec![Complaint::of_kernel(splat)]),
        (complaints, _) => Verdict::new(State::Fail, "").with_complaints(complaints.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use abi::hyp::{End, Harm};
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn a_kind_is_traced_once_and_only_so_many() {
        let kinds = Kinds::default();
        for kind in 0..limits::TRACED {
            assert_eq!(kinds.take(kind.to_string()), Ok(()));
        }
        let refused = |kind: &str| kinds.take(kind.to_owned()).unwrap_err();
        assert!(refused("0").contains("only the first case of each kind"));
        assert!(refused("another").contains("only the first 16 kinds"));
    }

    #[test]
    fn hangs_differ_by_where_they_are_and_not_by_its_digits() {
        let hang = |pc: u64| {
            let hyp = HypReport {
                end: Some(End::Budget),
                end_arg: 0,
                end_at: [pc, 0, 0, 0],
                fault_reached: 0,
                fault_lines: [0; 2],
                disturbed: 0,
                harm: Harm::NONE,
                counters: FromZeros::new_zeroed(),
                trace: Vec::new(),
            };
            let verdict = Verdict::new(State::Timeout, format!("it hangs: PC {pc:#x}"));
            (kind(&verdict, Some(&hyp)), kind_of_log(&verdict, Some(&hyp)))
        };
        let [one, other, letter] = [0x4100_8004, 0x4100_7004, 0x4100_a004].map(hang);
        assert_ne!(one.1, other.1);
        assert_ne!(one.1, letter.1);
        // A second run may be stopped at another instruction of the same loop.
        assert_eq!((&one.0, &one.0), (&other.0, &letter.0));
    }
}
