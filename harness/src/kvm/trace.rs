//! Lines of a kernel's trace, read back: a stranger's bytes.

use super::mailbox::Traced;
use crate::events::{KernelEvent, KernelTrace};

/// Events kept, of any number that an agent may send.
const KEPT: usize = 128;
/// Characters kept of what an event tells; the longest of KVM's have some 130.
const TEXT: usize = 200;

/// What an agent traced. Lines that are no event are left out.
#[must_use]
pub fn read(traced: &Traced, end: &str, cut: bool) -> KernelTrace {
    let events = traced.lines.iter().filter_map(|line| event(line, traced.thread));
    let mut events: Vec<KernelEvent> = events.collect();
    if traced.ended {
        drop_end(&mut events);
    }
    events.drain(..events.len().saturating_sub(KEPT));
    let absent = match &traced.absent {
        None if events.is_empty() => Some("the kernel traced nothing".to_owned()),
        absent => absent.clone(),
    };
    KernelTrace {
        absent,
        end: end.to_owned(),
        cut,
        missing: traced.missing.iter().take(KEPT).cloned().collect(),
        events,
    }
}

/// One line of tracefs' `trace` (`Documentation/trace/ftrace.rst`, "Output format"):
/// `holdfast-117     [000] d..1.     3.123456: kvm_exit: TRAP: HSR_EC: 0x0016 (HVC64), PC: 0x0000000041000abc`.
fn event(line: &str, thread: u32) -> Option<KernelEvent> {
    let (head, rest) = line.split_once(": ")?;
    let (name, text) = rest.split_once(": ")?;
    if head.starts_with('#') || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    // The name of the task may have anything in it: from its end, the columns have not.
    let mut columns = head.rsplit(' ').filter(|column| !column.is_empty());
    let time = columns.next().filter(|time| time.parse::<f64>().is_ok())?;
    let cpu = columns.find_map(|column| column.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    let task: u32 = columns.next()?.rsplit('-').next()?.parse().ok()?;
    Some(KernelEvent {
        cpu,
        time: time.to_owned(),
        name: name.to_owned(),
        text: text.chars().take(TEXT).collect(),
        other: task != thread,
    })
}

/// The PC of an event that has one, as the kernel prints it.
fn pc(event: &KernelEvent) -> Option<&str> {
    event.text.rsplit_once("PC: ").map(|(_, pc)| pc)
}

/// Leaves out the exits by which the payload began to end the case: one to the VMM, and at the same instruction before it
/// the faults by which its doorbell came into a stage 2.
fn drop_end(events: &mut Vec<KernelEvent>) {
    let last = events.iter().rev().filter(|event| !event.other).find_map(pc).map(str::to_owned);
    let of_the_end = |event: &KernelEvent| {
        event.other
            || event.name == "kvm_userspace_exit"
            || pc(event).is_some_and(|pc| Some(pc) == last.as_deref())
    };
    while events.pop_if(|event| of_the_end(event)).is_some() {}
}

/// What a trace is of, in a line.
#[must_use]
pub fn heading(trace: &KernelTrace) -> String {
    if let Some(why) = &trace.absent {
        return format!("none: {why}");
    }
    let end = match trace.end.as_str() {
        KernelTrace::SAME => "failed alike",
        KernelTrace::PASSED => "did not fail",
        _ => "failed otherwise",
    };
    let part = if trace.cut { "up to the failing step" } else { "its end" };
    let missing = match trace.missing.as_slice() {
        [] => String::new(),
        missing => format!("; this kernel has no {}", missing.join(", ")),
    };
    format!("of a second run that {end}, {part}{missing}")
}

/// The most telling of a trace, in as many lines: how the guest was left and entered for another level. Entries go without
/// saying; a row of exits for the same cause is one line, as is one of aborts, by which a stage 2 fills itself.
#[must_use]
pub fn brief(trace: &KernelTrace, lines: usize) -> Vec<String> {
    let is_quiet = |event: &&KernelEvent| matches!(event.name.as_str(), "kvm_entry" | "kvm_userspace_exit");
    let events: Vec<&KernelEvent> = trace.events.iter().filter(|event| !is_quiet(event)).collect();
    let rows: Vec<&[&KernelEvent]> =
        events.chunk_by(|a, b| cause(a).is_some() && cause(a) == cause(b)).collect();
    let first = rows.len().saturating_sub(lines);
    rows.iter().skip(first).filter_map(|row| Some(text(row.last()?, row.len()))).collect()
}

/// What is equal for exits of a row; none for what is no exit.
fn cause(event: &KernelEvent) -> Option<(bool, &str)> {
    let cause = event.text.split(", PC:").next().filter(|_| event.name == "kvm_exit")?;
    let is_abort = cause.ends_with("ABT_LOW)");
    Some((event.other, if is_abort { "abort" } else { cause }))
}

/// An event in a line, without the zeros that say nothing: `kvm_exit: TRAP: HSR_EC: 0x1a (ERET), PC: 0x41000abc`. It is the
/// last of a row.
fn text(event: &KernelEvent, row: usize) -> String {
    let other = if event.other { "other guest: " } else { "" };
    let mut text = format!("{other}{}: {}", event.name, event.text);
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("0x0")).map(|at| from + at + 2) {
        let digits = text.bytes().skip(at).take_while(u8::is_ascii_hexdigit).count();
        let zeros =
            text.bytes().skip(at).take(digits.saturating_sub(1)).take_while(|byte| *byte == b'0').count();
        text.replace_range(at..at + zeros, "");
        from = at;
    }
    if row > 1 { format!("{text} ({row} alike)") } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn traced(lines: &[&str]) -> Traced {
        Traced {
            thread: 117,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            ..Traced::default()
        }
    }

    #[test]
    fn a_line_has_its_columns() {
        let line = "  my task-1-117     [001] d..1.     3.123456: kvm_exit: TRAP: HSR_EC: 0x001a (ERET), PC: 0x41000abc";
        let trace = read(&traced(&["# tracer: nop", line, "garbage"]), KernelTrace::SAME, true);
        let expected = KernelEvent {
            cpu: 1,
            time: "3.123456".into(),
            name: "kvm_exit".into(),
            text: "TRAP: HSR_EC: 0x001a (ERET), PC: 0x41000abc".into(),
            other: false,
        };
        assert_eq!(trace.events, [expected]);
        assert!(event(line, 118).is_some_and(|event| event.other));
    }

    fn events(lines: &[&str], ended: bool) -> KernelTrace {
        let lines = lines.iter().map(|line| format!("init-117 [000] d..1. 1.5: {line}")).collect();
        read(&Traced { thread: 117, lines, ended, ..Traced::default() }, KernelTrace::SAME, true)
    }

    #[test]
    fn the_end_of_the_payload_is_left_out() {
        let eret = "kvm_exit: TRAP: HSR_EC: 0x001a (ERET), PC: 0x00000000410038c4";
        let fault = "kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x0000000041010864";
        let lines = [
            eret,
            fault,
            "kvm_entry: PC: 0x0000000041010864",
            fault,
            "kvm_userspace_exit: reason KVM_EXIT_MMIO (6)",
        ];
        assert_eq!(events(&lines, true).events.len(), 1);
        assert_eq!(events(&lines, false).events.len(), lines.len());
        assert_eq!(events(&lines[1..], true).absent.as_deref(), Some("the kernel traced nothing"));
    }

    #[test]
    fn the_brief_form_has_the_transitions() {
        let lines = [
            "kvm_exit: TRAP: HSR_EC: 0x001a (ERET), PC: 0x00000000410038c4",
            "kvm_nested_eret: elr_el2: 0x41007d80 spsr_el2: 0x000003c5 (M: EL1h) hcr_el2: 0",
            "kvm_entry: PC: 0x0000000041007d80",
            "kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x0000000041013dd8",
            "kvm_entry: PC: 0x0000000041013dd8",
            "kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x0000000000000000",
        ];
        assert_eq!(
            brief(&events(&lines, false), 9),
            [
                "kvm_exit: TRAP: HSR_EC: 0x1a (ERET), PC: 0x410038c4",
                "kvm_nested_eret: elr_el2: 0x41007d80 spsr_el2: 0x3c5 (M: EL1h) hcr_el2: 0",
                "kvm_exit: TRAP: HSR_EC: 0x24 (DABT_LOW), PC: 0x0 (2 alike)",
            ]
        );
        assert_eq!(brief(&events(&lines, false), 1).len(), 1);
    }

    #[test]
    fn nothing_traced_is_told() {
        let trace = read(&traced(&["# tracer: nop"]), KernelTrace::SAME, true);
        assert_eq!(trace.absent.as_deref(), Some("the kernel traced nothing"));
        let no_tracefs = Traced { absent: Some("no tracefs".into()), ..Traced::default() };
        assert_eq!(read(&no_tracefs, KernelTrace::PASSED, false).absent.as_deref(), Some("no tracefs"));
    }

    #[test]
    fn the_last_events_are_kept() {
        let lines: Vec<String> = (0..500)
            .map(|n| format!("init-117 [000] d..1. {n}.5: kvm_entry: PC: {}", "x".repeat(999)))
            .collect();
        let trace = read(&Traced { thread: 117, lines, ..Traced::default() }, KernelTrace::SAME, true);
        assert_eq!((trace.events.len(), trace.events[KEPT - 1].time.as_str()), (KEPT, "499.5"));
        assert_eq!(trace.events[0].text.chars().count(), TEXT);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "[ -~\u{80}-\u{2ff}]{0,80}") {
            let _ = event(&line, 1);
            let event = KernelEvent { name: "kvm_exit".into(), text: line, ..KernelEvent::default() };
            let _ = text(&event, 2);
            drop_end(&mut vec![event]);
        }
    }
}
