//! What an agent and a guest leave in the shared file behind a case: the mailbox with its text, the VMM's report, the
//! payload's header and rings.
#![no_main]

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use abi::hyp::{End, HypJob};
use abi::job::{JobHeader, SYMBOL, Status};
use harness::diagnose::Space;
use harness::events::convert;
use harness::kvm::complaint::{Changed, Complaint};
use harness::kvm::log::splat;
use harness::kvm::mailbox::{ADDRESS, CaseText, HYP_JOB, Mail, Reply, Skipped, TEXT, Traced};
use harness::kvm::trace;
use harness::memory::GuestMemory;
use harness::options::{Options, TargetKind};
use harness::qemu::Version;
use harness::qemu::machine::Machine;
use harness::result::{CaseResult, State};
use harness::target::{Launch, Ring, Target, TargetConfig};
use libfuzzer_sys::fuzz_target;
use model::compile::{Program, compile};
use model::judge::judge;
use model::machine::{Machine as Model, QemuCpu};
use model::scenario::step::GuestSpec;
use model::scenario::{Case, parse};

const SCENARIO: &str = r#"
title = "a round trip"
rules = ["P-81"]
[machine]
l1 = "vhe"
steps = """
L1  fill all
L1  eret L2
L2  expect all
L2  hvc
L1  expect all
"""
"#;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let options = Options { target: TargetKind::Kvm, ..Options::default() };
    Target::new(TargetConfig::new(&options), Version::FULL).expect("a target")
});

static JOB: LazyLock<(Arc<Case>, Program)> = LazyLock::new(|| {
    let scenario = parse("fuzz::mailbox", "suites/fuzz/mailbox.toml", SCENARIO).expect("a scenario");
    let case = scenario.cases().remove(0);
    let program = program(&case, &case.guest);
    (Arc::new(case), program)
});

thread_local! {
    static MEMORY: RefCell<GuestMemory> = RefCell::new(Machine::new_memory().expect("memory for a guest"));
}

fuzz_target!(|data: &[u8]| MEMORY.with_borrow(|memory| read(memory, data)));

fn program(case: &Case, guest: &GuestSpec) -> Program {
    let cpu = QemuCpu { cpu: guest.cpu, sve: true, vl_max: guest.vl_max, sme: false, fpmr: true, poe: false };
    let machine = Model::reference(&cpu, guest).expect("a machine");
    let mut program = compile(case, &machine, None).expect("a program");
    program.link(TARGET.hole());
    program
}

/// The first byte says how what follows is to be read: as writes of 16 bytes each, behind a byte that counts them, and as
/// the text, or as the lines of one that makes sense.
fn read(memory: &GuestMemory, data: &[u8]) {
    let [kind, writes, rest @ ..] = data else { return };
    let (case, program) = &*JOB;
    let launch = Launch { guest: &case.guest, program, sweep: None, fault: None, budget_ticks: 1 };
    let sent = TARGET.prepare(memory, &launch).expect("a job that fits");
    let (writes, text) = rest.split_at(rest.len().min(16 * usize::from(*writes % 16)));
    let text = if kind & 1 == 0 { text.to_vec() } else { case_text(text) };
    let mail: Mail = memory.read_value(ADDRESS).expect("a mailbox");
    let mail = Mail { reply: Reply::Done as u64, text_len: text.len() as u64, ..mail };
    memory.write_value(ADDRESS, &mail).expect("a mailbox");
    memory.write(TEXT, &text).expect("room for a text");
    let header = TARGET.payload().base + TARGET.payload().image.symbol(SYMBOL).expect("a job area");
    if kind & 2 != 0 {
        // Without these an outcome is refused before the rest of it counts.
        let hyp: HypJob = memory.read_value(HYP_JOB).expect("a report");
        let status = Status::Done as u64;
        let hyp = HypJob { end: End::Payload as u64, end_arg: status, ..hyp };
        memory.write_value(HYP_JOB, &hyp).expect("a report");
        memory.write_value(header, &JobHeader { status, ..sent }).expect("a header");
    }
    for write in writes.chunks_exact(16) {
        let [place, at @ ..] = write.first_chunk::<8>().expect("16 bytes");
        let (base, len) = match place % 3 {
            0 => (ADDRESS, size_of::<Mail>()),
            1 => (HYP_JOB, size_of::<HypJob>()),
            _ => (header, size_of::<JobHeader>()),
        };
        let at = u32::from_le_bytes([at[0], at[1], at[2], 0]) as usize * 4 % len;
        memory.write(base + at as u64, &write[8..]).expect("a part of the file");
    }
    take(memory, program, &sent);
    // Nothing of this input is left for the next one.
    memory.clear(ADDRESS, size_of::<Mail>() as u64).expect("a mailbox");
    memory.clear(HYP_JOB, size_of::<HypJob>() as u64).expect("a report");
    memory.clear(TEXT, text.len() as u64).expect("room for a text");
}

/// Takes what is there as the runner does.
fn take(memory: &GuestMemory, program: &Program, sent: &JobHeader) {
    let _ = TARGET.done(memory);
    if let Ok(outcome) = TARGET.collect(memory) {
        let _ = outcome.end(sent);
        for ring in [Ring::First, Ring::Swept] {
            if let Ok(ring) = TARGET.ring(memory, &outcome.header, ring) {
                let _ = judge(program, &ring);
            }
        }
        let space = Space::default();
        let _ = splat(&outcome.said.kernel_log);
        let complaints = outcome.said.complaints.clone();
        let result = CaseResult { complaints, ..CaseResult::without_findings("fuzz", State::Fail, "") };
        let _ = convert::case(&result, None, || &space);
        if let Some(traced) = &outcome.said.traced {
            let _ = trace::heading(&trace::read(traced, "", false));
        }
    }
    let _ = TARGET.ask_for_trace(memory);
}

/// What an agent might say, of the lines of `text`.
fn case_text(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    let said = CaseText {
        kernel_log: next(),
        complaints: vec![Complaint::new(&next(), next()).by(next()).wanted(next(), next()).changed(
            Changed {
                owner: next().len() as u8,
                register: 1 << (next().len() % 64),
                wanted: next().into(),
                found: next().into(),
            },
        )],
        skipped: Some(Skipped { code: next(), why: next() }).filter(|skipped| !skipped.why.is_empty()),
        traced: Some(Traced { thread: 117, ended: true, lines: lines.collect(), ..Traced::default() }),
    };
    serde_json::to_vec(&said).expect("it has only texts and numbers")
}
