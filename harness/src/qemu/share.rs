//! What a process has of the host's CPUs.

use std::fs;
use std::time::Duration;

use crate::limits;

/// What the threads of a process have had of the host's CPUs. Nothing, if the system does not tell.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CpuShare {
    /// The time that they ran.
    pub ran: Duration,
    /// The time that they were ready to run, and others did.
    pub waited: Duration,
}

impl CpuShare {
    /// Of the threads that a process has now (Documentation/scheduler/sched-stats.rst, `schedstat`).
    pub(super) fn of(process: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let shares =
            tasks.filter_map(|task| Self::parse(&fs::read_to_string(task.path().join("schedstat")).ok()?));
        shares.fold(Self::default(), |sum, one| Self {
            ran: sum.ran + one.ran,
            waited: sum.waited + one.waited,
        })
    }

    fn parse(stat: &str) -> Option<Self> {
        let mut times =
            stat.split_ascii_whitespace().map_while(|field| field.parse().ok().map(Duration::from_nanos));
        Some(Self { ran: times.next()?, waited: times.next()? })
    }

    /// What came to it since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { ran: self.ran.saturating_sub(before.ran), waited: self.waited.saturating_sub(before.waited) }
    }

    /// Whether it is too little, for this time, to tell anything of what the process was at.
    #[must_use]
    pub fn is_starved(self, elapsed: Duration) -> bool {
        self.ran < elapsed.mul_f64(limits::STARVED) || self.is_denied()
    }

    /// Whether others had the CPUs for most of the time that it was ready to run.
    #[must_use]
    pub fn is_denied(self) -> bool {
        self.ran < (self.ran + self.waited).mul_f64(limits::SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_share_is_of_what_was_wanted() {
        let share = |ran: u32, waited: u32| CpuShare { ran: SECOND * ran, waited: SECOND * waited };
        // Two threads that had a CPU each, or shared one.
        assert!(!share(20, 0).is_starved(SECOND * 10));
        assert!(!share(10, 10).is_starved(SECOND * 10));
        // Two that had a quarter of one each; one that slept.
        assert!(share(5, 15).is_starved(SECOND * 10));
        assert!(share(1, 0).is_starved(SECOND * 10));
        // Who sleeps is denied nothing.
        assert!(share(5, 15).is_denied() && !share(1, 0).is_denied());
        assert_eq!(share(7, 5).since(share(4, 1)), share(3, 4));
    }

    #[test]
    fn a_process_without_numbers_had_nothing() {
        assert_eq!(CpuShare::parse("5 7 1\n").map(|share| share.waited), Some(Duration::from_nanos(7)));
        assert_eq!(CpuShare::parse("5"), None);
        assert_eq!(CpuShare::parse("x 7 1"), None);
        assert_eq!(CpuShare::of(u32::MAX), CpuShare::default());
    }
}
