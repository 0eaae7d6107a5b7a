//! Who owns the FP registers, and how they change hands.
//!
//! The registers of the physical CPU belong to exactly one context at a time, or to nobody. Whoever wants
//! them takes them from their owner, who is saved first; registers that belong to nobody are poisoned, so that
//! a restore that was forgotten cannot go unseen.
//!
//! Images are packed by the vector length that they were saved at, which is always the largest that the
//! context may have: a save or load at another length garbles the image, as it does in Linux.

use abi::fault::Fault;
use abi::hyp::{Event, Nested, Restore};
use abi::op::mask;
use abi::pattern::{self, Owner as Writer};
use arch::hyp::VectorStore;
use arch::{read, write};
use zerocopy::IntoBytes as _;

use crate::Hyp;
use crate::bits::cptr;

/// The owner of the registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// Nobody: the content is poison.
    Free,
    /// The vCPU.
    Guest,
}

/// The saved registers of one context.
#[repr(C, align(256))]
pub struct Context {
    /// Z, P and FFR, or V.
    pub vectors: VectorStore,
    /// FPSR.
    pub fpsr: u64,
    /// FPCR.
    pub fpcr: u64,
    /// FPMR.
    pub fpmr: u64,
}

impl Context {
    /// All zero: the state of a vCPU after reset (rule P-13).
    pub const fn new() -> Self {
        Self { vectors: VectorStore::new(), fpsr: 0, fpcr: 0, fpmr: 0 }
    }

    /// Zeroes it.
    pub fn reset(&mut self) {
        self.vectors.z.fill(0);
        self.vectors.p.fill(0);
        self.vectors.ffr.fill(0);
        (self.fpsr, self.fpcr, self.fpmr) = (0, 0, 0);
    }

    /// Fills it with `writer`'s patterns for registers of `vl` bytes, FPMR included if there is one.
    pub fn fill(&mut self, writer: Writer, generation: u16, vl: usize, fpmr: bool) {
        for (reg, z) in (0u8..32).zip(self.vectors.z.chunks_exact_mut(vl)) {
            for (lane, word) in (0u8..).zip(z.chunks_exact_mut(8)) {
                word.copy_from_slice(&pattern::word(writer, generation, reg, lane).to_le_bytes());
            }
        }
        for (reg, p) in (0u8..16).zip(self.vectors.p.chunks_exact_mut(vl / 8)) {
            for (lane, part) in (0u8..).zip(p.chunks_mut(8)) {
                let bytes = pattern::predicate(writer, generation, reg, lane).to_le_bytes();
                part.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            }
        }
        // FFR must be a run of ones from element 0: anything else is UNPREDICTABLE.
        let ones = 3 + (writer as usize + usize::from(generation)) % (vl - 4);
        for (i, byte) in self.vectors.ffr.iter_mut().enumerate() {
            let bits = ones.saturating_sub(i * 8).min(8);
            *byte = if bits == 8 { 0xff } else { !(0xff << bits) };
        }
        let turn = writer as u64 + u64::from(generation);
        self.fpsr = 0x0800_0000 | (turn & 0x1e) | 1;
        self.fpcr = ((turn & 3) << 22) | (1 << 25);
        // LSCALE and NSCALE: numbers, of which every value is valid.
        self.fpmr = if fpmr { (turn & 0x7f) << 16 | (turn & 0xff) << 24 } else { 0 };
    }

    /// One register, of an image packed for registers of `vl` bytes: by its bit in [`mask`].
    #[must_use]
    pub fn register(&self, bit: u32, vl: usize) -> &[u8] {
        let part = |bytes: &'_ [u8], first: u32, len: usize| {
            let start = (bit - first) as usize * len;
            start..(start + len).min(bytes.len())
        };
        let Self { vectors, fpsr, fpcr, fpmr } = self;
        let found = match 1 << bit {
            z if z & mask::Z != 0 => vectors.z.get(part(&vectors.z, 0, vl)),
            p if p & mask::P != 0 => vectors.p.get(part(&vectors.p, mask::P.trailing_zeros(), vl / 8)),
            mask::FFR => vectors.ffr.get(..vl / 8),
            mask::FPSR => Some(fpsr.as_bytes()),
            mask::FPCR => Some(fpcr.as_bytes()),
            mask::FPMR => Some(fpmr.as_bytes()),
            _ => None,
        };
        found.unwrap_or_default()
    }

    /// The registers that differ, as bits of [`mask`]. `vq` is the length in units of 128 bits, 0 for V registers.
    #[must_use]
    pub fn differing(&self, other: &Self, vq: u64) -> u64 {
        let vl = usize::try_from(vq.max(1)).unwrap_or(1) * 16;
        let all = mask::Z | mask::FPSR | mask::FPCR | mask::FPMR;
        let all = if vq == 0 { all } else { all | mask::P | mask::FFR };
        let differs = |bit: &u32| all >> bit & 1 != 0 && self.register(*bit, vl) != other.register(*bit, vl);
        (0..u64::BITS).filter(differs).fold(0, |mask, bit| mask | 1 << bit)
    }
}

/// What the physical CPU has.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// SVE.
    pub sve: bool,
    /// FPMR.
    pub fpmr: bool,
    /// The largest vector length in units of 128 bits; 0 without SVE.
    pub vq: u64,
    /// HCRX_EL2 exists (FEAT_HCX).
    pub hcx: bool,
}

impl Cpu {
    /// Reads the ID registers, and the vector length at the largest LEN.
    pub fn probe() -> Self {
        let sve = (read!("ID_AA64PFR0_EL1") >> 32) & 0xf != 0;
        let fpmr = (read!("S3_0_C0_C4_2") >> 32) & 0xf != 0;
        let hcx = (read!("ID_AA64MMFR1_EL1") >> 40) & 0xf != 0;
        open();
        let vq = if sve {
            limit(15);
            arch::hyp::vector_length() / 16
        } else {
            0
        };
        Self { sve, fpmr, vq, hcx }
    }

