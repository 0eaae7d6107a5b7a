//! Leaving a place by one instruction.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::doorbell;
use abi::job::Status;
use abi::op::{Auth, Go, GprImage, Idle, Op, Touch, flag};
use abi::place::Place;
use abi::record::Arrival;
use arch::payload::stubs::{self, Departure, Generator, IMMEDIATES, Instruction, Level, SAVED, Slot};
use arch::{read, write};

use crate::job::{self, Stack};
use crate::{home, irq};

const _: () = assert!(IMMEDIATES == abi::op::IMMEDIATE_MAX + 1);
const _: () = assert!(Instruction::TOUCHES == Touch::ALL.len() as u64);

/// A bit of every pointer authentication code with 39-bit addresses, whether or not top bytes are ignored.
const CODE_BIT: u64 = 1 << 40;

/// The index of the [`Stack`] whose stack pointer SP_EL0 holds: EL0 at any place, and EL2t, share it.
static SP_EL0_OWNER: AtomicU64 = AtomicU64::new(NOBODY);
const NOBODY: u64 = u64::MAX;

/// Every place is as if it had never been left.
pub(crate) fn forget_stacks() {
    for stack in Stack::all() {
        stack.left().set(0);
    }
    SP_EL0_OWNER.store(NOBODY, Ordering::Relaxed);
}

/// What is particular to an instruction.
struct Exit {
    slot: Option<Slot>,
    elr: u64,
    key: u64,
    flip: u64,
    sp_el0: u64,
}

impl Exit {
    fn by(slot: Option<Slot>) -> Self {
        Self { slot, elr: 0, key: 0, flip: 0, sp_el0: 0 }
    }
}

/// Leaves by the instruction that the operation names. Returns only with an error of the job.
pub(crate) fn go(op: &Op, index: u64, place: Place) -> Result<(), Status> {
    let level = job::level(place);
    let [what, first, ..] = op.arg;
    let mut gpr = job::data(op, size_of::<GprImage>() as u64)?;
    let reset;
    let exit = match Go::from_u64(what).ok_or(Status::BadJob)? {
        Go::Eret => eret(op, place)?,
        Go::EretBack => eret_back(op, place)?,
        Go::Hvc => Exit::by(level.immediate(Generator::Hvc, first)),
        Go::Svc => Exit::by(level.immediate(Generator::Svc, first)),
        Go::Smc => Exit::by(level.immediate(Generator::Smc, first)),
        Go::Brk => Exit::by(level.immediate(Generator::Brk, first)),
        Go::Udf => Exit::by(level.slot(Instruction::Udf)),
        Go::Load => Exit::by(level.slot(Instruction::Load)),
        Go::Wfi | Go::WfiTimer => Exit::by(level.slot(Instruction::Wfi)),
        Go::Wfe => Exit::by(level.slot(Instruction::Wfe)),
        Go::Touch => Exit::by(level.slot(Instruction::Touch(first))),
        Go::Actlr => Exit::by(level.slot(Instruction::Actlr)),
        Go::Unmask => Exit::by(level.slot(Instruction::Unmask)),
        Go::Timer => {
            let idle = Idle::from_u64(first).ok_or(Status::BadJob)?;
            irq::set_timer(place, idle);
            Exit::by(level.slot(match idle {
                Idle::Spin => Instruction::TimerSpin,
                Idle::Wfi => Instruction::TimerWfi,
            }))
        }
        Go::Reset => {
            let mut x = [0; 31];
            [x[0], x[1]] = [1, job::doorbell().ok_or(Status::BadJob)? + doorbell::RESET];
            reset = GprImage { x, nzcv: 0 };
            gpr = (&raw const reset).expose_provenance() as u64;
            Exit::by(level.slot(Instruction::Store))
        }
    };
    let slot = exit.slot.ok_or(Status::BadJob)?;
    let window = match job::doorbell() {
        Some(page) if op.flags & flag::WINDOW != 0 => page + doorbell::WINDOW,
        _ => 0,
    };
    job::LEFT_PC.set(slot.pc);
    job::TARGET_PC.set(exit.elr);
    job::CURSOR.set(index + 1);
    SAVED.window.store(window, Ordering::Relaxed);
    if level == Level::El0 {
        SAVED.place_el0.store(place as u64, Ordering::Relaxed);
    }
    let departure = Departure {
        gpr,
        slot: slot.slot,
        sp_note: stack(place).left().address(),
        sp_el0: exit.sp_el0,
        elr: exit.elr,
        key: exit.key,
        flip: exit.flip,
        window,
        live: u64::from(op.flags & flag::LIVE),
    };
    if what == Go::WfiTimer as u64 {
        // As late as can be, for the WFI to come before the interrupt.
        irq::start_timer(place);
    }
    // SAFETY: `level` is that of this place; the addresses are a `GprImage`, a slot, a word of the header, a stack
    // pointer, an instruction and a doorbell register.
    unsafe { stubs::depart(level, &departure) }
}

