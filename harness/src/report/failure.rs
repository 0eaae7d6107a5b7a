//! One failure, in the order in which a person needs it: what runs it again, the rule, the difference, the
//! scenario, the sources, the trace, the fingerprint.

use std::io::{self, Write};

use super::clean::{last_lines, line};
use super::style::{self, BAD, FAINT, LABEL, STRONG};
use crate::diagnose::{esr, vector};
use crate::events::{Arrival, Case, Environment, Finding, Frame, Lane, Position};
use crate::kvm::trace as kvm;
use crate::result::State;

/// Findings of one case shown in full; the first is nearly always the cause of the rest.
const FINDINGS_SHOWN: usize = 4;
/// Lanes of one register shown.
const LANES_SHOWN: usize = 8;
/// Trace events shown.
const TRACE_SHOWN: usize = 16;
/// Console lines shown.
const CONSOLE_SHOWN: usize = 10;

/// What went wrong, in one line.
pub(super) fn headline(case: &Case) -> String {
    match case.findings.first() {
        Some(finding) => {
            let more = case.findings.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            line(&format!("{}{more}", difference(finding)))
        }
        None if case.why.is_empty() => {
            line(case.expectation.as_ref().map_or("", |expectation| &expectation.reason))
        }
        None => line(&case.why),
    }
}

/// The rule of what ended before anything was found wrong: a hang or a crash breaks none by itself, so what the scenario is
/// about, the first rule in words.
pub(super) fn checked(case: &Case) -> Option<String> {
    let rules = &case.scenario.as_ref().filter(|_| case.findings.is_empty())?.rules;
    let (first, others) = rules.split_first()?;
    let others: Vec<&str> = others.iter().map(|rule| rule.id.as_str()).collect();
    let also = if others.is_empty() { String::new() } else { format!(" Also {}.", others.join(", ")) };
    Some(format!("{} (what the scenario checks): {}{also}", first.id, first.words))
}

/// A case that did not pass, as the report for people shows it, without colors.
#[must_use]
pub fn plain(environment: &Environment, case: &Case) -> String {
    let mut text = Vec::new();
    let written = write(&mut text, environment, case);
    debug_assert!(written.is_ok(), "a vector takes everything");
    let text = String::from_utf8_lossy(&text);
    anstream::adapter::strip_str(&text).to_string()
}

/// Writes the failure.
pub(super) fn write(to: &mut dyn Write, environment: &Environment, case: &Case) -> io::Result<()> {
    let state = case.verdict().unwrap_or(State::Error);
    let mark = style::of(&state);
    writeln!(to, "{mark}{state}{mark:#} {STRONG}{}{STRONG:#}", line(&case.name))?;
    label(to, "again", &line(&environment.again(&case.name)))?;
    if let Some(expectation) = &case.expectation {
        let url = expectation.url.as_ref().map_or_else(String::new, |url| format!(" ({url})"));
        label(to, "expected", &line(&format!("not to pass: {}{url}", expectation.reason)))?;
    }
    if !case.repeats.is_empty() {
        label(to, "repeats", &line(&case.repeats.join(" ")))?;
    }
    if !case.why.is_empty() {
        label(to, "why", &line(&case.why))?;
    }
    sweep(to, case)?;
    if let Some(rule) = checked(case) {
        label(to, "rule", &line(&rule))?;
    }
    findings(to, case)?;
    if let Some(arrival) = &case.unexpected {
        unexpected(to, arrival)?;
    }
    scenario(to, case)?;
    sources(to, case)?;
    trace(to, case)?;
    kernel_trace(to, case)?;
    console(to, case)?;
    if let Some(artefacts) = &case.artefacts {
        label(to, "dumps", &line(artefacts))?;
    }
    if let Some(fingerprint) = &case.fingerprint {
        label(to, "fingerprint", &line(fingerprint))?;
    }
    Ok(())
}

/// A part with its name in a column of its own.
pub(super) fn label(to: &mut dyn Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(to, "  {LABEL}{name:<11}{LABEL:#} {text}")
}

/// A further line of the part above.
fn more(to: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(to, "  {:<11} {text}", "")
}

fn sweep(to: &mut dyn Write, case: &Case) -> io::Result<()> {
    let Some(sweep) = &case.sweep else { return Ok(()) };
    let failing = match sweep.failing_point {
        Some(point) => format!("first wrong at point {point}"),
        None => "the unswept pass is wrong already".to_owned(),
    };
    let (kind, points, live) = (line(&sweep.kind), sweep.points, sweep.points_live);
    label(to, "sweep", &format!("{kind}: {points} points, {live} with live FP state; {failing}"))
}

