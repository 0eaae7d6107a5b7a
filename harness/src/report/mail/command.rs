//! QEMU's command line, as far as a mail has room for it.

/// The part of QEMU's command line that makes the machine: what a host needs to run the program, and what is the same for
/// every machine, stands in the event log.
pub(super) fn in_short(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let value = |option: &str| {
        let at = words.iter().position(|word| *word == option)?;
        Some(format!("{option} {}", lengths_in_short(words.get(at + 1)?)))
    };
    let program =
        words.iter().find_map(|word| word.rsplit('/').next().filter(|name| name.starts_with("qemu-system-")));
    let machine = ["-M", "-cpu", "-smp", "-m"].into_iter().filter_map(value);
    let mode = words
        .iter()
        .find(|word| word.starts_with("kvm-arm.mode="))
        .map(|mode| format!("-append '… {} …'", mode.trim_end_matches('\'')));
    program
        .map(str::to_owned)
        .into_iter()
        .chain(machine)
        .chain(mode)
        .chain(["…".to_owned()])
        .collect::<Vec<_>>()
        .join(" ")
}

/// A CPU with the first and the last of its switches for vector lengths.
fn lengths_in_short(cpu: &str) -> String {
    let is_length = |word: &&str| word.starts_with("sve") && word.contains('=') && *word != "sve=off";
    let lengths: Vec<&str> = cpu.split(',').filter(is_length).collect();
    let [first, .., last] = lengths.as_slice() else { return cpu.to_owned() };
    cpu.split(',')
        .filter_map(|word| match word {
            word if word == *first => Some(format!("{first},…,{last}")),
            word if is_length(&word) => None,
            word => Some(word.to_owned()),
        })
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_the_machine_stays() {
        assert_eq!(
            in_short(
                "lib/ld.so --library-path lib bin/qemu-system-aarch64 -L share -M virt,acpi=off -cpu \
                      max,sve128=on,sve256=on,sve384=off,lpa2=off -smp 2 -append 'panic=-1 kvm-arm.mode=nested'"
            ),
            "qemu-system-aarch64 -M virt,acpi=off -cpu max,sve128=on,…,sve384=off,lpa2=off -smp 2 -append '… \
             kvm-arm.mode=nested …' …"
        );
        assert_eq!(in_short("-cpu max,sve=off -m"), "-cpu max,sve=off …");
        assert_eq!(in_short(""), "…");
    }
}
