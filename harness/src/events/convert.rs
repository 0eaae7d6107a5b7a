//! From a case's result to its line in the log: everything that a report will show is put into words here,
//! while images and scenario are at hand.

use abi::hyp::{Counters, Event as TraceKind, TraceEvent};
use abi::pattern::Owner;
use abi::place::Place;
use abi::record;
use model::judge::{LaneDiff, Origin, RegisterName};
use model::rules;
use model::scenario::Case as Source;
use model::scenario::step::Cpu;
use sha2::{Digest as _, Sha256};
use zerocopy::FromBytes as _;

use super::{
    Arrival, Case, Counter, Finding, Hex, Hypervisor, Lane, Position, Rule, Scenario, Step, Sweep, complained,
};
use crate::diagnose::{Space, esr, pstate, trace, vector};
use crate::result::{CaseResult, HypReport, State, SweepOutcome};

/// Trace events that the log keeps of a case that did not pass.
const TRACE_KEPT: usize = 64;
/// Bytes of console that the log keeps of a case that did not pass.
const CONSOLE_KEPT: usize = 4096;

/// The line of a case. `source` is what it was made from, `space` the images in its machine's memory; it is
/// asked for only if something went wrong.
pub fn case<'a>(
    result: &CaseResult,
    source: Option<&Source>,
    space: impl FnOnce() -> &'a Space<'static>,
) -> Case {
    let mut case = Case {
        name: result.name.clone(),
        why: complained::why(result),
        sweep: result.sweep.as_ref().map(sweep),
        hypervisor: result.hyp.as_deref().map(hypervisor),
        duration_us: u64::try_from(result.duration.as_micros()).unwrap_or(u64::MAX),
        machine: result.machine,
        ..Case::default()
    };
    case.set_verdict(&result.state);
    if !matches!(result.state, State::Pass | State::Skip(_)) {
        explain(&mut case, result, source, space());
    }
    case
}

fn explain(case: &mut Case, result: &CaseResult, source: Option<&Source>, space: &Space<'_>) {
    let point = result.sweep.and_then(|sweep| sweep.failing_point);
    let own = source.map_or(&[][..], |source| &source.rules);
    let found = result.findings.iter().map(|found| finding(found, point, own));
    case.findings = found.chain(result.complaints.iter().map(complained::finding)).collect();
    case.scenario = source.map(scenario);
    let never_began = result.duration.is_zero() && matches!(result.state, State::Crash | State::Timeout);
    if let Some(scenario) = case.scenario.as_mut().filter(|_| never_began) {
        // What its host failed over is none of them.
        scenario.steps.clear();
    }
    case.kernel_trace = result.kernel_trace.as_deref().cloned();
    case.unexpected = result.unexpected.as_ref().map(arrival);
    case.stopped_at = result.stopped_at;
    case.console = last_bytes(&result.console, CONSOLE_KEPT).to_owned();
    case.positions = positions(result, space);
    let nested = source.is_none_or(|source| source.guest.l1.is_some());
    if let (Some(hypervisor), Some(report)) = (&mut case.hypervisor, &result.hyp) {
        let skipped = report.trace.len().saturating_sub(TRACE_KEPT);
        hypervisor.trace =
            report.trace.iter().skip(skipped).map(|event| trace::decode(event, nested, space)).collect();
    }
    case.fingerprint = Some(fingerprint(case, result));
}

/// Of a finding the model's; of anything else a hash of how the case ended, without what differs from run to
/// run (addresses, times).
fn fingerprint(case: &Case, result: &CaseResult) -> String {
    if let Some(finding) = result.findings.first() {
        return model::fingerprint::fingerprint(finding);
    }
    if let Some(complaint) = result.complaints.first().filter(|_| result.state == State::Fail) {
        return complained::fingerprint(complaint);
    }
    let end = end(&result.state, result.unexpected.as_ref(), result.hyp.as_deref());
    let parts = match (end, case.positions.first()) {
        (Some(end), Some(position)) => format!("{end}\n{}", position.symbol),
        (None, Some(position)) => format!("{}\n{}", case.state, position.symbol),
        (Some(end), None) => end,
        (None, None) => format!("{}\n{}", case.state, without_digits(&result.why)),
    };
    digest(&parts)
}

