//! What the host does to a vCPU: its own thread, which owns registers like any task, and what shares the CPU with it.

use std::ops::Range;
use std::os::fd::AsRawFd as _;

use abi::doorbell::Disturbance;
use abi::hyp::HypJob;
use abi::op::mask;
use abi::pattern::{Owner, predicate, word};
use arch::host::{self, Image};
use kvm_ioctls::VcpuFd;

use super::case::Case;
use super::vm::VmError;

/// Where the parts of an image lie.
const FPSR: usize = 0;
const FPCR: usize = 8;
const FPMR: usize = 16;
const FFR: usize = 32;
const P: usize = 64;
const Z: usize = host::HEADER;

/// The thread that calls KVM_RUN, as the owner of registers of its own.
#[derive(Debug)]
pub(super) struct Task {
    /// The thread's vector length in bytes; 0 without SVE.
    vl: usize,
    fpmr: bool,
    /// What it leaves with, in turns: a state of the turn before shows.
    images: Box<[Image; 2]>,
    found: Box<Image>,
    turn: usize,
    /// The next KVM_RUN is entered with every register in use, not V alone.
    everything: bool,
}

impl Task {
    /// The calling thread.
    pub(super) fn new() -> Self {
        let (vl, fpmr) = (vector_length(), has_fpmr());
        let image = |generation| image(Owner::HostTask, generation, vl, fpmr);
        Self {
            vl,
            fpmr,
            images: Box::new([image(1), image(2)]),
            found: Box::new(Image::ZERO),
            turn: 0,
            everything: true,
        }
    }

    /// A new case.
    pub(super) fn begin(&mut self) {
        self.everything = true;
    }

    /// The next KVM_RUN is entered with every register of this thread in use.
    pub(super) fn use_everything(&mut self) {
        self.everything = true;
    }

    /// KVM_RUN, between loading this thread's registers and looking at them (rules P-20 to P-22).
    pub(super) fn run(&mut self, vcpu: &VcpuFd, job: &mut HypJob) -> Result<(), i32> {
        self.turn ^= 1;
        let sve = self.vl > 0 && std::mem::take(&mut self.everything);
        let uses = if sve { host::SVE } else { 0 } | if self.fpmr { host::FPMR } else { 0 };
        let image = &self.images[self.turn];
        // The V form is packed by 16 bytes: it has an image of its own layout.
        let v_form;
        let before = if sve || self.vl == 0 {
            image
        } else {
            v_form = narrow(image, self.vl);
            &v_form
        };
        // SAFETY: the descriptor is that of a vCPU, and the CPU has what is used.
        let result = unsafe { host::run(vcpu.as_raw_fd(), before, &mut self.found, uses) };
        look(before, &self.found, if sve { self.vl } else { 16 }, self.fpmr, job);
        i32::try_from(result).map_or(Err(libc::EIO), |result| if result < 0 { Err(-result) } else { Ok(()) })
    }
}

/// An image in the V form.
fn narrow(image: &Image, vl: usize) -> Image {
    let mut narrow = image.clone();
    for n in 0..32 {
        narrow.0.copy_within(Z + n * vl..Z + n * vl + 16, Z + n * 16);
    }
    narrow
}

/// Registers of a neighbor, with lanes that know where they come from.
pub(super) fn image(owner: Owner, generation: u16, vl: usize, fpmr: bool) -> Image {
    /// Cumulative flags, by turns.
    const FPSR_BITS: u64 = 0x0800_009f;
    /// RMode and DN, by turns: nothing that traps.
    const FPCR_BITS: u64 = 0x02c0_0000;
    /// Any writable bits.
    const FPMR_BITS: u64 = 0x12_4040;
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
            put(P + usize::from(n) * pl + at, predicate(owner, generation, n, (at / 8) as u8), 8.min(pl - at));
        }
    }
    // FFR holds a run of ones from bit 0 on, or it is UNPREDICTABLE what first-fault loads do.
    put(FFR, (1 << (generation % 15 + 1)) - 1, 2);
    let odd = generation % 2 == 1;
    put(FPSR, if odd { FPSR_BITS } else { FPSR_BITS & 0x0800_0011 }, 8);
    put(FPCR, if odd { FPCR_BITS } else { 0x0080_0000 }, 8);
    put(FPMR, if fpmr { FPMR_BITS >> (generation % 2) & FPMR_BITS } else { 0 }, 8);
    image
}

