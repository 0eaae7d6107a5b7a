//! The one line that runs a case again, as it was run.

use super::Environment;
use crate::options::Strategy;

impl Environment {
    /// The command that runs the case of this name again; what is the default anyway is left out.
    #[must_use]
    pub fn again(&self, name: &str) -> String {
        self.again_words(name).iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    /// The same, one word each, as a program is given them.
    #[must_use]
    pub fn again_words(&self, name: &str) -> Vec<String> {
        let command = if self.replayed.is_some() { "replay" } else { "run" };
        let mut words = ["cargo", "holdfast", command].map(str::to_owned).to_vec();
        let mut option = |name: &str, value: &str| words.extend([format!("--{name}"), value.to_owned()]);
        if self.target != "reference" {
            option("target", &self.target);
        }
        for (name, value) in self.kernel.iter().flat_map(|kernel| &kernel.options) {
            option(name, value);
        }
        let usual = Strategy::default().settings().map(|(switch, value)| format!("{switch}={value}"));
        for setting in self.strategy.iter().filter(|setting| !usual.contains(setting)) {
            option("set", setting);
        }
        if self.depth > 1 {
            option("depth", &self.depth.to_string());
        }
        if let Some(doorbell) = &self.doorbell {
            option("doorbell", doorbell);
        }
        if let Some(sweep) = &self.sweep {
            option("sweep", sweep);
        }
        if let Some(disturbance) = &self.disturbance {
            option("disturb", disturbance);
        }
        if let Some(fault) = &self.fault {
            option("fault", fault);
        }
        words.push(self.replayed.as_deref().unwrap_or(name).to_owned());
        words
    }
}

/// The word as a shell takes it.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_are_quoted() {
        let environment = Environment {
            target: "reference".into(),
            strategy: vec!["restore=lazy".into(), "nested=put-load".into()],
            depth: 2,
            doorbell: Some("smc".into()),
            fault: Some("nv-reload-old".into()),
            ..Environment::default()
        };
        assert_eq!(
            environment.again("nested::eret_keeps_z[vl=max]"),
            "cargo holdfast run --set nested=put-load --depth 2 --doorbell smc --fault nv-reload-old \
             'nested::eret_keeps_z[vl=max]'"
        );
    }

    #[test]
    fn a_kernel_is_named() {
        let options = vec![("kernel".into(), "debian:6.1".into()), ("cmdline".into(), "a b".into())];
        let environment = Environment {
            target: "kvm-qemu".into(),
            kernel: Some(crate::events::Kernel { options, ..Default::default() }),
            ..Environment::default()
        };
        let again = environment.again("a::b");
        assert_eq!(again, "cargo holdfast run --target kvm-qemu --kernel debian:6.1 --cmdline 'a b' a::b");
    }

    #[test]
    fn what_was_replayed_is_replayed() {
        let environment = Environment {
            target: "bare".into(),
            replayed: Some("found/it.toml".into()),
            ..Environment::default()
        };
        assert_eq!(environment.again("it"), "cargo holdfast replay --target bare found/it.toml");
    }

    #[test]
    fn a_quote_cannot_leave_the_word() {
        assert_eq!(quote("a'; rm -rf /"), r"'a'\''; rm -rf /'");
    }
}
