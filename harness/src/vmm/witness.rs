//! The kernel's own counters of what a disturbance does, before and after a KVM_RUN.

use super::rival::{Rival, Work};

/// What they said before.
pub(super) enum Witness<'a> {
    /// How often this thread was preempted, and the CPU that it was on.
    Thread { preemptions: u64, cpu: i32 },
    /// Whatever was decrypted on this CPU has been counted.
    Softirq(&'a Rival),
}

impl<'a> Witness<'a> {
    /// The counters of this work, now.
    pub(super) fn now(work: Work, rival: &'a Rival) -> Self {
        if work == Work::Simd {
            arrived(rival);
            return Self::Softirq(rival);
        }
        let (preemptions, cpu) = thread();
        Self::Thread { preemptions, cpu }
    }

    /// How often it happened since then.
    pub(super) fn until_now(self) -> u64 {
        match self {
            Self::Thread { preemptions, cpu } => {
                let now = thread();
                (now.0 - preemptions) + u64::from(now.1 != cpu)
            }
            // However many one softirq had to decrypt.
            Self::Softirq(rival) => arrived(rival).min(1),
        }
    }
}

fn arrived(rival: &Rival) -> u64 {
    rival.traffic().map_or(0, |traffic| traffic.arrived())
}

/// Involuntary switches of this thread, and its CPU.
fn thread() -> (u64, i32) {
    // SAFETY: all zero is a valid report.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the report is written.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    // SAFETY: it only tells.
    let cpu = unsafe { libc::sched_getcpu() };
    (usage.ru_nivcsw.unsigned_abs(), cpu)
}
