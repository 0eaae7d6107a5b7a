//! One case, as the harness hands it to the payload.
//!
//! The payload's image ends with the *job area*, found by the symbol [`SYMBOL`]: a [`JobHeader`], then
//! operations, data, and two rings, at the offsets that the header gives. The payload's own `.data` and
//! `.bss` lie before it; a fresh guest is made by writing `.data` and the job area anew.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The linker symbol of the job area in the payload's ELF.
pub const SYMBOL: &str = "__job_start";
/// [`JobHeader::magic`] of a job that is to run: "HOLDJOB1".
pub const MAGIC: u64 = 0x3142_4f4a_444c_4f48;

/// The 64-bit word `i` of the two pages at [`HOLE_SYMBOL`] is this plus `i`, at the start of every pass.
pub const HOLE_WORD: u64 = 0x484f_4c45_0000_0000;
/// The linker symbol of the two pages whose second one can be unmapped.
pub const HOLE_SYMBOL: &str = "__hole";

/// The job area's first bytes. All offsets count from its own address; all are multiples of 64.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct JobHeader {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`].
    pub version: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Offset of the operations.
    pub ops_offset: u32,
    /// Number of operations.
    pub ops_count: u32,
    /// Offset of the data: fill images and GPR images.
    pub data_offset: u32,
    /// Length of the data in bytes.
    pub data_len: u32,
    /// Offset of the ring of the unswept pass.
    pub ring_offset: u32,
    /// Offset of the ring of swept passes.
    pub sweep_ring_offset: u32,
    /// Length of each ring in bytes.
    pub ring_len: u32,
    /// Home: the [`crate::place::Place`] where the program starts and ends, L1 or G.
    pub home: u32,
    /// Address of the doorbell page, 0 if the target has none.
    pub doorbell: u64,
    /// A [`crate::doorbell::Sweep`].
    pub sweep: u64,
    /// The first point `k` of `step-each` and `timer`.
    pub sweep_first: u64,
    /// The point after the last. `step-each` also ends at the first `k` that no window reaches.
    pub sweep_end: u64,
    /// Where interrupts come from: [`irq_source`].
    pub irq_source: u64,
    /// Address of two pages: the second can be unmapped (see [`crate::op::Hole`]). Written by the payload.
    pub hole: u64,

    // The rest is written by the payload.
    /// Index of the next operation.
    pub cursor: u64,
    /// 0 for the unswept pass, then counting swept ones.
    pub pass: u64,
    /// Bytes written to the ring of the unswept pass.
    pub ring_used: u64,
    /// Bytes written to the sweep ring by the last swept pass.
    pub sweep_ring_used: u64,
    /// The point `k` of the swept pass in the sweep ring.
    pub sweep_at: u64,
    /// Points that the swept passes had in all.
    pub sweep_points: u64,
    /// A [`Status`], written last. 0 while the case runs.
    pub status: u64,
    /// The number of disturbances that the doorbell told of at the end.
    pub disturbed: u64,
    /// Address of the instruction of the last `Go`; 0 when none is under way.
    pub left_pc: u64,
    /// Where that instruction was to go, for an ERET; else 0.
    pub target_pc: u64,
    /// The payload's own notes between a `Go` and the arrival: SP by place (index of the place's value; 0 is L1 with
    /// SP_EL0), records written.
    pub scratch: [u64; 18],
}
const _: () = assert!(size_of::<JobHeader>() == 320);

/// Bits of [`JobHeader::flags`].
pub mod flag {
    /// L1 runs with HCR_EL2.E2H = 1.
    pub const VHE: u32 = 1;
    /// Stage 1 stays off at every level.
    pub const MMU_OFF: u32 = 2;
    /// The CPU has SVE.
    pub const SVE: u32 = 4;
    /// The CPU has FPMR.
    pub const FPMR: u32 = 8;
    /// The payload is its own job server: before each job, the first included, it waits for a byte over semihosting.
    /// The harness writes `.data` and the job area while it waits; this bit must be set before the machine starts.
    pub const SERVER: u32 = 16;
    /// The program is about state that nobody has touched since the reset: a swept pass starts with a reset by the
    /// doorbell, or it would find what the last pass left.
    pub const COLD: u32 = 32;
    /// A disturbance that the doorbell is asked for may take time: [`crate::doorbell::PENDING`] says when it has happened.
    pub const PATIENT: u32 = 64;
    /// Another vCPU of the same VM is to run as well ([`crate::doorbell::Disturbance::OtherVcpu`]).
    pub const OTHER_VCPU: u32 = 128;
}

/// Values of [`JobHeader::irq_source`].
pub mod irq_source {
    /// None: `Pend` is an error of the harness.
    pub const NONE: u64 = 0;
    /// The doorbell's [`crate::doorbell::IRQ`].
    pub const DOORBELL: u64 = 1;
    /// An SGI that the payload sends to itself through the GICv3 system registers.
    pub const GIC: u64 = 2;
    /// The doorbell's [`crate::doorbell::IRQ`], which is the line of the GIC's interrupt [`LINE_INTID`].
    pub const LINE: u64 = 3;
    /// A level-sensitive private peripheral interrupt (PPI) that no device of a KVM guest uses.
    pub const LINE_INTID: u32 = 20;
}

/// How a case ended, as the payload saw it. The values have no zero and no small number by accident.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u64)]
pub enum Status {
    /// Every operation ran; whether the records are right is for the harness to say.
    Done = 0x600d_0001,
    /// An arrival or a place that the program did not ask for; the last record is [`crate::record::Kind::Unexpected`].
    Unexpected = 0xbad0_0002,
    /// The ring was too small.
    RingFull = 0xbad0_0003,
    /// A swept pass differs from the unswept one; the sweep ring holds it.
    SweepDiffers = 0x600d_0004,
    /// The job itself makes no sense to the payload; or a fill is for a shorter vector length than there is, which
    /// the last record then tells: [`crate::op::RDVL`], written by that operation.
    BadJob = 0xbad0_0005,
    /// The payload panicked.
    Panic = 0xbad0_0006,
}

impl Status {
    /// The status with this value, if there is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            0x600d_0001 => Some(Self::Done),
            0xbad0_0002 => Some(Self::Unexpected),
            0xbad0_0003 => Some(Self::RingFull),
            0x600d_0004 => Some(Self::SweepDiffers),
            0xbad0_0005 => Some(Self::BadJob),
            0xbad0_0006 => Some(Self::Panic),
            _ => None,
        }
    }
}
