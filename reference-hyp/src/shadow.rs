//! The shadows of a guest hypervisor's own stage 2.
//!
//! What L1 maps for L2 is combined with what L0 maps for L1, page by page, when L2 touches it. There is one
//! shadow for each VTTBR_EL2 that L1 has lately used, since what one of its guests may reach says nothing of
//! another. Any TLB maintenance of L1 drops them all: entries are always rebuilt from L1's tables.

use crate::bits::vncr;
use crate::stage2::{Table, VMID_SHADOW, desc, index, vmid};
use crate::vcpu::VncrPage;

/// Level 2 and 3 tables that a shadow may use before it starts again.
const POOL: usize = 10;
/// Shadows. A hypervisor one level up uses three: its guest's EL2, and EL1 with and without a stage 2.
const SPACES: usize = 4;

/// One shadow.
struct Space {
    /// VTTBR_EL2 of L1 that it is of.
    vttbr: Option<u64>,
    root: Table,
    pool: [Table; POOL],
    used: usize,
}

/// All shadows.
pub struct Shadow {
    spaces: [Space; SPACES],
    current: usize,
    next: usize,
}

impl Shadow {
    /// Nothing mapped.
    pub const fn new() -> Self {
        Self { spaces: [const { Space::new() }; SPACES], current: 0, next: 0 }
    }

    /// Makes the shadow of this VTTBR_EL2 the one in use, and gives VTTBR_EL2 for it. The second value is true if
    /// an older shadow had to give way: the caller invalidates the TLB.
    pub fn select(&mut self, vttbr: u64) -> (u64, bool) {
        let known = self.spaces.iter().position(|space| space.vttbr == Some(vttbr));
        let evicted = known.is_none() && self.spaces[self.next].vttbr.is_some();
        self.current = known.unwrap_or_else(|| {
            let victim = self.next;
            self.next = (victim + 1) % SPACES;
            self.spaces[victim].clear();
            self.spaces[victim].vttbr = Some(vttbr);
            victim
        });
        let root = self.spaces[self.current].root.address();
        (root | vmid(VMID_SHADOW + self.current as u64), evicted)
    }

    /// Another guest: forgets everything, and whose it was.
    pub fn forget(&mut self) {
        self.clear();
        for space in &mut self.spaces {
            space.vttbr = None;
        }
        (self.current, self.next) = (0, 0);
    }

    /// Forgets everything. The caller invalidates the TLB.
    pub fn clear(&mut self) {
        for space in &mut self.spaces {
            space.clear();
        }
    }

    /// Maps one 4 KiB page, or one block of 2 MiB, in the shadow in use. Returns false if there was no room and
    /// everything in it was forgotten first.
    pub fn map(&mut self, ipa: u64, descriptor: u64, block: bool) -> bool {
        let space = &mut self.spaces[self.current];
        let room = space.insert(ipa, descriptor, block);
        if !room {
            space.clear();
            space.insert(ipa, descriptor, block);
        }
        room
    }
}

impl Space {
    const fn new() -> Self {
        Self { vttbr: None, root: Table::new(), pool: [const { Table::new() }; POOL], used: 0 }
    }

    /// Unmaps everything. It stays the shadow of its VTTBR_EL2.
    fn clear(&mut self) {
        if self.used == 0 {
            return;
        }
        self.root.0.fill(0);
        for table in &mut self.pool[..self.used] {
            table.0.fill(0);
        }
        self.used = 0;
    }

    fn insert(&mut self, ipa: u64, descriptor: u64, block: bool) -> bool {
        let root = self.root.0[index(ipa, 1)];
        let Some(middle) = self.below(root) else { return false };
        self.root.0[index(ipa, 1)] = self.pool[middle].address() | desc::TABLE;
        let entry = self.pool[middle].0[index(ipa, 2)];
        if block {
            self.pool[middle].0[index(ipa, 2)] = descriptor;
            return true;
        }
        // A block here is forgotten: its other pages come back on their own faults.
        let entry = if entry & 3 == desc::TABLE { entry } else { 0 };
        let Some(last) = self.below(entry) else { return false };
        self.pool[middle].0[index(ipa, 2)] = self.pool[last].address() | desc::TABLE;
        self.pool[last].0[index(ipa, 3)] = descriptor;
        true
    }

    /// The pool's table that `entry` points at, or a new one.
    fn below(&mut self, entry: u64) -> Option<usize> {
        if entry != 0 {
            let first = self.pool[0].address();
            return usize::try_from(((entry & desc::ADDRESS) - first) / 4096).ok().filter(|i| *i < POOL);
        }
        let next = self.used;
        if next == POOL {
            return None;
        }
        self.used += 1;
        Some(next)
    }
}

/// A translation by a guest hypervisor's stage 2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Translation {
    /// The output address, which is L1's idea of a physical address.
    pub address: u64,
    /// Bits of [`desc`]: READ, WRITE, XN.
    pub permissions: u64,
    /// The level that mapped it.
    pub level: u64,
}

/// Walks the guest hypervisor's stage 2 for `ipa`. `read` reads a descriptor at an address of L1, if it is L1's
/// memory. The error is the fault status code (ESR_ELx.ISS bits 5:0).
///
/// # Errors
///
/// A translation fault or an access flag fault at its level, an address size fault at level 0, or a
/// synchronous external abort on a walk outside L1's memory.
pub fn walk(page: &VncrPage, ipa: u64, mut read: impl FnMut(u64) -> Option<u64>) -> Result<Translation, u64> {
    const TRANSLATION: u64 = 0x04;
    const ACCESS_FLAG: u64 = 0x08;
    const EXTERNAL_ON_WALK: u64 = 0x14;
    let vtcr = page.get(vncr::VTCR_EL2);
    let vttbr = page.get(vncr::VTTBR_EL2);
    let t0sz = vtcr & 0x3f;
    let input_bits = 64 - t0sz;
    // SL0 for the 4 KiB granule: 0 starts at level 2, 1 at level 1, 2 at level 0.
    let mut level = match (vtcr >> 6) & 3 {
        0 => 2,
        1 => 1,
        2 => 0,
        _ => 3,
    };
    if input_bits < 64 && ipa >> input_bits != 0 {
        return Err(TRANSLATION | level);
    }
    let mut table = vttbr & desc::ADDRESS;
    loop {
        let shift = 39 - 9 * level;
        // A concatenated root may have more than 512 entries.
        let entries = if table == vttbr & desc::ADDRESS { u64::MAX } else { 511 };
        let at = table + ((ipa >> shift) & entries) * 8;
        let descriptor = read(at).ok_or(EXTERNAL_ON_WALK | level)?;
        let kind = descriptor & 3;
        if kind & 1 == 0 || (level == 3 && kind == 1) || (level == 0 && kind == 1) {
            return Err(TRANSLATION | level);
        }
        if level < 3 && kind == 3 {
            table = descriptor & desc::ADDRESS;
            level += 1;
            continue;
        }
        if descriptor & desc::AF == 0 {
            return Err(ACCESS_FLAG | level);
        }
        let offset = ipa & ((1 << shift) - 1);
        let address = (descriptor & desc::ADDRESS & !((1 << shift) - 1)) | offset;
        let permissions = descriptor & (desc::READ | desc::WRITE | desc::XN);
        return Ok(Translation { address, permissions, level });
    }
}
