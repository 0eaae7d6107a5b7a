//! The passes of a case: the unswept one, and those in which the hypervisor forces world switches.

use core::ptr::with_exposed_provenance_mut;

use abi::doorbell::{self, Sweep};
use abi::job::{HOLE_WORD, Status, flag};
use abi::place::Place;
use arch::boot;
use arch::payload::{control, stubs};

use crate::tables::{self, Set};
use crate::{arrive, depart, end, home, interpret, job};

/// 64-bit words in the hole's two pages.
const HOLE_WORDS: usize = 2 * 4096 / 8;

/// Prepares the unswept pass.
pub(crate) fn begin() {
    job::PASS.set(0);
    job::RING_USED.set(0);
    job::SWEEP_RING_USED.set(0);
    job::SWEEP_AT.set(0);
    job::SWEEP_POINTS.set(0);
    job::DISTURBED.set(0);
    rewind();
}

/// Starts a pass. Each has the stack of home from its top and the same PSTATE, whatever exceptions the last one has left
/// home in: both are in the records, and passes are compared.
pub(crate) fn start(home: Place) -> ! {
    extern "C" fn pass(_: u64) -> ! {
        match arrive::here() {
            Some(home) => interpret::run(home),
            None => end::finish(Status::Unexpected),
        }
    }
    // SAFETY: home runs, and is above EL0; what ends here has nothing left to do.
    unsafe { stubs::start(home as u64, pass) }
}

/// Judges the pass that has ended, at home, and starts the next one. Returns how the case ends if there is none.
pub(crate) fn end_of_pass(place: Place) -> Status {
    let (Some(sweep), Some(page)) = (job::sweep(), job::doorbell()) else {
        return Status::Done;
    };
    if sweep == Sweep::Off {
        return Status::Done;
    }
    let next = if job::PASS.get() == 0 {
        Some(job::SWEEP_FIRST.get())
    } else {
        // SAFETY: the doorbell is mapped at every place and is not memory.
        let points = unsafe { control::mmio_read(page + doorbell::SWEEP_END) };
        let at = job::SWEEP_AT.get();
        let hit = if sweep == Sweep::StepEach { u64::from(at < points) } else { points };
        job::SWEEP_POINTS.set(job::SWEEP_POINTS.get().wrapping_add(hit));
        if !job::rings_agree() {
            return Status::SweepDiffers;
        }
        match sweep {
            Sweep::Off | Sweep::StepAll => None,
            Sweep::StepEach => Some(at + 1).filter(|&next| next < points),
            Sweep::Timer => Some(at + 1),
        }
    };
    let one_pass = sweep == Sweep::StepAll;
    let Some(at) = next.filter(|&at| one_pass || at < job::SWEEP_END.get()) else {
        return Status::Done;
    };
    job::PASS.set(job::PASS.get() + 1);
    job::SWEEP_AT.set(at);
    job::SWEEP_RING_USED.set(0);
    if let Err(status) = restore(place) {
        return status;
    }
    rewind();
    if job::has(flag::COLD) {
        // SAFETY: as above. The CPU goes on at the image's entry, which finds the pass noted and calls `resume`.
        unsafe { control::mmio_write(page + doorbell::RESET, 1) };
    }
    resume(place)
}

/// Starts the swept pass that is noted.
pub(crate) fn resume(home: Place) -> ! {
    if let (Some(sweep), Some(page)) = (job::sweep(), job::doorbell()) {
        // SAFETY: the doorbell is mapped at every place and is not memory.
        unsafe { control::mmio_write(page + doorbell::SWEEP_BEGIN, sweep as u64 | job::SWEEP_AT.get() << 8) };
    }
    start(home)
}

/// Maps what the program has unmapped, and makes the guests new.
fn restore(home: Place) -> Result<(), Status> {
    for set in Set::ALL {
        if tables::is_built(set) && tables::set_hole(set, true)? {
            match (set, home) {
                (Set::Home, Place::L1) => control::invalidate_el2(),
                (Set::Home, _) => control::invalidate_el1(),
                _ => home::invalidate_hole(),
            }
        }
    }
    if home == Place::L1 {
        home::reset_guests();
    }
    Ok(())
}

/// Back to operation 0, with nothing noted.
fn rewind() {
    job::CURSOR.set(0);
    job::RECORDS.set(0);
    job::LEFT_PC.set(0);
    job::TARGET_PC.set(0);
    depart::forget_stacks();
    let words = with_exposed_provenance_mut::<u64>(boot::hole() as usize);
    for index in 0..HOLE_WORDS {
        // SAFETY: the index is within the hole's two pages.
        let word = unsafe { words.add(index) };
        // SAFETY: the hole is memory that nothing else uses, mapped as a whole at home.
        unsafe { word.write_volatile(HOLE_WORD + index as u64) };
    }
}
