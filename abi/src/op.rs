//! The compiled program: what the model makes of a scenario and the payload interprets.
//!
//! One cursor, in shared memory, walks the operations in order. Each names its place; whoever finds itself at
//! another place stops the case as crashed. A [`Code::Go`] advances the cursor first and leaves the place by
//! the one instruction that it names; whoever arrives, wherever that is, writes an
//! [`crate::record::Arrival`] and goes on at the cursor.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One operation, 64 bytes.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Op {
    /// A [`Code`].
    pub code: u16,
    /// The [`crate::place::Place`] that may run it.
    pub place: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Index of the scenario step it was made from, for records and diagnostics.
    pub step: u16,
    /// Zero.
    pub reserved: u16,
    /// Meaning by code.
    pub arg: [u64; 5],
    /// `Fill`: offset of a [`crate::record::FpImage`] in the data area. `Go`: offset of a [`GprImage`].
    pub data: u32,
    /// Length of that image in bytes.
    pub data_len: u32,
    /// Zero.
    pub pad: u64,
}
const _: () = assert!(size_of::<Op>() == 64);

/// Bits of [`Op::flags`].
pub mod flag {
    /// The doorbell's window is open from the entry stub to the end of the arrival stub.
    pub const WINDOW: u8 = 1;
    /// With [`WINDOW`]: a FP register is read behind its opening, which is an exit to the hypervisor, for the registers to be
    /// live when the instruction leaves.
    pub const LIVE: u8 = 2;
    /// With [`super::Code::Doorbell`]: it is rung by [`crate::doorbell::CALL`], not by an access to its page.
    pub const CALL: u8 = 4;
}

/// What an operation does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Code {
    /// The program is over; home place only (L1 or G).
    End = 0,
    /// Load registers from an image. `arg[0]` is a [`mask`]. An image that is too short for the vector length ends the
    /// case, with a register record as of [`Code::ReadVl`].
    Fill = 1,
    /// Store the registers into a dump record. `arg[0]` is a [`mask`]; only [`mask::V_ONLY`] changes what is stored.
    Dump = 2,
    /// Write a system register: `arg[0]` [`crate::sysreg::SysReg`], `arg[1]` value, `arg[2]` mask of the bits
    /// replaced (all ones: a plain write without a read), then ISB.
    SysWrite = 3,
    /// Read a system register, `arg[0]`, into a record.
    SysRead = 4,
    /// Leave by one instruction: `arg[0]` is a [`Go`], the rest by kind.
    Go = 5,
    /// Write `arg[1]` to the doorbell register at offset `arg[0]`. `arg[2]` is what may be done to the FP registers while a
    /// disturbance is awaited, a [`Waiting`].
    Doorbell = 6,
    /// Make an interrupt pending for this place: `arg[0]` bit 0 IRQ, bit 1 SError, as the target's source can.
    Pend = 7,
    /// Run `arg[0]` rounds of the vector computation [`crate::op::churn`].
    Churn = 8,
    /// Map (`arg[1]` = 1) or unmap (0) a hole page: `arg[0]` is a [`Hole`]. Invalidates the TLB.
    Map = 9,
    /// L1 installs the EL1 context of another L2: `arg[0]` is the VMID, 1 for L2 and 2 for L2b; the EL1 registers
    /// that a program can name follow as `SysWrite`.
    Bank = 10,
    /// Read RDVL into a register record with the number [`RDVL`].
    ReadVl = 11,
    /// Make `arg[0]` round trips from L1 into L2 and back, and write the ticks that they took into a register
    /// record with the number [`TICKS`]. L1 only, for `holdfast bench`.
    RoundTrips = 12,
    /// Wait, without WFI, until the timer of the last [`Go::WfiTimer`] has fired: WFI may complete before.
    Fired = 13,
}

/// What a place does with the FP registers while it waits for a disturbance. They are the same before and after.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u64)]
pub enum Waiting {
    /// Nothing: an access may trap, or that nobody has used them is the point.
    Leaves = 0,
    /// It reads one: a hypervisor that loads them on their first use has them in the CPU from then on.
    Reads = 1,
    /// It changes Z and P registers, and back: what the hypervisor has saved before is then not what they are.
    Flips = 2,
    /// It does that to V registers: the guest has no SVE.
    FlipsV = 3,
    /// L1 does as with [`Self::Flips`], and meanwhile writes ZCR_EL2 with what it reads of it, time and again: the
    /// hypervisor that emulates these accesses may itself be interrupted in one, and is to answer with L1's value (NV-03).
    Rewrites = 4,
}

impl Waiting {
    /// The value, if it is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            0 => Some(Self::Leaves),
            1 => Some(Self::Reads),
            2 => Some(Self::Flips),
            3 => Some(Self::FlipsV),
            4 => Some(Self::Rewrites),
            _ => None,
        }
    }
}

