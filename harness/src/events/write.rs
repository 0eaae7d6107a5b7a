//! Writing the log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use camino::{Utf8Path, Utf8PathBuf};

use super::{Case, Environment, Event, Summary, Witness};

/// The log cannot be written. Nothing that follows would be kept, so the run is void.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be made.
    #[error("cannot create the event log {path}")]
    Create {
        /// Its path.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line cannot be written.
    #[error("cannot write the event log {path}{}", full(source))]
    Write {
        /// Its path.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line cannot be put into JSON.
    #[error("cannot put an event into JSON")]
    Encode(#[source] serde_json::Error),
}

fn full(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::StorageFull {
        ": the disk is full, make room and run again"
    } else {
        ""
    }
}

/// Writes a log, each line as a whole.
#[derive(Debug)]
pub struct EventWriter<W> {
    path: Utf8PathBuf,
    to: W,
}

impl EventWriter<File> {
    /// Makes a new log.
    ///
    /// # Errors
    ///
    /// If the file exists already (a log is never changed) or cannot be made.
    pub fn create(path: &Utf8Path) -> Result<Self, WriteError> {
        let to = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|source| WriteError::Create { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), to })
    }
}

impl<W: Write> EventWriter<W> {
    /// Writes to anything; `path` is what errors call it.
    pub fn new(path: &Utf8Path, to: W) -> Self {
        Self { path: path.to_owned(), to }
    }

    /// Writes the first line.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn environment(&mut self, environment: &Environment) -> Result<(), WriteError> {
        self.event(&Event::Environment(Box::new(environment.clone())))
    }

    /// Writes a case.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn case(&mut self, case: &Case) -> Result<(), WriteError> {
        self.event(&Event::Case(Box::new(case.clone())))
    }

    /// Writes what somebody else says of a failure.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn witness(&mut self, witness: &Witness) -> Result<(), WriteError> {
        self.event(&Event::Witness(witness.clone()))
    }

    /// Writes the last line, which makes the log whole.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn summary(mut self, summary: Summary) -> Result<(), WriteError> {
        self.event(&Event::Summary(summary))?;
        self.to.flush().map_err(|source| WriteError::Write { path: self.path, source })
    }

    /// Writes one line by a single call, so that a killed process leaves at most one partial line.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn event(&mut self, event: &Event) -> Result<(), WriteError> {
        let mut line = serde_json::to_vec(event).map_err(WriteError::Encode)?;
        line.push(b'\n');
        self.to.write_all(&line).map_err(|source| WriteError::Write { path: self.path.clone(), source })
    }
}
