//! Leaving a place by one instruction, and arriving at one.
//!
//! A departure loads all general registers and branches to a *slot*: `ldp x0, x1, [x0]`, the one instruction,
//! and a branch to the entry of its own level, which is taken if the instruction takes no exception. An arrival, by
//! a vector or by an entry, saves all registers to [`SAVED`] and calls the handler on an empty stack.
//!
//! Text is never rewritten, so every immediate that can be asked for has a slot of its own.

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

/// An arrival without an exception has this bit alone in [`Saved::vector`].
const NO_EXCEPTION_BIT: u64 = 12;
/// [`Saved::vector`] of an arrival without an exception.
pub const NO_EXCEPTION: u64 = 1 << NO_EXCEPTION_BIT;
/// log2 of the bytes of a stack.
const STACK_SHIFT: u64 = 14;
/// Places are numbered from 1 to this.
const PLACES: u64 = 7;
/// Immediates that an exception-generating instruction can have: 0 to this, exclusive.
pub const IMMEDIATES: u64 = 256;

/// What the arrival stub saves, and what it needs to know.
///
/// Atomic only to be a shared static; one CPU uses it, by plain loads and stores.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Saved {
    /// X0 to X30.
    pub x: [AtomicU64; 31],
    /// SP on arrival.
    pub sp: AtomicU64,
    /// ESR_ELx, not written by an arrival without an exception or at EL0, as the next three.
    pub esr: AtomicU64,
    /// ELR_ELx.
    pub elr: AtomicU64,
    /// SPSR_ELx.
    pub spsr: AtomicU64,
    /// FAR_ELx.
    pub far: AtomicU64,
    /// NZCV, and above EL0 also DAIF, CurrentEL and SPSel.
    pub pstate: AtomicU64,
    /// Offset of the vector in its table, or [`NO_EXCEPTION`].
    pub vector: AtomicU64,
    /// Address of the doorbell's window register while the window is open, else 0. The stub closes it.
    pub window: AtomicU64,
    /// `extern "C" fn(place: u64) -> !`, by address.
    pub handler: AtomicU64,
    /// The number of the place that EL1 is at present.
    pub place_el1: AtomicU64,
    /// The number of the place that EL0 is at present.
    pub place_el0: AtomicU64,
}

// The stub stores these in pairs.
const _: () = assert!(offset_of!(Saved, sp) == 248);
const _: () = assert!(offset_of!(Saved, elr) == offset_of!(Saved, esr) + 8);
const _: () = assert!(offset_of!(Saved, far) == offset_of!(Saved, spsr) + 8);
const _: () = assert!(offset_of!(Saved, vector) == offset_of!(Saved, pstate) + 8);

/// The registers of the last arrival.
pub static SAVED: Saved = Saved {
    x: [const { AtomicU64::new(0) }; 31],
    sp: AtomicU64::new(0),
    esr: AtomicU64::new(0),
    elr: AtomicU64::new(0),
    spsr: AtomicU64::new(0),
    far: AtomicU64::new(0),
    pstate: AtomicU64::new(0),
    vector: AtomicU64::new(0),
    window: AtomicU64::new(0),
    handler: AtomicU64::new(0),
    place_el1: AtomicU64::new(0),
    place_el0: AtomicU64::new(0),
};

/// How to leave.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Departure {
    /// Address of X0 to X30 and NZCV to load, 256 bytes.
    pub gpr: u64,
    /// Address of the [`slot`](Level::slot) or [`immediate`](Level::immediate).
    pub slot: u64,
    /// Where to note SP before anything else.
    pub sp_note: u64,
    /// SP_EL0 to set, 0 for none.
    pub sp_el0: u64,
    /// ELR to set, 0 for none.
    pub elr: u64,
    /// The key that ELR is signed with: 0 none, 1 A, 2 B; the modifier is SP.
    pub key: u64,
    /// Bits of ELR to flip after signing.
    pub flip: u64,
    /// Address of the doorbell's window register if the window opens, else 0.
    pub window: u64,
    /// Not 0: a FP register is read once the window is open.
    pub live: u64,
}

const _: () = assert!(offset_of!(Departure, slot) == offset_of!(Departure, gpr) + 8);
const _: () = assert!(offset_of!(Departure, flip) == offset_of!(Departure, key) + 8);

