//! What the payload tells: records, each a header and a body, one after another in the ring.
//!
//! The ring is written from its start by each pass and never wraps; what does not fit ends the case with
//! [`crate::job::Status::RingFull`]. A reader trusts no length and no number in it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Precedes each record. The next header follows `len` bytes after this one's end; `len` is a multiple of 16.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct RecordHeader {
    /// [`MAGIC`].
    pub magic: u16,
    /// A [`Kind`].
    pub kind: u16,
    /// Length of the body in bytes.
    pub len: u32,
    /// Index of the operation that wrote it.
    pub op: u16,
    /// The [`crate::place::Place`] that wrote it.
    pub place: u8,
    /// Zero.
    pub reserved: u8,
    /// Counts the records of a pass from 0.
    pub seq: u32,
}
const _: () = assert!(size_of::<RecordHeader>() == 16);

/// The first two bytes of every record.
pub const MAGIC: u16 = 0x4648;

/// What a record holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Kind {
    /// An [`FpImage`] header, then the registers.
    Dump = 1,
    /// A [`RegisterValue`].
    Register = 2,
    /// An [`Arrival`].
    Arrival = 3,
    /// An [`Arrival`] that the program did not ask for: the case has crashed.
    Unexpected = 4,
}

/// The head of a fill image and of a dump; [`FpImage::LEN`] bytes, then Z0 to Z31 at `vl_bytes` each.
///
/// The same layout serves both directions. P registers lie `vl_bytes / 8` apart, as `STR P` leaves them.
/// In the V-only form `vl_bytes` is 16, and P and FFR are not touched.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct FpImage {
    /// FPSR.
    pub fpsr: u64,
    /// FPCR.
    pub fpcr: u64,
    /// FPMR, 0 where the CPU has none.
    pub fpmr: u64,
    /// The vector length that the registers were stored at, in bytes. Ignored in a fill.
    pub vl_bytes: u64,
    /// FFR, in the first `vl_bytes / 8` bytes.
    pub ffr: [u8; 32],
    /// P0 to P15, `vl_bytes / 8` apart.
    pub p: [u8; 512],
}
const _: () = assert!(size_of::<FpImage>() == FpImage::LEN);

impl FpImage {
    /// Bytes before Z0.
    pub const LEN: usize = 576;
}

/// The value of a system register, as read by a [`crate::op::Code::SysRead`].
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct RegisterValue {
    /// The [`crate::sysreg::SysReg`], or [`crate::op::RDVL`].
    pub reg: u64,
    /// Its value.
    pub value: u64,
}

/// How a place was reached, with the raw registers as the arrival stub found them.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Arrival {
    /// X0 to X30.
    pub x: [u64; 31],
    /// SP on arrival.
    pub sp: u64,
    /// SP that this place had when it was last left (0: never, in this pass and since the last reset). L1 has two, one
    /// for each value of SPSel.
    pub sp_left: u64,
    /// ESR of the level reached, if by a synchronous exception or an SError; else 0.
    pub esr: u64,
    /// ELR of the level reached, if by an exception.
    pub elr: u64,
    /// SPSR of the level reached, if by an exception.
    pub spsr: u64,
    /// FAR of the level reached, if the exception sets it; else 0, since it is UNKNOWN.
    pub far: u64,
    /// HPFAR_EL2 at L1, if the exception sets it; else 0.
    pub hpfar: u64,
    /// Address of the instruction by which the last `Go` left.
    pub left_pc: u64,
    /// Address to which that instruction was to go, for an ERET.
    pub target_pc: u64,
    /// NZCV, DAIF, CurrentEL and SPSel as they are read here, ORed (each has its own bits).
    pub pstate: u64,
    /// Offset of the vector in the table (0x000 to 0x780), [`VECTOR_NONE`] or [`VECTOR_BOOT`].
    pub vector: u64,
}
const _: () = assert!(size_of::<Arrival>() == 336);

/// Reached without an exception: by an ERET, or by going on after the instruction.
pub const VECTOR_NONE: u64 = 0x1000;
/// Reached through the image's entry, after a reset.
pub const VECTOR_BOOT: u64 = 0x2000;
