//! Translation tables: an identity map of the image and the doorbell, 4 KiB granule, 39 bits.
//!
//! Each stage 1 is one for all levels that use it: EL0 may read, write and execute what its kernel may. Text is
//! read-only and executable, data is writable and not executable, the hole's block is mapped by pages so that the
//! hole's second page can be taken out.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::job::Status;
use arch::boot;

const PAGE: u64 = 1 << 12;
const BLOCK: u64 = 1 << 21;
const ENTRIES: usize = 512;
/// Bits of an address that a start at level 1 translates.
const ADDRESS_BITS: u32 = 39;
/// Level 1; levels 2 for the image's one or two GiB and the doorbell's; levels 3 for hole and doorbell.
const PAGES_PER_SET: usize = 6;

/// A set of tables.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Set {
    /// Stage 1 of home.
    Home = 0,
    /// Stage 1 of L2.
    L2 = 1,
    /// Stage 1 of L2b.
    L2b = 2,
    /// Stage 2 of both.
    Stage2 = 3,
}

impl Set {
    /// Every set.
    pub(crate) const ALL: [Self; 4] = [Self::Home, Self::L2, Self::L2b, Self::Stage2];
}

#[repr(C, align(4096))]
struct Table([AtomicU64; ENTRIES]);

static TABLES: [[Table; PAGES_PER_SET]; Set::ALL.len()] =
    [const { [const { Table([const { AtomicU64::new(0) }; ENTRIES]) }; PAGES_PER_SET] }; Set::ALL.len()];

/// Pages of each set in use.
static USED: [AtomicU64; Set::ALL.len()] = [const { AtomicU64::new(0) }; Set::ALL.len()];

/// Descriptor bits.
mod bits {
    pub(super) const VALID: u64 = 1;
    /// A table at levels 1 and 2, a page at level 3.
    pub(super) const TABLE: u64 = 2;
    pub(super) const ADDRESS: u64 = 0xff_ffff_f000;
    pub(super) const ACCESSED: u64 = 1 << 10;
    pub(super) const INNER_SHAREABLE: u64 = 3 << 8;
    /// Stage 1: EL0 may do what its kernel may.
    pub(super) const EL0: u64 = 1 << 6;
    pub(super) const READ_ONLY: u64 = 1 << 7;
    /// MAIR index 1.
    pub(super) const DEVICE: u64 = 1 << 2;
    /// UXN, or XN at the EL2 regime and stage 2.
    pub(super) const XN: u64 = 1 << 54;
    pub(super) const PXN: u64 = 1 << 53;
    /// Stage 2: MemAttr Normal write-back.
    pub(super) const S2_NORMAL: u64 = 0xf << 2;
    /// Stage 2: MemAttr Device-nGnRE.
    pub(super) const S2_DEVICE: u64 = 1 << 2;
    pub(super) const S2_READ: u64 = 1 << 6;
    pub(super) const S2_WRITE: u64 = 1 << 7;
}

/// MAIR of every stage 1: index 0 Normal write-back, index 1 Device-nGnRE.
pub(crate) const MAIR: u64 = 0x04ff;

/// Descriptor attributes of a regime.
#[derive(Clone, Copy)]
pub(crate) struct Attributes {
    text: u64,
    data: u64,
    device: u64,
}

impl Attributes {
    /// A regime with EL0: EL1&0 and EL2&0.
    pub(crate) const TWO_LEVELS: Self = Self::stage1(bits::XN | bits::PXN);
    /// The EL2 regime (HCR_EL2.E2H = 0), where PXN is RES0.
    pub(crate) const EL2: Self = Self::stage1(bits::XN);
    /// Stage 2.
    pub(crate) const STAGE2: Self = Self {
        text: bits::ACCESSED | bits::INNER_SHAREABLE | bits::S2_NORMAL | bits::S2_READ,
        data: bits::ACCESSED
            | bits::INNER_SHAREABLE
            | bits::S2_NORMAL
            | bits::S2_READ
            | bits::S2_WRITE
            | bits::XN,
        device: bits::ACCESSED | bits::S2_DEVICE | bits::S2_READ | bits::S2_WRITE | bits::XN,
    };

