//! A ring of records, judged against a program: bytes as they come, or records in the right order whose bodies
//! are what comes.
#![no_main]

use std::sync::LazyLock;

use abi::hyp::Harm;
use abi::pattern::Owner;
use abi::record::{FpImage, Kind, MAGIC};
use libfuzzer_sys::fuzz_target;
use model::compile::{Check, Expected, Program, compile};
use model::judge::{judge, neighbor};
use model::machine::{Machine, QemuCpu};
use model::scenario::parse;

const SCENARIO: &str = r#"
title = "each kind of record"
rules = ["P-81"]

[matrix]
l1 = ["vhe", "nvhe"]

steps = """
L1  fill all
L1  expect zcr_el2
L1  eret L2
L2  expect all
L2  expect vl
L2  fill z3 p1 ffr
L2  vl min
L2  hvc
L1  expect all
"""
"#;

static PROGRAMS: LazyLock<Vec<Program>> = LazyLock::new(|| {
    let scenario = parse("fuzz::records", "suites/fuzz/records.toml", SCENARIO).expect("a scenario");
    let compiled = scenario.cases().into_iter().map(|case| {
        let guest = &case.guest;
        let cpu =
            QemuCpu { cpu: guest.cpu, sve: true, vl_max: guest.vl_max, sme: false, fpmr: true, poe: true };
        let machine = Machine::reference(&cpu, guest).expect("a machine");
        let mut program = compile(&case, &machine, None).expect("a program");
        program.link(0x4180_0000);
        program
    });
    compiled.collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    for program in &*PROGRAMS {
        let ring = if kind.is_multiple_of(2) { rest.to_vec() } else { records(program, rest) };
        if let Ok(judgement) = judge(program, &ring) {
            assert!(judgement.checked <= judgement.expected);
            for finding in &judgement.findings {
                let _ = format!("{finding:?}");
            }
        }
        if let Some(finding) = neighbor(program, &harm(rest)) {
            let _ = format!("{finding:?}");
        }
    }
});

/// A neighbor's tale from `data`, which often enough names a neighbor and a register that exist.
fn harm(data: &[u8]) -> Harm {
    let mut data = data.iter().copied().cycle();
    let mut next = || data.next().unwrap_or(0);
    let owner = match next() {
        owner @ 0..128 => Owner::ALL[usize::from(owner) % Owner::ALL.len()] as u64,
        other => other.into(),
    };
    let mut harm = Harm { neighbor: owner, disturbance: next().into(), ..Harm::NONE };
    harm.registers = 1 << (next() % 64) | u64::from(next()) << 40;
    harm.len = u64::from(next()) * 8;
    harm.expected.fill_with(&mut next);
    harm.found.fill_with(&mut next);
    harm
}

/// The records of a run whose every value is taken from `data`, over and over. Three bytes before each record
/// can make it another kind, leave it at the wrong operation or give it another length.
fn records(program: &Program, data: &[u8]) -> Vec<u8> {
    let mut data = data.iter().copied().cycle();
    let mut next = || data.next().unwrap_or(0);
    let mut ring = Vec::new();
    for (seq, check) in (0_u32..).zip(program.checks()) {
        let (oddity, op, length) = (next(), next(), next());
        let (mut kind, mut len, vl_bytes) = shape(check);
        if oddity == 1 {
            kind = Kind::Unexpected;
            len = 336;
        }
        if oddity == 2 {
            len = 16 * usize::from(length);
        }
        let op = if oddity == 3 { u16::from(op) } else { u16::try_from(check.op).unwrap_or(u16::MAX) };
        ring.extend(MAGIC.to_le_bytes());
        ring.extend((kind as u16).to_le_bytes());
        ring.extend(u32::try_from(len).unwrap_or(0).to_le_bytes());
        ring.extend(op.to_le_bytes());
        ring.extend([if oddity == 4 { length } else { check.place as u8 }, 0]);
        ring.extend(seq.to_le_bytes());
        let body = ring.len();
        ring.extend((0..len).map(|_| next()));
        if let Some(word) = ring.get_mut(body + 24..body + 32).filter(|_| kind as u16 == Kind::Dump as u16) {
            word.copy_from_slice(&(vl_bytes as u64).to_le_bytes());
        }
        if let Expected::Register { reg, .. } | Expected::Status { reg, .. } = &check.expected {
            if let Some(word) = ring.get_mut(body..body + 8) {
                word.copy_from_slice(&(*reg as u64).to_le_bytes());
            }
        }
    }
    ring
}

/// The kind of a check's record, the length of its body, and the vector length of a dump.
fn shape(check: &Check) -> (Kind, usize, usize) {
    match &check.expected {
        Expected::Arrival(_) => (Kind::Arrival, 336, 0),
        Expected::Dump(dump) => (Kind::Dump, FpImage::LEN + 32 * 16 * dump.vq, 16 * dump.vq),
        Expected::Register { .. } | Expected::Status { .. } | Expected::Length(_) => (Kind::Register, 16, 0),
    }
}
