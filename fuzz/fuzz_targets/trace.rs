//! Lines of a kernel's trace and log: what is kept of them is bounded, and every report that shows it renders it.
#![no_main]

use harness::events::{Case, Environment, Kernel, KernelTrace, Log};
use harness::kvm::log::splat;
use harness::kvm::mailbox::Traced;
use harness::kvm::trace::{brief, heading, read};
use harness::report::{Human, Mail, Reporter, replay};
use harness::result::State;
use libfuzzer_sys::fuzz_target;

/// Events that are kept.
const KEPT: usize = 128;
/// Characters of each.
const TEXT: usize = 200;

fuzz_target!(|data: &[u8]| {
    let [kind, end, lines, rest @ ..] = data else { return };
    let text = String::from_utf8_lossy(rest);
    let _ = splat(&text);
    let traced = Traced {
        thread: 117,
        ended: kind & 1 != 0,
        missing: text.lines().filter(|_| kind & 2 != 0).take(3).map(str::to_owned).collect(),
        absent: text.lines().next().filter(|_| kind & 4 != 0).map(str::to_owned),
        // Most lines of a trace have the same beginning.
        lines: text.lines().map(|line| with_head(line, kind & 8 != 0)).collect(),
    };
    let ends = [KernelTrace::SAME, KernelTrace::PASSED, KernelTrace::OTHER];
    let trace = read(&traced, ends[usize::from(end % 3)], kind & 16 != 0);
    assert!(trace.events.len() <= KEPT && trace.missing.len() <= KEPT);
    assert!(trace.events.iter().all(|event| event.text.chars().count() <= TEXT));
    assert!(trace.absent.is_some() || !trace.events.is_empty());
    let lines = usize::from(*lines % 32);
    assert!(brief(&trace, lines).len() <= lines);
    let _ = heading(&trace);

    let mut case = Case { name: "fuzz::trace".into(), kernel_trace: Some(trace), ..Case::default() };
    case.set_verdict(&State::Fail);
    case.why = text.chars().take(TEXT).collect();
    let environment =
        Environment { target: "kvm-qemu".into(), kernel: Some(Kernel::default()), ..Environment::default() };
    let log = Log { environment, cases: vec![case], witnesses: Vec::new(), summary: None };
    render(&log, |to| Box::new(Human::new(to, true)));
    render(&log, |to| Box::new(Mail::new(to)));
});

fn with_head(line: &str, head: bool) -> String {
    if head { format!("init-117 [000] d..1. 1.5: {line}") } else { line.to_owned() }
}

fn render(log: &Log, make: impl for<'a> Fn(&'a mut Vec<u8>) -> Box<dyn Reporter + 'a>) {
    let mut bytes = Vec::new();
    replay(log, make(&mut bytes).as_mut()).expect("memory takes everything");
    assert!(!bytes.is_empty());
}