    const fn stage1(never_execute: u64) -> Self {
        let common = bits::ACCESSED | bits::EL0;
        Self {
            text: common | bits::INNER_SHAREABLE | bits::READ_ONLY,
            data: common | bits::INNER_SHAREABLE | never_execute,
            device: common | bits::DEVICE | never_execute,
        }
    }
}

/// The address of a set's first table, for TTBR0_ELx or VTTBR_EL2.
pub(crate) fn root(set: Set) -> u64 {
    address(&TABLES[set as usize][0])
}

/// Fills an empty set: the image, and the doorbell if there is one. An address beyond 39 bits is an error of the job.
pub(crate) fn build(set: Set, attributes: Attributes, doorbell: Option<u64>) -> Result<(), Status> {
    USED[set as usize].store(1, Ordering::Relaxed);
    let hole_block = boot::hole() & !(BLOCK - 1);
    for block in (boot::entry()..boot::image_end()).step_by(BLOCK as usize) {
        if block == hole_block {
            let pages = (block..).step_by(PAGE as usize);
            for (page, entry) in pages.zip(&table(set, block, 3)?.0) {
                entry.store(page | attributes.data | bits::TABLE | bits::VALID, Ordering::Relaxed);
            }
        } else {
            let kind = if block < boot::data_start() { attributes.text } else { attributes.data };
            entry(set, block, 2)?.store(block | kind | bits::VALID, Ordering::Relaxed);
        }
    }
    if let Some(page) = doorbell {
        entry(set, page, 3)?.store(page | attributes.device | bits::TABLE | bits::VALID, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether a set is in use.
pub(crate) fn is_built(set: Set) -> bool {
    USED[set as usize].load(Ordering::Relaxed) != 0
}

/// The page that can be unmapped.
pub(crate) fn hole() -> u64 {
    boot::hole() + PAGE
}

/// Maps or unmaps the hole's second page. Returns whether that changed anything; the TLB is the caller's.
pub(crate) fn set_hole(set: Set, mapped: bool) -> Result<bool, Status> {
    if !is_built(set) {
        return Err(Status::BadJob);
    }
    let entry = entry(set, hole(), 3)?;
    let old = entry.load(Ordering::Relaxed);
    let new = if mapped { old | bits::VALID } else { old & !bits::VALID };
    entry.store(new, Ordering::Relaxed);
    Ok(new != old)
}

/// The entry of an address at a level, 2 or 3.
fn entry(set: Set, mapped: u64, level: u32) -> Result<&'static AtomicU64, Status> {
    Ok(&table(set, mapped, level)?.0[index(mapped, level)])
}

/// The table of a level, 2 or 3, for an address, with all that lead to it.
fn table(set: Set, mapped: u64, level: u32) -> Result<&'static Table, Status> {
    if mapped >> ADDRESS_BITS != 0 {
        return Err(Status::BadJob);
    }
    let pages = &TABLES[set as usize];
    let mut table = &pages[0];
    for at in 1..level {
        let link = &table.0[index(mapped, at)];
        let next = link.load(Ordering::Relaxed);
        let found = if next & bits::VALID != 0 {
            pages.iter().find(|page| address(page) == next & bits::ADDRESS)
        } else {
            let used = &USED[set as usize];
            let fresh = pages.get(used.load(Ordering::Relaxed) as usize);
            if let Some(fresh) = fresh {
                used.store(used.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                link.store(address(fresh) | bits::TABLE | bits::VALID, Ordering::Relaxed);
            }
            fresh
        };
        table = found.ok_or(Status::BadJob)?;
    }
    Ok(table)
}

fn index(mapped: u64, level: u32) -> usize {
    (mapped >> (ADDRESS_BITS - 9 * level)) as usize % ENTRIES
}

fn address(table: &Table) -> u64 {
    (&raw const *table).expose_provenance() as u64
}
