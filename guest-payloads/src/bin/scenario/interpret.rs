//! The loop over operations. It has no state but the cursor: any place can go on where another one stopped.

use abi::doorbell;
use abi::job::{Status, flag};
use abi::op::{self, Code, Hole, Op, RDVL, TICKS, Waiting};
use abi::place::Place;
use abi::record::{Kind, RegisterValue};
use abi::sysreg::SysReg;
use arch::payload::{bench, control, fp as fp_registers};

use crate::tables::{self, Set};
use crate::{depart, end, fp, home, irq, job, registers, ring, sweep};

/// Interprets from the cursor on, at `place`.
pub(crate) fn run(place: Place) -> ! {
    loop {
        let index = job::CURSOR.get();
        match job::op(index).ok_or(Status::BadJob).and_then(|op| step(&op, index, place)) {
            Ok(()) => job::CURSOR.set(index + 1),
            Err(status) => end::finish(status),
        }
    }
}

/// Runs one operation. An error is how the case ends, be it well.
fn step(op: &Op, index: u64, place: Place) -> Result<(), Status> {
    if op.place != place as u8 {
        return Err(Status::BadJob);
    }
    let [first, second, third, ..] = op.arg;
    match Code::from_u16(op.code).ok_or(Status::BadJob)? {
        Code::End => return Err(end_of_pass(place)),
        Code::Fill => fp::fill(op, index, place)?,
        Code::Dump => fp::dump(op, index, place)?,
        Code::SysWrite => registers::write(first, second, third)?,
        Code::SysRead => {
            let value = registers::read(first)?;
            ring::write(Kind::Register, index, place, RegisterValue { reg: first, value })?;
        }
        Code::Go => depart::go(op, index, place)?,
        Code::Doorbell => ring_doorbell(Doorbell::of(op)?, first, second, third)?,
        Code::Pend => irq::pend(first)?,
        Code::Churn => fp::churn(op)?,
        Code::Map => map(first, second, place)?,
        Code::Bank if place == Place::L1 => home::switch_guest(first)?,
        Code::Bank => return Err(Status::BadJob),
        Code::RoundTrips if place == Place::L1 => {
            let value = bench::round_trips(first, job::has(flag::VHE));
            ring::write(Kind::Register, index, place, RegisterValue { reg: TICKS.into(), value })?;
        }
        Code::RoundTrips => return Err(Status::BadJob),
        Code::Fired => {
            irq::await_timer();
            // The timer fires without a doorbell as well.
            if let Ok(doorbell) = Doorbell::page() {
                await_disturbance(doorbell, Waiting::Leaves)?;
            }
        }
        Code::ReadVl => {
            let value = fp_registers::vector_length();
            ring::write(Kind::Register, index, place, RegisterValue { reg: RDVL.into(), value })?;
        }
    }
    Ok(())
}

fn end_of_pass(place: Place) -> Status {
    if job::home() == Some(place) { sweep::end_of_pass(place) } else { Status::BadJob }
}

/// How a place rings the doorbell.
#[derive(Clone, Copy)]
enum Doorbell {
    /// By an access to the page at this address.
    Page(u64),
    /// By a call.
    Call,
}

impl Doorbell {
    /// As the operation has it.
    fn of(op: &Op) -> Result<Self, Status> {
        if op.flags & op::flag::CALL != 0 { Ok(Self::Call) } else { Self::page() }
    }

    fn page() -> Result<Self, Status> {
        job::doorbell().map(Self::Page).ok_or(Status::BadJob)
    }

    fn write(self, register: u64, value: u64) {
        match self {
            // SAFETY: the doorbell is mapped at every place and is not memory.
            Self::Page(page) => unsafe { control::mmio_write(page + register, value) },
            Self::Call => {
                control::call(doorbell::CALL, register, value);
            }
        }
    }

    fn read(self, register: u64) -> u64 {
        match self {
            // SAFETY: as above.
            Self::Page(page) => unsafe { control::mmio_read(page + register) },
            Self::Call => control::call(doorbell::CALL, register, 0),
        }
    }
}

fn ring_doorbell(doorbell: Doorbell, offset: u64, value: u64, waiting: u64) -> Result<(), Status> {
    if offset >= doorbell::SIZE || !offset.is_multiple_of(8) {
        return Err(Status::BadJob);
    }
    doorbell.write(offset, value);
    if offset == doorbell::DISTURB {
        await_disturbance(doorbell, Waiting::from_u64(waiting).ok_or(Status::BadJob)?)?;
    }
    Ok(())
}

/// Passes time until the disturbance that was asked for has happened, where that takes any.
fn await_disturbance(doorbell: Doorbell, waiting: Waiting) -> Result<(), Status> {
    if !job::has(flag::PATIENT) {
        return Ok(());
    }
    loop {
        let rounds = doorbell.read(doorbell::PENDING);
        if rounds == 0 {
            break;
        }
        use_registers(waiting);
        match waiting {
            Waiting::Rewrites => registers::rewrite(SysReg::ZcrEl2, rounds)?,
            _ => control::spin(rounds),
        }
        use_registers(waiting);
    }
    Ok(())
}

/// Called twice, it leaves them as they were.
fn use_registers(waiting: Waiting) {
    match waiting {
        Waiting::Leaves => {}
        Waiting::Reads => fp_registers::touch(),
        Waiting::Flips | Waiting::Rewrites => fp_registers::flip(),
        Waiting::FlipsV => fp_registers::flip_v(),
    }
}

fn map(hole: u64, on: u64, place: Place) -> Result<(), Status> {
    let hole = Hole::from_u64(hole).ok_or(Status::BadJob)?;
    let (set, invalidate): (_, fn()) = match (hole, place) {
        (Hole::Stage1, Place::L1) => (Set::Home, control::invalidate_el2),
        (Hole::Stage1, Place::G) => (Set::Home, control::invalidate_el1),
        (Hole::Stage1, Place::L2) => (Set::L2, control::invalidate_el1),
        (Hole::Stage1, Place::L2b) => (Set::L2b, control::invalidate_el1),
        (Hole::Stage2, Place::L1) => (Set::Stage2, home::invalidate_hole),
        _ => return Err(Status::BadJob),
    };
    tables::set_hole(set, on != 0)?;
    invalidate();
    Ok(())
}
