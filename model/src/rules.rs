//! The rules: what a conforming hypervisor must do, and what each follows from.
//!
//! A scenario names the rules that it checks; a verdict names the rule that was broken. Where the architecture
//! leaves a choice, the rule says so, and the oracle accepts every value of it.

mod table;

/// A rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// `P-xx`.
    pub id: &'static str,
    /// The property, in a sentence.
    pub text: &'static str,
    /// What it follows from: rules of the Arm ARM by their ids (`R_…`, `I_…`), descriptions of registers, or
    /// the ABI that promises it.
    pub follows: &'static str,
    /// The catalogued bugs that break it.
    pub bugs: &'static [&'static str],
    /// The area that it belongs to.
    pub area: Area,
    /// What it takes to check it.
    pub scope: Scope,
}

/// A group of rules.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Area {
    /// State over transitions that the hypervisor makes.
    Preservation,
    /// The virtual machine monitor's own state.
    HostSide,
    /// Streaming mode and ZA.
    Streaming,
    /// Vector lengths.
    VectorLengths,
    /// Traps and syndromes.
    Traps,
    /// Nested virtualization.
    Nested,
    /// The registers of a vCPU as a virtual machine monitor reads and writes them.
    RegisterAbi,
}

impl Area {
    /// Every area, in the order of the rules.
    pub const ALL: [Self; 7] = [
        Self::Preservation,
        Self::HostSide,
        Self::Streaming,
        Self::VectorLengths,
        Self::Traps,
        Self::Nested,
        Self::RegisterAbi,
    ];

    /// The heading in lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preservation => "preservation",
            Self::HostSide => "host side",
            Self::Streaming => "streaming mode and ZA",
            Self::VectorLengths => "vector lengths",
            Self::Traps => "traps and syndromes",
            Self::Nested => "nested virtualization",
            Self::RegisterAbi => "register ABI",
        }
    }
}

/// What it takes to check a rule.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scope {
    /// FP, AdvSIMD and SVE state on one CPU, from inside a guest.
    OneCpu,
    /// A guest with SME.
    Sme,
    /// The virtual machine monitor's own registers.
    Host,
    /// KVM's register ABI.
    RegisterAbi,
    /// Several CPUs, or several vCPUs at once.
    SeveralCpus,
    /// FP exceptions that trap, which no CPU that QEMU emulates has.
    TrappedExceptions,
}

impl Scope {
    /// Why no scenario for one CPU with FP and SVE checks a rule of this scope, if so.
    #[must_use]
    pub const fn why_not(self) -> Option<&'static str> {
        match self {
            Self::OneCpu => None,
            Self::Sme => Some("needs a guest with SME"),
            Self::Host => Some("concerns the virtual machine monitor, which only a KVM target has"),
            Self::RegisterAbi => Some("concerns KVM's register ABI, which only a KVM target has"),
            Self::SeveralCpus => Some("needs several CPUs or vCPUs"),
            Self::TrappedExceptions => {
                Some("needs a CPU that traps floating-point exceptions, which QEMU does not emulate")
            }
        }
    }
}

/// All rules, in the order of their numbers.
#[must_use]
pub const fn all() -> &'static [Rule] {
    table::RULES
}

/// The rule with this id.
#[must_use]
pub fn get(id: &str) -> Option<&'static Rule> {
    all().iter().find(|rule| rule.id == id)
}

#[cfg(test)]
mod tests {
    use abi::fault::Fault;

    use super::*;

    /// Numbers that were never given to a rule lie between these ranges, one for each area.
    const NUMBERS: [(Area, std::ops::RangeInclusive<u32>); 7] = [
        (Area::Preservation, 1..=17),
        (Area::HostSide, 20..=26),
        (Area::Streaming, 30..=43),
        (Area::VectorLengths, 50..=60),
        (Area::Traps, 65..=76),
        (Area::Nested, 80..=91),
        (Area::RegisterAbi, 95..=103),
    ];

    #[test]
    fn the_table_has_every_rule_once_in_order() {
        let expected: Vec<_> = NUMBERS
            .into_iter()
            .flat_map(|(area, numbers)| numbers.map(move |number| (format!("P-{number:02}"), area)))
            .collect();
        let found: Vec<_> = all().iter().map(|rule| (rule.id.to_owned(), rule.area)).collect();
        assert_eq!(found, expected);
        assert_eq!(found.len(), 82);
    }

    #[test]
    fn texts_are_sentences() {
        for rule in all() {
            assert!(rule.text.ends_with('.') && !rule.text.ends_with(".."), "{}", rule.id);
            assert!(!rule.text.contains("  ") && !rule.follows.contains("  "), "{}", rule.id);
            assert!(!rule.follows.is_empty(), "{}", rule.id);
        }
    }

    #[test]
    fn bugs_are_ids_and_named_once() {
        for rule in all() {
            for (index, bug) in rule.bugs.iter().enumerate() {
                let (class, number) = bug.split_once('-').unwrap();
                assert!(
                    class.len() == 2 && class.chars().all(|c| c.is_ascii_uppercase()),
                    "{} {bug}",
                    rule.id
                );
                assert!(number.len() == 2 && number.parse::<u8>().is_ok(), "{} {bug}", rule.id);
                assert!(!rule.bugs[..index].contains(bug), "{} {bug}", rule.id);
            }
        }
    }

    #[test]
    fn only_one_cpu_is_in_reach() {
        for rule in all() {
            assert_eq!(rule.scope == Scope::OneCpu, rule.scope.why_not().is_none(), "{}", rule.id);
        }
        assert!(get("P-80").unwrap().scope.why_not().is_none());
        assert!(get("P-30").unwrap().scope.why_not().is_some());
    }

    #[test]
    fn faults_break_rules_that_exist() {
        for fault in Fault::ALL {
            for id in fault.rules() {
                assert!(get(id).is_some(), "{} names {id}", fault.name());
            }
        }
    }

    #[test]
    fn unknown_ids() {
        for id in ["", "P-0", "P-1", "P-18", "p-01", "P-104"] {
            assert!(get(id).is_none(), "{id}");
        }
    }
}
