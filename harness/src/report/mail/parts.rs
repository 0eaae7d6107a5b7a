//! One failure, part by part: what is wrong and where it was seen are told in full, steps and events as far as there is room.

use abi::place::Place;

use super::columns::{wrapped, wrapped_to};
use super::command;
use crate::events::{Case, Environment, Finding, Kernel, KernelTrace, Lane, Scenario};
use crate::kvm::trace;
use crate::report::clean::line;
use crate::report::elsewhere::Elsewhere;
use crate::report::failure;

/// Lines of one failure: with the last one of the report, and the empty one before it, less than 40.
const LINES: usize = 37;
/// Lanes shown: enough to tell a pattern from an accident.
const LANES: usize = 3;
/// Steps shown around the failing one if there is room, before it and behind it.
const STEPS: usize = 3;
/// Lines of steps, with that of their words, shown before there are more events than the least, and those shown in any case.
const STEPS_WANTED: usize = 5;
const STEPS_LEAST: usize = 3;
/// Lines of the reason shown in any case, beside what is wrong and in its place.
const WHY: usize = 2;
const WHY_ALONE: usize = 4;
/// Lines of trace events of the host kernel shown if there is room, and before there are more steps than the least.
const EVENTS: usize = 8;
const EVENTS_LEAST: usize = 4;
/// Lines of the host kernel's log shown.
const LOG: usize = 4;
/// Lines that a command line may take.
const COMMAND: usize = 10;
/// Hexadecimal digits of a hash that are shown.
const DIGITS: usize = 12;

/// What the steps are told in, for a reader who never saw one.
const WORDS_OF_GUEST: &str = "  (G: a guest, at EL1; the words: docs/interpreting.md of Holdfast)";
const WORDS_OF_NESTED: &str = "  (L1: guest hypervisor, L2: its guest; Holdfast's docs/interpreting.md)";

/// The lines of a failure.
pub(super) fn lines(environment: &Environment, case: &Case, elsewhere: &Elsewhere) -> Vec<String> {
    let fixed = |why| {
        let machine = [untraced(case), machine(environment, case, elsewhere)].concat();
        let mut parts = vec![difference(environment, case, why), logged(case), machine];
        parts.retain(|part| !part.is_empty());
        // With an empty line before each part.
        let room = LINES.saturating_sub(parts.iter().map(|part| part.len() + 1).sum::<usize>() - 1);
        (parts, room)
    };
    let why = if case.findings.is_empty() { WHY_ALONE } else { WHY };
    // Whole, if it leaves room for the rest.
    let of_steps = if steps(case, STEPS_LEAST).is_empty() { 0 } else { STEPS_WANTED + 1 };
    let of_trace = if heading(case).is_empty() { 0 } else { heading(case).len() + EVENTS_LEAST + 1 };
    let spare = fixed(why).1.saturating_sub(of_steps + of_trace);
    let (mut parts, room) = fixed(why + spare);
    // With two empty lines.
    let beside = |steps: usize| room.saturating_sub(steps + 2);
    let least = heading(case).len() + EVENTS_LEAST;
    let traced = traced(case, beside(STEPS_WANTED).max(beside(STEPS_LEAST).min(least)));
    let steps = steps(case, room.saturating_sub(traced.len() + 1 + usize::from(!traced.is_empty())));
    let before_machine = parts.len() - 1;
    parts.splice(before_machine..before_machine, [steps, traced].into_iter().filter(|part| !part.is_empty()));
    parts.join(&String::new())
}

/// What was to be found, and what was, with the reason in at most so many lines.
fn difference(environment: &Environment, case: &Case, why: usize) -> Vec<String> {
    let mut text = subject(environment, case);
    text.push(String::new());
    // On KVM there is a command with its name.
    if environment.kernel.is_none() {
        text.extend(wrapped("case      ", &case.name, 2));
    }
    if let Some(finding) = case.findings.first() {
        for rule in finding.rules.iter().take(1) {
            text.extend(wrapped("rule      ", &format!("{}: {}", rule.id, rule.words), 4));
        }
        let after =
            if finding.transition.is_empty() { String::new() } else { format!(", {}", finding.after()) };
        let further = further(case, finding);
        text.extend(wrapped("where     ", &format!("{}{after}{further}", finding.place), 2));
        text.extend(values(finding));
    }
    if let Some(rule) = failure::checked(case) {
        text.extend(wrapped("rule      ", &rule, 5));
    }
    if !case.why.is_empty() {
        text.extend(wrapped("why       ", &case.why, why));
    }
    text
}

