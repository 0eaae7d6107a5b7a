//! The signal that ends a KVM_RUN when a case's time is over.

use std::time::Duration;

/// How often the alarm rings once the budget is used up: a signal that comes just before KVM_RUN is lost.
const ALARM: Duration = Duration::from_millis(20);

/// Interrupts this process when a time is over, again and again until it is dropped.
pub(super) struct Alarm;

impl Alarm {
    pub(super) fn set(after: Duration) -> Self {
        extern "C" fn nothing(_: libc::c_int) {}
        // Without SA_RESTART, KVM_RUN returns.
        // SAFETY: all zero is a valid action.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler does nothing.
        unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
        set_timer(after.max(Duration::from_micros(1)), ALARM);
        Self
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        set_timer(Duration::ZERO, Duration::ZERO);
    }
}

fn set_timer(first: Duration, then: Duration) {
    let time = |time: Duration| libc::timeval {
        tv_sec: time.as_secs().min(1 << 31).cast_signed(),
        tv_usec: i64::from(time.subsec_micros()),
    };
    let timer = libc::itimerval { it_interval: time(then), it_value: time(first) };
    // SAFETY: the timer is read, and nothing is written back.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}

/// Keeps the alarm from this thread, so that it reaches the one that runs the vCPU.
pub(super) struct BlockedAlarm;

impl BlockedAlarm {
    pub(super) fn new() -> Self {
        mask_alarm(libc::SIG_BLOCK);
        Self
    }

    pub(super) fn unblock() {
        mask_alarm(libc::SIG_UNBLOCK);
    }
}

impl Drop for BlockedAlarm {
    fn drop(&mut self) {
        Self::unblock();
    }
}

fn mask_alarm(how: libc::c_int) {
    // SAFETY: all zero is an empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is written.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGALRM) };
    // SAFETY: the set is read, and nothing is written back.
    unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
}
