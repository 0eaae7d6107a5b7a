//! The report for a mailing list: plain text of 72 columns, one failure of each kind, everything that a maintainer of the
//! kernel needs to believe it and to see it.

use std::io::{self, Write};

use super::clean::line;
use super::{Reporter, failure};
use crate::events::{Case, Environment, Summary};
use crate::result::State;

/// Columns.
const WIDTH: usize = 72;
/// Lanes shown: enough to tell a pattern from an accident.
const LANES: usize = 3;
/// Steps shown around the failing one.
const STEPS: usize = 4;
/// Hexadecimal digits of a hash that are shown.
const DIGITS: usize = 12;

/// Prints each kind of failure when it is met first.
#[derive(Debug)]
pub struct Mail<W> {
    to: W,
    environment: Environment,
    seen: Vec<String>,
    /// Failures that are like one before.
    alike: u64,
}

impl<W: Write> Mail<W> {
    /// Prints to `to`.
    pub fn new(to: W) -> Self {
        Self { to, environment: Environment::default(), seen: Vec::new(), alike: 0 }
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
        let kind = case.fingerprint.clone().unwrap_or_else(|| case.name.clone());
        if self.seen.contains(&kind) {
            self.alike += 1;
            return Ok(());
        }
        if !self.seen.is_empty() {
            writeln!(self.to)?;
        }
        self.seen.push(kind);
        for text in lines(&self.environment, case) {
            writeln!(self.to, "{}", text.trim_end())?;
        }
        Ok(())
    }

    fn end(&mut self, summary: Option<&Summary>) -> io::Result<()> {
        let Some(summary) = summary else { return writeln!(self.to, "\nThe run ended early: it is void.") };
        if self.seen.is_empty() {
            return writeln!(
                self.to,
                "No failure: {} cases passed, {} were skipped.",
                summary.pass, summary.skip
            );
        }
        let text = format!(
            "{} kinds of failure, {} more cases alike; {} cases passed.",
            self.seen.len(),
            self.alike,
            summary.pass
        );
        writeln!(self.to, "\n{text}")
    }
}

/// One failure.
fn lines(environment: &Environment, case: &Case) -> Vec<String> {
    let mut text = Vec::new();
    let target = if environment.kernel.is_some() { "KVM: arm64: " } else { "" };
    text.push(cut(&format!("Subject: {target}{}", failure::headline(case))));
    text.push(String::new());
    text.extend(wrapped("case      ", &case.name));
    if let Some(finding) = case.findings.first() {
        for rule in finding.rules.iter().take(1) {
            text.extend(wrapped("rule      ", &format!("{}: {}", rule.id, rule.words)));
        }
        let after = if finding.transition.is_empty() { "" } else { ", after " };
        text.extend(wrapped("where     ", &format!("{}{after}{}", finding.place, finding.transition)));
        for lane in finding.lanes.iter().take(LANES) {
            let (number, expected, actual) = (lane.lane, lane.expected, lane.actual);
            text.push(cut(&format!(
                "  lane {number:<2} {expected:#018x} is {actual:#018x} {}",
                line(&lane.origin)
            )));
        }
        if finding.lanes.is_empty() {
            for expected in finding.expected.iter().take(1) {
                text.extend(wrapped("expected  ", expected));
            }
            text.extend(wrapped("found     ", &finding.actual));
        }
        if case.findings.len() > 1 {
            text.push(format!("          and {} more differences", case.findings.len() - 1));
        }
    }
    if !case.why.is_empty() {
        text.extend(wrapped("why       ", &case.why));
    }
    text.push(String::new());
    text.extend(steps(case));
    text.push(String::new());
    if let Some(kernel) = &environment.kernel {
        text.extend(wrapped("kernel    ", &format!("{} ({})", kernel.release, kernel.name)));
        if let Some(config) = &kernel.config_sha256 {
            text.push(format!("config    sha256 {}", short(config)));
        }
        text.extend(wrapped("kvm       ", &kernel.kvm));
    }
    if let Some(emulator) = &environment.emulator {
        text.extend(wrapped("emulator  ", &emulator.version));
    }
    text.extend(wrapped("again     ", &environment.again(&case.name)));
    if let Some(command) = environment.kernel.as_ref().and_then(|kernel| kernel.command.as_ref()) {
        text.extend(wrapped("machine   ", command));
    }
    // One emulated CPU is no witness against a kernel: what else was asked has to be said.
    text.extend(wrapped(
        "also on   ",
        "bare: untried; another QEMU: untried; a board: untried. Until one of them agrees the emulated CPU is as much \
         under suspicion as the kernel.",
    ));
    text
}

/// The steps around the one that failed.
fn steps(case: &Case) -> Vec<String> {
    let Some(scenario) = &case.scenario else { return Vec::new() };
    let failing = case.findings.first().map(|finding| finding.line).or(case.stopped_at);
    let index = scenario.steps.iter().position(|step| Some(step.line) == failing).unwrap_or(0);
    let first = index.saturating_sub(STEPS);
    let shown = scenario.steps.iter().skip(first).take(2 * STEPS + 1);
    shown
        .map(|step| {
            let mark = if Some(step.line) == failing { '>' } else { ' ' };
            cut(&format!("  {mark} {:>3}  {}", step.line, line(&step.text)))
        })
        .collect()
}

fn short(hash: &str) -> String {
    line(hash).chars().take(DIGITS).collect()
}

fn cut(text: &str) -> String {
    text.chars().take(WIDTH).collect()
}

/// The text behind a label, on as many lines as it takes.
fn wrapped(label: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(label.len());
    let options = textwrap::Options::new(WIDTH).initial_indent(label).subsequent_indent(&indent);
    textwrap::wrap(&line(text), options).into_iter().map(|line| line.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Finding, Hex, Kernel, Lane, Rule, Scenario, Step};

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
            command: Some("qemu-system-aarch64 -M virt ".repeat(8)),
            ..Kernel::default()
        };
        (Environment { target: "kvm-qemu".into(), kernel: Some(kernel), ..Environment::default() }, case)
    }

    fn mail(cases: &[Case], environment: &Environment) -> String {
        let mut text = Vec::new();
        let mut mail = Mail::new(&mut text);
        mail.environment(environment).unwrap();
        for case in cases {
            mail.case(case).unwrap();
        }
        mail.end(Some(&Summary { fail: 2, ..Summary::default() })).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_failure_fits_into_a_mail() {
        let (environment, case) = failure();
        let text = mail(&[case.clone(), case], &environment);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().count() <= 42, "{} lines:\n{text}", text.lines().count());
        assert_eq!(text.matches("  lane ").count(), LANES);
        for word in [
            "Subject: KVM: arm64: z0 at G: zeroed",
            "P-02",
            "0123456789ab",
            "VHE mode",
            ">  16",
            "1 kinds of failure, 1 more",
        ] {
            assert!(text.contains(word), "{word}:\n{text}");
        }
    }

    #[test]
    fn what_passed_is_one_line() {
        let (environment, _) = failure();
        assert_eq!(mail(&[], &environment), "No failure: 0 cases passed, 0 were skipped.\n");
    }
}
