//! The report for a mailing list: plain text of 72 columns, one failure of each kind in less than 40 lines, everything that
//! a maintainer of the kernel needs to believe it and to see it.

mod columns;
mod command;

use std::io::{self, Write};

use columns::{cut, wrapped};
use command::in_short;

use super::clean::line;
use super::elsewhere::Elsewhere;
use super::{Reporter, failure};
use crate::events::{Case, Environment, Summary, Witness};
use crate::kvm::trace;
use crate::result::State;

/// Lines of one failure: with the last one of the report, and the empty one before it, less than 40.
const LINES: usize = 37;
/// Lanes shown: enough to tell a pattern from an accident.
const LANES: usize = 3;
/// Steps shown around the failing one if there is room, before it and behind it.
const STEPS: usize = 4;
/// Steps shown in any case.
const STEPS_LEAST: usize = 4;
/// Trace events of the host kernel shown if there is room.
const EVENTS: usize = 8;
/// Hexadecimal digits of a hash that are shown.
const DIGITS: usize = 12;

/// Collects the first failure of each kind, and prints them when all witnesses were heard.
#[derive(Debug)]
pub struct Mail<W> {
    to: W,
    environment: Environment,
    kinds: Vec<Case>,
    /// Failures that are like one before.
    alike: u64,
    elsewhere: Elsewhere,
}

impl<W: Write> Mail<W> {
    /// Prints to `to`.
    pub fn new(to: W) -> Self {
        let environment = Environment::default();
        Self { to, environment, kinds: Vec::new(), alike: 0, elsewhere: Elsewhere::default() }
    }
}

impl<W: Write> Reporter for Mail<W> {
    fn environment(&mut self, environment: &Environment) -> io::Result<()> {
        self.environment = environment.clone();
        Ok(())
    }

    fn case(&mut self, case: &Case) -> io::Result<()> {
        if !case.verdict().as_ref().is_some_and(State::is_nonconformant) {
            return Ok(());
        }
        let alike = |kind: &&mut Case| kind.fingerprint.is_some() && kind.fingerprint == case.fingerprint;
        match self.kinds.iter_mut().find(alike) {
            Some(kind) => {
                self.alike += 1;
                if kind.kernel_trace.is_none() && case.kernel_trace.is_some() {
                    *kind = case.clone();
                }
            }
            None => self.kinds.push(case.clone()),
        }
        Ok(())
    }

    fn witness(&mut self, witness: &Witness) -> io::Result<()> {
        self.elsewhere.hear(witness);
        Ok(())
    }

    fn end(&mut self, summary: Option<&Summary>) -> io::Result<()> {
        for (index, case) in self.kinds.iter().enumerate() {
            if index > 0 {
                writeln!(self.to)?;
            }
            for text in lines(&self.environment, case, &self.elsewhere) {
                writeln!(self.to, "{}", text.trim_end())?;
            }
        }
        let Some(summary) = summary else { return writeln!(self.to, "\nThe run ended early: it is void.") };
        if summary.error + summary.miss > 0 {
            let void = summary.error + summary.miss;
            writeln!(self.to, "The run is void: {} could not be judged.", count(void, "case"))?;
        }
        if self.kinds.is_empty() {
            return writeln!(
                self.to,
                "No failure: {} cases passed, {} were skipped.",
                summary.pass, summary.skip
            );
        }
        let text = format!(
            "{} of failure, {} more alike; {} passed.",
            count(self.kinds.len() as u64, "kind"),
            count(self.alike, "case"),
            count(summary.pass, "case")
        );
        writeln!(self.to, "\n{text}")
    }
}

/// One failure: what is wrong and where it was seen are told in full, steps and events as far as there is room.
fn lines(environment: &Environment, case: &Case, elsewhere: &Elsewhere) -> Vec<String> {
    let (difference, machine) = (difference(environment, case), machine(environment, case, elsewhere));
    let room = LINES.saturating_sub(difference.len() + machine.len() + 2);
    let traced = traced(case, room.saturating_sub(STEPS_LEAST + 1));
    let steps = steps(case, room.saturating_sub(traced.len() + 1));
    let parts = [difference, steps, traced, machine];
    let parts: Vec<Vec<String>> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(&String::new())
}

