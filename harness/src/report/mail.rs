//! The report for a mailing list: plain text of 72 columns, one failure of each kind in less than 40 lines, everything that
//! a maintainer of the kernel needs to believe it and to see it.

mod columns;
mod command;
mod parts;

use std::io::{self, Write};

use super::Reporter;
use super::elsewhere::Elsewhere;
use crate::events::{Case, Environment, Summary, Witness};
use crate::result::State;
use parts::lines;

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

/// How little a failure tells, to begin with those that tell most: what breaks a rule, then what died, then what only did
/// not come to an end; of each, first what was traced.
fn obscurity(case: &Case) -> (bool, bool, bool) {
    (case.findings.is_empty(), case.verdict() == Some(State::Timeout), !case.is_traced())
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
                if !kind.is_traced() && case.is_traced() {
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
        self.kinds.sort_by_key(obscurity);
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

/// `1 case`, `2 cases`.
fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
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
            assert_eq!(text.matches(" 0x0000000000000000 zero").count(), 3, "{text}");
            for word in [
                "Subject: KVM: arm64: z0 at G: zeroed",
                "P-02",
                "0123456789ab",
                "VHE mode",
                ">  16",
                "qemu-system-aarch64 -nodefaults -no-reboot -smp 2 \\\n  -M virt,acpi=off -cpu max,sve-max-vq=16",
                "-append \"console=ttyAMA0 kvm-arm.mode=nested\"",
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
            "  kvm_nested_eret: elr_el2: 0x41007d80 spsr_el2: 0xd00003c5 (M: EL1h)\n      hcr_el2: 30480000039",
            "  kvm_inject_nested_exception: IRQ: esr_el2 0x0 elr_el2: 0x41013dd8\n",
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
    fn what_breaks_a_rule_comes_first() {
        let (environment, case) = failure();
        let of = |state: &str, findings: &[Finding]| Case {
            state: state.into(),
            why: format!("{state} it is"),
            fingerprint: Some(state.into()),
            findings: findings.to_vec(),
            ..Case::default()
        };
        let cases = [of("timeout", &[]), of("crash", &[]), of("fail", &case.findings)];
        let text = mail(&cases, &environment);
        let subjects: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Subject: ")).collect();
        let expected =
            ["KVM: arm64: z0 at G: zeroed", "KVM: arm64: crash it is", "KVM: arm64: timeout it is"];
        assert_eq!(subjects, expected);
    }

    #[test]
    fn of_what_breaks_no_rule_those_come_first_that_were_traced() {
        let (environment, case) = failure();
        let of = |fingerprint: &str| Case {
            state: "timeout".into(),
            why: format!("{fingerprint} it is"),
            fingerprint: Some(fingerprint.into()),
            findings: Vec::new(),
            ..case.clone()
        };
        let text = mail(&[of("one"), traced(of("other"))], &environment);
        assert!(text.starts_with("Subject: KVM: arm64: other it is\n"), "{text}");
    }

    #[test]
    fn what_breaks_no_rule_has_those_of_its_scenario() {
        let (environment, mut case) = failure();
        let rule = |id: &str, words: &str| Rule { id: id.into(), words: words.into() };
        case.scenario.as_mut().unwrap().rules = vec![rule("P-85", "it is so"), rule("P-02", "not told")];
        let words = "rule      P-85 (what the scenario checks): it is so Also P-02.\n";
        assert!(!mail(std::slice::from_ref(&case), &environment).contains("what the scenario checks"));
        case.findings.clear();
        let text = mail(&[case], &environment);
        fits(&text);
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn a_host_that_was_never_greeted_has_its_reason_whole() {
        let (mut environment, mut case) = failure();
        environment.kernel.as_mut().unwrap().kvm.clear();
        let found = Finding { place: Finding::KERNEL.into(), what: "it hangs".into(), ..Finding::default() };
        case.findings = vec![found];
        case.scenario.as_mut().unwrap().steps.clear();
        case.why =
            "the host failed over KVM before any case: its first job did not end within 20 s: it wrote \
                    no more to its console once it had booted, and that is all"
                .into();
        case.kernel_trace = Some(KernelTrace::absent("the host failed before any case"));
        // As long as the machine's whole command line leaves room for.
        let log = "WARNING: one\n a+0x4/0x8\n b+0x4/0x8\n c+0x4/0x8\n d+0x4/0x8\n";
        case.console = log.replace("WARNING: one", "it hangs");
        let text = mail(&[case], &environment);
        fits(&text);
        assert!(text.contains("\nconfig    sha256 0123456789ab\n"), "{text}");
        assert!(text.contains(" all\n") && !text.contains('…'), "{text}");
        assert!(text.contains("\ntrace     none: the host failed before any case\n"), "{text}");
    }

    #[test]
    fn folders_of_this_machine_stay_here() {
        let (mut environment, case) = failure();
        let path = "/srv/somebody/linux/Image.gz";
        let kernel = environment.kernel.as_mut().unwrap();
        kernel.name = format!("Linux {} ({path})", kernel.release);
        kernel.options = vec![("kernel".into(), path.into())];
        let text = mail(std::slice::from_ref(&case), &environment);
        assert!(text.contains("kernel    Linux 7.2.13+deb14-cloud-arm64 (Image.gz)"), "{text}");
        assert!(text.contains("--kernel Image.gz") && !text.contains("somebody"), "{text}");
    }

    #[test]
    fn what_a_vmm_found_has_call_and_step() {
        let (environment, case) = failure();
        let found = Finding {
            line: 16,
            place: Finding::VMM.into(),
            what: "x0 as 4 bytes can be read".into(),
            class_words: String::new(),
            transition: "KVM_GET_ONE_REG of 0x6020000000100000".into(),
            expected: vec!["EINVAL or ENOENT".into()],
            actual: "success".into(),
            lanes: Vec::new(),
            ..case.findings[0].clone()
        };
        let next = Finding { what: "PC as 4 bytes can be read".into(), ..found.clone() };
        let text = mail(&[Case { findings: vec![found, next], ..case }], &environment);
        fits(&text);
        for word in [
            "Subject: KVM: arm64: x0 as 4 bytes can be read\n",
            "rule      P-02: ",
            "where     the VMM, by KVM_GET_ONE_REG of 0x6020000000100000; and 1\n          \
             difference more: PC as 4 bytes can be read\n",
            "expected  EINVAL or ENOENT\nfound     success\n",
            "  >  16",
        ] {
            assert!(text.contains(word), "{word}:\n{text}");
        }
    }

    #[test]
    fn a_warning_has_its_place_in_the_log() {
        let (environment, case) = failure();
        let splat = "WARNING: arch/arm64/kvm/fpsimd.c:131 at put+0xd4/0x21c, CPU#0: init/1";
        let found = Finding { place: Finding::KERNEL.into(), what: splat.into(), ..Finding::default() };
        let console = format!(
            "noise\n{splat}\npc : put+0xd4/0x21c\nx29: 0 x28: 0\nCall trace:\n put+0xd4/0x21c (P)\n \
             load+0x4/0x8\n---[ end trace 0 ]---\n other+0x1/0x2\n"
        );
        let case = Case { findings: vec![found], console, ..case };
        let mut passed = traced(case.clone());
        passed.kernel_trace.as_mut().unwrap().end = KernelTrace::PASSED.into();
        let text = mail(&[passed], &environment);
        fits(&text);
        let none = "\ntrace     none: in a second run, traced, the kernel did not log that\nkernel  ";
        assert!(text.contains(none), "{text}");
        let text = mail(&[case], &environment);
        fits(&text);
        let log = "\n\n  put+0xd4/0x21c (P)\n  load+0x4/0x8\n\n";
        assert!(text.contains("\n  (G: a guest, at EL1; the words: "), "{text}");
        assert!(text.contains(log), "{text}");
        assert!(
            text.starts_with("Subject: KVM: arm64: WARNING: arch/arm64/kvm/fpsimd.c:131 at\n  put+0xd4"),
            "{text}"
        );
    }

    #[test]
    fn every_rule_is_told_whole() {
        for rule in model::rules::all() {
            let (environment, mut case) = failure();
            case.findings[0].rules = vec![Rule { id: rule.id.into(), words: rule.text.into() }];
            let text = mail(&[case], &environment);
            let told: Vec<&str> = text.split_whitespace().collect();
            let words: Vec<&str> = rule.text.split_whitespace().collect();
            assert!(told.windows(words.len()).any(|window| window == words), "{text}");
        }
    }

    #[test]
    fn what_passed_is_one_line() {
        let (environment, _) = failure();
        assert_eq!(mail(&[], &environment), "No failure: 0 cases passed, 0 were skipped.\n");
    }
}
