//! `report` of logs that were cut, flipped, or made up.

use std::fs;

use harness::events::{Case, Environment, EventWriter, SCHEMA_VERSION, Summary};
use harness::result::State;

use super::{Random, ended, folder, holdfast};

/// A whole log of a run that was not conformant.
fn whole() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = EventWriter::new("events.jsonl".into(), &mut bytes);
    let environment = Environment { schema_version: SCHEMA_VERSION, planned: 3, ..Environment::default() };
    writer.environment(&environment).unwrap();
    let mut summary = Summary::default();
    for (name, state) in [("a::b", State::Pass), ("a::c", State::Fail), ("a::d", State::Pass)] {
        let mut case = Case { name: name.into(), ..Case::default() };
        case.set_verdict(&state);
        summary.count(&state);
        writer.case(&case).unwrap();
    }
    writer.summary(summary).unwrap();
    bytes
}

/// Reports these bytes.
#[track_caller]
fn report(log: &[u8], args: &[&str]) -> (i32, String, String) {
    let (_folder, path) = folder();
    let file = path.join("events.jsonl");
    fs::write(&file, log).unwrap();
    ended(&holdfast(&[&["report", file.as_str()], args].concat()))
}

pub fn a_log_cut_behind_its_first_line_is_void() {
    let whole = whole();
    let ends: Vec<usize> =
        whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    for (first, last) in ends.iter().zip(&ends[1..]) {
        // At the end of a line, in the midst of the next, and right before its end.
        for end in [*first, (first + last) / 2, last - 1] {
            let (code, stdout, stderr) = report(&whole[..end], &[]);
            assert_eq!(code, 3, "cut at {end}: {stdout}{stderr}");
            assert!(stdout.contains("void: ended early"), "cut at {end}: {stdout}");
        }
    }
    let (code, stdout, _) = report(&whole, &[]);
    assert_eq!(code, 1, "{stdout}");
}

pub fn every_format_of_a_cut_log_says_that_it_is_void() {
    let whole = whole();
    let cut = &whole[..whole.len() - 1];
    for (format, word) in [("human", "void"), ("ktap", "void"), ("junit", "the run ended early")] {
        let (code, stdout, _) = report(cut, &["--format", format]);
        assert_eq!(code, 3, "{format}");
        assert!(stdout.contains(word), "{format}: {stdout}");
    }
    let (code, stdout, _) = report(cut, &["--format", "json"]);
    assert!(code == 3 && !stdout.contains("\"type\":\"summary\""), "{stdout}");
}

pub fn what_is_no_log_is_refused() {
    let whole = whole();
    let line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let no_log = "line 1 is not the environment: not an event log";
    let garbage: Vec<u8> = {
        let mut random = Random(3);
        (0..5000).map(|_| random.byte()).collect()
    };
    for (log, message) in [
        (&b""[..], no_log),
        (&whole[..line / 2], no_log),
        (&whole[line..], no_log),
        (&[b'\n'; 10], "line 1 is no event"),
        (&garbage, "line 1 is no event"),
        (&[&whole[..line], &garbage].concat(), "line 2 is no event"),
        (&[&whole[..], &whole].concat(), "nothing may follow the summary"),
    ] {
        let (code, stdout, stderr) = report(log, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(message), "no `{message}` in\n{stderr}");
    }
}

pub fn a_summary_that_contradicts_its_cases_is_refused() {
    let text = String::from_utf8(whole()).unwrap();
    for (from, to) in [
        ("\"fail\":1", "\"fail\":0"),
        ("\"pass\":2", "\"pass\":3"),
        ("\"state\":\"fail\"", "\"state\":\"pass\""),
    ] {
        let lie = text.replacen(from, to, 1);
        assert_ne!(lie, text, "{from}");
        let (code, stdout, stderr) = report(lie.as_bytes(), &[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains("the summary counts"), "{stderr}");
    }
}

pub fn no_flipped_bit_makes_a_failed_run_pass() {
    let mut random = Random(4);
    for _ in 0..60 {
        let mut log = whole();
        random.flip(&mut log);
        let (code, stdout, stderr) = report(&log, &[]);
        assert!((1..=3).contains(&code), "{code}: {stdout}{stderr}\n{}", String::from_utf8_lossy(&log));
    }
}
