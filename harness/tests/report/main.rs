//! The rendered reports of a log made by hand, pinned as goldens.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

mod sample;

use harness::events::{Event, EventWriter, Log, read};
use harness::report::{Human, Json, Junit, Ktap, Mail, Reporter, failure_text, replay};

/// Renders the log; ANSI escapes are stripped.
fn render(log: &Log, make: impl for<'a> Fn(&'a mut Vec<u8>) -> Box<dyn Reporter + 'a>) -> String {
    let mut bytes = Vec::new();
    replay(log, make(&mut bytes).as_mut()).unwrap();
    anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string()
}

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../golden/report");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn void() -> Log {
    Log { summary: None, ..sample::log() }
}

#[test]
fn human() {
    golden("human", &render(&sample::log(), |to| Box::new(Human::new(to, false))));
}

#[test]
fn human_all() {
    golden("human_all", &render(&sample::log(), |to| Box::new(Human::new(to, true))));
}

#[test]
fn every_failure_class() {
    let environment = sample::log().environment;
    let text: Vec<String> = sample::of_each_class()
        .iter()
        .map(|found| {
            failure_text(&environment, &sample::failed(&format!("class::{}", found.class.name()), found))
        })
        .collect();
    golden("failure_classes", &text.join("\n"));
}

/// What of a mail a maintainer's reader or patience would not take: a line of more than 72 columns, a failure of 40 lines
/// or more, a value that is cut.
fn unfit(mail: &str) -> Vec<String> {
    let long = mail.lines().filter(|line| line.chars().count() > 72 || line.contains('…'));
    let mut unfit: Vec<String> = long.map(str::to_owned).collect();
    let failures = mail.split("Subject: ").skip(1).filter(|failure| failure.lines().count() >= 40);
    unfit.extend(failures.map(str::to_owned));
    unfit
}

fn mail_of(log: &Log) -> String {
    render(log, |to| Box::new(Mail::new(to)))
}

#[test]
fn mail() {
    golden("mail", &mail_of(&sample::kvm_log()));
}

#[test]
fn mail_of_what_a_vmm_found() {
    golden("mail_of_vmm", &mail_of(&sample::vmm_log()));
}

#[test]
fn every_mail_fits() {
    let kvm = sample::kvm_log();
    let of_each_class = sample::of_each_class();
    let each = of_each_class.iter().map(|found| sample::failed(found.class.name(), found)).collect();
    let each = Log { cases: each, ..kvm.clone() };
    for log in [&kvm, &sample::vmm_log(), &each, &sample::log(), &void()] {
        let text = mail_of(log);
        assert!(text.contains("Subject: "), "{text}");
        assert!(unfit(&text).is_empty(), "{:?}:\n{text}", unfit(&text));
    }
}

#[test]
fn a_mail_that_does_not_fit_is_found() {
    let text = mail_of(&sample::kvm_log());
    assert_eq!(unfit(&text.replacen("config  ", &"w".repeat(73), 1)).len(), 1);
    assert_eq!(unfit(&format!("{text}{}", "more\n".repeat(20))).len(), 1);
    assert_eq!(unfit(&text.replacen("0x510020c066120861", "0x510020c0661208…", 1)).len(), 1);
}

#[test]
fn human_of_kvm() {
    golden("human_of_kvm", &render(&sample::kvm_log(), |to| Box::new(Human::new(to, false))));
}

#[test]
fn ktap() {
    golden("ktap", &render(&sample::log(), |to| Box::new(Ktap::new(to))));
}

#[test]
fn junit() {
    golden("junit", &render(&sample::log(), |to| Box::new(Junit::new(to))));
}

#[test]
fn json_is_the_log() {
    let log = sample::log();
    let json = render(&log, |to| Box::new(Json::new(to)));
    assert_eq!(read(json.as_bytes()).unwrap(), log);
    golden("json", &json);
}

#[test]
fn a_run_that_ended_early_is_void_in_every_format() {
    let log = void();
    assert!(render(&log, |to| Box::new(Human::new(to, false))).contains("void: ended early"));
    assert!(render(&log, |to| Box::new(Ktap::new(to))).contains("Bail out! void"));
    assert!(render(&log, |to| Box::new(Junit::new(to))).contains("the run ended early"));
    let json = render(&log, |to| Box::new(Json::new(to)));
    assert_eq!(read(json.as_bytes()).unwrap().summary, None);
}

#[test]
fn what_is_written_is_read() {
    let log = sample::kvm_log();
    let mut bytes = Vec::new();
    let mut writer = EventWriter::new("events.jsonl".into(), &mut bytes);
    writer.event(&Event::Environment(Box::new(log.environment.clone()))).unwrap();
    for case in &log.cases {
        writer.case(case).unwrap();
    }
    for witness in &log.witnesses {
        writer.witness(witness).unwrap();
    }
    writer.summary(log.summary.unwrap()).unwrap();
    assert_eq!(read(bytes.as_slice()).unwrap(), log);
}
