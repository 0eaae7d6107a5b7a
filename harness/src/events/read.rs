//! Reading a log. It may come from a stranger: every line is checked, and nothing in it is believed.

use std::collections::HashSet;
use std::io::{self, BufRead, Read as _};

use super::{Case, Environment, Event, SCHEMA_VERSION, Summary, Witness};

/// Bytes that one line may have.
pub const LINE_MAX: u64 = 16 << 20;

/// A log that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The first line.
    pub environment: Environment,
    /// The cases, in the order in which they ended.
    pub cases: Vec<Case>,
    /// What was seen elsewhere of their failures.
    pub witnesses: Vec<Witness>,
    /// The last line. `None` if the run ended early: whatever the cases say, such a run is void.
    pub summary: Option<Summary>,
}

impl Log {
    /// The counts: those of the summary, or of the cases if there is none.
    #[must_use]
    pub fn counts(&self) -> Summary {
        self.summary.unwrap_or_else(|| count(&self.cases))
    }
}

/// A log that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read line {line}")]
    Io {
        /// The line, counted from 1.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is no event.
    #[error("line {line} is no event")]
    Json {
        /// The line.
        line: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A line is too long.
    #[error("line {line} is longer than {LINE_MAX} bytes")]
    TooLong {
        /// The line.
        line: u64,
    },
    /// The log was written by another version.
    #[error("the log has schema version {found}: this version reads {SCHEMA_VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// The first line is not the environment, or there is none.
    #[error("line 1 is not the environment: not an event log")]
    NoEnvironment,
    /// A line stands where it must not.
    #[error("line {line}: {what}")]
    Order {
        /// The line.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A case has a state that does not exist.
    #[error("line {line}: case `{name}` has the unknown state `{state}`")]
    State {
        /// The line.
        line: u64,
        /// The case.
        name: String,
        /// Its state.
        state: String,
    },
    /// A case has two lines.
    #[error("line {line}: case `{name}` is there already")]
    Twice {
        /// The line.
        line: u64,
        /// The case.
        name: String,
    },
    /// A witness of nothing that the log has, or who says what nobody can say.
    #[error("line {line}: {what} in what `{on}` says of `{case}`")]
    Witness {
        /// The line.
        line: u64,
        /// Who speaks.
        on: String,
        /// The case.
        case: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The summary does not agree with the cases.
    #[error("line {line}: the summary counts {summary} cases as {state}, the log has {cases}")]
    Count {
        /// The line.
        line: u64,
        /// The state.
        state: &'static str,
        /// What the summary says.
        summary: u64,
        /// How many there are.
        cases: u64,
    },
}

/// Reads a whole log.
///
/// A last line without its end is what a killed run leaves: it is left out, and the log has no summary.
///
/// # Errors
///
/// If it is not a log, with the number of the line that is wrong.
pub fn read(mut from: impl BufRead) -> Result<Log, ReadError> {
    let mut environment = None;
    let mut cases = Vec::new();
    let mut names = HashSet::new();
    let mut witnesses = Vec::new();
    let mut summary = None;
    let mut line = 0;
    while let Some((event, number)) = next(&mut from, &mut line)? {
        if summary.is_some() {
            return Err(ReadError::Order { line: number, what: "nothing may follow the summary" });
        }
        match (event, &environment) {
            (Event::Environment(first), None) => {
                if first.schema_version != SCHEMA_VERSION {
                    return Err(ReadError::Version { found: first.schema_version });
                }
                environment = Some(*first);
            }
            (_, None) => return Err(ReadError::NoEnvironment),
            (Event::Environment(_), Some(_)) => {
                return Err(ReadError::Order { line: number, what: "a second environment" });
            }
            (Event::Case(case), Some(_)) => {
                if case.verdict().is_none() {
                    return Err(ReadError::State { line: number, name: case.name, state: case.state });
                }
                if !names.insert(case.name.clone()) {
                    return Err(ReadError::Twice { line: number, name: case.name });
                }
                cases.push(*case);
            }
            (Event::Witness(witness), Some(_)) => {
                if let Err(what) = heard(&witness, &names) {
                    let Witness { on, case, .. } = witness;
                    return Err(ReadError::Witness { line: number, on, case, what });
                }
                witnesses.push(witness);
            }
            (Event::Summary(last), Some(_)) => {
                agree(number, &last, &count(&cases))?;
                summary = Some(last);
            }
        }
    }
    let environment = environment.ok_or(ReadError::NoEnvironment)?;
    Ok(Log { environment, cases, witnesses, summary })
}

/// Whether a witness speaks of a case that there is, in words that there are.
fn heard(witness: &Witness, cases: &HashSet<String>) -> Result<(), &'static str> {
    if !Witness::ALL.contains(&witness.on.as_str()) {
        return Err("nobody of this name is asked");
    }
    if !Witness::ANSWERS.contains(&witness.answer.as_str()) {
        return Err("an unknown answer");
    }
    if cases.contains(&witness.case) { Ok(()) } else { Err("no such case so far") }
}

/// The next line with its number; `None` at the end or at a last line without its end.
fn next(from: &mut impl BufRead, line: &mut u64) -> Result<Option<(Event, u64)>, ReadError> {
    *line += 1;
    let line = *line;
    let mut bytes = Vec::new();
    let read = from
        .by_ref()
        .take(LINE_MAX + 1)
        .read_until(b'\n', &mut bytes)
        .map_err(|source| ReadError::Io { line, source })?;
    if read as u64 > LINE_MAX {
        return Err(ReadError::TooLong { line });
    }
    if bytes.last() != Some(&b'\n') {
        return Ok(None);
    }
    serde_json::from_slice(&bytes)
        .map(|event| Some((event, line)))
        .map_err(|source| ReadError::Json { line, source })
}

fn count(cases: &[Case]) -> Summary {
    let mut summary = Summary::default();
    for case in cases {
        if let Some(state) = case.verdict() {
            summary.count(&state);
        }
        let points = case.sweep.as_ref().map_or(0, |sweep| sweep.points);
        summary.sweep_points = summary.sweep_points.saturating_add(points);
    }
    summary
}

fn agree(line: u64, summary: &Summary, cases: &Summary) -> Result<(), ReadError> {
    let states = crate::result::State::NAMES.into_iter().zip(summary.counts()).zip(cases.counts());
    for ((state, summary), cases) in states {
        if summary != cases {
            return Err(ReadError::Count { line, state, summary, cases });
        }
    }
    Ok(())
}