/// How a case ended of which nothing more is known; none if not even that is.
#[must_use]
pub fn end(state: &State, unexpected: Option<&record::Arrival>, hyp: Option<&HypReport>) -> Option<String> {
    let arrival = unexpected.map(|arrival| format!("{:#x}\n{}", arrival.vector, esr::describe(arrival.esr)));
    let end = hyp.and_then(|hyp| hyp.end).map(|end| end.name().to_owned());
    let known: Vec<String> = arrival.into_iter().chain(end).collect();
    (!known.is_empty()).then(|| format!("{}\n{}", state.name(), known.join("\n")))
}

/// A text without what differs from run to run.
#[must_use]
pub fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// A short hash of a text.
pub(super) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// A finding in words; `point` is the sweep point of the pass that showed it, `own` are the scenario's rules, for a
/// finding that has none.
#[must_use]
pub fn finding(found: &model::judge::Finding, point: Option<u64>, own: &[String]) -> Finding {
    let rules = if found.rules.is_empty() {
        own.iter().map(|id| rule(id)).collect()
    } else {
        found.rules.iter().map(|id| rule(id)).collect()
    };
    let first = found.expected.first().map_or(&found.actual, |expected| expected);
    Finding {
        step: narrow(found.step),
        op: narrow(found.op),
        line: found.line,
        place: found.place.name().to_owned(),
        rules,
        what: match found.holder {
            Owner::Scenario => found.what.to_string(),
            neighbor => format!("{} of {}", found.what, neighbor.name()),
        },
        class: found.class.name().to_owned(),
        class_words: found.class.to_string(),
        origin: found.origin.map_or_else(String::new, origin),
        transition: found.transition.clone().unwrap_or_default(),
        expected: found.expected.iter().map(|bytes| value(found.what, bytes, &found.actual)).collect(),
        actual: value(found.what, &found.actual, first),
        lanes: found.lanes.iter().map(lane).collect(),
        point,
        fingerprint: model::fingerprint::fingerprint(found),
    }
}

/// A rule with its words.
pub(super) fn rule(id: &str) -> Rule {
    let words = rules::get(id).map_or_else(String::new, |rule| rule.text.to_owned());
    Rule { id: id.to_owned(), words }
}

/// A lane that differs.
pub(super) fn lane(diff: &LaneDiff) -> Lane {
    Lane {
        lane: narrow(diff.lane),
        expected: Hex(diff.expected),
        actual: Hex(diff.actual),
        origin: match diff.origin {
            Some(origin) => origin.to_string(),
            None if diff.actual == 0 => "zero".to_owned(),
            None => String::new(),
        },
    }
}

/// Whose a register is. The lanes tell their own.
pub(super) fn origin(origin: Origin) -> String {
    Origin { lane: None, ..origin }.to_string()
}

/// An index, in the width that the log has for it. No program has as many operations.
pub(super) fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// A value for people: in hexadecimal, and in words where there are any. Of registers of flags those are the fields in
/// which it differs from `other`.
pub(super) fn value(what: RegisterName, bytes: &[u8], other: &[u8]) -> String {
    let word = |bytes: &[u8]| bytes.first_chunk().map(|word| u64::from_le_bytes(*word));
    let significant = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let digits: String = bytes.iter().take(significant).rev().map(|byte| format!("{byte:02x}")).collect();
    let number = format!("0x{}", if digits.is_empty() { "0" } else { &digits });
    let Some(now) = word(bytes) else { return number };
    let other = word(other).unwrap_or(now);
    let words = match what {
        RegisterName::Esr => esr::describe_beside(now, other),
        RegisterName::Vl => format!("{} bits", now.saturating_mul(8)),
        RegisterName::Spsr | RegisterName::Pstate => pstate::difference(now, other),
        RegisterName::Vector => return arrival_at(now),
        _ => String::new(),
    };
    if words.is_empty() { number } else { format!("{number} ({words})") }
}

