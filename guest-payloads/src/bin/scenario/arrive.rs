//! Arrivals: what the stub saved becomes a record, and the interpreter goes on.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::doorbell;
use abi::job::Status;
use abi::op::{Op, flag};
use abi::place::Place;
use abi::record::{Arrival, Kind, VECTOR_BOOT, VECTOR_NONE};
use arch::esr::{self, ec};
use arch::payload::control;
use arch::payload::stubs::{NO_EXCEPTION, SAVED};
use arch::read;

use crate::job::{self, Stack};
use crate::{depart, end, home, interpret, irq, ring};

const _: () = assert!(NO_EXCEPTION == VECTOR_NONE);

/// The number of the place that runs, 0 before there is one.
static HERE: AtomicU64 = AtomicU64::new(0);

/// The place that runs.
pub(crate) fn here() -> Option<Place> {
    u8::try_from(HERE.load(Ordering::Relaxed)).ok().and_then(Place::from_u8)
}

/// Notes the place that runs.
pub(crate) fn set_here(place: Place) {
    HERE.store(place as u64, Ordering::Relaxed);
}

/// Called by the arrival stub on the place's empty stack.
pub(crate) extern "C" fn arrived(number: u64) -> ! {
    HERE.store(number, Ordering::Relaxed);
    if job::STATUS.get() != 0 {
        end::go_home();
    }
    let Some(place) = here() else { end::finish(Status::Unexpected) };
    let arrival = saved(place);
    if is_trapped_next(place, &arrival) {
        depart::wait_again(place, &arrival);
    }
    conclude(place, arrival)
}

/// Whether a WFI completed that the program wants trapped. It may, before any trap: for an interrupt of the host's, say, that is
/// pending just then ("Wait for Interrupt mechanism" in DDI0487; QEMU's `HELPER(wfi)` looks for work before it looks for a trap).
/// A trap that never comes is the case's failure in the end.
fn is_trapped_next(place: Place, arrival: &Arrival) -> bool {
    /// Some thousand times what it takes.
    const PATIENCE: u64 = 1000;
    static AGAIN: AtomicU64 = AtomicU64::new(0);
    let wanted_here = job::op(job::CURSOR.get()).is_none_or(|op| op.place == place as u8);
    if arrival.vector != VECTOR_NONE || wanted_here || !depart::is_wait(place, arrival) {
        AGAIN.store(0, Ordering::Relaxed);
        return false;
    }
    AGAIN.fetch_add(1, Ordering::Relaxed) < PATIENCE
}

/// Goes on after a reset, at home. The general registers and SP are UNKNOWN after it: zero in the record.
pub(crate) fn by_reset(home: Place) -> ! {
    let arrival = Arrival {
        x: [0; 31],
        sp: 0,
        sp_left: 0,
        esr: 0,
        elr: 0,
        spsr: 0,
        far: 0,
        hpfar: 0,
        left_pc: job::LEFT_PC.get(),
        target_pc: 0,
        pstate: read!("daif") | read!("CurrentEL") | read!("spsel"),
        vector: VECTOR_BOOT,
    };
    let left_by = job::CURSOR.get().checked_sub(1).and_then(job::op);
    if let (Some(Op { flags, .. }), Some(page)) = (left_by, job::doorbell())
        && flags & flag::WINDOW != 0
    {
        // SAFETY: the doorbell is mapped at every place and is not memory.
        unsafe { control::mmio_write(page + doorbell::WINDOW, 0) };
    }
    depart::forget_stacks();
    conclude(home, arrival)
}

/// Writes the record and goes on, if the program wants this place now.
fn conclude(place: Place, arrival: Arrival) -> ! {
    let cursor = job::CURSOR.get();
    let under_way = arrival.left_pc != 0;
    let expected = under_way && job::op(cursor).is_some_and(|op| op.place == place as u8);
    let kind = if expected { Kind::Arrival } else { Kind::Unexpected };
    // An exception of the interpreter's own belongs to the operation that it was at.
    let index = if under_way { cursor.saturating_sub(1) } else { cursor };
    let vector = arrival.vector;
    let written = ring::write(kind, index, place, arrival);
    job::LEFT_PC.set(0);
    job::TARGET_PC.set(0);
    match written.and_then(|()| irq::withdraw(place, vector)) {
        Err(status) => end::finish(status),
        Ok(()) if !expected => end::finish(Status::Unexpected),
        Ok(()) => interpret::run(place),
    }
}

/// PSTATE.SS in SPSR_ELx: set by an exception that a hypervisor's single step lets the CPU take by itself.
const SS: u64 = 1 << 21;

/// The record of what the stub saved. Registers that the exception left UNKNOWN are zero in it, since they may
/// hold anything and two passes are compared; so is PSTATE.SS in a swept pass.
fn saved(place: Place) -> Arrival {
    let pstate = SAVED.pstate.load(Ordering::Relaxed);
    let vector = SAVED.vector.load(Ordering::Relaxed);
    let stack = if place == Place::L1 && pstate & 1 == 0 { Stack::L1t } else { Stack::Of(place) };
    let mut arrival = Arrival {
        x: [0; 31],
        sp: SAVED.sp.load(Ordering::Relaxed),
        sp_left: stack.left().get(),
        esr: 0,
        elr: 0,
        spsr: 0,
        far: 0,
        hpfar: 0,
        left_pc: job::LEFT_PC.get(),
        target_pc: job::TARGET_PC.get(),
        pstate,
        vector,
    };
    for (to, from) in arrival.x.iter_mut().zip(&SAVED.x) {
        *to = from.load(Ordering::Relaxed);
    }
    if vector != VECTOR_NONE {
        let syndrome = SAVED.esr.load(Ordering::Relaxed);
        let kind = vector >> 7 & 3;
        let (synchronous, serror) = (kind == 0, kind == 3);
        arrival.elr = SAVED.elr.load(Ordering::Relaxed);
        arrival.spsr = SAVED.spsr.load(Ordering::Relaxed) & if job::PASS.get() == 0 { u64::MAX } else { !SS };
        if synchronous || serror {
            arrival.esr = syndrome;
        }
        if synchronous && has_far(syndrome) {
            arrival.far = SAVED.far.load(Ordering::Relaxed);
        }
        if synchronous && place == Place::L1 && has_hpfar(syndrome) {
            arrival.hpfar = read!("hpfar_el2");
        }
    }
    arrival
}

/// Whether an exception with this syndrome sets FAR_ELx.
fn has_far(syndrome: u64) -> bool {
    /// FAR not valid, in the ISS of an abort.
    const FNV: u64 = 1 << 10;
    match esr::class(syndrome) {
        ec::IABORT_LOWER | ec::IABORT_SAME | ec::DABORT_LOWER | ec::DABORT_SAME => syndrome & FNV == 0,
        ec::PC_ALIGN => true,
        _ => false,
    }
}

/// Whether an exception with this syndrome, taken to EL2, sets HPFAR_EL2: a stage 2 translation or access flag fault,
/// or any on the walk of stage 1.
fn has_hpfar(syndrome: u64) -> bool {
    /// Stage 2 fault on the walk of stage 1, in the ISS of an abort.
    const S1PTW: u64 = 1 << 7;
    let status = syndrome & 0x3c;
    matches!(esr::class(syndrome), ec::IABORT_LOWER | ec::DABORT_LOWER)
        && (matches!(status, 0x04 | 0x08) || syndrome & S1PTW != 0)
        && !home::tge()
}