/// An instruction of [`Level::slot`], in the order of the assembly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Instruction {
    /// ERET.
    Eret,
    /// ERETAA.
    EretAa,
    /// ERETAB.
    EretAb,
    /// UDF #0.
    Udf,
    /// `ldr x0, [x1]`.
    Load,
    /// WFI.
    Wfi,
    /// WFE.
    Wfe,
    /// `mrs x0, actlr_el1`.
    Actlr,
    /// `str x0, [x1]`.
    Store,
    /// `isb` with IRQ and SError unmasked.
    Unmask,
    /// The branch to itself, with IRQ unmasked above EL0 and the virtual timer on, if X0 is 1.
    TimerSpin,
    /// The same with WFI in the loop.
    TimerWfi,
    /// The FP and SVE instruction with this number, from 1 to [`Instruction::TOUCHES`].
    Touch(u64),
}

impl Instruction {
    /// The number of touches.
    pub const TOUCHES: u64 = 23;

    fn index(self) -> u64 {
        match self {
            Self::Eret => 0,
            Self::EretAa => 1,
            Self::EretAb => 2,
            Self::Udf => 3,
            Self::Load => 4,
            Self::Wfi => 5,
            Self::Wfe => 6,
            Self::Actlr => 7,
            Self::Store => 8,
            Self::Unmask => 9,
            Self::TimerSpin => 10,
            Self::TimerWfi => 11,
            Self::Touch(number) => 11 + number,
        }
    }

    /// Bytes of the slot before the instruction itself.
    fn lead(self) -> u64 {
        match self {
            Self::Unmask => 8,
            Self::TimerSpin | Self::TimerWfi => 12,
            _ => 4,
        }
    }
}

/// An exception-generating instruction, in the order of the assembly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Generator {
    /// HVC.
    Hvc = 0,
    /// SVC.
    Svc = 1,
    /// SMC.
    Smc = 2,
    /// BRK.
    Brk = 3,
}

/// A slot and the address of its one instruction.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// For [`Departure::slot`].
    pub slot: u64,
    /// The address of the one instruction.
    pub pc: u64,
}

/// The Exception level of a copy of the stubs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// EL0.
    El0,
    /// EL1.
    El1,
    /// EL2, real or virtual.
    El2,
}

impl Level {
    /// Where an ERET enters this level.
    #[must_use]
    pub fn entry(self) -> u64 {
        match self {
            Self::El0 => address(payload_enter_el0),
            Self::El1 => address(payload_enter_el1),
            Self::El2 => address(payload_enter_el2),
        }
    }

    /// The slot of an instruction. `None` for a touch that there is not.
    #[must_use]
    pub fn slot(self, instruction: Instruction) -> Option<Slot> {
        if matches!(instruction, Instruction::Touch(number) if !(1..=Instruction::TOUCHES).contains(&number))
        {
            return None;
        }
        let slots = match self {
            Self::El0 => address(payload_slots_el0),
            Self::El1 => address(payload_slots_el1),
            Self::El2 => address(payload_slots_el2),
        };
        let slot = slots + instruction.index() * 32;
        Some(Slot { slot, pc: slot + instruction.lead() })
    }

    /// The slot of an exception-generating instruction. `None` for an immediate from [`IMMEDIATES`] on.
    #[must_use]
    pub fn immediate(self, generator: Generator, immediate: u64) -> Option<Slot> {
        if immediate >= IMMEDIATES {
            return None;
        }
        let slots = match self {
            Self::El0 => address(payload_immediates_el0),
            Self::El1 => address(payload_immediates_el1),
            Self::El2 => address(payload_immediates_el2),
        };
        let slot = slots + (generator as u64 * IMMEDIATES + immediate) * 16;
        Some(Slot { slot, pc: slot + 4 })
    }
}

/// VBAR_EL2 of the payload.
#[must_use]
pub fn vectors_el2() -> u64 {
    address(payload_vectors_el2)
}

/// VBAR_EL1 of every guest.
#[must_use]
pub fn vectors_el1() -> u64 {
    address(payload_vectors_el1)
}

/// The top of the stack of a place, by its number from 1 to 7.
#[must_use]
pub fn stack_top(place: u64) -> u64 {
    address(payload_stacks) + (place << STACK_SHIFT)
}

