//! Boots machines, where there is a QEMU, and runs the smallest jobs in them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod trials;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use abi::job::Status;
use abi::place::Place;
use harness::options::{Options, TargetKind};
use harness::qemu::Qemu;
use harness::qemu::machine::{JobEnd, Machine};
use harness::target::{CaseEnd, Launch, Target, TargetConfig};
use model::compile::{Program, compile_steps};
use model::scenario::step::{GuestSpec, L1Mode};
use trials::Missing;

tests! {
    bare_runs_jobs_at_el2,
    bare_runs_jobs_at_el1,
    the_reference_runs_jobs_of_every_guest,
    the_reference_runs_itself,
}

const LONG: Duration = Duration::from_secs(60);

fn target(qemu: &Qemu, kind: TargetKind, depth: u32) -> Target {
    let options = Options { target: kind, depth, ..Options::default() };
    Target::new(TargetConfig::new(&options), qemu.version()).unwrap()
}

fn guest(l1: Option<L1Mode>, sve: bool) -> GuestSpec {
    GuestSpec { l1, sve, vl_max: if sve { 512 } else { 128 }, ..GuestSpec::default() }
}

fn boot(qemu: &Qemu, target: &Target, guest: &GuestSpec) -> Machine {
    let config = target.machine_config(guest, abi::doorbell::Sweep::Off);
    let memory = Machine::new_memory().unwrap();
    target.load(&memory).unwrap();
    Machine::start(&(qemu, config), memory).unwrap()
}

/// The program of a scenario without steps.
fn program(target: &Target, guest: &GuestSpec) -> Program {
    let mut program = compile_steps(guest, &[], &target.machine(guest).unwrap(), None).unwrap();
    program.link(target.hole());
    program
}

/// Runs one job and returns how it ended.
fn run(machine: &mut Machine, target: &Target, guest: &GuestSpec, program: &Program) -> CaseEnd {
    let launch = Launch { guest, program, sweep: None, fault: None, budget_ticks: 5_000_000_000 };
    let sent = target.prepare(machine.memory(), &launch).unwrap();
    let end = machine.run(LONG, &AtomicBool::new(false)).unwrap();
    assert_eq!(end, JobEnd::Answered, "{}", machine.take_console());
    target.collect(machine.memory()).unwrap().end(&sent).unwrap()
}

/// Enough to see that one job leaves nothing behind for the next.
const JOBS: u32 = 20;

const DONE: CaseEnd = CaseEnd::Payload(Status::Done);

#[track_caller]
fn check(kind: TargetKind, depth: u32, l1: Option<L1Mode>, sve: bool) -> Result<(), Missing> {
    let qemu = trials::qemu()?;
    let target = target(&qemu, kind, depth);
    let guest = guest(l1, sve);
    let program = program(&target, &guest);
    let mut machine = boot(&qemu, &target, &guest);
    for _ in 0..JOBS {
        assert_eq!(run(&mut machine, &target, &guest, &program), DONE);
    }
    // An operation of the wrong place is a crash of that case alone.
    let mut wrong = program.clone();
    for op in &mut wrong.ops {
        op.place = Place::L2 as u8;
    }
    assert_ne!(run(&mut machine, &target, &guest, &wrong), DONE);
    assert_eq!(run(&mut machine, &target, &guest, &program), DONE);
    Ok(())
}

fn bare_runs_jobs_at_el2() -> Result<(), Missing> {
    check(TargetKind::Bare, 1, Some(L1Mode::Vhe), true)?;
    check(TargetKind::Bare, 1, Some(L1Mode::Nvhe), false)
}

fn bare_runs_jobs_at_el1() -> Result<(), Missing> {
    check(TargetKind::Bare, 1, None, true)?;
    check(TargetKind::Bare, 1, None, false)
}

fn the_reference_runs_jobs_of_every_guest() -> Result<(), Missing> {
    check(TargetKind::Reference, 1, Some(L1Mode::Vhe), true)?;
    check(TargetKind::Reference, 1, Some(L1Mode::Nvhe), true)?;
    check(TargetKind::Reference, 1, None, false)
}

fn the_reference_runs_itself() -> Result<(), Missing> {
    check(TargetKind::Reference, 2, Some(L1Mode::Vhe), true)?;
    check(TargetKind::Reference, 2, None, true)
}