fn findings(to: &mut dyn Write, case: &Case) -> io::Result<()> {
    let mut rules_shown: Vec<&str> = Vec::new();
    for finding in case.findings.iter().take(FINDINGS_SHOWN) {
        for rule in &finding.rules {
            if !rules_shown.contains(&rule.id.as_str()) {
                rules_shown.push(&rule.id);
                label(to, "rule", &line(&format!("{}: {}", rule.id, rule.words)))?;
            }
        }
        label(to, "difference", &format!("{STRONG}{}{STRONG:#}", line(&difference(finding))))?;
        if !finding.transition.is_empty() {
            more(to, &line(&finding.after()))?;
        }
        if finding.lanes.is_empty() {
            values(to, finding)?;
        } else {
            lanes(to, finding)?;
        }
    }
    for (class, names) in further(case) {
        label(to, "", &format!("{FAINT}further {}: {}{FAINT:#}", line(class), line(&names)))?;
    }
    Ok(())
}

/// The findings that are not shown, as names of registers by failure class.
fn further(case: &Case) -> Vec<(&str, String)> {
    let mut classes: Vec<(&str, Vec<&str>)> = Vec::new();
    for finding in case.findings.iter().skip(FINDINGS_SHOWN) {
        match classes.iter_mut().find(|(class, _)| *class == finding.class_words) {
            Some((_, names)) => names.push(&finding.what),
            None => classes.push((&finding.class_words, vec![&finding.what])),
        }
    }
    classes.into_iter().map(|(class, names)| (class, ranges(&names))).collect()
}

/// `z4 z5 z6 ffr` as `z4-6 ffr`.
fn ranges(names: &[&str]) -> String {
    let split = |name: &str| -> Option<(String, u32)> {
        let digits = name.find(|c: char| c.is_ascii_digit())?;
        let (class, number) = name.split_at(digits);
        Some((class.to_owned(), number.parse().ok()?))
    };
    let mut words: Vec<String> = Vec::new();
    // Class, first and last number of the range that is still open.
    let mut open: Option<(String, u32, u32)> = None;
    let close = |open: &mut Option<(String, u32, u32)>, words: &mut Vec<String>| {
        if let Some((class, first, last)) = open.take() {
            words.push(if first == last {
                format!("{class}{first}")
            } else {
                format!("{class}{first}-{last}")
            });
        }
    };
    for name in names {
        match (split(name), &mut open) {
            (Some((class, number)), Some((of, _, last)))
                if class == *of && last.checked_add(1) == Some(number) =>
            {
                *last = number;
            }
            (Some((class, number)), _) => {
                close(&mut open, &mut words);
                open = Some((class, number, number));
            }
            (None, _) => {
                close(&mut open, &mut words);
                words.push((*name).to_owned());
            }
        }
    }
    close(&mut open, &mut words);
    words.join(" ")
}

/// `z3 at L2: stale (z3 of this vCPU, generation 1)`; what is told in a clause of its own has no class, or adds it.
pub(super) fn difference(finding: &Finding) -> String {
    let origin = if finding.origin.is_empty() { String::new() } else { format!(" ({})", finding.origin) };
    let point = finding.point.map_or_else(String::new, |point| format!(", at sweep point {point}"));
    if finding.is_clause() {
        let class = if finding.class_words.is_empty() { "" } else { ": " };
        return format!("{}{class}{}{origin}", finding.what, finding.class_words);
    }
    format!("{} at {}: {}{origin}{point}", finding.what, finding.place, finding.class_words)
}

fn values(to: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    for (index, expected) in finding.expected.iter().enumerate() {
        let word = if index == 0 { "expected" } else { "      or" };
        more(to, &format!("{word} {}", line(expected)))?;
    }
    if finding.actual.is_empty() { Ok(()) } else { more(to, &format!("   found {}", line(&finding.actual))) }
}

fn lanes(to: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    let legal = match finding.expected.len() {
        0 | 1 => String::new(),
        legal => format!("  (the closest of {legal} legal values)"),
    };
    more(to, &format!("{FAINT}lane  bits       expected            found{legal}{FAINT:#}"))?;
    for lane in finding.lanes.iter().take(LANES_SHOWN) {
        let Lane { lane: number, expected, actual, origin } = lane;
        let low = number.saturating_mul(64);
        let bits = format!("{}:{low}", low.saturating_add(63));
        let found = format!("{BAD}{actual:#018x}{BAD:#}");
        more(to, format!("{number:>4}  {bits:<9}  {expected:#018x}  {found}  {}", line(origin)).trim_end())?;
    }
    match finding.lanes.len().saturating_sub(LANES_SHOWN) {
        0 => Ok(()),
        hidden => more(to, &format!("{FAINT}and {hidden} further lanes{FAINT:#}")),
    }
}