/// How and where there was an arrival: a vector with the place in bits 63:32.
fn arrival_at(word: u64) -> String {
    let words = vector::describe(word & u64::from(u32::MAX));
    match u8::try_from(word >> 32).ok().and_then(Place::from_u8) {
        Some(place) if vector::is_exception(word & u64::from(u32::MAX)) => {
            format!("at {}: {words}", place.name())
        }
        Some(place) => format!("{words} (at {})", place.name()),
        None => words,
    }
}

fn scenario(source: &Source) -> Scenario {
    let steps = source
        .steps
        .iter()
        .map(|step| Step { line: step.line, text: format!("{} {}", step.place.name(), step.verb) });
    let cpu = (source.guest.cpu == Cpu::AllLengths).then(|| Scenario::ALL_LENGTHS.to_owned());
    let rules = source.rules.iter().map(|id| rule(id)).collect();
    let (file, title) = (source.path.clone(), source.title.clone());
    Scenario { file, title, rules, cpu, steps: steps.collect() }
}

fn sweep(outcome: &SweepOutcome) -> Sweep {
    Sweep {
        kind: outcome.kind.name().to_owned(),
        points: outcome.points,
        points_live: outcome.points_live,
        failing_point: outcome.failing_point,
    }
}

fn hypervisor(report: &HypReport) -> Hypervisor {
    Hypervisor {
        end: report.end.map(|end| end.name().to_owned()),
        end_arg: Hex(report.end_arg),
        end_at: report.end_at.map(Hex).to_vec(),
        fault_reached: report.fault_reached,
        disturbed: report.disturbed,
        counters: counters(&report.counters),
        trace: Vec::new(),
    }
}

/// The counters that are not zero, exits by class first.
fn counters(counters: &Counters) -> Vec<Counter> {
    let exits =
        counters.exits.iter().enumerate().map(|(class, count)| (format!("exits.{class:#04x}"), *count));
    let others = [
        ("irqs", counters.irqs),
        ("fp_saves", counters.fp_saves),
        ("fp_loads", counters.fp_loads),
        ("puts", counters.puts),
        ("loads", counters.loads),
        ("nested_erets", counters.nested_erets),
        ("nested_exceptions", counters.nested_exceptions),
        ("injected", counters.injected),
        ("sysregs", counters.sysregs),
        ("stage2_fills", counters.stage2_fills),
        ("steps", counters.steps),
        ("sweep_points", counters.sweep_points),
        ("sweep_points_live", counters.sweep_points_live),
        ("doorbells", counters.doorbells),
        ("preemptions", counters.preemptions),
        ("neighbors_harmed", counters.neighbors_harmed),
    ];
    exits
        .chain(others.map(|(name, count)| (name.to_owned(), count)))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| Counter { name, count })
        .collect()
}

fn arrival(arrival: &record::Arrival) -> Arrival {
    Arrival {
        vector: Hex(arrival.vector),
        esr: Hex(arrival.esr),
        elr: Hex(arrival.elr),
        spsr: Hex(arrival.spsr),
        far: Hex(arrival.far),
        hpfar: Hex(arrival.hpfar),
        sp: Hex(arrival.sp),
        pstate: Hex(arrival.pstate),
        left_pc: Hex(arrival.left_pc),
        target_pc: Hex(arrival.target_pc),
        x: arrival.x.map(Hex).to_vec(),
    }
}

/// Where it happened: in the payload, by the last arrival before the failing operation or the one that ended the
/// case; in the hypervisor, by the trace event that this transition left.
fn positions(result: &CaseResult, space: &Space<'_>) -> Vec<Position> {
    let mut positions: Vec<Position> = Vec::new();
    let mut add = |what: &str, address: u64| positions.extend(space.event(what, address));
    let last = match &result.unexpected {
        Some(arrival) => {
            add("taken from", arrival.elr);
            Some(*arrival)
        }
        None => result.findings.first().and_then(|finding| last_arrival(&result.dump, narrow(finding.op))),
    };
    if let Some(arrival) = &last {
        add("left by", arrival.left_pc);
    }
    let Some(hyp) = &result.hyp else { return positions };
    if hyp.end != Some(abi::hyp::End::Payload) {
        add("ended at", hyp.end_at[0]);
    }
    let event = last.and_then(|arrival| transition(&hyp.trace, arrival.left_pc));
    if let Some(event) = event
        && let Some(address) = trace::site_address(event, space)
    {
        let kind = TraceKind::from_u64(u64::from(event.event)).map_or("event", TraceKind::name);
        if let Some(mut position) = space.event(&format!("in the hypervisor ({kind})"), address) {
            trace::without_tracing(&mut position.frames);
            positions.push(position);
        }
    }
    positions
}

