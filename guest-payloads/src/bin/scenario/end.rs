//! The end of a case, and the wait for the next one.

use abi::doorbell;
use abi::job::{Status, flag};
use abi::place::Place;
use arch::payload::control;
use arch::semihosting::{self, Console};
use arch::sysreg::dsb;

use crate::{RUN, arrive, home, irq, job};

/// Ends the case from any place.
pub(crate) fn finish(status: Status) -> ! {
    if let Some(page) = job::doorbell() {
        // SAFETY: the doorbell is mapped at every place and is not memory.
        job::DISTURBED.set(unsafe { control::mmio_read(page + doorbell::DISTURBED) });
        dsb();
        job::STATUS.set(status as u64);
        dsb();
        // SAFETY: as above.
        unsafe { control::mmio_write(page + doorbell::END, status as u64) };
        loop {
            control::wfi();
        }
    }
    dsb();
    job::STATUS.set(status as u64);
    dsb();
    go_home()
}

/// Without a doorbell only home can end the case: climbs there by exceptions, whose arrivals find the status set.
pub(crate) fn go_home() -> ! {
    match arrive::here() {
        Some(Place::L1El0 | Place::L2El0 | Place::GEl0) => control::up_from_el0(),
        Some(Place::L2 | Place::L2b) => control::up_from_el1(),
        Some(Place::L1 | Place::G) | None => {}
    }
    if !job::has(flag::SERVER) {
        control::system_off(home::at_el2());
    }
    irq::quiesce();
    if let Some(output) = Console::output() {
        output.write(b"\n");
        output.close();
    }
    wait_for_job()
}

/// Waits for the harness's byte, then enters the image anew: it has written data, relocations included. The end
/// of input is the end of the machine.
pub(crate) fn wait_for_job() -> ! {
    let byte = Console::input().and_then(|input| {
        let byte = input.read_byte();
        input.close();
        byte
    });
    if byte.is_none() {
        semihosting::exit(0);
    }
    // SAFETY: nothing of this run is used again: all memory that outlives it is the job area.
    unsafe { control::restart(home::at_el2(), RUN) }
}