/// The first line, or as a mail's header goes on, the first two. Whose value it is stands with the lanes, if it is too much.
fn subject(environment: &Environment, case: &Case) -> Vec<String> {
    let target = if environment.kernel.is_some() { "KVM: arm64: " } else { "" };
    let words = |subject: String| wrapped_to("Subject: ", "  ", &format!("{target}{subject}"), 2);
    // How many more there are is told below.
    let Some(finding) = case.findings.first() else { return words(failure::headline(case)) };
    let whole = words(failure::difference(finding));
    if whole.len() == 1 || finding.lanes.is_empty() {
        return whole;
    }
    words(failure::difference(&Finding { origin: String::new(), ..finding.clone() }))
}

/// What was wanted and what was found, by lanes where there are any.
fn values(finding: &Finding) -> Vec<String> {
    let mut text = Vec::new();
    if finding.lanes.is_empty() {
        for expected in finding.expected.iter().take(1) {
            text.extend(wrapped("expected  ", expected, 2));
        }
        if !finding.actual.is_empty() {
            text.extend(wrapped("found     ", &finding.actual, 2));
        }
        return text;
    }
    let all = finding.lanes.len();
    let of = if all > LANES { format!("({LANES} of {all} that differ)") } else { String::new() };
    text.push(format!("lane expected           found              {of}"));
    for lane in finding.lanes.iter().take(LANES) {
        let Lane { lane: number, expected, actual, .. } = lane;
        let label = format!("  {number:<2} {expected:#018x} {actual:#018x} ");
        text.extend(wrapped(&label, &origin(lane), 2));
    }
    text
}

/// Whose value a lane has, as short as it can be.
fn origin(lane: &Lane) -> String {
    let own = format!(", lane {}", lane.lane);
    let origin = lane.origin.strip_suffix(&own).unwrap_or(&lane.origin);
    origin.replace("generation", "gen.")
}

/// What else was found wrong, by its number; of what a VMM found, the next in words.
fn further(case: &Case, first: &Finding) -> String {
    let more = case.findings.len() - 1;
    if more == 0 {
        return String::new();
    }
    let plural = if more == 1 { "" } else { "s" };
    let next = case.findings.get(1).filter(|next| first.is_clause() && next.is_clause());
    let next = next.map_or_else(String::new, |next| format!(": {}", failure::difference(next)));
    format!("; and {more} difference{plural} more{next}")
}

/// Where it was seen, how to see it again, and who else has.
fn machine(environment: &Environment, case: &Case, elsewhere: &Elsewhere) -> Vec<String> {
    let mut text = Vec::new();
    if let Some(kernel) = &environment.kernel {
        text.extend(wrapped("kernel    ", &name(kernel), 2));
        let config = kernel.config_sha256.as_deref().map_or_else(|| "unknown".to_owned(), short);
        // One that died before it was greeted has told nothing of its KVM.
        let kvm = if kernel.kvm.is_empty() { String::new() } else { format!("; {}", kernel.kvm) };
        text.extend(wrapped("config    ", &format!("sha256 {config}{kvm}"), 1));
    }
    if let Some(emulator) = &environment.emulator {
        text.extend(wrapped("emulator  ", &emulator.version, 1));
    }
    let again = without_folders(environment).again_words(&case.name);
    text.extend(command::lines("again     ", &again, COMMAND, "`environment.command`"));
    if let Some(command) = environment.kernel.as_ref().and_then(|kernel| kernel.command.as_ref()) {
        let cpu = case.scenario.as_ref().and_then(|scenario| scenario.cpu.as_deref());
        let words = command::machine(command, cpu == Some(Scenario::ALL_LENGTHS));
        let words = words.unwrap_or_default();
        text.extend(command::lines("machine   ", &words, COMMAND, "`environment.kernel.command`"));
    }
    if let Some([answers, conclusion]) = elsewhere.text(environment, case) {
        text.extend(wrapped("also on   ", &format!("{answers} {conclusion}"), 4));
    }
    text
}

/// A kernel's name and release, without the folder that its image lies in.
fn name(kernel: &Kernel) -> String {
    let mut name = kernel.name.clone();
    for (_, value) in kernel.options.iter().filter(|(option, _)| option == "kernel") {
        name = name.replace(value, file_name(value));
    }
    if name.contains(&kernel.release) { name } else { format!("{} ({name})", kernel.release) }
}

/// The same run, of a kernel that lies where the reader is.
fn without_folders(environment: &Environment) -> Environment {
    let mut environment = environment.clone();
    let options = environment.kernel.iter_mut().flat_map(|kernel| &mut kernel.options);
    for (_, value) in options.filter(|(option, _)| option == "kernel") {
        *value = file_name(value).to_owned();
    }
    environment
}