/// The event that tells of the transition that left the guest at `pc`: what the hypervisor emulated after the
/// exit, if anything, else the exit itself.
fn transition(trace: &[TraceEvent], pc: u64) -> Option<&TraceEvent> {
    let is = |event: &TraceEvent, kind: TraceKind| u64::from(event.event) == kind as u64;
    // HVC and SVC leave with the address of the next instruction.
    let left_here = |event: &TraceEvent| event.pc == pc || event.pc == pc.wrapping_add(4);
    let exit = trace.iter().rposition(|event| is(event, TraceKind::Exit) && left_here(event))?;
    let emulated = [TraceKind::NestedEret, TraceKind::NestedException, TraceKind::Inject];
    let after = trace.get(exit + 1..)?.iter().take_while(|event| !is(event, TraceKind::Exit));
    after.into_iter().find(|event| emulated.iter().any(|kind| is(event, *kind))).or_else(|| trace.get(exit))
}

/// The last arrival in the ring that was written before operation `op` was over.
fn last_arrival(ring: &[u8], op: u32) -> Option<record::Arrival> {
    let mut last = None;
    let mut rest = ring;
    while let Ok((header, after)) = record::RecordHeader::read_from_prefix(rest) {
        let len = usize::try_from(header.len).ok()?;
        let Some((body, next)) = after.split_at_checked(len) else { break };
        if header.magic != record::MAGIC || u32::from(header.op) > op {
            break;
        }
        if header.kind == record::Kind::Arrival as u16 {
            last = record::Arrival::read_from_prefix(body).ok().map(|(arrival, _)| arrival);
        }
        rest = next;
    }
    last
}

