//! `holdfast report`: a report from an event log that is there already.

use std::fs::File;
use std::io::{BufReader, Write};

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use super::args::{Format, Report};
use super::exit::Exit;
use crate::events::{self, Log};
use crate::report::{Human, Json, Junit, Ktap, Mail, Reporter, replay};
use crate::run_folder::EVENTS;

/// Runs the command.
pub(super) fn run(args: &Report, to: &mut dyn Write) -> Result<Exit> {
    let log = load(&args.file)?;
    replay(&log, reporter(args.format, args.all, to).as_mut())?;
    Ok(Exit::of_run(log.summary.as_ref(), false))
}

/// The log at this path, or in the run folder at this path.
pub(super) fn load(path: &Utf8Path) -> Result<Log> {
    let path = if path.is_dir() { path.join(EVENTS) } else { path.to_owned() };
    let file = File::open(&path).with_context(|| format!("cannot open the event log {path}"))?;
    events::read(BufReader::new(file)).with_context(|| path.to_string())
}

/// The reporter of a format.
pub(super) fn reporter<'a>(format: Format, all: bool, to: impl Write + 'a) -> Box<dyn Reporter + 'a> {
    match format {
        Format::Human => Box::new(Human::new(to, all)),
        Format::Ktap => Box::new(Ktap::new(to)),
        Format::Json => Box::new(Json::new(to)),
        Format::Junit => Box::new(Junit::new(to)),
        Format::Mail => Box::new(Mail::new(to)),
    }
}
