//! Reports: each a function of the event log and of nothing else, live or later from the file.

mod clean;
mod failure;
mod human;
mod json;
mod junit;
mod ktap;
mod mail;
mod style;

use std::io;

pub use failure::plain as failure_text;
pub use human::Human;
pub use json::Json;
pub use junit::Junit;
pub use ktap::Ktap;
pub use mail::Mail;

use crate::events::{Case, Environment, Log, Summary};

/// Sees a run go by, one event of the log after another.
pub trait Reporter {
    /// The run begins.
    ///
    /// # Errors
    ///
    /// If the report cannot be written.
    fn environment(&mut self, environment: &Environment) -> io::Result<()>;

    /// A case is over.
    ///
    /// # Errors
    ///
    /// If the report cannot be written.
    fn case(&mut self, case: &Case) -> io::Result<()>;

    /// The run is over; without a summary it ended early and is void.
    ///
    /// # Errors
    ///
    /// If the report cannot be written.
    fn end(&mut self, summary: Option<&Summary>) -> io::Result<()>;
}

/// Shows a whole log to a reporter.
///
/// # Errors
///
/// If the report cannot be written.
pub fn replay(log: &Log, reporter: &mut dyn Reporter) -> io::Result<()> {
    reporter.environment(&log.environment)?;
    for case in &log.cases {
        reporter.case(case)?;
    }
    reporter.end(log.summary.as_ref())
}
