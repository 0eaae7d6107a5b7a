//! Registers of a thread of the host, as those of any task: lanes that know where they come from, and a look at them
//! after each system call (rules P-20 to P-22).

use std::ops::Range;

use abi::hyp::{Counters, Harm};
use abi::op::mask;
use abi::pattern::{Owner, predicate, word};
use arch::host::part::{FFR, FPCR, FPMR, FPSR, P, VL};
use arch::host::{self, Call, Image};
use zerocopy::FromZeros as _;

use crate::kvm::complaint::Changed;

/// Where Z0 lies in an image.
const Z: usize = host::HEADER;

/// What a thread found changed in its own registers.
#[derive(Debug)]
pub(super) struct Report {
    /// The first harm.
    pub(super) harm: Harm,
    /// How often there was one: [`Counters::neighbors_harmed`].
    pub(super) times: u64,
}

impl Report {
    /// Nothing.
    pub(super) const NONE: Self = Self { harm: Harm::NONE, times: 0 };

    /// The first register of the first harm, and whose it is.
    pub(super) fn changed(&self) -> Changed {
        let Harm { neighbor, registers, len, expected, found, .. } = self.harm;
        let bytes = |bytes: &[u8]| bytes[..usize::try_from(len).unwrap_or(0).min(bytes.len())].to_vec();
        Changed {
            owner: u8::try_from(neighbor).unwrap_or(0),
            register: registers & registers.wrapping_neg(),
            wanted: bytes(&expected),
            found: bytes(&found),
        }
    }

    /// Adds a later one.
    pub(super) fn merge(&mut self, later: Self) {
        if self.times == 0 {
            *self = later;
        } else {
            self.times += later.times;
        }
    }

    /// Adds it to what a case reports.
    pub(super) fn add_to(&self, harm: &mut Harm, counters: &mut Counters, disturbance: u64) {
        counters.neighbors_harmed += self.times;
        if self.times > 0 && harm.neighbor == 0 {
            *harm = self.harm;
            harm.disturbance = disturbance;
        }
    }
}

/// What a CPU has, as far as a thread of this host can use it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    /// The thread's vector length in bytes; 0 without SVE.
    pub(super) vl: usize,
    /// FPMR can be used.
    pub(super) fpmr: bool,
}

impl Unit {
    /// That of the calling thread.
    pub(super) fn of_this_thread() -> Self {
        Self { vl: vector_length(), fpmr: has_fpmr() }
    }

    /// Bits for [`host::call`].
    pub(super) fn uses(self) -> u64 {
        let sve = if self.vl > 0 { host::SVE } else { 0 };
        sve | if self.fpmr { host::FPMR } else { 0 }
    }
}

/// A thread as the owner of registers.
#[derive(Debug)]
pub(super) struct Task {
    owner: Owner,
    unit: Unit,
    /// What it leaves with, in turns: a state of the turn before shows. Those of the V form are packed by 16 bytes.
    images: Box<[Image; 2]>,
    v_images: Box<[Image; 2]>,
    found: Box<Image>,
    turn: usize,
    pub(super) report: Report,
}

impl Task {
    /// The calling thread.
    pub(super) fn new(owner: Owner) -> Self {
        let unit = Unit::of_this_thread();
        let both = |vl| Box::new([1, 2].map(|generation| image(owner, generation, vl, unit.fpmr)));
        Self {
            owner,
            unit,
            images: both(unit.vl),
            v_images: both(16),
            found: Box::new(Image::ZERO),
            turn: 0,
            report: Report::NONE,
        }
    }

    /// A system call, between loading this thread's registers and looking at them: all of them with `everything`, else V
    /// alone.
    pub(super) fn call(&mut self, call: &Call, everything: bool) -> Result<u64, i32> {
        self.turn ^= 1;
        let sve = everything && self.unit.vl > 0;
        let unit = Unit { vl: if sve { self.unit.vl } else { 0 }, ..self.unit };
        let before = if sve { &self.images[self.turn] } else { &self.v_images[self.turn] };
        // SAFETY: the callers make KVM_RUN and sleep, and the CPU has what is used.
        let result = unsafe { host::call(call, before, &mut self.found, unit.uses()) };
        look(before, &self.found, unit, true, self.owner, &mut self.report);
        if result < 0 { Err(i32::try_from(-result).unwrap_or(libc::EIO)) } else { Ok(result.unsigned_abs()) }
    }
}

impl Task {
    /// The vector length in bytes at which the last call was returned from.
    pub(super) fn found_length(&self) -> usize {
        usize::from(u16::from_le_bytes([self.found.0[VL], self.found.0[VL + 1]]))
    }
}

