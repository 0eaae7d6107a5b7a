//! An event log: what is read is written and read again, and every report renders it.
#![no_main]

use harness::events::{Event, EventWriter, Log, read};
use harness::report::{Human, Json, Junit, Ktap, Mail, Reporter, replay};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(log) = read(data) else { return };
    assert_eq!(read(written(&log).as_slice()).as_ref().ok(), Some(&log));
    render(&log, |to| Box::new(Human::new(to, true)));
    render(&log, |to| Box::new(Human::new(to, false)));
    render(&log, |to| Box::new(Ktap::new(to)));
    render(&log, |to| Box::new(Junit::new(to)));
    render(&log, |to| Box::new(Mail::new(to)));
    let json = render(&log, |to| Box::new(Json::new(to)));
    assert_eq!(read(json.as_slice()).as_ref().ok(), Some(&log));
});

fn written(log: &Log) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = EventWriter::new("events.jsonl".into(), &mut bytes);
    writer.event(&Event::Environment(Box::new(log.environment.clone()))).expect("memory takes everything");
    for case in &log.cases {
        writer.case(case).expect("memory takes everything");
    }
    if let Some(summary) = log.summary {
        writer.summary(summary).expect("memory takes everything");
    }
    bytes
}

fn render(log: &Log, make: impl for<'a> Fn(&'a mut Vec<u8>) -> Box<dyn Reporter + 'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    replay(log, make(&mut bytes).as_mut()).expect("memory takes everything");
    bytes
}
