//! The job area, by offset. What the harness wrote is checked once, by [`is_valid`], and at each use where it
//! depends on an operation.

use core::mem::offset_of;
use core::ptr::with_exposed_provenance_mut;

use abi::doorbell::Sweep;
use abi::job::{self, JobHeader, Status};
use abi::op::Op;
use abi::place::Place;
use arch::boot;
use arch::payload::stubs::Level;

/// A 64-bit field of the header, by its offset.
#[derive(Clone, Copy)]
pub(crate) struct Word(usize);

impl Word {
    fn pointer(self) -> *mut u64 {
        with_exposed_provenance_mut(self.address() as usize)
    }

    /// Where the field lies.
    pub(crate) fn address(self) -> u64 {
        boot::job_start() + self.0 as u64
    }

    pub(crate) fn get(self) -> u64 {
        // SAFETY: the header is memory that only this CPU and, between cases, the harness accesses.
        unsafe { self.pointer().read_volatile() }
    }

    pub(crate) fn set(self, value: u64) {
        // SAFETY: as in `get`.
        unsafe { self.pointer().write_volatile(value) };
    }
}

/// A 32-bit field of the header, by its offset.
#[derive(Clone, Copy)]
struct Half(usize);

impl Half {
    fn get(self) -> u64 {
        let address = boot::job_start() as usize + self.0;
        // SAFETY: as in `Word::get`.
        unsafe { with_exposed_provenance_mut::<u32>(address).read_volatile() }.into()
    }
}

const MAGIC: Word = Word(offset_of!(JobHeader, magic));
const VERSION: Half = Half(offset_of!(JobHeader, version));
const FLAGS: Half = Half(offset_of!(JobHeader, flags));
const OPS_OFFSET: Half = Half(offset_of!(JobHeader, ops_offset));
const OPS_COUNT: Half = Half(offset_of!(JobHeader, ops_count));
const DATA_OFFSET: Half = Half(offset_of!(JobHeader, data_offset));
const DATA_LEN: Half = Half(offset_of!(JobHeader, data_len));
const RING_OFFSET: Half = Half(offset_of!(JobHeader, ring_offset));
const SWEEP_RING_OFFSET: Half = Half(offset_of!(JobHeader, sweep_ring_offset));
const RING_LEN: Half = Half(offset_of!(JobHeader, ring_len));
const HOME: Half = Half(offset_of!(JobHeader, home));
const DOORBELL: Word = Word(offset_of!(JobHeader, doorbell));
const SWEEP: Word = Word(offset_of!(JobHeader, sweep));

/// See [`JobHeader::sweep_first`].
pub(crate) const SWEEP_FIRST: Word = Word(offset_of!(JobHeader, sweep_first));
/// See [`JobHeader::sweep_end`].
pub(crate) const SWEEP_END: Word = Word(offset_of!(JobHeader, sweep_end));
/// See [`JobHeader::irq_source`].
pub(crate) const IRQ_SOURCE: Word = Word(offset_of!(JobHeader, irq_source));
/// See [`JobHeader::hole`].
pub(crate) const HOLE: Word = Word(offset_of!(JobHeader, hole));
/// See [`JobHeader::cursor`].
pub(crate) const CURSOR: Word = Word(offset_of!(JobHeader, cursor));
/// See [`JobHeader::pass`].
pub(crate) const PASS: Word = Word(offset_of!(JobHeader, pass));
/// See [`JobHeader::ring_used`].
pub(crate) const RING_USED: Word = Word(offset_of!(JobHeader, ring_used));
/// See [`JobHeader::sweep_ring_used`].
pub(crate) const SWEEP_RING_USED: Word = Word(offset_of!(JobHeader, sweep_ring_used));
/// See [`JobHeader::sweep_at`].
pub(crate) const SWEEP_AT: Word = Word(offset_of!(JobHeader, sweep_at));
/// See [`JobHeader::sweep_points`].
pub(crate) const SWEEP_POINTS: Word = Word(offset_of!(JobHeader, sweep_points));
/// See [`JobHeader::status`].
pub(crate) const STATUS: Word = Word(offset_of!(JobHeader, status));
/// See [`JobHeader::disturbed`].
pub(crate) const DISTURBED: Word = Word(offset_of!(JobHeader, disturbed));
/// See [`JobHeader::left_pc`].
pub(crate) const LEFT_PC: Word = Word(offset_of!(JobHeader, left_pc));
/// See [`JobHeader::target_pc`].
pub(crate) const TARGET_PC: Word = Word(offset_of!(JobHeader, target_pc));
/// Records written in this pass.
pub(crate) const RECORDS: Word = scratch(8);

/// A place as far as its stack pointer goes: L1 has two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stack {
    /// L1 with SP_EL0 (EL2t).
    L1t,
    /// Any place with the SP of its level.
    Of(Place),
}