/// What was to be found, and what was.
fn difference(environment: &Environment, case: &Case) -> Vec<String> {
    let target = if environment.kernel.is_some() { "KVM: arm64: " } else { "" };
    // How many more there are is told below.
    let subject = case.findings.first().map_or_else(|| failure::headline(case), failure::difference);
    let mut text = vec![cut(&line(&format!("Subject: {target}{subject}"))), String::new()];
    text.extend(wrapped("case      ", &case.name, 2));
    if let Some(finding) = case.findings.first() {
        for rule in finding.rules.iter().take(1) {
            text.extend(wrapped("rule      ", &format!("{}: {}", rule.id, rule.words), 3));
        }
        let after = if finding.transition.is_empty() { "" } else { ", after " };
        text.extend(wrapped("where     ", &format!("{}{after}{}", finding.place, finding.transition), 1));
        for lane in finding.lanes.iter().take(LANES) {
            let (number, expected, actual) = (lane.lane, lane.expected, lane.actual);
            text.push(cut(&format!(
                "  lane {number:<2} {expected:#018x} is {actual:#018x} {}",
                line(&lane.origin)
            )));
        }
        if finding.lanes.is_empty() {
            for expected in finding.expected.iter().take(1) {
                text.extend(wrapped("expected  ", expected, 1));
            }
            text.extend(wrapped("found     ", &finding.actual, 2));
        }
        if case.findings.len() > 1 {
            text.push(format!("          and {} more", count(case.findings.len() as u64 - 1, "difference")));
        }
    }
    if !case.why.is_empty() {
        text.extend(wrapped("why       ", &case.why, if case.findings.is_empty() { 4 } else { 1 }));
    }
    text
}

/// Where it was seen, how to see it again, and who else has.
fn machine(environment: &Environment, case: &Case, elsewhere: &Elsewhere) -> Vec<String> {
    let mut text = Vec::new();
    if let Some(kernel) = &environment.kernel {
        text.extend(wrapped("kernel    ", &format!("{} ({})", kernel.release, kernel.name), 2));
        let config = kernel.config_sha256.as_deref().map_or_else(|| "unknown".to_owned(), short);
        text.extend(wrapped("config    ", &format!("sha256 {config}; {}", kernel.kvm), 1));
    }
    if let Some(emulator) = &environment.emulator {
        text.extend(wrapped("emulator  ", &emulator.version, 1));
    }
    text.extend(wrapped("again     ", &environment.again(&case.name), 4));
    if let Some(command) = environment.kernel.as_ref().and_then(|kernel| kernel.command.as_ref()) {
        text.extend(wrapped("machine   ", &in_short(command), 4));
    }
    if let Some([answers, conclusion]) = elsewhere.text(environment, case) {
        text.extend(wrapped("also on   ", &answers, 3));
        text.extend(wrapped("          ", &conclusion, 2));
    }
    text
}

/// What the host kernel traced, in at most so many lines.
fn traced(case: &Case, room: usize) -> Vec<String> {
    let Some(trace) = &case.kernel_trace else { return Vec::new() };
    let mut text = wrapped("trace     ", &trace::heading(trace), 2);
    let events = trace::brief(trace, EVENTS.min(room.saturating_sub(text.len())));
    text.extend(events.iter().map(|event| cut(&format!("  {}", line(event)))));
    text
}

