//! Command lines that can be copied into a shell, in the columns of a mail. None is ever cut: what takes too many lines is
//! named instead.

use super::super::clean::line;
use super::columns::{WIDTH, wrapped};
use crate::events::quote;

/// Columns before the lines that go on.
const INDENT: &str = "  ";
/// What a shell wants where a line goes on.
const GOES_ON: &str = " \\";

/// A command behind a label, in at most so many lines; `log` is where it stands in the event log.
pub(super) fn lines(label: &str, words: &[String], most: usize, log: &str) -> Vec<String> {
    broken(label, &pieces(words))
        .filter(|lines| lines.len() <= most)
        .unwrap_or_else(|| wrapped(label, &format!("too long for a mail: {log} of the event log"), 2))
}

/// What is not to be broken: a word with the option before it; of words with spaces, between double quotes, where a shell
/// takes a line that goes on out again, a word of the text.
fn pieces(words: &[String]) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut option = None;
    for word in words.iter().map(|word| line(word)) {
        let mut parts = if word.contains(' ') {
            let escape = |c: char| if "\\\"$`".contains(c) { format!("\\{c}") } else { c.to_string() };
            let quoted = format!("\"{}\"", word.chars().map(escape).collect::<String>());
            quoted.split(' ').map(str::to_owned).collect()
        } else {
            vec![quote(&word)]
        };
        let is_option = word.starts_with('-') && parts.len() == 1;
        match (option.take(), parts.first_mut()) {
            (Some(flag), Some(_)) if is_option => pieces.push(flag),
            (Some(option), Some(first)) => *first = format!("{option} {first}"),
            _ => {}
        }
        if is_option {
            option = parts.pop();
        }
        pieces.extend(parts);
    }
    pieces.extend(option);
    pieces
}

/// The pieces on lines that go on; none if one of them is too long.
fn broken(label: &str, pieces: &[String]) -> Option<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    let mut now = label.to_owned();
    let mut is_new = true;
    for piece in pieces {
        let long = now.chars().count() + usize::from(!is_new) + piece.chars().count() + GOES_ON.len() > WIDTH;
        if long && !is_new {
            lines.push(now + GOES_ON);
            now = INDENT.to_owned();
            is_new = true;
        }
        if !is_new {
            now.push(' ');
        }
        now.push_str(piece);
        is_new = false;
        if now.chars().count() + GOES_ON.len() > WIDTH {
            return None;
        }
    }
    lines.push(now);
    Some(lines)
}

/// QEMU's command line without what this machine alone has, and without what changes neither the emulated machine nor the
/// kernel: how QEMU was found, where it buffers, and the channels of the agent, `-initrd` and semihosting, in the place of
/// which is a console. Vector lengths are named as QEMU completes them (`docs/system/arm/cpu-features.rst`, "SVE CPU Property
/// Parsing Semantics", 8): with a length go all smaller powers of two, and what is not named is off. All up to one are
/// `sve-max-vq` (`arm_cpu_sve_finalize()`).
///
/// None if it is no command line of QEMU's.
pub(super) fn machine(command: &str, all_lengths: bool) -> Option<Vec<String>> {
    let words = shlex::split(command)?;
    let name = |word: &String| Some(word.rsplit('/').next()?.to_owned());
    let is_qemu = |name: &String| name.starts_with("qemu-system-");
    let program = words.iter().filter_map(name).find(is_qemu)?;
    let value = |option: &str| words.get(words.iter().position(|word| word == option)? + 1);
    let mut machine = vec![program, "-nodefaults".to_owned(), "-no-reboot".to_owned()];
    let mut add = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            machine.extend([option.to_owned(), value]);
        }
    };
    add("-smp", value("-smp").cloned());
    add("-m", value("-m").cloned());
    add("-M", value("-M").cloned());
    add("-cpu", value("-cpu").map(|cpu| lengths(cpu, all_lengths)));
    let accelerator = |word: &String| {
        let parts = word.split(',').filter(|part| !part.starts_with("tb-size="));
        parts.collect::<Vec<_>>().join(",")
    };
    add("-accel", value("-accel").map(accelerator));
    add("-serial", Some("stdio".to_owned()));
    add("-display", Some("none".to_owned()));
    add("-kernel", value("-kernel").and_then(name));
    add("-append", value("-append").cloned());
    Some(machine)
}

