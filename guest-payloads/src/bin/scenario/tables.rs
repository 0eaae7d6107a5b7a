//! Translation tables: an identity map of the image and the doorbell, 4 KiB granule, 39 bits.
//!
//! Each stage 1 is one for all levels that use it: EL0 may read, write and execute what its kernel may. Text is
//! read-only and executable, data is writable and not executable, the hole's block is mapped by pages so that the
//! hole's second page can be taken out.
//!
//! Stage 2 has a larger granule where it cannot have that one: KVM gives a guest hypervisor none below its host's own pages
//! (`limit_nv_id_reg()` in arch/arm64/kvm/nested.c). It then maps everything by pages.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::job::Status;
use arch::boot;

use crate::granule::Granule;

const PAGE: u64 = 1 << 12;
const BLOCK: u64 = 1 << 21;
/// Level 1; levels 2 for the image's one or two GiB and the doorbell's; levels 3 for hole and doorbell.
const TABLES_PER_SET: usize = 6;
/// Level 2; levels 3 for the image's one or two and the doorbell's.
const LARGE_TABLES: usize = 4;

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
struct Table([AtomicU64; Granule::Small.entries()]);

static TABLES: [[Table; TABLES_PER_SET]; Set::ALL.len()] =
    [const { [const { Table([const { AtomicU64::new(0) }; 512]) }; TABLES_PER_SET] }; Set::ALL.len()];

#[repr(C, align(65536))]
struct LargeTable([AtomicU64; Granule::Large.entries()]);

/// Stage 2's with a larger granule. Not zeroed at a start: few targets use them.
#[unsafe(link_section = ".noinit.tables")]
static LARGE: [LargeTable; LARGE_TABLES] =
    [const { LargeTable([const { AtomicU64::new(0) }; 8192]) }; LARGE_TABLES];

/// The granule of each set: 0 is 4 KiB as well.
static GRANULES: [AtomicU64; Set::ALL.len()] = [const { AtomicU64::new(0) }; Set::ALL.len()];

/// Tables of each set in use.
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
    nth(set, 0).map_or(0, address)
}

/// Fills an empty set: the image, and the doorbell if there is one. An address beyond the granule's bits is an error of the job.
pub(crate) fn build(
    set: Set,
    granule: Granule,
    attributes: Attributes,
    doorbell: Option<u64>,
) -> Result<(), Status> {
    GRANULES[set as usize].store(granule as u64, Ordering::Relaxed);
    USED[set as usize].store(0, Ordering::Relaxed);
    let _root = fresh(set)?;
    let hole_block = boot::hole() & !(BLOCK - 1);
    for block in (boot::entry()..boot::image_end()).step_by(BLOCK as usize) {
        let kind = if block < boot::data_start() { attributes.text } else { attributes.data };
        if granule == Granule::Small && block != hole_block {
            entry(set, block, 2)?.store(block | kind | bits::VALID, Ordering::Relaxed);
            continue;
        }
        let pages = (block..block + BLOCK).step_by(granule.page() as usize);
        let entries = table(set, block, 3)?.iter().skip(granule.index(block, 3));
        for (page, entry) in pages.zip(entries) {
            entry.store(page | kind | bits::TABLE | bits::VALID, Ordering::Relaxed);
        }
    }
    if let Some(doorbell) = doorbell {
        let page = doorbell & !(granule.page() - 1);
        entry(set, page, 3)?.store(page | attributes.device | bits::TABLE | bits::VALID, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether a set is in use.
pub(crate) fn is_built(set: Set) -> bool {
    USED[set as usize].load(Ordering::Relaxed) != 0
}

/// The page that can be unmapped. With a larger granule, the rest of its page is nobody's.
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
    Ok(&table(set, mapped, level)?[granule(set).index(mapped, level)])
}

/// The table of a level, 2 or 3, for an address, with all that lead to it.
fn table(set: Set, mapped: u64, level: u32) -> Result<&'static [AtomicU64], Status> {
    let granule = granule(set);
    if mapped >> granule.address_bits() != 0 {
        return Err(Status::BadJob);
    }
    let mut table = nth(set, 0).ok_or(Status::BadJob)?;
    for at in granule.first_level()..level {
        let link = &table[granule.index(mapped, at)];
        let next = link.load(Ordering::Relaxed);
        table = if next & bits::VALID != 0 {
            let found = (0..).map_while(|n| nth(set, n)).find(|table| address(table) == next & bits::ADDRESS);
            found.ok_or(Status::BadJob)?
        } else {
            let fresh = fresh(set)?;
            link.store(address(fresh) | bits::TABLE | bits::VALID, Ordering::Relaxed);
            fresh
        };
    }
    Ok(table)
}

/// A table of a set that is not in use yet, empty.
fn fresh(set: Set) -> Result<&'static [AtomicU64], Status> {
    let used = USED[set as usize].load(Ordering::Relaxed);
    let fresh = nth(set, used as usize).ok_or(Status::BadJob)?;
    USED[set as usize].store(used + 1, Ordering::Relaxed);
    if granule(set) != Granule::Small {
        for entry in fresh {
            entry.store(0, Ordering::Relaxed);
        }
    }
    Ok(fresh)
}

/// Table `n` of a set, if it has so many.
fn nth(set: Set, n: usize) -> Option<&'static [AtomicU64]> {
    match granule(set) {
        Granule::Small => TABLES[set as usize].get(n).map(|table| &table.0[..]),
        granule => LARGE.get(n).map(|table| &table.0[..granule.entries()]),
    }
}

fn granule(set: Set) -> Granule {
    const MEDIUM: u64 = Granule::Medium as u64;
    const LARGE: u64 = Granule::Large as u64;
    match GRANULES[set as usize].load(Ordering::Relaxed) {
        MEDIUM => Granule::Medium,
        LARGE => Granule::Large,
        _ => Granule::Small,
    }
}

fn address(table: &[AtomicU64]) -> u64 {
    table.as_ptr().expose_provenance() as u64
}
