//! What became of the faults.

use std::collections::BTreeMap;
use std::time::Duration;

use abi::fault::Fault;
use abi::skip;

use crate::result::{CaseResult, State};

/// What became of one fault.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) fault: Fault,
    /// Cases that come by its line, and so ran with it or were to run.
    pub(super) cases: usize,
    /// How often its line ran, in all cases.
    pub(super) reached: u64,
    /// The cases that noticed it, and how.
    pub(super) killers: BTreeMap<String, State>,
    /// Cases that are no killers although they do not pass, and why.
    pub(super) errors: BTreeMap<String, String>,
    /// Cases that did not run because of what it cost before them.
    pub(super) given_up: usize,
    /// What all its cases took, on however many machines.
    pub(super) time: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Total {
    /// Cases that do not pass without a fault.
    pub(super) unfit: usize,
    pub(super) faults: usize,
    pub(super) reached: usize,
    pub(super) killed: usize,
    pub(super) survivors: Vec<&'static str>,
    pub(super) unreached: Vec<&'static str>,
}

impl Outcome {
    pub(super) const fn new(fault: Fault) -> Self {
        Self {
            fault,
            cases: 0,
            reached: 0,
            killers: BTreeMap::new(),
            errors: BTreeMap::new(),
            given_up: 0,
            time: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, result: CaseResult) {
        let reached = result.hyp.as_ref().map_or(0, |hyp| hyp.fault_reached);
        self.cases += 1;
        self.reached = self.reached.saturating_add(reached);
        self.time = self.time.saturating_add(result.duration);
        match result.state {
            State::Skip(code) if code == skip::GAVE_UP => self.given_up += 1,
            State::Error | State::Miss => {
                self.errors.insert(result.name, result.why);
            }
            // Something else is wrong: what was never committed cannot have been noticed.
            state if state.is_nonconformant() && reached == 0 => {
                self.errors.insert(result.name, format!("{state}, and the fault was not reached"));
            }
            state if state.is_nonconformant() => {
                self.killers.insert(result.name, state);
            }
            _ => {}
        }
    }

    /// The killers by scenario.
    pub(super) fn scenarios(&self) -> BTreeMap<&str, usize> {
        let mut scenarios = BTreeMap::new();
        for name in self.killers.keys() {
            *scenarios.entry(name.split('[').next().unwrap_or_default()).or_default() += 1;
        }
        scenarios
    }
}

impl Total {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        let (reached, killed) = (outcome.reached > 0, !outcome.killers.is_empty());
        self.faults += 1;
        self.reached += usize::from(reached);
        self.killed += usize::from(reached && killed);
        if !reached {
            self.unreached.push(outcome.fault.name());
        } else if !killed {
            self.survivors.push(outcome.fault.name());
        }
    }

    /// Killed of all, in percent.
    pub(super) fn score(&self) -> f64 {
        if self.faults == 0 { 0.0 } else { 100.0 * self.killed as f64 / self.faults as f64 }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::result::HypReport;

    use super::*;

    /// Of a fault that was reached so often, with these killers.
    pub(in crate::cli::mutants) fn outcome(reached: u64, killers: &[&str]) -> Outcome {
        Outcome {
            cases: 3,
            reached,
            killers: killers.iter().map(|name| ((*name).to_owned(), State::Fail)).collect(),
            time: Duration::from_millis(1500),
            ..Outcome::new(Fault::NvFlagSticky)
        }
    }

    #[test]
    fn a_failure_without_the_fault_reached_is_no_kill() {
        let mut total = Total::default();
        total.add(&outcome(0, &["a::b"]));
        assert_eq!((total.killed, total.reached), (0, 0));
    }

    #[test]
    fn only_a_case_that_reached_the_fault_kills() {
        let mut outcome = outcome(5, &[]);
        let mut add = |name, state, reached| {
            let mut result = CaseResult::without_findings(name, state, "why");
            result.hyp = Some(Box::new(HypReport {
                end: None,
                end_arg: 0,
                end_at: [0; 4],
                fault_reached: reached,
                fault_lines: [0; 2],
                disturbed: 0,
                harm: abi::hyp::Harm::NONE,
                counters: zerocopy::FromZeros::new_zeroed(),
                trace: Vec::new(),
            }));
            outcome.add(result);
        };
        add("a", State::Error, 1);
        add("b", State::Skip(skip::GAVE_UP.to_owned()), 0);
        add("c", State::Miss, 0);
        add("d", State::Crash, 1);
        add("e", State::Timeout, 0);
        assert_eq!(outcome.errors.keys().collect::<Vec<_>>(), ["a", "c", "e"]);
        assert_eq!((outcome.killers.len(), outcome.given_up, outcome.reached), (1, 1, 7));
        assert_eq!(outcome.errors["e"], "TIMEOUT, and the fault was not reached");
    }
}