impl Code {
    /// The operation with this value, if there is one.
    #[must_use]
    pub const fn from_u16(value: u16) -> Option<Self> {
        match value {
            0 => Some(Self::End),
            1 => Some(Self::Fill),
            2 => Some(Self::Dump),
            3 => Some(Self::SysWrite),
            4 => Some(Self::SysRead),
            5 => Some(Self::Go),
            6 => Some(Self::Doorbell),
            7 => Some(Self::Pend),
            8 => Some(Self::Churn),
            9 => Some(Self::Map),
            10 => Some(Self::Bank),
            11 => Some(Self::ReadVl),
            12 => Some(Self::RoundTrips),
            13 => Some(Self::Fired),
            _ => None,
        }
    }
}

/// The largest immediate of HVC, SVC, SMC and BRK: text is never rewritten, so each has an instruction of its own.
pub const IMMEDIATE_MAX: u64 = 0xff;

/// The register number that a [`Code::RoundTrips`] record carries.
pub const TICKS: u16 = 0x101;

/// The register number that a [`Code::ReadVl`] record carries.
pub const RDVL: u16 = 0x100;

/// The bits of a fill's or dump's register mask.
pub mod mask {
    /// Z0 to Z31, or V0 to V31 with [`V_ONLY`].
    pub const Z: u64 = 0xffff_ffff;
    /// P0 to P15.
    pub const P: u64 = 0xffff << 32;
    /// FFR.
    pub const FFR: u64 = 1 << 48;
    /// FPSR.
    pub const FPSR: u64 = 1 << 49;
    /// FPCR.
    pub const FPCR: u64 = 1 << 50;
    /// FPMR.
    pub const FPMR: u64 = 1 << 51;
    /// Use the V registers and touch no SVE state.
    pub const V_ONLY: u64 = 1 << 63;
}

/// The instruction by which a [`Code::Go`] leaves, as `arg[0]`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u64)]
pub enum Go {
    /// ERET to the entry of a place. `arg[1]` SPSR, `arg[2]` place, `arg[3]` an [`Auth`].
    Eret = 1,
    /// ERET to where the last exception to this level came from. `arg[1]` is added to ELR, `arg[3]` an [`Auth`].
    EretBack = 2,
    /// HVC with immediate `arg[1]`.
    Hvc = 3,
    /// SVC with immediate `arg[1]`.
    Svc = 4,
    /// SMC with immediate `arg[1]`.
    Smc = 5,
    /// A permanently undefined instruction.
    Udf = 6,
    /// BRK with immediate `arg[1]`.
    Brk = 7,
    /// A 64-bit load from the address in X1 (from the GPR image) into X0.
    Load = 8,
    /// WFI.
    Wfi = 9,
    /// WFE.
    Wfe = 10,
    /// One instruction of [`Touch`], `arg[1]`.
    Touch = 11,
    /// Read ACTLR_EL1 into X0: the sysreg that HCR_EL2.TACR traps.
    Actlr = 12,
    /// The doorbell's reset; arrives at the image's entry.
    Reset = 13,
    /// Unmask IRQ and SError for one instruction, so that what is pending for this level is taken.
    Unmask = 14,
    /// Set the virtual timer (CNTV_CTL_EL0, CNTV_TVAL_EL0 as this place has them) to a moment from now, then WFI.
    WfiTimer = 15,
    /// Unmask IRQ, above EL0, turn the virtual timer on, and wait for its interrupt as the [`Idle`] `arg[1]` says: it
    /// arrives from there and from nowhere else.
    Timer = 16,
}

impl Go {
    /// The instruction with this value, if there is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            1 => Some(Self::Eret),
            2 => Some(Self::EretBack),
            3 => Some(Self::Hvc),
            4 => Some(Self::Svc),
            5 => Some(Self::Smc),
            6 => Some(Self::Udf),
            7 => Some(Self::Brk),
            8 => Some(Self::Load),
            9 => Some(Self::Wfi),
            10 => Some(Self::Wfe),
            11 => Some(Self::Touch),
            12 => Some(Self::Actlr),
            13 => Some(Self::Reset),
            14 => Some(Self::Unmask),
            15 => Some(Self::WfiTimer),
            16 => Some(Self::Timer),
            _ => None,
        }
    }
}

/// How a place passes the time until an interrupt takes it away.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u64)]
pub enum Idle {
    /// It branches to itself.
    Spin = 0,
    /// It executes WFI, time and again: one may complete for any reason.
    Wfi = 1,
}

impl Idle {
    /// The value, if it is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            0 => Some(Self::Spin),
            1 => Some(Self::Wfi),
            _ => None,
        }
    }
}

/// How an ERET authenticates.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u64)]
pub enum Auth {
    /// Plain ERET.
    None = 0,
    /// ERETAA, with ELR signed by PACIA.
    Aa = 1,
    /// ERETAB, with ELR signed by PACIB.
    Ab = 2,
    /// ERETAA, with one bit of the code flipped.
    AaFailing = 3,
    /// ERETAB, with one bit of the code flipped.
    AbFailing = 4,
}

impl Auth {
    /// The authentication with this value, if there is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            0 => Some(Self::None),
            1 => Some(Self::Aa),
            2 => Some(Self::Ab),
            3 => Some(Self::AaFailing),
            4 => Some(Self::AbFailing),
            _ => None,
        }
    }
}

