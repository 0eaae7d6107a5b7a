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
//! kernels = ["6.12..6.12.88", "7.2.."]   # optional, of KVM: releases from the first on, and before the second
//! kvm = "Protected"                      # optional, of KVM: what its word for its mode begins with
//! ```
//!
//! One cause is one entry: `id`, `state` and `fingerprint` may each be a list, of which one has to fit.
//!
//! A failure that an entry names is XFAIL; a pass where an entry expects a failure is XPASS, so that an entry
//! that is no longer true cannot stay. Another failure than the expected one remains what it is, and so does one beside which
//! the host's kernel logged a bug (rule P-26) whose fingerprint the entry does not name.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::IntoDeserializer as _;

use crate::events::{Case, Environment, Expectation, Finding};
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
    /// An entry names releases that are no range.
    #[error("{path}: the entry for `{id}` has kernels `{kernels}`, expected FROM..BEFORE, as 6.12..6.12.88")]
    Kernels {
        /// The file.
        path: String,
        /// The entry.
        id: String,
        /// What it says.
        kernels: String,
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
    id: OneOrMore<String>,
    state: OneOrMore<Expected>,
    reason: String,
    url: Option<String>,
    fingerprint: Option<OneOrMore<String>>,
    targets: Option<Vec<String>>,
    kernels: Option<Vec<String>>,
    kvm: Option<String>,
}

/// A value, or a list of values.
#[derive(Clone, Debug)]
struct OneOrMore<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Tells the two apart without losing where an error is, as an untagged enumeration would.
        struct Visitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(text.into_deserializer()).map(|one| OneOrMore(vec![one]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(list)).map(OneOrMore)
            }
        }

        deserializer.deserialize_any(Visitor(PhantomData))
    }
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
                let (path, id) = (path.to_owned(), entry.id.0.join("`, `"));
                if entry.reason.trim().is_empty() {
                    return Err(ExpectationError::NoReason { path, id });
                }
                for target in entry.targets.iter().flatten() {
                    if crate::options::TargetKind::from_name(target).is_none() {
                        return Err(ExpectationError::Target { path, id, target: target.clone() });
                    }
                }
                for kernels in entry.kernels.iter().flatten() {
                    if range(kernels).is_none() {
                        return Err(ExpectationError::Kernels { path, id, kernels: kernels.clone() });
                    }
                }
                entries.push(entry);
            }
        }
        Ok(Self { entries })
    }

    /// Turns a failure that is expected into XFAIL, and a pass that is not into XPASS.
    pub fn apply(&self, environment: &Environment, case: &mut Case) {
        let Some(state) = case.verdict() else { return };
        let mut entries = self.entries.iter().filter(|entry| entry.concerns(environment, &case.name));
        let (entry, verdict) = if state == State::Pass {
            // A flaky case may well pass.
            let Some(entry) = entries.find(|entry| !entry.state.0.contains(&Expected::Flaky)) else { return };
            (entry, State::Xpass)
        } else {
            let Some(entry) = entries.find(|entry| entry.expects(&state, case)) else { return };
            (entry, State::Xfail)
        };
        case.set_verdict(&verdict);
        case.expectation =
            Some(Expectation { reason: entry.reason.trim().to_owned(), url: entry.url.clone() });
    }
}

impl Entry {
    fn concerns(&self, environment: &Environment, name: &str) -> bool {
        self.targets.as_ref().is_none_or(|targets| targets.contains(&environment.target))
            && self.kvm.as_ref().is_none_or(|mode| {
                environment.kernel.as_ref().is_some_and(|kernel| kernel.kvm.starts_with(mode.as_str()))
            })
            && self.kernels.as_ref().is_none_or(|kernels| {
                let release = environment.kernel.as_ref().map(|kernel| kernel.release.as_str());
                release.is_some_and(|release| kernels.iter().any(|kernels| is_among(release, kernels)))
            })
            && self.id.0.iter().any(|id| {
                if id.contains('*') {
                    model::scenario::matches(name, std::slice::from_ref(id))
                } else {
                    id == name
                }
            })
    }

