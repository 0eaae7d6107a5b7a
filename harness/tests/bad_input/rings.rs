//! The ring of a real run, cut, flipped and replaced by garbage.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use abi::record::{Arrival, FpImage, Kind, RecordHeader, VECTOR_NONE};
use harness::options::TargetKind;
use harness::qemu::machine::JobEnd;
use harness::target::{Launch, Ring};
use model::compile::{Program, compile};
use model::judge::judge;
use model::scenario::parse;

use super::trials::{self, Missing};
use super::{Random, boot, target};

/// Each kind of record, at two places and two lengths.
const SCENARIO: &str = r#"
title = "each kind of record"
rules = ["P-81"]

[machine]
max_vl = 256

steps = """
L1  fill all
L1  expect zcr_el2
L1  eret L2
L2  expect all
L2  expect vl
L2  vl min
L2  fill all
L2  hvc
L1  expect v
"""
"#;

const HEADER: usize = size_of::<RecordHeader>();

/// The program and the ring that it wrote on the reference hypervisor.
fn real() -> Result<&'static (Program, Vec<u8>), Missing> {
    static REAL: LazyLock<Result<(Program, Vec<u8>), Missing>> = LazyLock::new(|| {
        let qemu = trials::qemu()?;
        let target = target(TargetKind::Reference, qemu.version());
        let case = parse("test::records", "test/records.toml", SCENARIO).unwrap().cases().remove(0);
        let mut program = compile(&case, &target.machine(&case.guest).unwrap(), None).unwrap();
        program.link(target.hole());
        let mut machine = boot(&qemu, &target, &case.guest);
        let launch = Launch {
            guest: &case.guest,
            program: &program,
            sweep: None,
            fault: None,
            budget_ticks: 5_000_000_000,
        };
        target.prepare(machine.memory(), &launch).unwrap();
        assert_eq!(machine.run(Duration::from_secs(60), &AtomicBool::new(false)).unwrap(), JobEnd::Answered);
        let header = target.collect(machine.memory()).unwrap().header;
        let ring = target.ring(machine.memory(), &header, Ring::First).unwrap();
        Ok((program, ring))
    });
    REAL.as_ref().map_err(Clone::clone)
}

/// Whether the bytes are judged right; reading and printing whatever is found must not panic.
fn passes(program: &Program, ring: &[u8]) -> bool {
    match judge(program, ring) {
        Ok(judgement) => {
            assert!(judgement.checked <= judgement.expected);
            let _ = judgement.findings.iter().map(ToString::to_string).collect::<Vec<_>>();
            judgement.passed()
        }
        Err(error) => {
            let _ = error.to_string();
            false
        }
    }
}

/// The offset, the kind and the length of the body of each record.
fn records(ring: &[u8]) -> Vec<(usize, u16, usize)> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < ring.len() {
        let kind = u16::from_le_bytes([ring[at + 2], ring[at + 3]]);
        let len = u32::from_le_bytes(ring[at + 4..at + 8].try_into().unwrap()) as usize;
        records.push((at, kind, len));
        at += HEADER + len;
    }
    records
}

