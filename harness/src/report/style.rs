//! The few colors that reports use. Whoever prints strips them where there is no terminal.

use anstyle::{AnsiColor, Style};

use crate::result::State;

/// What the eye is to find first.
pub(super) const STRONG: Style = Style::new().bold();
/// Names of parts.
pub(super) const LABEL: Style = AnsiColor::Cyan.on_default();
/// What is right.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What is wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is neither.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// What matters least.
pub(super) const FAINT: Style = Style::new().dimmed();

/// The style of a state.
pub(super) const fn of(state: &State) -> Style {
    match state {
        State::Pass => GOOD,
        State::Skip(_) | State::Xfail => WARN,
        _ => BAD,
    }
}
