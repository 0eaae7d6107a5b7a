//! The scenario payload: interprets a compiled program at every place that a guest has, from (virtual) EL2 to
//! EL0, with no idea of what is right.
//!
//! | module | job |
//! | --- | --- |
//! | [`home`] | boot: stage 1, the guests' EL1 registers, stage 2, as the job asks |
//! | [`interpret`] | the loop over operations |
//! | [`depart`], [`arrive`] | leaving a place by one instruction; the record of reaching one |
//! | [`fp`] | fills and dumps |
//! | [`sweep`] | the end of a pass, and the next one |
//! | [`end`] | the end of the case, and the wait for the next one where no hypervisor is below |
//! | [`irq`] | interrupts that the program asks for |
//! | [`tables`], [`granule`] | translation tables; the sizes of page |
//! | [`registers`], [`job`], [`ring`] | registers by name; the job area |
#![no_std]
#![no_main]

mod arrive;
mod depart;
mod end;
mod fp;
mod granule;
mod home;
mod interpret;
mod irq;
mod job;
mod registers;
mod ring;
mod sweep;
mod tables;

use core::panic::PanicInfo;

use abi::job::Status;

/// X0 of an entry by which a job is to be run, where the payload waits for jobs by itself.
const RUN: u64 = abi::job::MAGIC;

/// Called by the image's entry, at the highest level that the payload has.
#[unsafe(no_mangle)]
extern "C" fn main(x0: u64) -> ! {
    if job::has(abi::job::flag::SERVER) && x0 != RUN && job::CURSOR.get() == 0 {
        end::wait_for_job();
    }
    if !job::is_valid() {
        end::finish(Status::BadJob);
    }
    match home::set_up() {
        Ok(home) if job::CURSOR.get() != 0 => arrive::by_reset(home),
        Ok(home) if job::PASS.get() != 0 => sweep::resume(home),
        Ok(home) => {
            sweep::begin();
            sweep::start(home)
        }
        Err(status) => end::finish(status),
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    end::finish(Status::Panic)
}