/// The steps around the one that failed, in at most so many lines.
fn steps(case: &Case, room: usize) -> Vec<String> {
    let Some(scenario) = &case.scenario else { return Vec::new() };
    let failing = case.findings.first().map(|finding| finding.line).or(case.stopped_at);
    let index = scenario.steps.iter().position(|step| Some(step.line) == failing).unwrap_or(0);
    let room = room.min(2 * STEPS + 1);
    // What led to it tells more than what followed.
    let first = index.saturating_sub(STEPS.min(room.saturating_sub(1)));
    let shown = scenario.steps.iter().skip(first).take(room);
    shown
        .map(|step| {
            let mark = if Some(step.line) == failing { '>' } else { ' ' };
            cut(&format!("  {mark} {:>3}  {}", step.line, line(&step.text)))
        })
        .collect()
}

/// `1 case`, `2 cases`.
fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn short(hash: &str) -> String {
    line(hash).chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::columns::WIDTH;
    use super::*;
    use crate::events::{
        Emulator, Finding, Hex, Kernel, KernelEvent, KernelTrace, Lane, Rule, Scenario, Step,
    };

    fn failure() -> (Environment, Case) {
        let lane =
            |lane| Lane { lane, expected: Hex(0x5100_1000_d775_fd1f), actual: Hex(0), origin: "zero".into() };
        let finding = Finding {
            line: 16,
            place: "G".into(),
            rules: vec![Rule { id: "P-02".into(), words: "registers survive such exits; ".repeat(9) }],
            what: "z0".into(),
            class_words: "zeroed".into(),
            transition: "smc G -> G".into(),
            lanes: (0..32).map(lane).collect(),
            ..Finding::default()
        };
        let steps = (1..40).map(|line| Step { line, text: "G expect all".into() }).collect();
        let case = Case {
            name: "call::smc_of_guest[max_vl=128,disturb=preempt]".into(),
            state: "fail".into(),
            fingerprint: Some("e1b57dd3df31".into()),
            findings: vec![finding.clone(), finding],
            scenario: Some(Scenario { steps, ..Scenario::default() }),
            ..Case::default()
        };
        let kernel = Kernel {
            name: "Debian 7.2.13-1 (linux-binary-7.2.13+deb14-cloud-arm64)".into(),
            release: "7.2.13+deb14-cloud-arm64".into(),
            config_sha256: Some("0123456789abcdef".into()),
            kvm: "VHE mode initialized successfully".into(),
            options: vec![("kernel".into(), "a/path/of/some/length/".repeat(4) + "Image")],
            command: Some(format!(
                "loader --library-path lib bin/qemu-system-aarch64 -M virt,acpi=off -cpu max,{} -smp 2 \
                 -append 'console=ttyAMA0 kvm-arm.mode=nested'",
                (1..=16).map(|vq| format!("sve{}=on", vq * 128)).collect::<Vec<_>>().join(",")
            )),
            ..Kernel::default()
        };
        let emulator = Emulator {
            version: "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1)".into(),
            sha256: "".into(),
        };
        let environment = Environment {
            target: "kvm-qemu".into(),
            kernel: Some(kernel),
            emulator: Some(emulator),
            ..Environment::default()
        };
        (environment, case)
    }

    /// Each event twice, with an entry behind it.
    fn traced(case: Case) -> Case {
        let event = |name: &str, text: &str| KernelEvent {
            name: name.into(),
            text: text.into(),
            ..KernelEvent::default()
        };
        let events = vec![
            event("kvm_exit", "TRAP: HSR_EC: 0x001a (ERET), PC: 0x00000000410038c4"),
            event(
                "kvm_nested_eret",
                "elr_el2: 0x41007d80 spsr_el2: 0xd00003c5 (M: EL1h) hcr_el2: 30480000039",
            ),
            event("kvm_entry", "PC: 0x0000000041007d80"),
            event("kvm_exit", "IRQ: HSR_EC: 0x0000 (UNKNOWN), PC: 0x0000000041013dd8"),
            event(
                "kvm_inject_nested_exception",
                "IRQ: esr_el2 0x0 elr_el2: 0x41013dd8 spsr_el2: 0x000003c5 (M: EL1h) \
                 hcr_el2: 30480000039",
            ),
            event("kvm_entry", "PC: 0x0000000041000480"),
        ];
        let events = [events.clone(), events].concat();
        let trace =
            KernelTrace { end: KernelTrace::SAME.into(), cut: true, events, ..KernelTrace::default() };
        Case { kernel_trace: Some(trace), ..case }
    }

    fn witness(on: &str, with: &str, answer: &str) -> Witness {
        Witness {
            fingerprint: "e1b57dd3df31".into(),
            on: on.into(),
            with: with.into(),
            answer: answer.into(),
            ..Witness::default()
        }
    }

    fn mail(cases: &[Case], environment: &Environment) -> String {
        let mut text = Vec::new();
        let mut mail = Mail::new(&mut text);
        mail.environment(environment).unwrap();
        for case in cases {
            mail.case(case).unwrap();
        }
        for witness in [
            witness("bare", "QEMU emulator version 11.1.3", "no"),
            witness("other-qemu", "QEMU emulator version 10.0.2", "yes"),
        ] {
            mail.witness(&witness).unwrap();
        }
        mail.end(Some(&Summary { fail: 2, ..Summary::default() })).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[track_caller]
    fn fits(text: &str) {
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().count() < 40, "{} lines:\n{text}", text.lines().count());
    }

    #[test]
    fn a_failure_fits_into_a_mail() {
        let (environment, case) = failure();
        for case in [case.clone(), traced(case.clone())] {
            let text = mail(&[case.clone(), case], &environment);
            fits(&text);
            assert_eq!(text.matches("  lane ").count(), LANES);
            for word in [
                "Subject: KVM: arm64: z0 at G: zeroed",
                "P-02",
                "0123456789ab",
                "VHE mode",
                ">  16",
                "max,sve128=on,…,sve2048=on -smp 2",
                "QEMU 10.0.2: yes",
                "1 kind of failure, 1 case more alike",
            ] {
                assert!(text.contains(word), "{word}:\n{text}");
            }
        }
    }

    #[test]
    fn the_first_that_was_traced_is_shown() {
        let (environment, case) = failure();
        let text = mail(&[case.clone(), traced(case)], &environment);
        for word in [
            "trace     of a second run that failed alike, up to the failing step",
            "  kvm_exit: TRAP: HSR_EC: 0x1a (ERET), PC: 0x410038c4",
            "  kvm_nested_eret: elr_el2: 0x41007d80 spsr_el2: 0xd00003c5 (M: EL1h)",
            "  kvm_inject_nested_exception: IRQ: esr_el2 0x0 elr_el2: 0x41013dd8",
        ] {
            assert!(text.contains(word), "{word}:\n{text}");
        }
        assert!(!text.contains("kvm_entry"), "{text}");
    }

    #[test]
    fn whatever_a_log_has_fits() {
        let (mut environment, case) = failure();
        let mut case = traced(case);
        let long = "a long word and another ".repeat(40);
        case.name = "name".repeat(200);
        case.why.clone_from(&long);
        for finding in &mut case.findings {
            finding.transition.clone_from(&long);
            finding.place.clone_from(&long);
            finding.what = "é".repeat(300);
        }
        let kernel = environment.kernel.as_mut().unwrap();
        for text in [&mut kernel.name, &mut kernel.kvm, &mut kernel.release] {
            text.clone_from(&long);
        }
        kernel.options.push(("cmdline".into(), long.clone()));
        kernel.command = Some(format!("-M {} -cpu {}", "m".repeat(500), "c,".repeat(500)));
        if let Some(emulator) = &mut environment.emulator {
            emulator.version.clone_from(&long);
        }
        fits(&mail(std::slice::from_ref(&case), &environment));
        case.findings.clear();
        fits(&mail(&[case], &environment));
    }

    #[test]
    fn what_passed_is_one_line() {
        let (environment, _) = failure();
        assert_eq!(mail(&[], &environment), "No failure: 0 cases passed, 0 were skipped.\n");
    }
}
