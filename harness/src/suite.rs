//! The suite that is part of this program: scenarios and expectations.

use std::sync::Arc;

use model::scenario::{Case, ParseError, Scenario, load_embedded};

use crate::expectations::{ExpectationError, Expectations};

include!(concat!(env!("OUT_DIR"), "/suites.rs"));

/// Files below here are no scenarios.
const EXPECT: &str = "expect/";

/// A suite with an error.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Scenarios that cannot be read, each with file, line and column.
    #[error("{}", list(.0))]
    Scenarios(Vec<ParseError>),
    /// An expectation file that cannot be read.
    #[error(transparent)]
    Expectations(#[from] ExpectationError),
}

fn list(errors: &[ParseError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Scenarios, and what is known not to pass.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The scenarios in the order of their names.
    pub scenarios: Vec<Scenario>,
    /// The expectations of all targets.
    pub expectations: Expectations,
}

impl Suite {
    /// Reads the suite that this program was built with.
    ///
    /// # Errors
    ///
    /// If a file has an error.
    pub fn embedded() -> Result<Self, SuiteError> {
        let (expect, scenarios): (Vec<_>, Vec<_>) =
            EMBEDDED_SUITES.iter().copied().partition(|(path, _)| path.starts_with(EXPECT));
        let paths: Vec<(String, &str)> =
            scenarios.into_iter().map(|(path, text)| (format!("suites/{path}"), text)).collect();
        let files: Vec<(&str, &str)> = paths.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let scenarios = load_embedded(&files).map_err(SuiteError::Scenarios)?;
        Ok(Self { scenarios, expectations: Expectations::parse(expect)? })
    }

    /// Every case, in the order of the scenarios' names and their matrices.
    #[must_use]
    pub fn cases(&self) -> Vec<Arc<Case>> {
        self.scenarios.iter().flat_map(Scenario::cases).map(Arc::new).collect()
    }
}

/// The cases that filters choose: a filter that is a case's whole name chooses that case alone, any other as
/// [`model::scenario::matches`] has it.
#[must_use]
pub fn select(cases: &[Arc<Case>], filters: &[String]) -> Vec<Arc<Case>> {
    let chosen = |case: &Case| {
        filters.is_empty()
            || filters.iter().any(|filter| {
                if cases.iter().any(|case| case.name == *filter) {
                    case.name == *filter
                } else {
                    model::scenario::matches(&case.name, std::slice::from_ref(filter))
                }
            })
    };
    cases.iter().filter(|case| chosen(case)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(filters: &[&str]) -> Vec<String> {
        let file = |steps| format!("title = \"a\"\nrules = [\"P-01\"]\nsteps = \"\"\"\n{steps}\n\"\"\"\n");
        let (one, two) = (file("G fill v\nG expect v"), file("G fill fpsr\nG expect fpsr"));
        let files = [("suites/a/keeps.toml", one.as_str()), ("suites/a/keeps_fpsr.toml", two.as_str())];
        let scenarios = load_embedded(&files).unwrap();
        let suite = Suite { scenarios, expectations: Expectations::default() };
        let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
        select(&suite.cases(), &filters).iter().map(|case| case.name.clone()).collect()
    }

    #[test]
    fn a_whole_name_chooses_one_case() {
        assert_eq!(names(&["a::keeps"]), ["a::keeps"]);
        assert_eq!(names(&["a::keep"]), ["a::keeps", "a::keeps_fpsr"]);
        assert_eq!(names(&["a::keeps", "fpsr"]), ["a::keeps", "a::keeps_fpsr"]);
        assert_eq!(names(&["nothing"]), [""; 0]);
    }

    #[test]
    fn the_embedded_suite_has_no_error() {
        Suite::embedded().unwrap();
    }
}