impl Stack {
    /// Every stack pointer.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        core::iter::once(Self::L1t).chain(Place::ALL.into_iter().map(Self::Of))
    }

    /// A number from 0 to 7.
    pub(crate) const fn index(self) -> u64 {
        match self {
            Self::L1t => 0,
            Self::Of(place) => place as u64,
        }
    }

    /// Its value when the place was last left with it, 0 if never.
    pub(crate) const fn left(self) -> Word {
        scratch(self.index() as usize)
    }
}

const fn scratch(index: usize) -> Word {
    Word(offset_of!(JobHeader, scratch) + 8 * index)
}

/// The Exception level that a place runs at.
pub(crate) fn level(place: Place) -> Level {
    match place {
        Place::L1 => Level::El2,
        Place::L2 | Place::L2b | Place::G => Level::El1,
        Place::L1El0 | Place::L2El0 | Place::GEl0 => Level::El0,
    }
}

/// Whether a bit of [`abi::job::flag`] is set.
pub(crate) fn has(flag: u32) -> bool {
    FLAGS.get() & u64::from(flag) != 0
}

/// Whether the CPU has the SVE that the job speaks of.
pub(crate) fn has_sve() -> bool {
    has(job::flag::SVE)
}

/// Whether the CPU has the FPMR that the job speaks of.
pub(crate) fn has_fpmr() -> bool {
    has(job::flag::FPMR)
}

/// Where the program starts and ends.
pub(crate) fn home() -> Option<Place> {
    u8::try_from(HOME.get())
        .ok()
        .and_then(Place::from_u8)
        .filter(|place| matches!(place, Place::L1 | Place::G))
}

/// How the program is swept.
pub(crate) fn sweep() -> Option<Sweep> {
    Sweep::from_u64(SWEEP.get())
}

/// The doorbell's page, if the target has one.
pub(crate) fn doorbell() -> Option<u64> {
    Some(DOORBELL.get()).filter(|&address| address != 0)
}

/// Whether the header makes sense: its lengths lie in the job area, and its numbers mean something.
pub(crate) fn is_valid() -> bool {
    let area = boot::job_end() - boot::job_start();
    let lies_inside = |offset: u64, len: u64| {
        offset.is_multiple_of(64) && offset >= size_of::<JobHeader>() as u64 && offset + len <= area
    };
    MAGIC.get() == job::MAGIC
        && VERSION.get() == u64::from(abi::ABI_VERSION)
        && lies_inside(OPS_OFFSET.get(), OPS_COUNT.get() * size_of::<Op>() as u64)
        && lies_inside(DATA_OFFSET.get(), DATA_LEN.get())
        && lies_inside(RING_OFFSET.get(), RING_LEN.get())
        && lies_inside(SWEEP_RING_OFFSET.get(), RING_LEN.get())
        && home().is_some()
        && doorbell().is_none_or(|address| address.is_multiple_of(abi::doorbell::SIZE))
        && sweep().is_some_and(|sweep| sweep == Sweep::Off || doorbell().is_some())
}

/// The operation with this index.
pub(crate) fn op(index: u64) -> Option<Op> {
    if index >= OPS_COUNT.get() {
        return None;
    }
    let address = boot::job_start() + OPS_OFFSET.get() + index * size_of::<Op>() as u64;
    // SAFETY: `is_valid` found all operations inside the job area; any bytes are an `Op`.
    Some(unsafe { with_exposed_provenance_mut::<Op>(address as usize).read() })
}

/// The address of the data of an operation, which has to have `len` bytes.
pub(crate) fn data(op: &Op, len: u64) -> Result<u64, Status> {
    let end = u64::from(op.data) + u64::from(op.data_len);
    if end > DATA_LEN.get() || u64::from(op.data_len) < len || !op.data.is_multiple_of(16) {
        return Err(Status::BadJob);
    }
    Ok(boot::job_start() + DATA_OFFSET.get() + u64::from(op.data))
}

/// The ring of this pass: its address, its length, and the field that counts its bytes.
pub(crate) fn ring() -> (u64, u64, Word) {
    let (offset, used) =
        if PASS.get() == 0 { (RING_OFFSET, RING_USED) } else { (SWEEP_RING_OFFSET, SWEEP_RING_USED) };
    (boot::job_start() + offset.get(), RING_LEN.get(), used)
}

/// Whether both rings hold the same bytes.
pub(crate) fn rings_agree() -> bool {
    let len = RING_USED.get();
    if len != SWEEP_RING_USED.get() {
        return false;
    }
    let words = |offset: Half| {
        let start = with_exposed_provenance_mut::<u64>((boot::job_start() + offset.get()) as usize);
        // SAFETY: `is_valid` found the ring inside the job area, records are multiples of 16 bytes, and nothing
        // writes while the slice lives.
        unsafe { core::slice::from_raw_parts(start.cast_const(), len as usize / 8) }
    };
    // Not `==`, which would compare byte by byte.
    words(RING_OFFSET).iter().zip(words(SWEEP_RING_OFFSET)).all(|(first, swept)| first == swept)
}
