//! KTAP, version 1, as the kernel's tools read it.

use std::io::{self, Write};

use super::{Reporter, clean, failure};
use crate::events::{Case, Environment, Summary};
use crate::result::State;

/// Prints a flat KTAP document; what went wrong comes as diagnostic lines before the result line.
#[derive(Debug)]
pub struct Ktap<W> {
    to: W,
    environment: Environment,
    number: u64,
}

impl<W: Write> Ktap<W> {
    /// Prints to `to`.
    pub fn new(to: W) -> Self {
        Self { to, environment: Environment::default(), number: 0 }
    }
}

impl<W: Write> Reporter for Ktap<W> {
    fn environment(&mut self, environment: &Environment) -> io::Result<()> {
        self.environment = environment.clone();
        writeln!(self.to, "KTAP version 1\n1..{}", environment.planned)
    }

    fn case(&mut self, case: &Case) -> io::Result<()> {
        self.number += 1;
        let state = case.verdict().unwrap_or(State::Error);
        if state.is_nonconformant() || state.is_void() {
            let text = failure::plain(&self.environment, case);
            for line in text.lines() {
                writeln!(self.to, "# {line}")?;
            }
        }
        let ok = match state {
            State::Pass | State::Skip(_) | State::Xfail => "ok",
            _ => "not ok",
        };
        write!(self.to, "{ok} {} {}", self.number, escape(&case.name))?;
        let directive = match &state {
            State::Pass | State::Fail => None,
            State::Skip(code) => Some(format!("SKIP {code}: {}", case.why)),
            State::Xfail | State::Xpass => {
                let reason = case.expectation.as_ref().map_or("", |expectation| &expectation.reason);
                Some(format!("{} {reason}", if state == State::Xfail { "XFAIL" } else { "XPASS" }))
            }
            State::Timeout => Some(format!("TIMEOUT {}", case.why)),
            State::Error => Some(format!("ERROR {}", case.why)),
            // The format knows no others: they are errors with a word of their own.
            State::Crash | State::Miss | State::Flaky => Some(format!("ERROR {state}: {}", case.why)),
        };
        if let Some(directive) = directive {
            write!(self.to, " # {}", clean::line(directive.trim_end_matches([' ', ':'])))?;
        }
        writeln!(self.to)
    }

    fn end(&mut self, summary: Option<&Summary>) -> io::Result<()> {
        match summary {
            Some(summary) => {
                let [pass, fail, skip, xfail, xpass, timeout, crash, error, miss, flaky] = summary.counts();
                writeln!(
                    self.to,
                    "# Totals: pass:{pass} fail:{fail} xfail:{xfail} xpass:{xpass} skip:{skip} error:{error} \
                     timeout:{timeout} crash:{crash} miss:{miss} flaky:{flaky}"
                )?;
            }
            None => writeln!(self.to, "Bail out! void: the run ended early")?,
        }
        self.to.flush()
    }
}

/// A description: `#` begins a directive.
fn escape(name: &str) -> String {
    clean::line(name).replace('#', "\\#")
}
