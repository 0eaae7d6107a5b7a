//! The kernel's own account of what happened to the vCPU's thread: the proof of a disturbance.

use std::sync::atomic::Ordering;

use super::rival::{self, Rival};

/// How often this thread has been preempted and has slept, where it is, how often the rival has run, and the
/// signals that it sent.
pub(super) struct Witness {
    preemptions: u64,
    sleeps: u64,
    cpu: i32,
    rounds: u64,
    signals: u64,
}

impl Witness {
    pub(super) fn now(rival: &Rival) -> Self {
        // SAFETY: all zero is a valid report.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the report is written.
        unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
        // SAFETY: it only tells.
        let cpu = unsafe { libc::sched_getcpu() };
        Self {
            preemptions: usage.ru_nivcsw.unsigned_abs(),
            sleeps: usage.ru_nvcsw.unsigned_abs(),
            cpu,
            rounds: rival.counter().load(Ordering::Acquire),
            signals: rival::signals(),
        }
    }

    /// Preemptions and moves up to `now`.
    pub(super) fn preemptions(&self, now: &Self) -> u64 {
        (now.preemptions - self.preemptions) + u64::from(now.cpu != self.cpu)
    }

    /// Signals that it handled, up to `now`.
    pub(super) fn signals(&self, now: &Self) -> u64 {
        now.signals - self.signals
    }

    /// Whether this thread has slept, and the rival has run meanwhile, up to `now`.
    pub(super) fn slept_beside_rival(&self, now: &Self) -> bool {
        now.sleeps > self.sleeps && now.rounds > self.rounds
    }
}
