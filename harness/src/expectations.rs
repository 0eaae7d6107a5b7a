//! What is known not to pass: `suites/expect/*.toml`.
//!
//! ```toml
//! [[expect]]
//! id = "traps::zcr_*"                    # a case, or a pattern in which `*` stands for anything
//! state = "fail"                         # or "timeout", "crash", "flaky"
//! reason = "QEMU checks FPEN on ZCR accesses"
//! url = "https://gitlab.com/qemu-project/qemu/-/issues/1"   # optional
//! fingerprint = "6f1c2a9b"               # optional: only this failure
//! targets = ["bare"]                     # optional: all
//! ```
//!
//! A failure that an entry names is XFAIL; a pass where an entry expects a failure is XPASS, so that an entry
//! that is no longer true cannot stay. Another failure than the expected one remains what it is.

use serde::Deserialize;

use crate::events::{Case, Expectation};
use crate::result::State;

/// An expectation file that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ExpectationError {
    /// It cannot be parsed; the source says where.
    #[error("{path}: {source}")]
    Toml {
        /// The file.
        path: String,
        /// Why, with line and column.
        source: Box<toml::de::Error>,
    },
    /// An entry is without a reason.
    #[error("{path}: the entry for `{id}` needs a reason")]
    NoReason {
        /// The file.
        path: String,
        /// The entry.
        id: String,
    },
    /// An entry names a target that does not exist.
    #[error("{path}: the entry for `{id}` names the unknown target `{target}`")]
    Target {
        /// The file.
        path: String,
        /// The entry.
        id: String,
        /// The target.
        target: String,
    },
}

/// Every expectation of the suite.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    expect: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    state: Expected,
    reason: String,
    url: Option<String>,
    fingerprint: Option<String>,
    targets: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Fail,
    Timeout,
    Crash,
    Flaky,
}

impl Expectations {
    /// Parses files, each a path and its text.
    ///
    /// # Errors
    ///
    /// If a file has an error, with its line and column.
    pub fn parse<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ExpectationError> {
        let mut entries = Vec::new();
        for (path, text) in files {
            let file: File = toml::from_str(text).map_err(|source| ExpectationError::Toml {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
            for entry in file.expect {
                if entry.reason.trim().is_empty() {
                    return Err(ExpectationError::NoReason { path: path.to_owned(), id: entry.id });
                }
                for target in entry.targets.iter().flatten() {
                    if crate::options::TargetKind::from_name(target).is_none() {
                        let (id, target) = (entry.id.clone(), target.clone());
                        return Err(ExpectationError::Target { path: path.to_owned(), id, target });
                    }
                }
                entries.push(entry);
            }
        }
        Ok(Self { entries })
    }

    /// Turns a failure that is expected into XFAIL, and a pass that is not into XPASS.
    pub fn apply(&self, target: &str, case: &mut Case) {
        let Some(state) = case.verdict() else { return };
        let mut entries = self.entries.iter().filter(|entry| entry.concerns(target, &case.name));
        let (entry, verdict) = if state == State::Pass {
            // A flaky case may well pass.
            let Some(entry) = entries.find(|entry| entry.state != Expected::Flaky) else { return };
            (entry, State::Xpass)
        } else {
            let Some(entry) = entries.find(|entry| entry.expects(&state, case.fingerprint.as_deref())) else {
                return;
            };
            (entry, State::Xfail)
        };
        case.set_verdict(&verdict);
        case.expectation = Some(Expectation { reason: entry.reason.clone(), url: entry.url.clone() });
    }
}

impl Entry {
    fn concerns(&self, target: &str, name: &str) -> bool {
        self.targets.as_ref().is_none_or(|targets| targets.iter().any(|one| one == target))
            && if self.id.contains('*') {
                model::scenario::matches(name, std::slice::from_ref(&self.id))
            } else {
                self.id == name
            }
    }

    fn expects(&self, state: &State, fingerprint: Option<&str>) -> bool {
        let same = match self.state {
            Expected::Fail => *state == State::Fail,
            Expected::Timeout => *state == State::Timeout,
            Expected::Crash => *state == State::Crash,
            Expected::Flaky => matches!(state, State::Flaky | State::Fail),
        };
        same && self.fingerprint.as_deref().is_none_or(|expected| Some(expected) == fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [[expect]]
        id = "traps::zcr_*"
        state = "fail"
        reason = "QEMU checks FPEN"
        fingerprint = "6f1c2a9b"
        targets = ["bare"]

        [[expect]]
        id = "switch::wfi"
        state = "timeout"
        reason = "hangs"
    "#;

    #[track_caller]
    fn check(target: &str, name: &str, state: &State, fingerprint: &str, expected: &str) {
        let expectations = Expectations::parse([("a.toml", FILE)]).unwrap();
        let mut case = Case { name: name.into(), fingerprint: Some(fingerprint.into()), ..Case::default() };
        case.set_verdict(state);
        expectations.apply(target, &mut case);
        assert_eq!(case.state, expected);
        assert_eq!(case.expectation.is_some(), matches!(expected, "xfail" | "xpass"));
    }

    #[test]
    fn only_the_named_failure_is_expected() {
        check("bare", "traps::zcr_el1[vl=max]", &State::Fail, "6f1c2a9b", "xfail");
        check("bare", "traps::zcr_el1[vl=max]", &State::Fail, "00000000", "fail");
        check("bare", "traps::zcr_el1[vl=max]", &State::Crash, "6f1c2a9b", "crash");
        check("bare", "traps::zcr_el1[vl=max]", &State::Pass, "", "xpass");
        check("reference", "traps::zcr_el1[vl=max]", &State::Pass, "", "pass");
        check("reference", "switch::wfi", &State::Timeout, "", "xfail");
        check("reference", "switch::wfi_not", &State::Timeout, "", "timeout");
        check("reference", "switch::wfi", &State::Skip("no-el2".into()), "", "skip");
        check("reference", "switch::wfi", &State::Error, "", "error");
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = Expectations::parse([("a.toml", text)]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn errors_name_file_and_line() {
        refused("[[expect]]\nid = \"a\"\nstate = \"fail\"\n", "missing field `reason`");
        refused("[[expect]]\nid = \"a\"\nstate = \"fail\"\nreason = \" \"\n", "needs a reason");
        refused("[[expect]]\nid = \"a\"\nstate = \"pass\"\nreason = \"b\"\n", "line 3, column 9");
        refused("[[expect]]\nid = 1\n", "a.toml: ");
        refused(
            "[[expect]]\nid = \"a\"\nstate = \"fail\"\nreason = \"b\"\ntargets = [\"qemu\"]\n",
            "unknown target `qemu`",
        );
    }
}