    fn expects(&self, state: &State, case: &Case) -> bool {
        let same = self.state.0.iter().any(|expected| match expected {
            Expected::Fail => *state == State::Fail,
            Expected::Timeout => *state == State::Timeout,
            Expected::Crash => *state == State::Crash,
            Expected::Flaky => matches!(state, State::Flaky | State::Fail),
        });
        let names = |fingerprint: &str| {
            self.fingerprint.as_ref().is_some_and(|names| names.0.iter().any(|one| one == fingerprint))
        };
        let mut logged = case.findings.iter().filter(|finding| finding.place == Finding::KERNEL);
        same && (self.fingerprint.is_none() || case.fingerprint.as_deref().is_some_and(names))
            && logged.all(|finding| names(&finding.fingerprint))
    }
}

/// The two ends of `FROM..BEFORE`. One of them may be left out.
fn range(text: &str) -> Option<(&str, &str)> {
    let (from, before) = text.split_once("..")?;
    let is_version = |end: &str| end.split('.').all(|part| part.parse::<u32>().is_ok());
    let are = [from, before].into_iter().all(|end| end.is_empty() || is_version(end));
    (are && (from, before) != ("", "")).then_some((from, before))
}

/// Whether a kernel's release lies in a range, `FROM..BEFORE`.
pub(crate) fn is_among(release: &str, kernels: &str) -> bool {
    range(kernels).is_some_and(|(from, before)| {
        (from.is_empty() || order(release, from).is_ge())
            && (before.is_empty() || order(release, before).is_lt())
    })
}