/// What the byte at an offset is, if it is one that no check looks at in full; else nothing.
fn unchecked(ring: &[u8], at: usize) -> Option<&'static str> {
    let (start, kind, _) = records(ring).into_iter().rfind(|(start, ..)| *start <= at).unwrap();
    let in_header = at - start;
    if in_header < HEADER {
        // An arrival names the operation that left or the next one, and any place goes with its cause.
        return match in_header {
            8 | 9 if kind == Kind::Arrival as u16 => Some("the operation of an arrival"),
            11 => Some("a reserved byte of a header"),
            _ => None,
        };
    }
    let body = start + HEADER;
    let field = at - body;
    if kind == Kind::Dump as u16 {
        let vl = usize::try_from(u64::from_le_bytes(ring[body + 24..body + 32].try_into().unwrap())).unwrap();
        let v_only = start == records(ring).into_iter().rfind(|record| record.1 == kind).unwrap().0;
        let (ffr, p) = (offset_of!(FpImage, ffr), offset_of!(FpImage, p));
        return match field {
            _ if field >= FpImage::LEN => None,
            _ if field < offset_of!(FpImage, vl_bytes) && v_only => {
                Some("status registers of a dump without them")
            }
            _ if field < ffr => None,
            _ if v_only => Some("P and FFR of a dump without them"),
            _ if field < p => (field >= ffr + vl / 8).then_some("FFR above the vector length"),
            _ => (field >= p + 16 * vl / 8).then_some("behind P15"),
        };
    }
    if kind != Kind::Arrival as u16 {
        return None;
    }
    let word = |at: usize| u64::from_le_bytes(ring[body + at..body + at + 8].try_into().unwrap());
    let by_exception = word(offset_of!(Arrival, vector)) != VECTOR_NONE;
    let never_left = word(offset_of!(Arrival, sp_left)) == 0;
    let fields = [
        (offset_of!(Arrival, sp), None),
        (offset_of!(Arrival, sp_left), never_left.then_some("SP of a place that was never left")),
        (offset_of!(Arrival, esr), None),
        (offset_of!(Arrival, esr) + 4, (!by_exception).then_some("ESR and ELR without an exception")),
        (offset_of!(Arrival, elr), Some("ESR.ISS2")),
        (offset_of!(Arrival, spsr), (!by_exception).then_some("ESR and ELR without an exception")),
        (offset_of!(Arrival, far), Some("SPSR, or bits of it that no rule gives")),
        (offset_of!(Arrival, left_pc), Some("FAR and HPFAR of no abort")),
        (offset_of!(Arrival, target_pc), (!by_exception).then_some("the PC that was left, without an ELR")),
        (offset_of!(Arrival, pstate), Some("the PC that an ERET goes to, without an ELR")),
        (offset_of!(Arrival, vector), Some("PSTATE that the place cannot read")),
        (size_of::<Arrival>(), None),
    ];
    fields.into_iter().find(|(end, _)| field < *end).and_then(|(_, what)| what)
}

pub fn a_cut_ring_never_passes() -> Result<(), Missing> {
    let (program, ring) = real()?;
    assert!(passes(program, ring));
    let boundaries = records(ring).into_iter().map(|(start, ..)| start);
    for end in (0..ring.len().min(2048)).chain((2048..ring.len()).step_by(37)).chain(boundaries) {
        assert!(!passes(program, &ring[..end]), "cut at {end}");
    }
    Ok(())
}

pub fn a_ring_that_goes_on_never_passes() -> Result<(), Missing> {
    let (program, ring) = real()?;
    let last = records(ring).pop().unwrap().0;
    for more in [&ring[last..], &ring[..], &[0; 16][..], &[0xff][..]] {
        assert!(!passes(program, &[ring, more].concat()));
    }
    Ok(())
}

/// One bit of each byte of the ring, by turns.
pub fn a_flipped_bit_passes_only_where_nothing_is_checked() -> Result<(), Missing> {
    let (program, ring) = real()?;
    let mut passed = BTreeMap::<_, usize>::new();
    let mut random = Random(5);
    let mut flipped = ring.clone();
    for at in 0..ring.len() {
        let bit = 1 << random.below(8);
        flipped[at] ^= bit;
        if passes(program, &flipped) {
            let what = unchecked(ring, at);
            let what = what.unwrap_or_else(|| panic!("bit {bit:#04x} of byte {at} passes"));
            *passed.entry(what).or_default() += 1;
        }
        flipped[at] ^= bit;
    }
    println!("{} of {} flips pass: {passed:#?}", passed.values().sum::<usize>(), ring.len());
    // P0 to P15 of 256 bits take 64 of 512 bytes.
    assert_eq!(passed["behind P15"], 512 - 64, "{passed:#?}");
    Ok(())
}

pub fn garbage_never_passes() -> Result<(), Missing> {
    let (program, ring) = real()?;
    let mut random = Random(6);
    let starts = records(ring);
    for round in 0..1500 {
        let mut bytes = ring.clone();
        let (start, _, len) = starts[random.below(starts.len())];
        match round % 3 {
            // All of it.
            0 => bytes = (0..random.below(4096)).map(|_| random.byte()).collect(),
            // The body of a record.
            1 => bytes[start + HEADER..start + HEADER + len].fill_with(|| random.byte()),
            // A word of a header.
            _ => {
                let at = start + 4 * random.below(4);
                let word = (random.next() as u32) | 1 << 31;
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
        assert!(!passes(program, &bytes), "round {round}");
    }
    Ok(())
}