/// Sets what every arrival calls, with the number of the place, on its empty stack.
pub fn set_handler(handler: extern "C" fn(u64) -> !) {
    SAVED.handler.store((handler as *const ()).expose_provenance() as u64, Ordering::Relaxed);
}

/// Calls `function` with the number of a place, on the empty stack of that place, at the level's own SP, by an ERET: all
/// of PSTATE is known, also what no instruction of a level that hides its feature could clear (ALLINT, which every
/// exception sets).
///
/// # Safety
///
/// The place is one of the level that runs, above EL0, and nothing of the present stack is used again.
pub unsafe fn start(place: u64, function: extern "C" fn(u64) -> !) -> ! {
    /// All interrupts masked, as after an exception.
    const DAIF: u64 = 0xf << 6;
    /// `PSTATE.M[0]`.
    const SP_OF_LEVEL: u64 = 1;
    let pstate = crate::read!("CurrentEL") | DAIF | SP_OF_LEVEL;
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "msr spsel, #1",
            "mov sp, {top}",
            "mov x29, #0",
            "mov x30, #0",
            // EL2 knows its own registers by either name if E2H is 1, and by this one alone if it is 0.
            "tbnz {pstate}, #3, 2f",
            "msr elr_el1, {function}",
            "msr spsr_el1, {pstate}",
            "isb",
            "eret",
            "2:",
            "msr elr_el2, {function}",
            "msr spsr_el2, {pstate}",
            "isb",
            "eret",
            top = in(reg) stack_top(place),
            pstate = in(reg) pstate,
            function = in(reg) function,
            in("x0") place,
            options(noreturn)
        )
    }
}

/// Leaves `level`, which is the one that runs.
///
/// # Safety
///
/// The addresses in `departure` are what its fields say. Whatever the instruction leads to arrives at the handler on
/// a stack that may be this one.
pub unsafe fn depart(level: Level, departure: &Departure) -> ! {
    match level {
        // SAFETY: the caller's.
        Level::El0 => unsafe { payload_depart_el0(departure) },
        // SAFETY: the caller's.
        Level::El1 => unsafe { payload_depart_el1(departure) },
        // SAFETY: the caller's.
        Level::El2 => unsafe { payload_depart_el2(departure) },
    }
}

fn address(symbol: unsafe extern "C" fn()) -> u64 {
    (symbol as *const ()).expose_provenance() as u64
}

unsafe extern "C" {
    fn payload_enter_el0();
    fn payload_enter_el1();
    fn payload_enter_el2();
    fn payload_slots_el0();
    fn payload_slots_el1();
    fn payload_slots_el2();
    fn payload_immediates_el0();
    fn payload_immediates_el1();
    fn payload_immediates_el2();
    fn payload_vectors_el1();
    fn payload_vectors_el2();
    fn payload_stacks();
    fn payload_depart_el0(departure: *const Departure) -> !;
    fn payload_depart_el1(departure: *const Departure) -> !;
    fn payload_depart_el2(departure: *const Departure) -> !;
}

global_asm!(
    include_str!("stubs.S"),
    SAVED = sym SAVED,
    NO_EXCEPTION = const NO_EXCEPTION,
    NO_EXCEPTION_BIT = const NO_EXCEPTION_BIT,
    STACK_SHIFT = const STACK_SHIFT,
    STACKS = const PLACES,
    PLACE_EL2 = const 1,
    ESR = const offset_of!(Saved, esr),
    SPSR = const offset_of!(Saved, spsr),
    PSTATE = const offset_of!(Saved, pstate),
    WINDOW = const offset_of!(Saved, window),
    HANDLER = const offset_of!(Saved, handler),
    PLACE_EL1 = const offset_of!(Saved, place_el1),
    PLACE_EL0 = const offset_of!(Saved, place_el0),
    GPR = const offset_of!(Departure, gpr),
    SP_NOTE = const offset_of!(Departure, sp_note),
    SP_EL0 = const offset_of!(Departure, sp_el0),
    ELR = const offset_of!(Departure, elr),
    KEY = const offset_of!(Departure, key),
    DEPARTURE_WINDOW = const offset_of!(Departure, window),
    LIVE = const offset_of!(Departure, live),
);