/// The last part of a path; of a name in an archive (`debian:6.12/oldest`) the whole.
fn file_name(kernel: &str) -> &str {
    if kernel.starts_with("debian:") { kernel } else { kernel.rsplit('/').next().unwrap_or_default() }
}

/// Whether the host kernel complained of itself.
fn of_kernel(case: &Case) -> bool {
    case.findings.first().is_some_and(|finding| finding.place == Finding::KERNEL)
}

/// What the host kernel logged, from where it complains to whom it was called by: the rest of such a report is registers.
fn logged(case: &Case) -> Vec<String> {
    let Some(splat) = case.findings.first().filter(|_| of_kernel(case)) else { return Vec::new() };
    let log = case.console.lines().skip_while(|text| !text.contains(&splat.what)).skip(1);
    let is_telling = |text: &str| {
        ["Internal error:", "kernel BUG at"].iter().any(|word| text.contains(word))
            || text.starts_with(' ') && text.contains("+0x")
    };
    let log = log.take_while(|text| !text.contains("end trace")).filter(|text| is_telling(text));
    let text = log.take(LOG).flat_map(|text| wrapped_to("  ", "      ", text.trim(), 1));
    text.collect()
}

/// Why there is no trace; nothing where there is one, or where nobody was to make one.
fn untraced(case: &Case) -> Vec<String> {
    let Some(trace) = case.kernel_trace.as_ref().filter(|trace| !is_shown(case, trace)) else {
        return Vec::new();
    };
    let words = match (&trace.absent, trace.end.as_str()) {
        (Some(_), _) => trace::heading(trace),
        (None, KernelTrace::PASSED) => {
            "none: in a second run, traced, the kernel did not log that".to_owned()
        }
        (None, _) => "none: a second run, traced, failed otherwise".to_owned(),
    };
    wrapped("trace     ", &words, 2)
}

/// Whether there are events, and of use: beside what a kernel logged, those of a run in which it did not are not.
fn is_shown(case: &Case, trace: &KernelTrace) -> bool {
    trace.absent.is_none() && (!of_kernel(case) || trace.end == KernelTrace::SAME)
}

/// What the trace is of; nothing where there is none to show.
fn heading(case: &Case) -> Vec<String> {
    let trace = case.kernel_trace.as_ref().filter(|trace| is_shown(case, trace));
    trace.map_or_else(Vec::new, |trace| wrapped("trace     ", &trace::heading(trace), 2))
}

/// What the host kernel traced, in at most so many lines.
fn traced(case: &Case, room: usize) -> Vec<String> {
    let mut text = heading(case);
    let Some(trace) = case.kernel_trace.as_ref().filter(|_| !text.is_empty()) else { return text };
    let mut room = EVENTS.min(room.saturating_sub(text.len()));
    let mut events: Vec<Vec<String>> = Vec::new();
    // The last is the nearest to what went wrong.
    for event in trace::brief(trace, room).iter().rev() {
        let lines = wrapped_to("  ", "      ", event, 2);
        let Some(left) = room.checked_sub(lines.len()) else { break };
        room = left;
        events.push(lines);
    }
    text.extend(events.into_iter().rev().flatten());
    text
}

/// The steps around the one that failed, in at most so many lines.
fn steps(case: &Case, room: usize) -> Vec<String> {
    let Some(scenario) = &case.scenario else { return Vec::new() };
    let line_of = |finding: &Finding| Some(finding.line).filter(|line| *line > 0);
    let failing = case.findings.first().and_then(line_of).or(case.stopped_at);
    let index = scenario.steps.iter().position(|step| Some(step.line) == failing).unwrap_or(0);
    let room = room.min(2 * STEPS + 2);
    // One line is that of their words.
    let Some(room) = room.checked_sub(1).filter(|room| *room > 0) else { return Vec::new() };
    // What led to it tells more than what followed.
    let first = index.saturating_sub(STEPS.min(room.saturating_sub(1)));
    let shown = scenario.steps.iter().skip(first).take(room).flat_map(|step| {
        let mark = if Some(step.line) == failing { '>' } else { ' ' };
        wrapped_to(&format!("  {mark} {:>3}  ", step.line), "           ", &step.text, 2)
    });
    let mut text: Vec<String> = shown.take(room).collect();
    if !text.is_empty() {
        let is_plain = scenario.steps.iter().all(|step| step.text.starts_with(Place::G.name()));
        text.push(if is_plain { WORDS_OF_GUEST } else { WORDS_OF_NESTED }.to_owned());
    }
    text
}

fn short(hash: &str) -> String {
    line(hash).chars().take(DIGITS).collect()
}