fn unexpected(to: &mut dyn Write, arrival: &Arrival) -> io::Result<()> {
    let words = match arrival.vector.0 {
        abi::record::VECTOR_NONE => "without an exception".to_owned(),
        abi::record::VECTOR_BOOT => "through the image's entry".to_owned(),
        offset => format!("at {}", vector::describe(offset)),
    };
    let (esr, elr, spsr) = (arrival.esr, arrival.elr, arrival.spsr);
    let (far, hpfar, sp) = (arrival.far, arrival.hpfar, arrival.sp);
    if !vector::is_exception(arrival.vector.0) {
        label(to, "arrived", &words)?;
        return more(to, &format!("SP {sp:#x}"));
    }
    if !vector::has_syndrome(arrival.vector.0) {
        label(to, "arrived", &words)?;
        return more(to, &format!("ELR {elr:#x}  SPSR {spsr:#x}  SP {sp:#x}"));
    }
    label(to, "arrived", &format!("{words}: {}", esr::describe(esr.0)))?;
    more(to, &format!("ESR {esr:#x}  ELR {elr:#x}  SPSR {spsr:#x}"))?;
    more(to, &format!("FAR {far:#x}  HPFAR {hpfar:#x}  SP {sp:#x}"))
}

fn scenario(to: &mut dyn Write, case: &Case) -> io::Result<()> {
    let Some(scenario) = &case.scenario else { return Ok(()) };
    label(to, "scenario", &line(&format!("{}: {}", scenario.file, scenario.title)))?;
    let failing = case.findings.first().map(|finding| finding.line).or(case.stopped_at);
    for step in &scenario.steps {
        let (number, text) = (step.line, line(&step.text));
        if Some(step.line) == failing {
            writeln!(to, "  {:>9} {BAD}>{BAD:#} {STRONG}{number:>3} | {text}{STRONG:#}", "")?;
        } else {
            writeln!(to, "  {:>9}   {FAINT}{number:>3} |{FAINT:#} {text}", "")?;
        }
    }
    Ok(())
}

fn sources(to: &mut dyn Write, case: &Case) -> io::Result<()> {
    for position in &case.positions {
        let Position { what, image, symbol, .. } = position;
        label(to, "source", &line(&format!("{what}: {symbol} in {image}")))?;
        for (depth, frame) in position.frames.iter().enumerate() {
            let inlined = if depth + 1 < position.frames.len() { ", inlined into" } else { "" };
            more(to, &format!("{}{inlined}", line(&at(frame))))?;
        }
    }
    Ok(())
}

/// `nested::eret, reference-hyp/src/nested.rs:120`.
fn at(frame: &Frame) -> String {
    let Frame { function, file, line } = frame;
    match (function.as_str(), file.as_str()) {
        ("", file) => format!("{file}:{line}"),
        (function, "") => function.to_owned(),
        (function, file) => format!("{function}, {file}:{line}"),
    }
}

fn trace(to: &mut dyn Write, case: &Case) -> io::Result<()> {
    let Some(hypervisor) = case.hypervisor.as_ref().filter(|hypervisor| !hypervisor.trace.is_empty()) else {
        return Ok(());
    };
    let shown = hypervisor.trace.len().min(TRACE_SHOWN);
    label(to, "trace", &format!("{FAINT}the last {shown} events in the hypervisor{FAINT:#}"))?;
    for event in hypervisor.trace.iter().skip(hypervisor.trace.len() - shown) {
        let site = event
            .site
            .as_ref()
            .map_or_else(String::new, |site| format!("  {FAINT}{}:{}{FAINT:#}", line(&site.file), site.line));
        more(to, &format!("{}{site}", line(&event.text)))?;
    }
    Ok(())
}

/// What the host kernel traced of its KVM.
fn kernel_trace(to: &mut dyn Write, case: &Case) -> io::Result<()> {
    let Some(trace) = &case.kernel_trace else { return Ok(()) };
    label(to, "KVM traced", &format!("{FAINT}{}{FAINT:#}", line(&kvm::heading(trace))))?;
    for event in kvm::brief(trace, TRACE_SHOWN) {
        more(to, &line(&event))?;
    }
    Ok(())
}

fn console(to: &mut dyn Write, case: &Case) -> io::Result<()> {
    for (index, text) in last_lines(&case.console, CONSOLE_SHOWN).iter().enumerate() {
        if index == 0 { label(to, "console", text)? } else { more(to, text)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Hex;

    #[test]
    fn consecutive_registers_are_a_range() {
        assert_eq!(ranges(&["z4", "z5", "z6", "z8", "p0", "p1", "ffr", "fpsr"]), "z4-6 z8 p0-1 ffr fpsr");
        assert_eq!(ranges(&["z4294967295", "z0", "p99999999999"]), "z4294967295 z0 p99999999999");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn where_there_is_no_exception_there_is_no_syndrome() {
        let text = |vector: u64| {
            let mut text = Vec::new();
            unexpected(&mut text, &Arrival { vector: Hex(vector), ..Arrival::default() }).unwrap();
            anstream::adapter::strip_str(&String::from_utf8(text).unwrap()).to_string()
        };
        let none = text(abi::record::VECTOR_NONE);
        assert!(
            none.contains("without an exception\n") && !none.contains("ESR") && !none.contains("ELR"),
            "{none}"
        );
        let irq = text(0x480);
        assert!(
            irq.contains("(IRQ, from a lower level)\n") && !irq.contains("ESR") && irq.contains("ELR"),
            "{irq}"
        );
        assert!(text(0x200).contains("EC 0x00 unknown reason"));
    }
}