/// A CPU with no more of its switches for vector lengths than QEMU needs.
fn lengths(cpu: &str, all: bool) -> String {
    let length = |word: &str| -> Option<(u32, bool)> {
        let (bits, switch) = word.strip_prefix("sve")?.split_once('=')?;
        Some((bits.parse().ok()?, switch == "on"))
    };
    let on = cpu.split(',').filter_map(length).filter(|(_, on)| *on).map(|(bits, _)| bits);
    let Some(largest) = on.clone().max() else { return cpu.to_owned() };
    let on: Vec<u32> = if all { (128..=largest).step_by(128).collect() } else { on.collect() };
    let is_implied = |bits: u32| bits < largest && (bits / 128).is_power_of_two();
    let others = cpu.split(',').filter(|word| length(word).is_none()).map(str::to_owned);
    let needed: Vec<String> = if on.len() == (largest / 128) as usize {
        vec![format!("sve-max-vq={}", largest / 128)]
    } else {
        on.into_iter().filter(|bits| !is_implied(*bits)).map(|bits| format!("sve{bits}=on")).collect()
    };
    others.chain(needed).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a shell makes of the lines.
    fn read(lines: &[String], label: &str) -> Vec<String> {
        let text = lines.join("\n");
        shlex::split(&text.strip_prefix(label).unwrap().replace("\\\n", "")).unwrap()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_makes_the_machine_stays() {
        let command = "lib/ld.so --library-path lib /a/bin/qemu-system-aarch64 -L share -M virt,acpi=off -cpu \
                       max,sve128=on,sve256=on,sve384=off,lpa2=off -accel tcg,thread=multi,tb-size=256 -smp 2 \
                       -semihosting-config enable=on,arg=MAIL -kernel /a/b/Image -append 'panic=-1 kvm-arm.mode=nested' \
                       -initrd INITRD";
        let expected = "qemu-system-aarch64 -nodefaults -no-reboot -smp 2 -M virt,acpi=off -cpu \
                        max,lpa2=off,sve-max-vq=2 -accel tcg,thread=multi -serial stdio -display none -kernel Image \
                        -append";
        let mut expected: Vec<String> = expected.split(' ').map(str::to_owned).collect();
        expected.push("panic=-1 kvm-arm.mode=nested".to_owned());
        assert_eq!(machine(command, false).unwrap(), expected);
        assert_eq!(machine("-cpu max", false), None);
        assert_eq!(machine("qemu-system-aarch64 'open", false), None);
    }

    #[test]
    fn lengths_that_qemu_adds_by_itself_go_without_saying() {
        let powers = "max,sve128=on,sve256=on,sve384=off,sve512=on,sve640=off";
        assert_eq!(lengths(powers, false), "max,sve512=on");
        assert_eq!(lengths(powers, true), "max,sve-max-vq=4");
        assert_eq!(lengths("max,sve128=on,sve384=on", false), "max,sve384=on");
        assert_eq!(lengths("max,sve=off,sme=off", false), "max,sve=off,sme=off");
        assert_eq!(lengths("max,sve128=on", false), "max,sve-max-vq=1");
    }

    #[test]
    fn nothing_is_cut() {
        let long = words(&["cargo", "run", "--cmdline", &"p=1 ".repeat(60), "a::b[c=1]"]);
        let text = lines("again     ", &long, 9, "`command`");
        assert!(text.iter().all(|line| line.chars().count() <= WIDTH), "{text:#?}");
        assert!(
            text.len() > 3 && text[0].starts_with("again     cargo run --cmdline \"p=1 p=1"),
            "{text:#?}"
        );
        let named = ["again     too long for a mail: `command` of the event log"];
        let flags = words(&["qemu", "-nodefaults", "-no-reboot", "-smp", "2"]);
        assert_eq!(pieces(&flags), ["qemu", "-nodefaults", "-no-reboot", "-smp 2"]);
        assert_eq!(lines("again     ", &long, 2, "`command`"), named);
        assert_eq!(lines("again     ", &words(&["a", &"b".repeat(99)]), 9, "`command`"), named);
    }

    proptest! {
        /// But for blanks within a word, which kernel and command line take as one.
        #[test]
        fn a_shell_reads_what_was_written(given in prop::collection::vec("[ -~]{1,40}", 1..12)) {
            let text = lines("again     ", &given, usize::MAX, "");
            let is_whole = !text[0].contains("too long");
            let blanks = |words: &[String]| -> Vec<String> {
                words.iter().map(|word| word.split(' ').filter(|part| !part.is_empty()).collect()).collect()
            };
            if is_whole {
                prop_assert!(text.iter().all(|line| line.chars().count() <= WIDTH));
                prop_assert_eq!(blanks(&read(&text, "again     ")), blanks(&given));
            }
        }
    }
}
