//! Whether a failure is seen elsewhere as well, in words. One emulated CPU is no witness against a kernel: a QEMU has
//! bugs of its own, and all of KVM's failures in it may be one of these.

use super::clean::line;
use crate::events::{Case, Environment, Witness};

/// What all witnesses said.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Vec<Witness>);

impl Elsewhere {
    /// Hears one more.
    pub(super) fn hear(&mut self, witness: &Witness) {
        self.0.push(witness.clone());
    }

    /// What was said of failures like this one.
    fn of<'a>(&'a self, case: &Case, on: &str) -> Option<&'a Witness> {
        self.0
            .iter()
            .find(|witness| Some(&witness.fingerprint) == case.fingerprint.as_ref() && witness.on == on)
    }

    /// The answers, and what follows from them; nothing for a target that is no KVM.
    pub(super) fn text(&self, environment: &Environment, case: &Case) -> Option<[String; 2]> {
        environment.kernel.as_ref()?;
        let [bare, other] = [Witness::BARE, Witness::OTHER_QEMU].map(|on| self.of(case, on));
        let native = environment.target == "kvm";
        let board = self.of(case, Witness::BOARD);
        let mut answers = vec![answer("bare", bare)];
        if !native {
            answers.push(answer("another QEMU", other));
        }
        answers.push(if native { "board: yes, this one".to_owned() } else { answer("board", board) });
        let is = |witness: Option<&Witness>, answer| witness.is_some_and(|witness| witness.answer == answer);
        let conclusion = if is(bare, Witness::YES) {
            "No hypervisor is needed: suspect suite and QEMU, not KVM."
        } else if is(other, Witness::NO) || is(board, Witness::NO) {
            "They disagree: suspect the emulated CPU before the kernel."
        } else if native || is(board, Witness::YES) {
            "It is no matter of emulation."
        } else if is(other, Witness::YES) {
            "Two QEMUs agree, and share code: a board has the last word."
        } else {
            "Until another QEMU or a board agrees, it may be QEMU's."
        };
        Some([format!("{}.", answers.join("; ")), conclusion.to_owned()])
    }
}

/// `QEMU 10.0.2: yes`, `board: untried`.
fn answer(who: &str, witness: Option<&Witness>) -> String {
    let Some(Witness { with, answer, why, .. }) = witness else {
        return format!("{who}: {}", Witness::UNTRIED);
    };
    let who = match with.strip_prefix("QEMU emulator version ") {
        Some(version) if who != "bare" => {
            format!("QEMU {}", version.split_whitespace().next().unwrap_or_default())
        }
        _ => who.to_owned(),
    };
    // What `bare` lacks for a case that it cannot run is what a hypervisor would do.
    let why = if who == "bare" && why.starts_with("the target ") { "it takes a hypervisor" } else { why };
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    line(&format!("{who}: {answer}{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Kernel;

    #[track_caller]
    fn check(target: &str, said: &[(&str, &str)], expected: &str) {
        let environment =
            Environment { target: target.into(), kernel: Some(Kernel::default()), ..Environment::default() };
        let case = Case { fingerprint: Some("f".into()), ..Case::default() };
        let mut elsewhere = Elsewhere::default();
        for (on, answer) in said {
            let with = if *on == "board" { "6.12" } else { "QEMU emulator version 10.0.2 (Debian 1:10)" };
            elsewhere.hear(&Witness {
                fingerprint: "f".into(),
                on: (*on).into(),
                with: with.into(),
                answer: (*answer).into(),
                ..Witness::default()
            });
        }
        assert_eq!(elsewhere.text(&environment, &case).unwrap().join(" "), expected);
    }

    #[test]
    fn no_kernel_is_blamed_on_the_word_of_one_emulator() {
        let suspicion = "Until another QEMU or a board agrees, it may be QEMU's.";
        check("kvm-qemu", &[], &format!("bare: untried; another QEMU: untried; board: untried. {suspicion}"));
        check(
            "kvm-qemu",
            &[("bare", "no"), ("other-qemu", "untried")],
            &format!("bare: no; QEMU 10.0.2: untried; board: untried. {suspicion}"),
        );
        check(
            "kvm-qemu",
            &[("bare", "yes"), ("other-qemu", "yes")],
            "bare: yes; QEMU 10.0.2: yes; board: untried. No hypervisor is needed: suspect suite and QEMU, not KVM.",
        );
        check(
            "kvm-qemu",
            &[("bare", "no"), ("other-qemu", "yes"), ("board", "no")],
            "bare: no; QEMU 10.0.2: yes; board: no. They disagree: suspect the emulated CPU before the kernel.",
        );
        check(
            "kvm-qemu",
            &[("bare", "no"), ("other-qemu", "yes")],
            "bare: no; QEMU 10.0.2: yes; board: untried. Two QEMUs agree, and share code: a board has the last word.",
        );
        check("kvm", &[("bare", "no")], "bare: no; board: yes, this one. It is no matter of emulation.");
    }

    #[test]
    fn where_there_is_no_kernel_there_is_nobody_to_ask() {
        assert_eq!(Elsewhere::default().text(&Environment::default(), &Case::default()), None);
    }
}
