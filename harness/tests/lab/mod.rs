//! One machine with the reference hypervisor, for tests that look at what a job left behind.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use abi::doorbell::Sweep;
use abi::job::Status;
use harness::options::{Options, Strategy};
use harness::qemu::Qemu;
use harness::qemu::machine::{JobEnd, Machine};
use harness::runner::{Planned, Sweeping, Work};
use harness::target::{CaseEnd, Launch, Outcome, Ring, Target, TargetConfig};
use model::compile::Program;
use model::scenario::Case;
use model::scenario::step::GuestSpec;

/// More than any job here needs on the slowest machine.
const LONG: Duration = Duration::from_secs(60);
/// The same for the hypervisor, in its ticks: a case that hangs ends by it, and the machine lives.
const BUDGET_TICKS: u64 = 5_000_000_000;

/// The reference hypervisor with this strategy, once below the payload.
pub fn target(qemu: &Qemu, strategy: Strategy) -> Target {
    let options = Options { strategy, ..Options::default() };
    Target::new(TargetConfig::new(&options), qemu.version()).unwrap()
}

/// What is to be done with a case.
pub fn planned(case: &Arc<Case>, target: &Target) -> Work {
    Planned::new(Arc::clone(case), target, Sweeping::default()).work
}

/// The program of a case that is not swept.
#[track_caller]
pub fn program(case: &Arc<Case>, target: &Target) -> Arc<Program> {
    match planned(case, target) {
        Work::Run(job) if job.sweep.is_none() => job.program,
        other => panic!("{}: {other:?}", case.name),
    }
}

/// A machine that waits for a job. It has to be used by the thread that booted it.
pub struct Lab {
    machine: Machine,
}

impl Lab {
    /// Boots a machine for the guest of this case, and for every other that needs the same one. The strategy is
    /// each job's.
    pub fn boot(qemu: &Qemu, target: &Target, case: &Arc<Case>) -> Self {
        let memory = Machine::new_memory().unwrap();
        target.load(&memory).unwrap();
        // The hypervisor reads in its job, as soon as it runs, that it is the outermost one. Nothing says when that
        // is, so a job has to lie there before.
        target.prepare(&memory, &launch(&case.guest, &program(case, target))).unwrap();
        let config = target.machine_config(&case.guest, Sweep::Off);
        Self { machine: Machine::start(&(qemu, config), memory).unwrap() }
    }

    /// Runs a program to its end: what the job left behind, and the records.
    #[track_caller]
    pub fn run(&mut self, target: &Target, guest: &GuestSpec, program: &Program) -> (Outcome, Vec<u8>) {
        let sent = target.prepare(self.machine.memory(), &launch(guest, program)).unwrap();
        let end = self.machine.run(LONG, &AtomicBool::new(false)).unwrap();
        assert_eq!(end, JobEnd::Answered, "{}", self.machine.take_console());
        let outcome = target.collect(self.machine.memory()).unwrap();
        assert_eq!(outcome.end(&sent).unwrap(), CaseEnd::Payload(Status::Done));
        let ring = target.ring(self.machine.memory(), &outcome.header, Ring::First).unwrap();
        (outcome, ring)
    }
}

fn launch<'a>(guest: &'a GuestSpec, program: &'a Program) -> Launch<'a> {
    Launch { guest, program, sweep: None, fault: None, budget_ticks: BUDGET_TICKS }
}
