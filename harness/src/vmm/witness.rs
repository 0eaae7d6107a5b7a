//! The kernel's own account of what a disturbance did, before and after a KVM_RUN: the proof of it.

use std::sync::atomic::Ordering;

use super::rival::{self, Rival, When, Work};

/// What it said before.
pub(super) enum Witness<'a> {
    /// How often this thread was preempted, and the CPU that it was on.
    Thread { preemptions: u64, cpu: i32 },
    /// How often this thread has slept, and the rival has run.
    Sleep { sleeps: u64, rounds: u64, rival: &'a Rival },
    /// Signals that this thread has handled.
    Signals(u64),
    /// Whatever was decrypted on this CPU has been counted.
    Softirq(&'a Rival),
}

impl<'a> Witness<'a> {
    /// The account of this work, now.
    pub(super) fn now(work: Work, when: When, rival: &'a Rival) -> Self {
        match (when, work) {
            (When::Asleep, _) => Self::Sleep { sleeps: thread().sleeps, rounds: rounds(rival), rival },
            (When::Now, Work::Simd) => {
                arrived(rival);
                Self::Softirq(rival)
            }
            (When::Now, Work::Signal) => Self::Signals(rival::signals().load(Ordering::Relaxed)),
            (When::Now, _) => {
                let Thread { preemptions, cpu, .. } = thread();
                Self::Thread { preemptions, cpu }
            }
        }
    }

    /// How often it happened since then.
    pub(super) fn until_now(self) -> u64 {
        match self {
            Self::Thread { preemptions, cpu } => {
                let now = thread();
                (now.preemptions - preemptions) + u64::from(now.cpu != cpu)
            }
            Self::Sleep { sleeps, rounds: before, rival } => {
                u64::from(thread().sleeps > sleeps && rounds(rival) > before)
            }
            Self::Signals(before) => rival::signals().load(Ordering::Relaxed) - before,
            // However many one softirq had to decrypt.
            Self::Softirq(rival) => arrived(rival).min(1),
        }
    }
}

fn rounds(rival: &Rival) -> u64 {
    rival.counter().load(Ordering::Acquire)
}

/// What was decrypted on the vCPU's CPU since the last call.
pub(super) fn arrived(rival: &Rival) -> u64 {
    rival.traffic().map_or(0, |traffic| traffic.arrived())
}

/// This thread, as the scheduler has it.
struct Thread {
    /// Involuntary switches.
    preemptions: u64,
    /// Voluntary ones.
    sleeps: u64,
    cpu: i32,
}

fn thread() -> Thread {
    // SAFETY: all zero is a valid report.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the report is written.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    // SAFETY: it only tells.
    let cpu = unsafe { libc::sched_getcpu() };
    Thread { preemptions: usage.ru_nivcsw.unsigned_abs(), sleeps: usage.ru_nvcsw.unsigned_abs(), cpu }
}
