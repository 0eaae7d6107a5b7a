//! What several jobs may cost together.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::result::State;

/// How often jobs may lose their machine or run out of time before the rest of them is not worth it: each of
/// these costs as much as hundreds of other cases, and soon tells nothing new.
#[derive(Debug)]
pub struct Tolerance {
    losses: AtomicU32,
    losses_max: u32,
    timeouts: AtomicU32,
    timeouts_max: u32,
}

impl Tolerance {
    /// Allows so many losses of a machine and so many timeouts.
    #[must_use]
    pub const fn new(losses: u32, timeouts: u32) -> Self {
        Self {
            losses: AtomicU32::new(0),
            losses_max: losses,
            timeouts: AtomicU32::new(0),
            timeouts_max: timeouts,
        }
    }

    /// Why no further job is to begin, if that is so. Jobs that run meanwhile may bring the count above the limit.
    #[must_use]
    pub fn used_up(&self) -> Option<String> {
        let (losses, timeouts) = (self.losses.load(Ordering::Relaxed), self.timeouts.load(Ordering::Relaxed));
        if losses >= self.losses_max {
            Some(format!("{losses} cases before it lost their machine"))
        } else if timeouts >= self.timeouts_max {
            Some(format!("{timeouts} cases before it ran out of time"))
        } else {
            None
        }
    }

    /// Notes how a job ended. A machine that is lost because of a timeout counts as a timeout.
    pub(super) fn note(&self, state: &State, lost: bool) {
        let counter = match (state, lost) {
            (State::Timeout, _) => &self.timeouts,
            (_, true) => &self.losses,
            (_, false) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_timeouts_count_each_for_itself() {
        let tolerance = Tolerance::new(2, 2);
        tolerance.note(&State::Fail, false);
        tolerance.note(&State::Crash, false);
        tolerance.note(&State::Crash, true);
        tolerance.note(&State::Timeout, true);
        assert_eq!(tolerance.used_up(), None);
        tolerance.note(&State::Timeout, false);
        assert_eq!(tolerance.used_up().as_deref(), Some("2 cases before it ran out of time"));
        tolerance.note(&State::Crash, true);
        assert_eq!(tolerance.used_up().as_deref(), Some("2 cases before it lost their machine"));
    }
}
