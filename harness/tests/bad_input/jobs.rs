//! Jobs that make no sense to the payload, and outcomes that are lies.

use std::mem::offset_of;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use abi::job::{JobHeader, Status};
use abi::place::Place;
use harness::memory::GuestMemory;
use harness::options::TargetKind;
use harness::qemu::Version;
use harness::qemu::machine::{JobEnd, Machine};
use harness::target::{CaseEnd, Launch, OutcomeError, Ring, Target};
use model::compile::{Program, compile};
use model::scenario::parse;
use model::scenario::step::GuestSpec;

use super::trials::{self, Missing};
use super::{Random, boot, ended, folder, holdfast, target};

/// A program that fills and compares, and its guest.
fn program(target: &Target) -> (GuestSpec, Program) {
    let text = "title = \"t\"\nrules = [\"P-01\"]\nsteps = \"\"\"\nG  fill all\nG  expect all\n\"\"\"\n";
    let case = parse("test::job", "test/job.toml", text).unwrap().cases().remove(0);
    let mut program = compile(&case, &target.machine(&case.guest).unwrap(), None).unwrap();
    program.link(target.hole());
    (case.guest, program)
}

/// Writes a job and returns the header that it has.
fn prepare(target: &Target, memory: &GuestMemory, guest: &GuestSpec, program: &Program) -> JobHeader {
    let launch = Launch { guest, program, sweep: None, fault: None, budget_ticks: 300_000_000 };
    target.prepare(memory, &launch).unwrap()
}

/// Where the payload's job area lies.
fn area(target: &Target) -> u64 {
    let payload = target.payload();
    payload.base + payload.image.symbol(abi::job::SYMBOL).unwrap()
}

/// Runs the job that is in memory.
fn run(machine: &mut Machine, target: &Target, sent: &JobHeader) -> Result<CaseEnd, OutcomeError> {
    let end = machine.run(Duration::from_secs(20), &AtomicBool::new(false)).unwrap();
    assert_eq!(end, JobEnd::Answered, "{}", machine.take_console());
    target.collect(machine.memory()).unwrap().end(sent)
}

pub fn a_job_that_makes_no_sense_is_refused_and_the_machine_goes_on() -> Result<(), Missing> {
    let qemu = trials::qemu()?;
    let target = target(TargetKind::Reference, qemu.version());
    let (guest, good) = program(&target);
    let mut machine = boot(&qemu, &target, &guest);
    let is_well = |machine: &mut Machine| {
        let sent = prepare(&target, machine.memory(), &guest, &good);
        assert_eq!(run(machine, &target, &sent), Ok(CaseEnd::Payload(Status::Done)));
    };
    is_well(&mut machine);

    // A header of another version.
    let sent = prepare(&target, machine.memory(), &guest, &good);
    let version = area(&target) + offset_of!(JobHeader, version) as u64;
    machine.memory().write_value(version, &(abi::ABI_VERSION + 1)).unwrap();
    assert_eq!(run(&mut machine, &target, &sent), Err(OutcomeError::Header));
    let wrong = JobHeader { version: abi::ABI_VERSION + 1, ..sent };
    assert_eq!(target.collect(machine.memory()).unwrap().end(&wrong), Ok(CaseEnd::Payload(Status::BadJob)));
    is_well(&mut machine);

    // Operations that are none, or ask for what is not there.
    let mut random = Random(7);
    for _ in 0..20 {
        let mut garbage = good.clone();
        for op in &mut garbage.ops {
            // Any code but 0, which says that all is done.
            op.code = 1 + random.next() as u16 % 15;
            op.place = if random.byte() < 200 { Place::G as u8 } else { random.byte() };
            op.arg = [(); 5].map(|()| random.next());
            op.data = random.next() as u32;
            op.data_len = random.next() as u32;
        }
        let sent = prepare(&target, machine.memory(), &guest, &garbage);
        let end = run(&mut machine, &target, &sent);
        assert_ne!(end, Ok(CaseEnd::Payload(Status::Done)));
    }
    is_well(&mut machine);
    Ok(())
}

pub fn records_that_do_not_fit_make_the_run_void() -> Result<(), Missing> {
    trials::qemu()?;
    let (_folder, path) = folder();
    let file = path.join("full.toml");
    // 8.8 kB each, and a ring has at most 2 MiB.
    let expects = "G  expect all\n".repeat(300);
    let text = format!(
        "title = \"t\"\nrules = [\"P-01\"]\n[machine]\nmax_vl = 2048\nsteps = \"\"\"\nG  fill all\n{expects}\"\"\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let out = path.join("run");
    let (code, stdout, stderr) = ended(&holdfast(&["replay", "--out", out.as_str(), file.as_str()]));
    assert_eq!(code, 3, "{stdout}{stderr}");
    assert!(stdout.contains("the records do not fit into the ring"), "{stdout}");
    assert!(stdout.contains("void: 1 error"), "{stdout}");
    Ok(())
}

pub fn lies_in_guest_memory_are_found() {
    let target = target(TargetKind::Reference, Version { major: 11, minor: 1, patch: 0 });
    let (guest, program) = program(&target);
    let memory = Machine::new_memory().unwrap();
    target.load(&memory).unwrap();
    let sent = prepare(&target, &memory, &guest, &program);
    let tell = |header: JobHeader| {
        memory.write_value(area(&target), &header).unwrap();
        target.collect(&memory).unwrap()
    };
    let done = JobHeader { status: Status::Done as u64, ..sent };
    // The hypervisor has not said that it is over.
    assert_eq!(tell(done).end(&sent), Err(OutcomeError::End(0)));
    assert_eq!(tell(JobHeader { ring_len: 64, ..done }).end(&sent), Err(OutcomeError::Header));
    for lie in [
        JobHeader { ring_used: u64::MAX, ..done },
        JobHeader { ring_used: u64::from(sent.ring_len) + 16, ..done },
        JobHeader { ring_used: 1 << 20, ring_len: u32::MAX, ..done },
        JobHeader { ring_used: 16, ring_offset: u32::MAX, ..done },
    ] {
        assert!(target.ring(&memory, &lie, Ring::First).is_err());
    }
}

pub fn garbage_in_guest_memory_never_panics() {
    let target = target(TargetKind::Reference, Version { major: 11, minor: 1, patch: 0 });
    let (guest, program) = program(&target);
    let memory = Machine::new_memory().unwrap();
    target.load(&memory).unwrap();
    let sent = prepare(&target, &memory, &guest, &program);
    let hypervisor = &target.layers()[0];
    let report = hypervisor.base + hypervisor.image.symbol(abi::hyp::SYMBOL).unwrap();
    let mut random = Random(8);
    for _ in 0..200 {
        for (address, len) in
            [(area(&target), size_of::<JobHeader>()), (report, size_of::<abi::hyp::HypJob>())]
        {
            let bytes: Vec<u8> = (0..len).map(|_| random.byte()).collect();
            memory.write(address, &bytes).unwrap();
        }
        let outcome = target.collect(&memory).unwrap();
        assert_ne!(outcome.end(&sent).ok(), Some(CaseEnd::Payload(Status::Done)));
        let _ = target.ring(&memory, &outcome.header, Ring::First);
        let _ = target.ring(&memory, &outcome.header, Ring::Swept);
        let _ = format!("{:?}", outcome.hyp);
    }
}