/// Compares what the thread found with what it had left, as far as a system call keeps it (Documentation/arch/arm64/sve.rst:
/// V, FPSR, FPCR and FPMR are kept; the bits of Z above 128, P and FFR become zero or are kept).
fn look(before: &Image, found: &Image, vl: usize, fpmr: bool, job: &mut HypJob) {
    let mut registers = 0u64;
    let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
    // The first `kept` bytes are as they were; the rest may have become zero, as a whole.
    let mut compare = |bit: u64, at: Range<usize>, kept: usize| {
        let (left, now) = (&before.0[at.clone()], &found.0[at]);
        let rest = now[kept..].iter().all(|byte| *byte == 0) || now[kept..] == left[kept..];
        if now[..kept] != left[..kept] || !rest {
            registers |= bit;
            first.get_or_insert_with(|| (left.to_vec(), now.to_vec()));
        }
    };
    for n in 0..32 {
        compare(1 << n, Z + n * vl..Z + (n + 1) * vl, 16);
    }
    if vl > 16 {
        let pl = vl / 8;
        for n in 0..16 {
            compare(1 << (32 + n), P + n * pl..P + (n + 1) * pl, 0);
        }
        compare(mask::FFR, FFR..FFR + pl, 0);
    }
    compare(mask::FPSR, FPSR..FPSR + 8, 8);
    compare(mask::FPCR, FPCR..FPCR + 8, 8);
    if fpmr {
        compare(mask::FPMR, FPMR..FPMR + 8, 8);
    }
    if let Some((kept, now)) = first {
        job.counters.neighbors_harmed += 1;
        if job.harm.neighbor == 0 {
            let harm = &mut job.harm;
            harm.neighbor = Owner::HostTask as u64;
            harm.registers = registers;
            harm.disturbance = job.disturbed;
            harm.len = kept.len() as u64;
            harm.expected[..kept.len()].copy_from_slice(&kept);
            harm.found[..now.len()].copy_from_slice(&now);
        }
    }
}

/// Bytes, 0 without SVE (PR_SVE_GET_VL).
fn vector_length() -> usize {
    const PR_SVE_GET_VL: i32 = 51;
    const LENGTH: i32 = 0xffff;
    // SAFETY: it only tells.
    let answer = unsafe { libc::prctl(PR_SVE_GET_VL, 0, 0, 0, 0) };
    if answer < 0 { 0 } else { (answer & LENGTH) as usize }
}

/// HWCAP2_FPMR: the CPU has FPMR, and the kernel lets tasks use it.
fn has_fpmr() -> bool {
    const HWCAP2_FPMR: u64 = 1 << 48;
    // SAFETY: it only tells.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FPMR != 0 }
}

/// What shares the CPU with the vCPU.
#[derive(Debug, Default)]
pub(super) struct Disturber;

impl Disturber {
    pub(super) fn new() -> Self {
        Self
    }

    /// The case is over.
    pub(super) fn end(&mut self) {}
}

impl Case<'_> {
    /// Commits a disturbance now, between an exit and the next entry.
    pub(super) fn disturb(&mut self, kind: Disturbance) -> Result<(), VmError> {
        match kind {
            Disturbance::Clobber => {
                self.task.use_everything();
                self.job.disturbed += 1;
            }
            Disturbance::Preempt | Disturbance::HostSimd | Disturbance::OtherVcpu => {}
        }
        Ok(())
    }
}