/// Whether what ended at this place was the WFI of its level.
pub(crate) fn is_wait(place: Place, arrival: &Arrival) -> bool {
    let wait = job::level(place).slot(Instruction::Wfi);
    wait.is_some_and(|wait| [arrival.left_pc, arrival.target_pc].contains(&wait.pc))
}

/// Executes the WFI of this place's level once more, with the general registers as they are. Returns only if there is none.
pub(crate) fn wait_again(place: Place, arrival: &Arrival) {
    /// PSTATE.{N, Z, C, V}.
    const NZCV: u64 = 0xf << 28;
    let level = job::level(place);
    let gpr = GprImage { x: arrival.x, nzcv: arrival.pstate & NZCV };
    let Some(wait) = level.slot(Instruction::Wfi) else { return };
    SAVED.window.store(0, Ordering::Relaxed);
    let departure = Departure {
        gpr: (&raw const gpr).expose_provenance() as u64,
        slot: wait.slot,
        sp_note: stack(place).left().address(),
        sp_el0: 0,
        elr: 0,
        key: 0,
        flip: 0,
        window: 0,
        live: 0,
    };
    // SAFETY: as in [`go`].
    unsafe { stubs::depart(level, &departure) }
}

/// The stack pointer that this place runs on.
fn stack(place: Place) -> Stack {
    if place == Place::L1 && read!("spsel") == 0 { Stack::L1t } else { Stack::Of(place) }
}

/// An ERET to the entry of a place.
fn eret(op: &Op, place: Place) -> Result<Exit, Status> {
    let [_, spsr, target, auth, _] = op.arg;
    let target = u8::try_from(target).ok().and_then(Place::from_u8).ok_or(Status::BadJob)?;
    match job::level(place) {
        Level::El2 => write!("spsr_el2", spsr),
        Level::El1 => write!("spsr_el1", spsr),
        Level::El0 => return Err(Status::BadJob),
    }
    match job::level(target) {
        Level::El1 => SAVED.place_el1.store(target as u64, Ordering::Relaxed),
        Level::El0 => {
            SAVED.place_el0.store(target as u64, Ordering::Relaxed);
            if target == Place::L2El0 {
                // L1 may enter a task of L2 before L2 itself: what the task does arrives there.
                SAVED.place_el1.store(Place::L2 as u64, Ordering::Relaxed);
            }
        }
        Level::El2 => {}
    }
    if job::level(place) == Level::El1 && job::level(target) == Level::El0 {
        irq::lend_timer();
    }
    signed(place, job::level(target).entry(), spsr, target, auth)
}

/// An ERET to where the last exception came from.
fn eret_back(op: &Op, place: Place) -> Result<Exit, Status> {
    let [_, offset, _, auth, _] = op.arg;
    let (elr, spsr) = match job::level(place) {
        Level::El2 => (read!("elr_el2"), read!("spsr_el2")),
        Level::El1 => (read!("elr_el1"), read!("spsr_el1")),
        Level::El0 => return Err(Status::BadJob),
    };
    let target = match (place, spsr >> 2 & 3) {
        (Place::L1, 0) if home::tge() => Place::L1El0,
        (Place::L1 | Place::L2 | Place::L2b, 0) => Place::L2El0,
        (_, 0) => Place::GEl0,
        _ => place,
    };
    if target != place {
        SAVED.place_el0.store(target as u64, Ordering::Relaxed);
    }
    signed(place, elr.wrapping_add(offset), spsr, target, auth)
}

/// The ERET itself: its key, and the stack pointer of a target that has SP_EL0.
fn signed(place: Place, elr: u64, spsr: u64, target: Place, auth: u64) -> Result<Exit, Status> {
    /// SPSR_ELx.M of EL0t and EL2t.
    const EL0T: u64 = 0;
    const EL2T: u64 = 8;
    let auth = Auth::from_u64(auth).ok_or(Status::BadJob)?;
    if auth != Auth::None && !home::has_pointer_authentication() {
        return Err(Status::BadJob);
    }
    let (instruction, key, flip) = match auth {
        Auth::None => (Instruction::Eret, 0, 0),
        Auth::Aa => (Instruction::EretAa, 1, 0),
        Auth::Ab => (Instruction::EretAb, 2, 0),
        Auth::AaFailing => (Instruction::EretAa, 1, CODE_BIT),
        Auth::AbFailing => (Instruction::EretAb, 2, CODE_BIT),
    };
    let on_sp_el0 = match spsr & 0x1f {
        EL0T => Some(Stack::Of(target)),
        EL2T => Some(Stack::L1t),
        _ => None,
    };
    let mut sp_el0 = 0;
    if let Some(stack) = on_sp_el0
        && SP_EL0_OWNER.load(Ordering::Relaxed) != stack.index()
    {
        SP_EL0_OWNER.store(stack.index(), Ordering::Relaxed);
        sp_el0 = match stack.left().get() {
            0 => stubs::stack_top(target as u64),
            left => left,
        };
    }
    Ok(Exit { slot: job::level(place).slot(instruction), elr, key, flip, sp_el0 })
}
