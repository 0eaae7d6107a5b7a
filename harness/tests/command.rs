//! The command as a user meets it: exit codes, and what goes to which stream. Starts no machine.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

use std::process::{Command, Output};

use camino::Utf8Path;
use harness::events::{Case, Environment, EventWriter, SCHEMA_VERSION, Summary};
use harness::result::State;

fn holdfast(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast")).args(args).output().unwrap()
}

#[track_caller]
fn check(args: &[&str], code: i32, out: &str, err: &str) {
    let output = holdfast(args);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{stdout}\n{stderr}");
    assert!(stdout.contains(out), "{args:?}: no `{out}` in\n{stdout}");
    assert!(stderr.contains(err), "{args:?}: no `{err}` in\n{stderr}");
}

/// A log of one case in this state, without a summary if the run was killed.
fn log(folder: &Utf8Path, state: &State, killed: bool) {
    let mut writer = EventWriter::create(&folder.join("events.jsonl")).unwrap();
    writer
        .environment(&Environment { schema_version: SCHEMA_VERSION, planned: 1, ..Environment::default() })
        .unwrap();
    let mut case = Case { name: "area::case".into(), ..Case::default() };
    case.set_verdict(state);
    writer.case(&case).unwrap();
    if !killed {
        let mut summary = Summary::default();
        summary.count(state);
        writer.summary(summary).unwrap();
    }
}

#[track_caller]
fn report(state: &State, killed: bool, code: i32, verdict: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap();
    log(path, state, killed);
    check(&["report", path.as_str()], code, verdict, "");
}

#[test]
fn the_exit_code_alone_gives_the_verdict() {
    report(&State::Pass, false, 0, "conformant: 1 pass");
    report(&State::Xfail, false, 0, "conformant: 1 xfail");
    report(&State::Fail, false, 1, "not conformant: 1 fail");
    report(&State::Crash, false, 1, "not conformant: 1 crash");
    report(&State::Error, false, 3, "void: 1 error");
    report(&State::Skip("no-el2".into()), false, 4, "nothing ran: 1 skip");
    report(&State::Pass, true, 3, "void: ended early: 1 pass");
}

#[test]
fn wrong_usage_is_2() {
    check(&["run", "--target", "toaster"], 2, "", "possible values: reference, bare");
    check(&["frobnicate"], 2, "", "unrecognized subcommand");
    check(&["explain", "no such thing"], 2, "", "no case, rule or fault is called `no such thing`");
    check(&["replay", "no/such/file.toml"], 2, "", "cannot read no/such/file.toml");
    check(&["report", "no/such/run"], 2, "", "cannot open the event log no/such/run");
}

#[test]
fn a_broken_scenario_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.toml");
    std::fs::write(&path, "title = \"a\"\nrules = [\"P-01\"]\nsteps = \"\"\"\nG fil v\n\"\"\"\n").unwrap();
    check(&["replay", path.to_str().unwrap()], 2, "", "broken.toml:4:");
}

#[test]
fn a_broken_log_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    std::fs::write(&path, "{\"type\":\"environment\"\n").unwrap();
    check(&["report", path.to_str().unwrap()], 2, "", "line 1 is no event");
}

#[test]
fn nothing_to_run_is_4() {
    check(&["run", "no such case"], 4, "", "no case has such a name");
    check(&["list", "no such case"], 4, "0 cases in 0 scenarios", "");
}

#[test]
fn rules_and_faults_are_explained() {
    check(&["explain", "p-81"], 0, "L2 finds in the registers exactly what L1 left there", "");
    check(&["explain", "nv-reload-old"], 0, "P-80", "");
    check(&["list", "--rules"], 0, "no case: needs a guest with SME", "");
    check(&["list", "--faults", "nv-reload"], 0, "1 fault\n", "");
}

#[test]
fn every_list_ends_with_a_summary() {
    for args in [
        &["list"][..],
        &["list", "--rules"],
        &["list", "--faults"],
        &["list", "--windows", "nested::eret_keeps_z"],
    ] {
        let mut args = args.to_vec();
        args.extend(["--format", "json"]);
        let output = holdfast(&args);
        assert!(output.status.success(), "{args:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let last: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        assert_eq!(last["type"], "summary", "{args:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let holdfast = env!("CARGO_BIN_EXE_holdfast");
    let script = format!("set -o pipefail; '{holdfast}' list --format names | head -n 1 >/dev/null");
    let status = Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(status.success());
}
