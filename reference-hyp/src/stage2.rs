//! L0's stage 2: an identity map of this guest's memory and nothing else, so that a wild guest costs its own
//! case only.
//!
//! 4 KiB granule, 39 bits of input, walk from level 1. The guest's memory lies in one GiB; text is read-only.

use abi::doorbell;
use arch::write;

use crate::Hyp;
use crate::config::Config;

/// Bytes that one entry of a level 2 table maps.
pub const BLOCK: u64 = 2 << 20;
/// Bytes that one image may occupy: its text lies at the start of each slot.
pub const SLOT: u64 = 8 << 20;

/// One translation table.
#[repr(C, align(4096))]
pub struct Table(pub [u64; 512]);

impl Table {
    /// No entry valid.
    pub const fn new() -> Self {
        Self([0; 512])
    }

    /// Its address.
    pub fn address(&self) -> u64 {
        self.0.as_ptr().addr() as u64
    }
}

/// Bits of a stage 2 descriptor.
pub mod desc {
    /// A valid block, at level 1 or 2.
    pub const BLOCK: u64 = 1;
    /// A valid table, or at level 3 a page.
    pub const TABLE: u64 = 3;
    /// Normal, write-back, inner shareable.
    pub const NORMAL: u64 = 0xf << 2 | 3 << 8;
    /// Device-nGnRE.
    pub const DEVICE: u64 = 1 << 2;
    /// S2AP: readable.
    pub const READ: u64 = 1 << 6;
    /// S2AP: writable.
    pub const WRITE: u64 = 1 << 7;
    /// Accessed.
    pub const AF: u64 = 1 << 10;
    /// XN: execute never at EL1 and EL0.
    pub const XN: u64 = 2 << 53;
    /// The output address.
    pub const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
}

/// VTCR_EL2: RES1, 40-bit output, 4 KiB, inner shareable, write-back walks, level 1, T0SZ 25.
pub const VTCR: u64 = 1 << 31 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 25;

/// Field VMID of VTTBR_EL2. Each of a guest's levels has its own: both translate at the CPU's EL1, and their
/// stage 1 entries must not meet in the TLB.
pub const fn vmid(number: u64) -> u64 {
    number << 48
}

/// The VMID of the guest's EL2, or of a guest without one.
pub const VMID_TOP: u64 = 1;
/// The VMID of its EL1 without a stage 2 of its own.
pub const VMID_EL1: u64 = 2;
/// The first VMID of its EL1 under stages 2 of its own.
pub const VMID_SHADOW: u64 = 3;

/// L0's tables.
pub struct Stage2 {
    root: Table,
    ram: Table,
    device: Table,
}

impl Stage2 {
    /// Nothing mapped.
    pub const fn new() -> Self {
        Self { root: Table::new(), ram: Table::new(), device: Table::new() }
    }

    /// VTTBR_EL2 without the VMID.
    pub fn base(&self) -> u64 {
        self.root.address()
    }

    /// Makes the map of a guest, whole or, with demand mapping, empty.
    pub fn make(&mut self, config: &Config) {
        self.root.0.fill(0);
        self.ram.0.fill(0);
        self.device.0.fill(0);
        self.root.0[index(config.guest_base, 1)] = self.ram.address() | desc::TABLE;
        if !config.demand_map() {
            let mut address = config.guest_base;
            while address < config.guest_base + config.guest_size {
                self.map(config, address);
                address += BLOCK;
            }
        }
        if !config.outermost() {
            self.root.0[index(doorbell::ADDRESS, 1)] = self.device.address() | desc::TABLE;
            let attributes = grant(config, doorbell::ADDRESS).unwrap_or(0);
            self.device.0[index(doorbell::ADDRESS, 2)] =
                (doorbell::ADDRESS & !(BLOCK - 1)) | desc::BLOCK | desc::AF | attributes;
        }
    }

    /// Maps the block of `address`, which must be the guest's. Returns the descriptor, and whether it was
    /// there already.
    pub fn map(&mut self, config: &Config, address: u64) -> (u64, bool) {
        let entry = &mut self.ram.0[index(address, 2)];
        let known = *entry != 0;
        *entry = (address & !(BLOCK - 1)) | desc::BLOCK | desc::AF | grant(config, address).unwrap_or(0);
        (*entry, known)
    }
}

/// The index of `address` in a table of `level` (1 to 3).
pub const fn index(address: u64, level: u32) -> usize {
    ((address >> (39 - 9 * level)) & 511) as usize
}

/// Whether the guest may reach `address` at all.
pub const fn owns(config: &Config, address: u64) -> bool {
    address >= config.guest_base && address - config.guest_base < config.guest_size
}

/// What L0 grants at `address`, as attributes of a descriptor; `None` if nothing is there.
///
/// Of the guest's own memory, text may be executed and not written, data the reverse. The doorbell belongs to
/// the outermost hypervisor: an inner one lets it through.
pub const fn grant(config: &Config, address: u64) -> Option<u64> {
    if owns(config, address) {
        let text = (address - config.guest_base) % SLOT < config.guest_text_size;
        let rights = if text { desc::READ } else { desc::READ | desc::WRITE | desc::XN };
        Some(rights | desc::NORMAL)
    } else if !config.outermost() && address & !0xfff == doorbell::ADDRESS {
        Some(desc::READ | desc::WRITE | desc::XN | desc::DEVICE)
    } else {
        None
    }
}

impl Hyp {
    /// Puts a fresh stage 2 of this guest in force, and drops every older translation.
    pub fn make_stage2(&mut self) {
        self.stage2.make(&self.config);
        self.shadow.forget();
        write!("vtcr_el2", VTCR);
        arch::hyp::invalidate_guest_tlb();
    }
}
