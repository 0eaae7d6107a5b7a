//! Reports: each a function of the event log and of nothing else, live or later from the file.

mod clean;
mod elsewhere;
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

use crate::events::{Case, Environment, Log, Summary, Witness};

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

    /// Somebody was asked about a failure that went by. Most reports have no place for it.
    ///
    /// # Errors
    ///
    /// If the report cannot be written.
    fn witness(&mut self, _witness: &Witness) -> io::Result<()> {
        Ok(())
    }

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
    for witness in &log.witnesses {
        reporter.witness(witness)?;
    }
    reporter.end(log.summary.as_ref())
}