    /// The largest vector length in bytes; 16 without SVE.
    pub fn vl(&self) -> usize {
        usize::try_from(self.vq.max(1)).unwrap_or(1) * 16
    }

    /// Saves the registers of a context that may use lengths up to `vq` (0: V only).
    pub fn save(&self, to: &mut Context, vq: u64) {
        open();
        if vq == 0 {
            to.vectors.save_v();
        } else {
            limit(vq - 1);
            to.vectors.save_sve();
        }
        self.save_scalars(to);
    }

    /// Loads what [`Cpu::save`] saved.
    pub fn load(&self, from: &Context, vq: u64) {
        open();
        if vq == 0 {
            from.vectors.load_v();
        } else {
            limit(vq - 1);
            from.vectors.load_sve();
        }
        self.load_scalars(from);
    }

    /// Saves FPSR, FPCR and FPMR.
    pub fn save_scalars(&self, to: &mut Context) {
        to.fpsr = read!("S3_3_C4_C4_1");
        to.fpcr = read!("S3_3_C4_C4_0");
        if self.fpmr {
            to.fpmr = read!("S3_3_C4_C4_2");
        }
    }

    /// Loads FPSR, FPCR and FPMR.
    pub fn load_scalars(&self, from: &Context) {
        write!("S3_3_C4_C4_1", from.fpsr);
        write!("S3_3_C4_C4_0", from.fpcr);
        if self.fpmr {
            write!("S3_3_C4_C4_2", from.fpmr);
        }
    }
}

/// The FP state of the machine.
pub struct Fp {
    /// The owner of the registers.
    pub owner: Owner,
    /// The vCPU's state while it does not own the registers.
    pub guest: Context,
    /// A nested transition is under way: with `nested=elide`, put and load leave the registers alone.
    pub nested_transition: bool,
    /// What registers marked free hold.
    pub poison: Context,
    /// What a clobber writes.
    pub clobber: Context,
    /// What the hypervisor's own SIMD leaves.
    pub host_simd: Context,
}

impl Fp {
    /// No owner, all zero.
    pub const fn new() -> Self {
        Self {
            owner: Owner::Free,
            guest: Context::new(),
            nested_transition: false,
            poison: Context::new(),
            clobber: Context::new(),
            host_simd: Context::new(),
        }
    }
}

/// Opens FP and SVE for EL2 itself. Through the VHE alias, so that it costs no trap at a virtual EL2.
pub fn open() {
    write!("S3_0_C1_C0_2", cptr::FPEN | cptr::ZEN);
    arch::sysreg::isb();
}

/// Sets ZCR_EL2.LEN, through the VHE alias. SVE must be open.
pub fn limit(len: u64) {
    write!("S3_0_C1_C2_0", len);
    arch::sysreg::isb();
}

impl Hyp {
    /// The FP part of a vCPU put: the vCPU gives the registers up.
    pub fn fp_put(&mut self) {
        if !self.fp_elided() {
            self.fp_release();
        }
    }

    /// The FP part of a vCPU load: with `restore=eager` the vCPU gets its registers now, else at its first use.
    pub fn fp_load(&mut self) {
        if self.config.restore == Restore::Eager && !self.fp_elided() {
            self.fp_take();
        }
    }

    fn fp_elided(&self) -> bool {
        self.fp.nested_transition && self.config.nested == Nested::Elide
    }

    /// Takes the registers from the vCPU, if it has them. They are poison afterwards.
    pub fn fp_release(&mut self) {
        if self.fp.owner == Owner::Free {
            return;
        }
        self.save_guest();
        self.fp.owner = Owner::Free;
        self.job.counters.fp_saves += 1;
        self.event(Event::FpSave, [self.config.vq_max * 16, 0]);
        if self.config.poison() {
            self.cpu.load(&self.fp.poison, self.cpu.vq);
        }
    }

    /// Gives the registers to the vCPU, if it has not got them.
    pub fn fp_take(&mut self) {
        if self.fp.owner == Owner::Guest {
            return;
        }
        self.load_guest();
        self.fp.owner = Owner::Guest;
        self.job.counters.fp_loads += 1;
        self.event(Event::FpLoad, [self.config.vq_max * 16, 0]);
    }

    /// The vCPU's registers after power-on.
    pub fn reset_fp(&mut self) {
        if self.fault(Fault::HkResetShort) {
            let vl = usize::try_from(self.config.vq_max.max(1)).unwrap_or(1) * 16;
            for z in self.fp.guest.vectors.z.chunks_mut(vl) {
                z.iter_mut().take(16).for_each(|byte| *byte = 0);
            }
            return;
        }
        self.fp.guest.reset();
    }

    /// Saves the vCPU's registers, at its largest vector length whatever the guest has set.
    fn save_guest(&mut self) {
        let (cpu, vq) = (self.cpu, self.config.vq_max);
        #[cfg(feature = "faults")]
        if self.save_guest_wrongly() {
            return;
        }
        cpu.save(&mut self.fp.guest, vq);
    }

    #[cfg_attr(
        not(feature = "faults"),
        expect(clippy::needless_pass_by_ref_mut, reason = "a fault counts itself")
    )]
    fn load_guest(&mut self) {
        let (cpu, vq) = (self.cpu, self.config.vq_max);
        #[cfg(feature = "faults")]
        if self.load_guest_wrongly() {
            return;
        }
        cpu.load(&self.fp.guest, vq);
    }
}