macro_rules! touches {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, $asm:literal;)*) => {
        /// The one-instruction steps that may trap: they neither need nor change any GPR but X0 and X1.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u64)]
        pub enum Touch { $($(#[$doc])* $variant = $id,)* }

        impl Touch {
            /// Every touch.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The touch with this number, if there is one.
            #[must_use]
            pub const fn from_u64(value: u64) -> Option<Self> {
                match value { $($id => Some(Self::$variant),)* _ => None }
            }
            /// The name in scenarios.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The instruction, for people.
            #[must_use]
            pub const fn instruction(self) -> &'static str { match self { $(Self::$variant => $asm,)* } }
        }
    };
}

touches! {
    /// Copies V30 to V31: an AdvSIMD write, which zeroes Z31 above bit 127 (rule P-56).
    V = 1, "v", "mov v31.16b, v30.16b";
    /// Copies Z30 to Z31.
    Z = 2, "z", "mov z31.d, z30.d";
    /// Copies P14 to P15.
    P = 3, "p", "mov p15.b, p14.b";
    /// Reads FFR into P15.
    Ffr = 4, "ffr", "rdffr p15.b";
    /// Reads FPSR into X0.
    Fpsr = 5, "fpsr", "mrs x0, fpsr";
    /// Reads FPCR into X0.
    Fpcr = 6, "fpcr", "mrs x0, fpcr";
    /// Reads the vector length in bytes into X0.
    Rdvl = 7, "rdvl", "rdvl x0, #1";
    /// Reads ZCR_EL1 into X0.
    ZcrEl1 = 8, "zcr_el1", "mrs x0, zcr_el1";
    /// Writes X0 to ZCR_EL1.
    ZcrEl1Write = 9, "zcr_el1-write", "msr zcr_el1, x0";
    /// Reads ZCR_EL2 into X0.
    ZcrEl2 = 10, "zcr_el2", "mrs x0, zcr_el2";
    /// Writes X0 to ZCR_EL2.
    ZcrEl2Write = 11, "zcr_el2-write", "msr zcr_el2, x0";
    /// Reads ZCR_EL12 into X0.
    ZcrEl12 = 12, "zcr_el12", "mrs x0, zcr_el12";
    /// Reads FPMR into X0.
    Fpmr = 13, "fpmr", "mrs x0, fpmr";
    /// Loads Q0 from the address in X1.
    LoadQ = 14, "ldr-q", "ldr q0, [x1]";
    /// Loads Z0 from the address in X1.
    LoadZ = 15, "ldr-z", "ldr z0, [x1]";
    /// Stores Q30 to the address in X1.
    StoreQ = 16, "str-q", "str q30, [x1]";
    /// First-fault load of Z0 from the address in X1, governed by P0.
    LoadFirstFault = 17, "ldff1", "ldff1d z0.d, p0/z, [x1, xzr, lsl #3]";
    /// Moves the low half of V30 to X0: an AdvSIMD read that changes no FP state.
    VRead = 18, "v-read", "fmov x0, d30";
    /// Reads CPACR_EL1 into X0.
    CpacrEl1 = 19, "cpacr_el1", "mrs x0, cpacr_el1";
    /// Writes X0 to CPACR_EL1.
    CpacrEl1Write = 20, "cpacr_el1-write", "msr cpacr_el1, x0";
    /// Reads SMCR_EL1, which a guest without SME must find undefined.
    SmcrEl1 = 21, "smcr_el1", "mrs x0, smcr_el1";
    /// Sets every element of FFR.
    SetFfr = 22, "setffr", "setffr";
    /// Reads TPIDR2_EL0, which a guest without SME must find undefined.
    Tpidr2El0 = 23, "tpidr2_el0", "mrs x0, tpidr2_el0";
}

/// A page that a program can unmap to make an access fault.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u64)]
pub enum Hole {
    /// The second of the two pages at [`crate::job::JobHeader::hole`], in the stage 1 of the current level.
    Stage1 = 0,
    /// The same page, in L1's stage 2.
    Stage2 = 1,
}

impl Hole {
    /// The hole with this value, if there is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            0 => Some(Self::Stage1),
            1 => Some(Self::Stage2),
            _ => None,
        }
    }
}

/// The general-purpose registers that a stub loads just before its instruction.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct GprImage {
    /// X0 to X30.
    pub x: [u64; 31],
    /// NZCV, in bits 31:28.
    pub nzcv: u64,
}
const _: () = assert!(size_of::<GprImage>() == 256);

/// The vector computation of [`Code::Churn`], as a definition shared by nobody but prose.
///
/// Each round, on 64-bit lanes of all of Z0 to Z31 (V0 to V31 with [`mask::V_ONLY`] in `arg[1]`), in order:
/// for `i` from 0 to 31, `Z[i] = Z[i] + Z[(i + 1) % 32]`, then `Z[i] = Z[i] EOR Z[(i + 7) % 32]`. With SVE, and
/// after the Z registers, for `i` from 0 to 15, `P[i] = P[i] EOR P[(i + 1) % 16]` (all bits).
pub mod churn {
    /// Rounds that one step may ask for.
    pub const ROUNDS_MAX: u64 = 1 << 20;
}
