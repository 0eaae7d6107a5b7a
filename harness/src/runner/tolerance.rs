//! What several jobs may cost together.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::result::State;

/// How often jobs may lose their machine or run out of time before the rest of them is not worth it: each of
/// these costs as much as hundreds of other cases, and soon tells nothing new.
#[derive(Debug)]
pub struct Tolerance {
    most: u32,
    losses: AtomicU32,
    timeouts: AtomicU32,
}

impl Tolerance {
    /// Allows `most` losses of a machine, and as many timeouts.
    #[must_use]
    pub const fn new(most: u32) -> Self {
        Self { most, losses: AtomicU32::new(0), timeouts: AtomicU32::new(0) }
    }

    /// Whether no further job is to begin. Jobs that run meanwhile may bring the count above the limit.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.losses() >= self.most || self.timeouts() >= self.most
    }

    /// Machines lost, but for those that are lost because of a timeout.
    #[must_use]
    pub fn losses(&self) -> u32 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Cases that ran out of time.
    #[must_use]
    pub fn timeouts(&self) -> u32 {
        self.timeouts.load(Ordering::Relaxed)
    }

    /// Notes how a job ended.
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
        let tolerance = Tolerance::new(2);
        tolerance.note(&State::Fail, false);
        tolerance.note(&State::Crash, false);
        tolerance.note(&State::Crash, true);
        tolerance.note(&State::Timeout, true);
        assert!(!tolerance.is_used_up());
        assert_eq!((tolerance.losses(), tolerance.timeouts()), (1, 1));
        tolerance.note(&State::Timeout, false);
        assert!(tolerance.is_used_up());
    }
}
