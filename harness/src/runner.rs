//! Running many cases on few machines.
//!
//! A [`Plan`] holds every case of a run, compiled or with the reason why it is not run. Workers, one machine
//! each, take cases from a common queue; whatever happens to a case or to its machine costs that case alone.
//! Each case of the plan gets exactly one result.

mod budget;
mod case;
mod host;
mod length;
mod queue;
mod ready;
mod tolerance;
mod verdict;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use abi::doorbell::{Disturbance, Sweep};
use abi::fault::Fault;
use abi::skip;
use model::compile::{CompileError, Program, compile};
use model::scenario::Case;
use model::scenario::step::SweepSpec;

use crate::qemu::Qemu;
use crate::qemu::command::MachineConfig;
use crate::result::{CaseResult, Progress, State};
use crate::target::Target;
use case::traced::Kinds;
use queue::Queue;
pub use ready::{Booted, StartError, ask};
pub use tolerance::Tolerance;

/// How the cases of a run are swept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sweeping {
    /// Every case in this way, whatever its file says; `None` leaves it to the file.
    pub kind: Option<Sweep>,
    /// What each point commits, whatever the file says.
    pub disturbance: Option<Disturbance>,
}

impl Sweeping {
    /// How a case is swept.
    #[must_use]
    pub fn of(self, case: &Case) -> Option<SweepSpec> {
        let kind = self.kind.or(case.sweep.map(|sweep| sweep.kind)).filter(|kind| *kind != Sweep::Off)?;
        let own = case.sweep.map_or(Disturbance::Clobber, |sweep| sweep.disturbance);
        Some(SweepSpec { kind, disturbance: self.disturbance.unwrap_or(own) })
    }
}

/// One case of a plan.
#[derive(Debug)]
pub struct Planned {
    /// The case.
    pub case: Arc<Case>,
    /// What is to be done with it.
    pub work: Work,
}

/// What is to be done with a case.
#[derive(Debug)]
pub enum Work {
    /// Run it.
    Run(Box<Job>),
    /// Nothing: this is its result.
    Settled(Box<CaseResult>),
}

impl Work {
    fn settled(name: &str, state: State, why: impl Into<String>) -> Self {
        Self::Settled(Box::new(CaseResult::without_findings(name, state, why)))
    }
}

/// A case that can run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The machine that QEMU is asked for.
    pub config: MachineConfig,
    /// The compiled case, linked.
    pub program: Arc<Program>,
    /// How it is swept.
    pub sweep: Option<SweepSpec>,
    /// The fault that the hypervisor is to commit; the target needs the build for it.
    pub fault: Option<Fault>,
    /// Replaces the time that the case would be given, before scaling.
    pub limit: Option<Duration>,
    /// What this job and others may cost together; once it is used up, those that have not begun are
    /// SKIP(gave-up).
    pub tolerance: Option<Arc<Tolerance>>,
}

impl Planned {
    /// Compiles a case for a target. Starts nothing.
    #[must_use]
    pub fn new(case: Arc<Case>, target: &Target, sweeping: Sweeping) -> Self {
        if let Some(guest) = target.fit(&case.guest) {
            let case = Arc::new(Case { guest, ..(*case).clone() });
            let work = work(&case, target, sweeping);
            // Steps that name a larger length make no sense there.
            if !matches!(&work, Work::Settled(result) if result.state == State::Error) {
                return Self { case, work };
            }
        }
        let work = work(&case, target, sweeping);
        Self { case, work }
    }
}

fn work(case: &Case, target: &Target, sweeping: Sweeping) -> Work {
    let skip = |code: &str, why| Work::settled(&case.name, State::Skip(code.to_owned()), why);
    let machine = match target.machine(&case.guest) {
        Ok(machine) => machine,
        Err(unavailable) => return skip(unavailable.code, unavailable.why),
    };
    let sweep = sweeping.of(case);
    if let Some(sweep) = sweep
        && !target.sweeps()
    {
        let why = format!("nothing under the payload can sweep it by {}", sweep.kind.name());
        return skip(skip::NO_HOOK, why);
    }
    match compile(case, &machine, sweep) {
        Ok(mut program) => {
            program.link(target.hole());
            Work::Run(Box::new(Job {
                config: target.machine_config(&case.guest, sweep.map_or(Sweep::Off, |sweep| sweep.kind)),
                program: Arc::new(program),
                sweep,
                fault: None,
                limit: None,
                tolerance: None,
            }))
        }
        Err(CompileError::Skip { code, why }) => skip(code, why),
        // A step is a line: what is wrong with it is wrong from its first column on.
        Err(CompileError::Scenario { line, message }) => {
            Work::settled(&case.name, State::Error, format!("{}:{line}:1: {message}", case.path))
        }
    }
}

