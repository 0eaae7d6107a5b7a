//! Exit codes. They alone give the verdict.

use std::process::ExitCode;

use crate::events::Summary;

/// How a command ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// All required checks passed.
    Success = 0,
    /// The target is not conformant, or a fault survived.
    Nonconformant = 1,
    /// The command line, or a file that it names, makes no sense.
    Usage = 2,
    /// The run is void: a test was at fault, was never run, or the run ended early.
    Void = 3,
    /// Nothing ran, or something that was required was skipped.
    NothingRan = 4,
}

impl Exit {
    /// The exit code of a run with this summary; none means that it ended early.
    #[must_use]
    pub fn of_run(summary: Option<&Summary>, required: bool) -> Self {
        let Some(summary) = summary else { return Self::Void };
        let ran = summary.total() - summary.skip;
        if summary.error + summary.miss > 0 {
            Self::Void
        } else if summary.nonconformant() > 0 {
            Self::Nonconformant
        } else if summary.stopped {
            Self::Void
        } else if ran == 0 || (required && summary.skip > 0) {
            Self::NothingRan
        } else {
            Self::Success
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(summary: &Summary, expected: Exit) {
        assert_eq!(Exit::of_run(Some(summary), false), expected, "{summary:?}");
    }

    #[test]
    fn the_worst_state_decides() {
        let none = Summary::default();
        check(&none, Exit::NothingRan);
        check(&Summary { skip: 3, ..none }, Exit::NothingRan);
        check(&Summary { pass: 1, skip: 3, xfail: 1, ..none }, Exit::Success);
        check(&Summary { pass: 1, fail: 1, ..none }, Exit::Nonconformant);
        check(&Summary { pass: 1, xpass: 1, ..none }, Exit::Nonconformant);
        check(&Summary { pass: 1, timeout: 1, ..none }, Exit::Nonconformant);
        check(&Summary { pass: 1, crash: 1, ..none }, Exit::Nonconformant);
        check(&Summary { pass: 1, flaky: 1, ..none }, Exit::Nonconformant);
        check(&Summary { pass: 1, fail: 1, error: 1, ..none }, Exit::Void);
        check(&Summary { pass: 1, miss: 1, ..none }, Exit::Void);
        check(&Summary { pass: 1, stopped: true, ..none }, Exit::Void);
        check(&Summary { fail: 1, stopped: true, ..none }, Exit::Nonconformant);
        assert_eq!(Exit::of_run(None, false), Exit::Void);
        assert_eq!(Exit::of_run(Some(&Summary { pass: 1, skip: 1, ..none }), true), Exit::NothingRan);
    }
}