/// The end of a text, at most so many bytes, from a character on.
fn last_bytes(text: &str, bytes: usize) -> &str {
    text.get(text.ceil_char_boundary(text.len().saturating_sub(bytes))..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use abi::record::{Kind, MAGIC, RecordHeader};
    use proptest::prelude::*;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    fn arrival_record(op: u16, left_pc: u64) -> Vec<u8> {
        let mut header = RecordHeader::new_zeroed();
        (header.magic, header.kind, header.op) = (MAGIC, Kind::Arrival as u16, op);
        header.len = size_of::<record::Arrival>() as u32;
        let mut arrival = record::Arrival::new_zeroed();
        arrival.left_pc = left_pc;
        [header.as_bytes(), arrival.as_bytes()].concat()
    }

    #[test]
    fn the_last_arrival_before_the_failing_operation() {
        let ring = [arrival_record(1, 0x10), arrival_record(3, 0x30), arrival_record(7, 0x70)].concat();
        assert_eq!(last_arrival(&ring, 5).map(|arrival| arrival.left_pc), Some(0x30));
        assert_eq!(last_arrival(&ring, 0).map(|arrival| arrival.left_pc), None);
    }

    #[test]
    fn the_transition_is_what_was_emulated_after_the_exit() {
        let event = |kind: TraceKind, pc| TraceEvent { event: kind as u32, context: 0, pc, arg: [0; 2] };
        let trace = [
            event(TraceKind::Exit, 0x14),
            event(TraceKind::Traps, 0x14),
            event(TraceKind::NestedException, 0x800),
            event(TraceKind::Exit, 0x20),
            event(TraceKind::Put, 0x20),
        ];
        let of = |pc| transition(&trace, pc).map(|event| (event.event, event.pc));
        assert_eq!(of(0x10), Some((TraceKind::NestedException as u32, 0x800)));
        assert_eq!(of(0x14), Some((TraceKind::NestedException as u32, 0x800)));
        assert_eq!(of(0x20), Some((TraceKind::Exit as u32, 0x20)));
        assert_eq!(of(0x30), None);
    }

    #[test]
    fn a_cut_text_begins_with_a_character() {
        assert_eq!(last_bytes("aäb", 2), "b");
        assert_eq!(last_bytes("aäb", 9), "aäb");
    }

    #[test]
    fn values_have_words_where_there_are_any() {
        let value = |what, bytes: &[u8]| value(what, bytes, bytes);
        let word = u64::to_le_bytes;
        assert_eq!(value(RegisterName::Esr, &word(0x6600_0000)), "0x66000000 (EC 0x19 SVE access)");
        assert_eq!(value(RegisterName::Vl, &word(32)), "0x20 (256 bits)");
        assert_eq!(value(RegisterName::Fpsr, &word(0)), "0x00");
        assert_eq!(value(RegisterName::Spsr, &word(0x3c5)), "0x03c5");
        assert_eq!(value(RegisterName::P(1), &[0x34, 0x12]), "0x1234");
        assert_eq!(value(RegisterName::Ffr, &[]), "0x0");
    }

    #[test]
    fn flags_are_told_where_they_differ() {
        let spsr = |one: u64, other: u64| value(RegisterName::Spsr, &one.to_le_bytes(), &other.to_le_bytes());
        assert_eq!(spsr(0x3c5, 0x0010_03c9), "0x03c5 (IL=0 EL1h)");
        let esr = |one: u64, other: u64| value(RegisterName::Esr, &one.to_le_bytes(), &other.to_le_bytes());
        assert_eq!(esr(0x6400_0000, 0x6600_0000), "0x64000000 (EC 0x19 SVE access, IL=0)");
    }

    #[test]
    fn a_vector_has_its_place() {
        assert_eq!(arrival_at(0x3_0000_1000), "no exception (at L2)");
        assert_eq!(arrival_at(0x1_0000_0400), "at L1: vector 0x400 (synchronous, from a lower level)");
        assert_eq!(arrival_at(0x6_0000_2000), "the image's entry (at G)");
        assert_eq!(arrival_at(0x280), "vector 0x280 (IRQ, from this level)");
    }

    #[test]
    fn a_finding_without_rules_has_the_scenarios() {
        let ids = |found: &[&'static str], own: &[&str]| {
            let found = model::judge::Finding {
                step: 0,
                op: 0,
                line: 1,
                place: Place::G,
                rules: found.to_vec(),
                what: RegisterName::Esr,
                holder: Owner::Scenario,
                class: model::judge::FailureClass::WrongSyndrome,
                origin: None,
                expected: Vec::new(),
                actual: Vec::new(),
                lanes: Vec::new(),
                transition: None,
            };
            let own: Vec<String> = own.iter().map(|id| (*id).to_owned()).collect();
            let ids = finding(&found, None, &own).rules.into_iter().map(|rule| rule.id);
            ids.collect::<Vec<_>>()
        };
        assert_eq!(ids(&[], &["P-01", "P-71"]), ["P-01", "P-71"]);
        assert_eq!(ids(&["P-66"], &["P-01"]), ["P-66"]);
    }

    #[test]
    fn equal_ends_have_equal_fingerprints() {
        let of = |why: &str, state| {
            let result = CaseResult::without_findings("a", state, why);
            case(&result, None, || Box::leak(Box::default())).fingerprint.unwrap()
        };
        assert_eq!(of("after 2.0 s", State::Timeout), of("after 3.1 s", State::Timeout));
        assert_ne!(of("after 2.0 s", State::Timeout), of("after 2.0 s", State::Error));
    }

    proptest! {
        #[test]
        fn garbage_rings_never_panic(ring in prop::collection::vec(any::<u8>(), 0..2048), op in any::<u32>()) {
            let _ = last_arrival(&ring, op);
        }

        #[test]
        fn flipped_rings_never_panic(flip in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut ring = [arrival_record(1, 0x10), arrival_record(3, 0x30)].concat();
            let flip = flip.index(ring.len());
            ring[flip] ^= 1 << bit;
            let _ = last_arrival(&ring, 5);
        }
    }
}
