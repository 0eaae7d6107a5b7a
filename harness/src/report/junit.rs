//! JUnit XML in the dialect that nextest writes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Reporter, clean, failure};
use crate::events::{Case, Environment, Summary};
use crate::result::State;

/// Collects the cases and prints one document at the end: a suite for each area.
#[derive(Debug)]
pub struct Junit<W> {
    to: W,
    environment: Environment,
    areas: BTreeMap<String, TestSuite>,
}

impl<W: Write> Junit<W> {
    /// Prints to `to`.
    pub fn new(to: W) -> Self {
        Self { to, environment: Environment::default(), areas: BTreeMap::new() }
    }

    fn document(&mut self, summary: Option<&Summary>) -> Report {
        let mut report = Report::new("holdfast");
        for (_, mut suite) in std::mem::take(&mut self.areas) {
            suite.add_property(("target", self.environment.target.as_str()));
            suite.add_property(("suite-version", self.environment.suite_version.as_str()));
            if let Some(commit) = &self.environment.suite_commit {
                suite.add_property(("suite-commit", commit.as_str()));
            }
            if let Some(emulator) = &self.environment.emulator {
                suite.add_property(("emulator", emulator.version.as_str()));
            }
            if let Some(fault) = &self.environment.fault {
                suite.add_property(("fault", fault.as_str()));
            }
            if let Some(doorbell) = &self.environment.doorbell {
                suite.add_property(("doorbell", doorbell.as_str()));
            }
            if let Some(sweep) = &self.environment.sweep {
                suite.add_property(("sweep", sweep.as_str()));
            }
            for setting in &self.environment.strategy {
                if let Some((switch, value)) = setting.split_once('=') {
                    suite.add_property((switch, value));
                }
            }
            suite.add_property(("depth", self.environment.depth.to_string().as_str()));
            report.add_test_suite(suite);
        }
        match summary {
            Some(summary) => {
                report.set_time(Duration::try_from_secs_f64(summary.wall_s).unwrap_or_default());
            }
            None => {
                let mut suite = TestSuite::new("holdfast");
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_type("void").set_message("the run ended early");
                suite.add_test_case(TestCase::new("run", status));
                report.add_test_suite(suite);
            }
        }
        report
    }
}

impl<W: Write> Reporter for Junit<W> {
    fn environment(&mut self, environment: &Environment) -> io::Result<()> {
        self.environment = environment.clone();
        Ok(())
    }

    fn case(&mut self, case: &Case) -> io::Result<()> {
        let area = case.name.split("::").next().unwrap_or_default().to_owned();
        let mut test = TestCase::new(case.name.as_str(), status(&self.environment, case));
        test.set_classname(area.as_str()).set_time(Duration::from_micros(case.duration_us));
        if !case.console.is_empty() {
            test.set_system_out(case.console.as_str());
        }
        self.areas.entry(area).or_insert_with_key(|area| TestSuite::new(area.as_str())).add_test_case(test);
        Ok(())
    }

    fn end(&mut self, summary: Option<&Summary>) -> io::Result<()> {
        let report = self.document(summary);
        let text = report.to_string().map_err(io::Error::other)?;
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}

fn status(environment: &Environment, case: &Case) -> TestCaseStatus {
    let state = case.verdict().unwrap_or(State::Error);
    let failed = |kind: NonSuccessKind| {
        let mut status = TestCaseStatus::non_success(kind);
        status
            .set_type(state.name())
            .set_message(failure::headline(case))
            .set_description(failure::plain(environment, case));
        status
    };
    match &state {
        State::Pass => TestCaseStatus::success(),
        State::Fail | State::Xpass | State::Flaky => failed(NonSuccessKind::Failure),
        State::Timeout | State::Crash | State::Error | State::Miss => failed(NonSuccessKind::Error),
        State::Skip(code) => skipped(code, &case.why),
        State::Xfail => {
            let reason = case.expectation.as_ref().map_or("", |expectation| &expectation.reason);
            skipped("xfail", reason)
        }
    }
}

fn skipped(code: &str, why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_type(code).set_message(clean::line(why));
    status
}
