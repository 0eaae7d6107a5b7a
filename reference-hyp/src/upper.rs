//! What becomes of register bits above a vector length that was passed through: `upper=keep|zero|random`.
//!
//! When L1 lowers ZCR_EL2 and raises it again, the bits in between are, register by register, either what they
//! were or zero (rule P-55). A CPU does one of the two; QEMU always zeroes. So that the suite meets both, the
//! hypervisor can put back what was there. It must see every such change, or it would bring back too much: that
//! is so for an nVHE L1, which has no name for ZCR_EL2 but the one that traps.

use abi::hyp::Upper;
use abi::pattern;
use arch::hyp::VectorStore;

use crate::Hyp;
use crate::fp;

/// The registers before the length was lowered, at the vCPU's largest length.
pub struct Stash {
    registers: VectorStore,
    held: bool,
}

impl Stash {
    /// Nothing held.
    pub const fn new() -> Self {
        Self { registers: VectorStore::new(), held: false }
    }

    /// A new vCPU: nothing may come back.
    pub const fn forget(&mut self) {
        self.held = false;
    }
}

impl Hyp {
    /// L1 is about to change ZCR_EL2.LEN from `old` to `new`. The vCPU owns the registers.
    pub fn before_length_change(&mut self, old: u64, new: u64) {
        if !self.invents_upper_bits() {
            return;
        }
        let (old, new) = (self.length_of(old), self.length_of(new));
        if new >= old {
            return;
        }
        let largest = self.largest();
        let older = self.upper.held.then(|| self.upper.registers.clone());
        self.cpu.save(&mut self.fp.guest, self.config.vq_max);
        self.upper.registers.clone_from(&self.fp.guest.vectors);
        if let Some(older) = older {
            copy_above(&mut self.upper.registers, &older, largest, old, |_| true);
        }
        self.upper.held = true;
    }

    /// L1 has changed ZCR_EL2.LEN: where it was raised, the bits above the old length come back or do not.
    pub fn after_length_change(&mut self, old: u64, new: u64) {
        if !self.invents_upper_bits() || !self.upper.held {
            return;
        }
        let (old, new) = (self.length_of(old), self.length_of(new));
        if new <= old {
            return;
        }
        let (kind, turn) = (self.config.upper, self.job.counters.sysregs);
        let keep = |reg: u64| kind == Upper::Keep || pattern::mix(turn << 8 | reg) & 1 == 0;
        self.cpu.save(&mut self.fp.guest, self.config.vq_max);
        let largest = self.largest();
        copy_above(&mut self.fp.guest.vectors, &self.upper.registers, largest, old, keep);
        self.cpu.load(&self.fp.guest, self.config.vq_max);
        if new < largest {
            // What lies above the new length is still away; what L1 sees now is what comes back later.
            self.upper.registers.clone_from(&self.fp.guest.vectors);
        } else {
            self.upper.held = false;
        }
    }

    fn invents_upper_bits(&self) -> bool {
        !self.config.vhe() && matches!(self.config.upper, Upper::Keep | Upper::Random)
    }

    /// The vector length in bytes that the guest has with this LEN.
    fn length_of(&self, len: u64) -> usize {
        fp::open();
        fp::limit(len.min(self.config.len_max()));
        usize::try_from(arch::hyp::vector_length()).unwrap_or(16)
    }

    fn largest(&self) -> usize {
        usize::try_from(self.config.vq_max.max(1)).unwrap_or(1) * 16
    }
}

/// Copies what lies above `old` bytes of each register that `which` names: Z0 to Z31, then P0 to P15, then FFR.
fn copy_above(to: &mut VectorStore, from: &VectorStore, vl: usize, old: usize, which: impl Fn(u64) -> bool) {
    let mut number = 0;
    let mut copy = |to: &mut [u8], from: &[u8], size: usize, above: usize| {
        for (to, from) in to.chunks_exact_mut(size).zip(from.chunks_exact(size)) {
            if which(number) {
                to[above..].copy_from_slice(&from[above..]);
            }
            number += 1;
        }
    };
    copy(&mut to.z[..32 * vl], &from.z, vl, old);
    copy(&mut to.p[..2 * vl], &from.p, vl / 8, old / 8);
    copy(&mut to.ffr[..vl / 8], &from.ffr, vl / 8, old / 8);
}
