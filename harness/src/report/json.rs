//! The log itself, line by line.

use std::io::{self, Write};

use super::Reporter;
use crate::events::{Case, Environment, Event, Summary, Witness};

/// Prints the events as JSON lines. A run that ended early has no summary here either.
#[derive(Debug)]
pub struct Json<W> {
    to: W,
}

impl<W: Write> Json<W> {
    /// Prints to `to`.
    pub const fn new(to: W) -> Self {
        Self { to }
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.to.write_all(&line)
    }
}

impl<W: Write> Reporter for Json<W> {
    fn environment(&mut self, environment: &Environment) -> io::Result<()> {
        self.event(&Event::Environment(Box::new(environment.clone())))
    }

    fn case(&mut self, case: &Case) -> io::Result<()> {
        self.event(&Event::Case(Box::new(case.clone())))
    }

    fn witness(&mut self, witness: &Witness) -> io::Result<()> {
        self.event(&Event::Witness(witness.clone()))
    }

    fn end(&mut self, summary: Option<&Summary>) -> io::Result<()> {
        if let Some(summary) = summary {
            self.event(&Event::Summary(*summary))?;
        }
        self.to.flush()
    }
}