/// Compiles many cases for a target, on `workers` threads; the order stays.
#[must_use]
pub fn plan(cases: Vec<Arc<Case>>, target: &Target, sweeping: Sweeping, workers: usize) -> Vec<Planned> {
    let workers = workers.clamp(1, cases.len().max(1));
    let chunk = cases.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let compile = |part: &[Arc<Case>]| {
            part.iter().map(|case| Planned::new(Arc::clone(case), target, sweeping)).collect()
        };
        let parts: Vec<_> = cases.chunks(chunk).map(|part| scope.spawn(move || compile(part))).collect();
        let joined = parts.into_iter().map(|part| -> Vec<Planned> {
            part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.flatten().collect()
    })
}

/// The plan for cases whose host does not come as far as the first of them, by a bug of its kernel: that one shows it.
#[must_use]
pub fn stillborn(cases: &[Arc<Case>], error: &StartError) -> Vec<Planned> {
    let settled = cases.iter().enumerate().map(|(index, case)| {
        let mut result = error.result(&case.name);
        if index > 0 {
            let why = "the host failed over KVM before any case: see the first one";
            result = CaseResult::without_findings(&case.name, State::Skip(skip::GAVE_UP.to_owned()), why);
        }
        Planned { case: Arc::clone(case), work: Work::Settled(Box::new(result)) }
    });
    settled.collect()
}

/// Everything that a run is to do.
#[derive(Debug)]
pub struct Plan {
    /// Its cases.
    pub jobs: Vec<Planned>,
    /// Machines that run at the same time.
    pub workers: usize,
    /// Every timeout is multiplied by this.
    pub timeout_scale: f64,
}

/// Runs a plan.
#[derive(Debug)]
pub struct Runner {
    plan: Plan,
    target: Target,
    qemu: Qemu,
    spare: Mutex<Option<Booted>>,
}

/// What a run came to, apart from its results.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ran {
    /// Machines that were started.
    pub machines: u32,
    /// The run was stopped: cases that had not begun are MISS.
    pub stopped: bool,
    /// Wall time.
    pub wall: Duration,
}

/// What the workers share.
struct Shared<'a> {
    plan: &'a Plan,
    target: &'a Target,
    qemu: &'a Qemu,
    /// A machine that was started before the run, for the first worker who can use it.
    spare: &'a Mutex<Option<Booted>>,
    stop: &'a AtomicBool,
    queue: Mutex<Queue>,
    /// The number of the next machine.
    machines: AtomicU32,
    /// Cases that ran out of time.
    timeouts: AtomicU32,
    /// How often a case was to be run anew because it was not disturbed.
    repeats: AtomicU32,
    /// What the host of a KVM has traced.
    kinds: Kinds,
}

impl Runner {
    /// A runner. Starts nothing.
    #[must_use]
    pub fn new(plan: Plan, target: Target, qemu: Qemu) -> Self {
        Self { plan, target, qemu, spare: Mutex::new(None) }
    }

    /// The same, whose first machine has been started already.
    #[must_use]
    pub fn with(self, booted: Option<Booted>) -> Self {
        Self { spare: Mutex::new(booted), ..self }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Runs every case, and tells of each as it begins and ends, on the calling thread. Setting `stop` ends the
    /// run soon: what runs then or has not begun is MISS.
    pub fn run(&self, stop: &AtomicBool, on: &mut dyn FnMut(Progress)) -> Ran {
        let begun = Instant::now();
        let mut queued = Vec::new();
        for (index, planned) in self.plan.jobs.iter().enumerate() {
            match &planned.work {
                Work::Run(job) => {
                    queued.push((index, job.config, budget::estimate(&job.program.ops, job.sweep.is_some())));
                }
                Work::Settled(result) => on(Progress::Finished(result.clone())),
            }
        }
        let workers = self.plan.workers.clamp(1, queued.len().max(1));
        let shared = Shared {
            plan: &self.plan,
            target: &self.target,
            qemu: &self.qemu,
            spare: &self.spare,
            stop,
            queue: Mutex::new(Queue::new(queued)),
            machines: AtomicU32::new(0),
            timeouts: AtomicU32::new(0),
            repeats: AtomicU32::new(0),
            kinds: Kinds::default(),
        };
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..workers {
                let (shared, sender) = (&shared, sender.clone());
                scope.spawn(move || worker::work(shared, &sender));
            }
            drop(sender);
            for progress in receiver {
                on(progress);
            }
        });
        for index in lock(&shared.queue).drain() {
            if let Some(planned) = self.plan.jobs.get(index) {
                let result = unrun(planned, State::Miss, "the run was stopped before this case began");
                on(Progress::Finished(Box::new(result)));
            }
        }
        Ran {
            machines: shared.machines.into_inner(),
            stopped: stop.load(std::sync::atomic::Ordering::Relaxed),
            wall: begun.elapsed(),
        }
    }
}

/// The result of a case that was not run.
fn unrun(planned: &Planned, state: State, why: &str) -> CaseResult {
    let mut result = CaseResult::without_findings(&planned.case.name, state, why);
    if let Work::Run(job) = &planned.work {
        result.fault = job.fault;
    }
    result
}

/// A queue is whole after every operation, so a worker that panicked has not broken it.
fn lock(queue: &Mutex<Queue>) -> std::sync::MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
