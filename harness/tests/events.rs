//! The event log's reader against logs that were cut, flipped, or made up.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

use std::fs::OpenOptions;

use camino::Utf8Path;
use harness::events::{
    Case, Environment, Event, EventWriter, Hex, KernelEvent, KernelTrace, ReadError, SCHEMA_VERSION, Summary,
    Witness, read,
};
use harness::result::State;
use proptest::prelude::*;

fn whole() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = EventWriter::new(Utf8Path::new("events.jsonl"), &mut bytes);
    let environment = Environment { schema_version: SCHEMA_VERSION, planned: 2, ..Environment::default() };
    writer.environment(&environment).unwrap();
    let mut summary = Summary::default();
    for (name, state) in [("a::b", State::Pass), ("a::c", State::Skip("no-el2".into()))] {
        let mut case = Case { name: name.into(), ..Case::default() };
        case.set_verdict(&state);
        let events = vec![KernelEvent { name: "kvm_exit".into(), ..KernelEvent::default() }];
        case.kernel_trace = Some(KernelTrace { events, ..KernelTrace::default() });
        summary.count(&state);
        writer.case(&case).unwrap();
    }
    writer.witness(&witness("a::b", "bare", "no")).unwrap();
    writer.summary(summary).unwrap();
    bytes
}

fn witness(case: &str, on: &str, answer: &str) -> Witness {
    Witness { case: case.into(), on: on.into(), answer: answer.into(), ..Witness::default() }
}

fn line(event: &Event) -> String {
    serde_json::to_string(event).unwrap() + "\n"
}

#[test]
fn a_cut_log_has_no_summary_wherever_it_is_cut() {
    let whole = whole();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for end in 0..whole.len() {
        match read(&whole[..end]) {
            Ok(log) => assert_eq!(log.summary, None, "cut at {end}"),
            Err(error) => {
                assert!(end <= first, "cut at {end}: {error}");
                assert!(matches!(error, ReadError::NoEnvironment));
            }
        }
    }
    assert!(read(whole.as_slice()).unwrap().summary.is_some());
}

#[test]
fn errors_name_the_line() {
    let mut text = String::from_utf8(whole()).unwrap();
    text = text.replacen("\"pass\"", "\"past\"", 1);
    assert_eq!(
        read(text.as_bytes()).unwrap_err().to_string(),
        "line 2: case `a::b` has the unknown state `past`"
    );
    let garbage = format!("{}garbage\n", line(&Event::Environment(Box::new(environment()))));
    assert_eq!(read(garbage.as_bytes()).unwrap_err().to_string(), "line 2 is no event");
}

fn environment() -> Environment {
    Environment { schema_version: SCHEMA_VERSION, ..Environment::default() }
}

#[track_caller]
fn refused(events: &[Event], expected: &str) {
    let text: String = events.iter().map(line).collect();
    assert_eq!(read(text.as_bytes()).unwrap_err().to_string(), expected);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let first = || Event::Environment(Box::new(environment()));
    let case = || Event::Case(Box::new(Case { name: "a".into(), state: "pass".into(), ..Case::default() }));
    let summary = |pass| Event::Summary(Summary { pass, ..Summary::default() });
    refused(&[], "line 1 is not the environment: not an event log");
    refused(&[case()], "line 1 is not the environment: not an event log");
    refused(&[first(), first()], "line 2: a second environment");
    refused(&[first(), case(), case()], "line 3: case `a` is there already");
    refused(&[first(), case(), summary(2)], "line 3: the summary counts 2 cases as pass, the log has 1");
    refused(&[first(), summary(0), case()], "line 3: nothing may follow the summary");
    let says = |case, on, answer| Event::Witness(witness(case, on, answer));
    refused(
        &[first(), says("a", "bare", "no"), case()],
        "line 2: no such case so far in what `bare` says of `a`",
    );
    refused(
        &[first(), case(), says("a", "moon", "no")],
        "line 3: nobody of this name is asked in what `moon` says of `a`",
    );
    refused(
        &[first(), case(), says("a", "bare", "maybe")],
        "line 3: an unknown answer in what `bare` says of `a`",
    );
    let newer = Environment { schema_version: SCHEMA_VERSION + 1, ..Environment::default() };
    refused(&[Event::Environment(Box::new(newer))], "the log has schema version 2: this version reads 1");
}

#[test]
fn a_log_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().join("events.jsonl");
    EventWriter::create(&path).unwrap();
    let error = EventWriter::create(&path).unwrap_err();
    assert!(error.to_string().starts_with("cannot create the event log"), "{error}");
}

#[test]
fn a_full_disk_is_told_as_such() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut writer = EventWriter::new(Utf8Path::new("runs/events.jsonl"), full);
    let error = writer.environment(&environment()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot write the event log runs/events.jsonl: the disk is full, make room and run again"
    );
}

#[test]
fn values_keep_all_their_bits() {
    assert_eq!(serde_json::to_string(&Hex(u64::MAX)).unwrap(), "\"0xffffffffffffffff\"");
    assert_eq!(serde_json::from_str::<Hex>("\"0x8000000000000001\"").unwrap(), Hex(0x8000_0000_0000_0001));
    for bad in ["1", "\"1\"", "\"0x\"", "\"0x+1\"", "\"0x10000000000000000\""] {
        assert!(serde_json::from_str::<Hex>(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn flipped_bits_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..8)) {
        let mut bytes = whole();
        for (index, bit) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= 1 << bit;
        }
        let _ = read(bytes.as_slice());
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = read(bytes.as_slice());
    }
}