/// Registers of a neighbor.
pub(super) fn image(owner: Owner, generation: u16, vl: usize, fpmr: bool) -> Image {
    /// Cumulative flags.
    const FPSR_BITS: [u64; 2] = [0x0800_0011, 0x0800_009f];
    /// RMode and DN: nothing that traps.
    const FPCR_BITS: [u64; 2] = [0x0080_0000, 0x0240_0000];
    /// Any writable bits.
    const FPMR_BITS: [u64; 2] = [0x12_4040, 0x09_0140];
    let turn = usize::from(generation % 2);
    let vl = vl.max(16);
    let mut image = Image::ZERO;
    let mut put = |at: usize, value: u64, len: usize| {
        image.0[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    };
    for n in 0..32u8 {
        for lane in 0..vl / 8 {
            put(Z + usize::from(n) * vl + lane * 8, word(owner, generation, n, lane as u8), 8);
        }
    }
    let pl = vl / 8;
    for n in 0..16u8 {
        for at in (0..pl).step_by(8) {
            let value = predicate(owner, generation, n, (at / 8) as u8);
            put(P + usize::from(n) * pl + at, value, 8.min(pl - at));
        }
    }
    // A run of ones from bit 0 on: what FFR can hold.
    put(FFR, (1 << (generation % 15 + 1)) - 1, 2);
    put(FPSR, FPSR_BITS[turn], 8);
    put(FPCR, FPCR_BITS[turn], 8);
    put(FPMR, if fpmr { FPMR_BITS[turn] } else { 0 }, 8);
    image
}

/// Compares what was found with what was left. A task keeps of its registers what a system call keeps
/// (Documentation/arch/arm64/sve.rst: V, FPSR, FPCR and FPMR; the bits of Z above 128, P and FFR become zero or are
/// kept); a guest keeps all of them.
pub(super) fn look(
    before: &Image,
    found: &Image,
    unit: Unit,
    is_call: bool,
    owner: Owner,
    report: &mut Report,
) {
    let vl = unit.vl.max(16);
    let mut registers = 0u64;
    let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
    // The first `kept` bytes are as they were; the rest of them may have become zero, as a whole.
    let mut compare = |bit: u64, at: Range<usize>, kept: usize| {
        let (left, now) = (&before.0[at.clone()], &found.0[at]);
        let kept = if is_call { kept } else { left.len() };
        let rest = now[kept..].iter().all(|byte| *byte == 0) || now[kept..] == left[kept..];
        if now[..kept] != left[..kept] || !rest {
            registers |= bit;
            first.get_or_insert_with(|| (left.to_vec(), now.to_vec()));
        }
    };
    for n in 0..32 {
        compare(1 << n, Z + n * vl..Z + (n + 1) * vl, 16);
    }
    if unit.vl > 0 {
        let pl = vl / 8;
        for n in 0..16 {
            compare(1 << (32 + n), P + n * pl..P + (n + 1) * pl, 0);
        }
        compare(mask::FFR, FFR..FFR + pl, 0);
    }
    compare(mask::FPSR, FPSR..FPSR + 8, 8);
    compare(mask::FPCR, FPCR..FPCR + 8, 8);
    if unit.fpmr {
        compare(mask::FPMR, FPMR..FPMR + 8, 8);
    }
    let Some((kept, now)) = first else { return };
    report.times += 1;
    if report.times > 1 {
        return;
    }
    let mut harm = Harm::new_zeroed();
    (harm.neighbor, harm.registers, harm.len) = (owner as u64, registers, kept.len() as u64);
    harm.expected[..kept.len()].copy_from_slice(&kept);
    harm.found[..now.len()].copy_from_slice(&now);
    report.harm = harm;
}

/// Bytes, 0 without SVE (PR_SVE_GET_VL).
fn vector_length() -> usize {
    const PR_SVE_GET_VL: i32 = 51;
    length(PR_SVE_GET_VL)
}

/// The streaming one in bytes, 0 without SME (PR_SME_GET_VL).
pub(super) fn streaming_length() -> usize {
    const PR_SME_GET_VL: i32 = 64;
    length(PR_SME_GET_VL)
}

fn length(option: i32) -> usize {
    const LENGTH: i32 = 0xffff;
    // SAFETY: it only tells.
    let answer = unsafe { libc::prctl(option, 0, 0, 0, 0) };
    if answer < 0 { 0 } else { (answer & LENGTH) as usize }
}

/// HWCAP2_FPMR: the CPU has FPMR, and the kernel lets tasks use it.
fn has_fpmr() -> bool {
    const HWCAP2_FPMR: u64 = 1 << 48;
    // SAFETY: it only tells.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FPMR != 0 }
}
