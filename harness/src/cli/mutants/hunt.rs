//! The two runs: without a fault, and with each of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use abi::fault::Fault;
use anyhow::Result;
use model::scenario::Case;

use super::outcome::Outcome;
use crate::cli::session;
use crate::options::Options;
use crate::progress::Live;
use crate::qemu::Qemu;
use crate::result::{CaseResult, Progress, State};
use crate::runner::{Job, Planned, Tolerance, Work};
use crate::target::{Target, TargetConfig};

/// A case may take this many times as long as without a fault.
const PATIENCE: u32 = 20;
/// And at least this long: a busy machine may stall one for some hundred milliseconds, and that is no kill.
const LIMIT_MIN: Duration = Duration::from_secs(1);
/// Machines that a fault may kill, and cases that it may make hang, before the rest of its cases is given up:
/// each costs as much as hundreds of others and tells nothing new.
pub(super) const TOLERATED: u32 = 8;

/// The search, and what its two runs have in common.
pub(super) struct Hunt<'a> {
    pub(super) options: &'a Options,
    pub(super) qemu: &'a Qemu,
    pub(super) signal: &'a AtomicBool,
}

/// The run without a fault.
pub(super) struct Clean {
    /// The cases that pass.
    pub(super) fit: Vec<Fit>,
    /// Cases that ran and did not pass.
    pub(super) unfit: Vec<(String, State)>,
}

/// A case that passes without a fault.
pub(super) struct Fit {
    case: Arc<Case>,
    /// With how long it may take.
    job: Box<Job>,
    /// The faults whose lines it comes by.
    lines: [u64; 2],
}

impl Fit {
    /// Whether the case can notice the fault: up to the first time that it comes by the fault's line it goes as
    /// without one. A hypervisor that does not tell of lines is taken to come by all of them.
    fn comes_by(&self, fault: Fault) -> bool {
        let number = usize::from(fault as u16);
        self.lines == [0; 2]
            || self.lines.get(number / 64).is_some_and(|lines| lines >> (number % 64) & 1 != 0)
    }
}

impl Hunt<'_> {
    /// The target of both runs: the build that can commit faults, without a trace that nobody will read.
    fn target(&self) -> Result<Target> {
        let config = TargetConfig { faults: true, trace: false, ..TargetConfig::new(self.options) };
        Ok(Target::new(config, self.qemu.version())?)
    }

    pub(super) fn clean(&self, cases: &[Arc<Case>]) -> Result<Clean> {
        let target = self.target()?;
        let jobs = session::compile(self.options, cases, &target);
        let runner = session::runner(self.options, jobs, target, self.qemu);
        let mut unfit = Vec::new();
        let mut passed = HashMap::new();
        let mut live = Live::new("cases without a fault", cases.len() as u64);
        runner.run(self.signal, &mut |progress| {
            let Progress::Finished(result) = progress else { return };
            live.done(result.state.is_nonconformant() || result.state.is_void());
            let CaseResult { name, state, duration, hyp, .. } = *result;
            match state {
                State::Pass => {
                    let limit = duration.saturating_mul(PATIENCE).max(LIMIT_MIN);
                    passed.insert(name, (limit, hyp.map_or([0; 2], |hyp| hyp.fault_lines)));
                }
                State::Skip(_) => {}
                state => unfit.push((name, state)),
            }
        });
        let fit = runner.plan().jobs.iter().filter_map(|planned| match &planned.work {
            Work::Run(job) => {
                let (limit, lines) = *passed.get(&planned.case.name)?;
                let job = Box::new(Job { limit: Some(limit), ..Job::clone(job) });
                Some(Fit { case: Arc::clone(&planned.case), job, lines })
            }
            Work::Settled(..) => None,
        });
        Ok(Clean { fit: fit.collect(), unfit })
    }

    /// Runs with every fault the cases that come by its line, fault by fault on each kind of machine.
    pub(super) fn faults(&self, faults: &[Fault], clean: &Clean) -> Result<Vec<Outcome>> {
        let mut jobs = Vec::new();
        for fault in faults {
            let tolerance = Arc::new(Tolerance::new(TOLERATED, TOLERATED));
            jobs.extend(clean.fit.iter().filter(|fit| fit.comes_by(*fault)).map(|fit| {
                let tolerance = Some(Arc::clone(&tolerance));
                let job = Job { fault: Some(*fault), tolerance, ..Job::clone(&fit.job) };
                Planned { case: Arc::clone(&fit.case), work: Work::Run(Box::new(job)) }
            }));
        }
        let mut outcomes: BTreeMap<Fault, Outcome> =
            faults.iter().map(|fault| (*fault, Outcome::new(*fault))).collect();
        let mut live = Live::new("cases with a fault", jobs.len() as u64);
        let runner = session::runner(self.options, jobs, self.target()?, self.qemu);
        runner.run(self.signal, &mut |progress| {
            let Progress::Finished(result) = progress else { return };
            live.done(false);
            if let Some(outcome) = result.fault.and_then(|fault| outcomes.get_mut(&fault)) {
                outcome.add(*result);
            }
        });
        Ok(outcomes.into_values().collect())
    }
}
