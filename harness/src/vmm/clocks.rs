//! The clocks of a host that was saved and goes on as a copy.
//!
//! QEMU saves when the timers of EL1 are to fire (`vmstate_arm_cpu` in `target/arm/machine.c`), and of those of EL2, by
//! which a host in VHE mode ticks, only the registers: in a copy they never fire, until they are written again. Linux
//! does not write them, for it waits for what it has programmed: an earlier timer would have it do so, and none is
//! earlier than one that should have fired already.
//!
//! What does have every other CPU program its timer anew is a wall clock that jumps over the first timer of that clock
//! (`clock_was_set` in `kernel/time/hrtimer.c`).

use rustix::io;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    clock_settime, timerfd_create, timerfd_settime,
};

use super::rival;

/// Seconds that no case takes.
const LONG: i64 = 3600;
const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Lets every CPU of this host tick again. Ends on the first one.
pub(super) fn wake(cpus: u32) -> io::Result<()> {
    let mut timers = Vec::new();
    for cpu in 0..cpus {
        rival::pin(0, cpu);
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
        let once = Itimerspec { it_interval: NEVER, it_value: ahead(LONG) };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once)?;
        timers.push(timer);
    }
    // The CPU that sets the clock is left out: each is reached from another one.
    for cpu in (0..cpus).rev() {
        rival::pin(0, cpu);
        clock_settime(ClockId::Realtime, ahead(2 * LONG))?;
    }
    Ok(())
}

/// The wall clock's time so many seconds from now.
fn ahead(seconds: i64) -> Timespec {
    let now = clock_gettime(ClockId::Realtime);
    Timespec { tv_sec: now.tv_sec + seconds, ..now }
}
