//! One row: what the event log of a run says.

use std::fmt;

use anyhow::Context as _;
use serde_json::Value;

/// A kernel in a mode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// The kernel as it was asked for.
    pub(super) kernel: String,
    /// The mode as it was asked for.
    pub(super) mode: String,
    /// The same kernel, whatever comes after it.
    pub(super) exact: String,
    /// `uname -r`.
    pub(super) release: String,
    /// What KVM says of its mode.
    pub(super) kvm: String,
    /// QEMU's version.
    pub(super) qemu: String,
    /// What ran the cases.
    pub(super) suite: Suite,
    /// When it began, in UTC: what is later compares greater.
    pub(super) started: String,
    pub(super) outcome: Outcome,
}

/// The Holdfast of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Suite {
    pub(super) version: String,
    /// What `git describe` said of its sources; empty if they were no checkout.
    pub(super) commit: String,
}

/// What a row came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The kernel has no such guests, and says why.
    Lacks(String),
    /// The cases ran.
    Ran {
        counts: Counts,
        wall_s: f64,
        /// Every case that neither passed nor was skipped.
        cases: Vec<Case>,
    },
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) pass: usize,
    pub(super) xfail: usize,
    pub(super) skip: usize,
    /// Everything else: no verdict of these is good.
    pub(super) fail: usize,
}

/// A case that did not pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) state: String,
    /// Why: of an expected failure, the reason that its expectation gives.
    pub(super) why: String,
    pub(super) url: Option<String>,
}

impl Counts {
    /// All the cases.
    pub(super) const fn all(self) -> usize {
        self.pass + self.xfail + self.skip + self.fail
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, commit } = self;
        write!(f, "Holdfast {version} ({})", if commit.is_empty() { "no commit" } else { commit })
    }
}

impl Row {
    /// Reads an event log.
    pub(super) fn read(kernel: &str, mode: &str, log: &str) -> anyhow::Result<Self> {
        let mut lines = log.lines().map(serde_json::from_str::<Value>);
        let environment = lines.next().context("the log is empty")??;
        let under_test = &environment["kernel"];
        let mut counts = Counts::default();
        let (mut cases, mut lacks, mut wall_s) = (Vec::new(), None, None);
        for line in lines {
            let line = line?;
            if line["type"] == "summary" {
                anyhow::ensure!(
                    line["stopped"] != true,
                    "the run was stopped: its log is not of the whole suite"
                );
                wall_s = line["wall_s"].as_f64();
                continue;
            }
            // Who else was asked is the report's.
            if line["type"] == "witness" {
                continue;
            }
            match line["state"].as_str().context("a case has no state")? {
                "pass" => counts.pass += 1,
                "skip" => {
                    counts.skip += 1;
                    if line["code"] == "no-el2" {
                        lacks = Some(text(&line["why"]));
                    }
                    continue;
                }
                state => {
                    *(if state == "xfail" { &mut counts.xfail } else { &mut counts.fail }) += 1;
                    cases.push(case(state, &line));
                }
            }
        }
        let wall_s = wall_s.context("the run ended early: its log has no summary")?;
        let outcome = match lacks.filter(|_| mode == "nested") {
            Some(why) if counts.all() == counts.skip => Outcome::Lacks(why),
            _ => Outcome::Ran { counts, wall_s, cases },
        };
        let qemu = text(&environment["emulator"]["version"]);
        Ok(Self {
            kernel: kernel.to_owned(),
            mode: mode.to_owned(),
            exact: exact(&under_test["options"]).unwrap_or(kernel).to_owned(),
            release: text(&under_test["release"]),
            kvm: text(&under_test["kvm"]),
            qemu: qemu.strip_prefix("QEMU emulator version ").unwrap_or(&qemu).to_owned(),
            suite: Suite {
                version: text(&environment["suite_version"]),
                commit: text(&environment["suite_commit"]),
            },
            started: text(&environment["started"]),
            outcome,
        })
    }