/// The order of two releases by the numbers that they begin with: what a distribution adds does not count.
fn order(one: &str, other: &str) -> Ordering {
    let numbers = |release: &str| -> Vec<u32> {
        let end = release.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(release.len());
        release[..end].split('.').map_while(|part| part.parse().ok()).collect()
    };
    numbers(one).cmp(&numbers(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Kernel;

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

        [[expect]]
        id = ["nested::eret[*]", "nested::illegal[*aa*]"]
        state = ["fail", "crash"]
        reason = "is refused"
        fingerprint = ["6f1c2a9b", "00000001"]
        targets = ["kvm", "kvm-qemu"]
        kernels = ["6.12..6.12.88", "7.2.."]

        [[expect]]
        id = "fpmr::*"
        state = "crash"
        reason = "is UNDEFINED"
        kvm = "Protected"
    "#;

    fn bare(target: &str) -> Environment {
        Environment { target: target.to_owned(), ..Environment::default() }
    }

    #[track_caller]
    fn check(environment: &Environment, name: &str, state: &State, fingerprint: &str, expected: &str) {
        let expectations = Expectations::parse([("a.toml", FILE)]).unwrap();
        let mut case = Case { name: name.into(), fingerprint: Some(fingerprint.into()), ..Case::default() };
        case.set_verdict(state);
        expectations.apply(environment, &mut case);
        assert_eq!(case.state, expected);
        assert_eq!(case.expectation.is_some(), matches!(expected, "xfail" | "xpass"));
    }

    #[test]
    fn only_the_named_failure_is_expected() {
        check(&bare("bare"), "traps::zcr_el1[vl=max]", &State::Fail, "6f1c2a9b", "xfail");
        check(&bare("bare"), "traps::zcr_el1[vl=max]", &State::Fail, "00000000", "fail");
        check(&bare("bare"), "traps::zcr_el1[vl=max]", &State::Crash, "6f1c2a9b", "crash");
        check(&bare("bare"), "traps::zcr_el1[vl=max]", &State::Pass, "", "xpass");
        check(&bare("reference"), "traps::zcr_el1[vl=max]", &State::Pass, "", "pass");
        check(&bare("reference"), "switch::wfi", &State::Timeout, "", "xfail");
        check(&bare("reference"), "switch::wfi_not", &State::Timeout, "", "timeout");
        check(&bare("reference"), "switch::wfi", &State::Skip("no-el2".into()), "", "skip");
        check(&bare("reference"), "switch::wfi", &State::Error, "", "error");
    }

    #[test]
    fn a_bug_that_the_kernel_logs_has_to_be_named() {
        let logged = |fingerprint: &str| {
            let finding = Finding {
                place: Finding::KERNEL.into(),
                fingerprint: fingerprint.into(),
                ..Finding::default()
            };
            let mut case = Case {
                name: "traps::zcr_el1".into(),
                fingerprint: Some("6f1c2a9b".into()),
                findings: vec![Finding::default(), finding],
                ..Case::default()
            };
            case.set_verdict(&State::Fail);
            let file = FILE.replacen("\"6f1c2a9b\"", "[\"6f1c2a9b\", \"00000026\"]", 1);
            Expectations::parse([("a.toml", file.as_str())]).unwrap().apply(&bare("bare"), &mut case);
            case.state
        };
        assert_eq!((logged("00000026").as_str(), logged("00000027").as_str()), ("xfail", "fail"));
    }

    #[test]
    fn a_cause_may_show_in_several_ways() {
        let kernel = |release: &str| Environment {
            kernel: Some(Kernel { release: release.to_owned(), ..Kernel::default() }),
            ..bare("kvm-qemu")
        };
        let new = kernel("7.2.13+deb14-cloud-arm64");
        check(&new, "nested::eret[a=1]", &State::Fail, "6f1c2a9b", "xfail");
        check(&new, "nested::illegal[a=aa]", &State::Crash, "00000001", "xfail");
        check(&new, "nested::illegal[a=ab]", &State::Crash, "00000001", "crash");
        check(&new, "nested::eret[a=1]", &State::Crash, "00000002", "crash");
        check(&new, "nested::eret[a=1]", &State::Pass, "", "xpass");
        check(&kernel("6.12.88"), "nested::eret[a=1]", &State::Pass, "", "pass");
        check(&kernel("6.12.43+deb13"), "nested::eret[a=1]", &State::Fail, "6f1c2a9b", "xfail");
        check(&bare("kvm-qemu"), "nested::eret[a=1]", &State::Fail, "6f1c2a9b", "fail");
    }

    #[test]
    fn a_cause_may_be_one_of_a_mode() {
        let kernel = |kvm: &str| Environment {
            kernel: Some(Kernel { kvm: kvm.to_owned(), ..Kernel::default() }),
            ..bare("kvm-qemu")
        };
        let protected = kernel("Protected hVHE mode initialized successfully");
        check(&protected, "fpmr::fields", &State::Crash, "0", "xfail");
        check(&protected, "fpmr::fields", &State::Pass, "", "xpass");
        check(&kernel("VHE mode initialized successfully"), "fpmr::fields", &State::Crash, "0", "crash");
        check(&bare("kvm-qemu"), "fpmr::fields", &State::Pass, "", "pass");
    }

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        for (release, kernels, expected) in [
            ("6.12.43+deb13-arm64", "6.12..6.12.88", true),
            ("6.12.88", "6.12..6.12.88", false),
            ("6.9.1", "6.12..", false),
            ("7.3-rc7", "..7.3", false),
            ("7.2.13", "..7.3", true),
            ("7.2.13", "7.2..7.3", true),
            ("", "6.1..", false),
        ] {
            assert_eq!(is_among(release, kernels), expected, "{release} {kernels}");
        }
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
        let whole = "[[expect]]\nid = \"a\"\nstate = \"fail\"\nreason = \"b\"\n";
        refused(&format!("{whole}targets = [\"qemu\"]\n"), "unknown target `qemu`");
        for kernels in ["7.2", "..", "7.2..7.x", "7.2...7.3"] {
            refused(&format!("{whole}kernels = [\"{kernels}\"]\n"), "expected FROM..BEFORE");
        }
    }
}
