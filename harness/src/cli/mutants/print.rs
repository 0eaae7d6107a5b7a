//! How the outcomes are told.

use std::io::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde::Serialize;

use super::NAMES_SHOWN;
use super::hunt::TOLERATED;
use super::outcome::{Outcome, Total};
use crate::cli::args::PlainFormat;

/// Prints outcomes as they are asked for.
pub(super) struct Printer<'a> {
    pub(super) to: &'a mut dyn Write,
    pub(super) format: PlainFormat,
    pub(super) all: bool,
}

impl Printer<'_> {
    pub(super) fn outcome(&mut self, outcome: &Outcome) -> Result<()> {
        if self.format == PlainFormat::Json {
            return self.line(&FaultLine::of(outcome));
        }
        let (word, style) = verdict(outcome);
        let (name, time) = (outcome.fault.name(), outcome.time.as_secs_f64());
        writeln!(
            self.to,
            "{style}{word:<9}{style:#} {name:<28} by {:>4} of {} cases, reached {} times, {time:.1} s",
            outcome.killers.len(),
            outcome.cases - outcome.given_up,
            outcome.reached,
        )?;
        if self.all {
            for (case, state) in &outcome.killers {
                writeln!(self.to, "          {state:<8} {case}")?;
            }
        } else {
            for (scenario, cases) in outcome.scenarios() {
                writeln!(self.to, "          {scenario} ({cases})")?;
            }
        }
        for (case, why) in outcome.errors.iter().take(NAMES_SHOWN) {
            writeln!(self.to, "          no killer: {case}: {why}")?;
        }
        if outcome.errors.len() > NAMES_SHOWN {
            writeln!(
                self.to,
                "          no killers: {} more of this kind",
                outcome.errors.len() - NAMES_SHOWN
            )?;
        }
        if outcome.given_up > 0 {
            writeln!(
                self.to,
                "          {} cases not run: {TOLERATED} before them killed their machine or hung",
                outcome.given_up
            )?;
        }
        Ok(())
    }

    pub(super) fn total(&mut self, total: &Total, wall: Duration) -> Result<()> {
        let wall_s = wall.as_secs_f64();
        if self.format == PlainFormat::Json {
            return self.line(&SummaryLine {
                unfit: total.unfit,
                faults: total.faults,
                reached: total.reached,
                killed: total.killed,
                score: total.score(),
                survivors: &total.survivors,
                unreached: &total.unreached,
                wall_s,
            });
        }
        let Total { faults, reached, killed, survivors, unreached, .. } = total;
        writeln!(
            self.to,
            "\n{faults} faults, {reached} reached, {killed} killed: {:.1} % in {wall_s:.1} s",
            total.score()
        )?;
        for (word, names) in [("survived", survivors), ("unreached", unreached)] {
            if !names.is_empty() {
                writeln!(self.to, "{word}: {}", names.join(" "))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut *self.to, value)?;
        writeln!(self.to)?;
        self.to.flush()?;
        Ok(())
    }
}

fn verdict(outcome: &Outcome) -> (&'static str, Style) {
    let bad = AnsiColor::Red.on_default().bold();
    match (outcome.reached, outcome.killers.len()) {
        (0, _) => ("unreached", bad),
        (_, 0) => ("survived", bad),
        _ => ("killed", AnsiColor::Green.on_default()),
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "fault")]
struct FaultLine<'a> {
    name: &'static str,
    origin: &'static str,
    reached: u64,
    killed: bool,
    killers: Vec<Killer<'a>>,
    errors: Vec<&'a str>,
    cases: usize,
    given_up: usize,
    time_s: f64,
}

#[derive(Serialize)]
struct Killer<'a> {
    name: &'a str,
    state: &'static str,
}

impl<'a> FaultLine<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        Self {
            name: outcome.fault.name(),
            origin: outcome.fault.origin(),
            reached: outcome.reached,
            killed: outcome.reached > 0 && !outcome.killers.is_empty(),
            killers: outcome
                .killers
                .iter()
                .map(|(name, state)| Killer { name, state: state.name() })
                .collect(),
            errors: outcome.errors.keys().map(String::as_str).collect(),
            cases: outcome.cases,
            given_up: outcome.given_up,
            time_s: outcome.time.as_secs_f64(),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "summary")]
struct SummaryLine<'a> {
    unfit: usize,
    faults: usize,
    reached: usize,
    killed: usize,
    score: f64,
    survivors: &'a [&'static str],
    unreached: &'a [&'static str],
    wall_s: f64,
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::outcome;
    use super::*;

    fn print(format: PlainFormat, outcomes: &[Outcome]) -> String {
        let mut bytes = Vec::new();
        let mut printer = Printer { to: &mut bytes, format, all: false };
        let mut total = Total::default();
        for outcome in outcomes {
            total.add(outcome);
            printer.outcome(outcome).unwrap();
        }
        printer.total(&total, Duration::from_secs(3)).unwrap();
        anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string()
    }

    #[test]
    fn killers_are_named_by_scenario() {
        let text = print(PlainFormat::Human, &[outcome(5, &["a::b[x=1]", "a::b[x=2]", "a::c"])]);
        assert!(text.contains("killed    nv-flag-sticky"), "{text}");
        assert!(text.contains("a::b (2)\n") && text.contains("a::c (1)\n"), "{text}");
        assert!(text.contains("1 faults, 1 reached, 1 killed: 100.0 %"), "{text}");
    }

    #[test]
    fn a_survivor_and_an_unreached_fault_are_told_apart() {
        let text = print(PlainFormat::Human, &[outcome(5, &[]), outcome(0, &[])]);
        assert!(text.contains("survived: nv-flag-sticky\nunreached: nv-flag-sticky"), "{text}");
        assert!(text.contains("0.0 %"), "{text}");
    }

    #[test]
    fn json_ends_with_a_summary() {
        let text = print(PlainFormat::Json, &[outcome(5, &["a::b"])]);
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["type"], "summary");
        assert_eq!((last["faults"].as_u64(), last["killed"].as_u64()), (Some(1), Some(1)));
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["killers"][0]["name"], "a::b");
    }

    #[test]
    fn what_was_not_run_is_said() {
        let mut hung = outcome(5, &["a::b"]);
        hung.given_up = 2;
        let text = print(PlainFormat::Human, &[hung]);
        assert!(text.contains("by    1 of 1 cases"), "{text}");
        assert!(text.contains("2 cases not run: 8 before them"), "{text}");
    }
}