    /// The kernel and the mode.
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.kernel, self.mode)
    }

    /// The command that runs the row again.
    pub(super) fn command(&self) -> String {
        let Self { exact, mode, .. } = self;
        let scale = super::TIMEOUT_SCALE;
        format!(
            "cargo holdfast run --target kvm-qemu --kernel {exact} --kvm-mode {mode} --timeout-scale {scale}"
        )
    }

    /// Whether something failed that is not known to.
    pub(super) fn is_bad(&self) -> bool {
        matches!(&self.outcome, Outcome::Ran { counts, .. } if counts.fail > 0)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn case(state: &str, line: &Value) -> Case {
    let expectation = &line["expectation"];
    let finding = &line["findings"][0];
    let mut why = text(&line["why"]);
    if !finding.is_null() {
        let expected = finding["expected"].as_array().cloned().unwrap_or_default();
        let expected: Vec<String> = expected.iter().map(text).collect();
        if !why.is_empty() {
            why.push_str("; ");
        }
        let (what, actual) = (text(&finding["what"]), text(&finding["actual"]));
        why.push_str(&match actual.as_str() {
            "" => what,
            actual => format!("{what} is {actual}, expected {}", expected.join(" or ")),
        });
    }
    if let Some(reason) = expectation["reason"].as_str() {
        why = reason.to_owned();
    }
    Case {
        name: text(&line["name"]),
        state: state.to_owned(),
        why: why.split_whitespace().collect::<Vec<_>>().join(" "),
        url: expectation["url"].as_str().map(str::to_owned),
    }
}

/// The kernel by its package's version, which `debian:7.2` has only for a while.
fn exact(options: &Value) -> Option<&str> {
    options.as_array()?.iter().find(|option| option[0] == "kernel")?[1].as_str()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const LOG: &str = r#"{"type":"environment","suite_version":"0.1.0","suite_commit":"94b0e62","started":"2026-11-21T12:00:00Z","kernel":{"release":"7.2.13","kvm":"VHE+NV","options":[["kernel","debian:7.2.13-1"],["kvm-mode","nested"]]},"emulator":{"version":"QEMU emulator version 11.1.3"}}
{"type":"case","name":"a::b[c=1]","state":"pass","code":null,"why":"","expectation":null,"findings":[]}
{"type":"case","name":"a::b[c=2]","state":"xfail","code":null,"why":"","expectation":{"reason":"KVM\nforgets","url":"https://example.org/1"},"findings":[]}
{"type":"case","name":"a::b[c=3]","state":"crash","code":null,"why":"an arrival","expectation":null,"findings":[{"what":"vector","expected":["0x400"],"actual":"0x200"}]}
{"type":"case","name":"a::b[c=4]","state":"skip","code":"no-vector-length","why":"none","expectation":null,"findings":[]}
{"type":"witness","case":"a::b[c=3]","on":"bare","answer":"no"}
{"type":"summary","wall_s":1.5}
"#;

    #[test]
    fn a_log_becomes_a_row() {
        let row = Row::read("debian:7.2", "nested", LOG).unwrap();
        assert_eq!(row.suite.to_string(), "Holdfast 0.1.0 (94b0e62)");
        assert_eq!((row.exact.as_str(), row.qemu.as_str()), ("debian:7.2.13-1", "11.1.3"));
        let Outcome::Ran { counts, cases, .. } = &row.outcome else { panic!("{row:?}") };
        assert_eq!(*counts, Counts { pass: 1, xfail: 1, skip: 1, fail: 1 });
        assert_eq!((cases[0].why.as_str(), cases[0].url.is_some()), ("KVM forgets", true));
        assert_eq!(cases[1].why, "an arrival; vector is 0x200, expected 0x400");
        assert!(row.is_bad());
    }

    #[test]
    fn a_kernel_without_nested_guests_lacks_the_mode() {
        let skipped = r#"{"state":"skip","code":"no-el2","why":"KVM has no such guest","name":"a"}"#;
        let lines: Vec<&str> = LOG.lines().collect();
        let log = [lines[0], skipped, lines[lines.len() - 1]].join("\n");
        let outcome = |mode| Row::read("debian:6.1", mode, &log).unwrap().outcome;
        assert_eq!(outcome("nested"), Outcome::Lacks("KVM has no such guest".to_owned()));
        assert!(matches!(outcome("vhe"), Outcome::Ran { .. }));
    }

    #[test]
    fn a_run_that_ended_early_is_an_error() {
        let lines: Vec<&str> = LOG.lines().take(3).collect();
        assert!(Row::read("debian:7.2", "vhe", &lines.join("\n")).is_err());
        assert!(Row::read("debian:7.2", "vhe", "").is_err());
        let stopped = LOG.replace("\"wall_s\":1.5", "\"stopped\":true,\"wall_s\":1.5");
        assert!(Row::read("debian:7.2", "vhe", &stopped).is_err());
    }
}
