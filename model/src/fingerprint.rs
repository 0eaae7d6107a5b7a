//! A short hash of what went wrong: equal for equal failures, whichever case they happen in.

use crate::judge::Finding;

/// Twelve hexadecimal digits made of rule, class of register, class of failure and kind of transition.
///
/// Numbers of registers, lanes, values, lines and lengths do not count, so that one bug has few fingerprints. The
/// hash is FNV-1a: it must stay the same from build to build.
#[must_use]
pub fn fingerprint(finding: &Finding) -> String {
    let rule = finding.rules.first().copied().unwrap_or("-");
    let transition = finding.transition.as_deref().unwrap_or("-");
    let text = format!("{rule}|{}|{}|{transition}", finding.what.class(), finding.class.name());
    format!("{:012x}", fnv1a(text.as_bytes()) >> 16)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use abi::pattern::Owner;
    use abi::place::Place;

    use super::*;
    use crate::judge::{FailureClass, RegisterName};

    fn finding() -> Finding {
        Finding {
            step: 1,
            op: 2,
            line: 3,
            place: Place::L2,
            rules: vec!["P-81", "P-02"],
            what: RegisterName::Z(3),
            holder: Owner::Scenario,
            class: FailureClass::Stale,
            origin: None,
            expected: vec![vec![1]],
            actual: vec![2],
            lanes: Vec::new(),
            transition: Some("eret L1 -> L2".to_owned()),
        }
    }

    #[test]
    fn fnv1a_of_its_definition() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn only_what_went_wrong_counts() {
        let one = fingerprint(&finding());
        assert_eq!(one.len(), 12);
        let other = Finding { what: RegisterName::Z(17), line: 99, actual: vec![7], ..finding() };
        assert_eq!(one, fingerprint(&other));
        let class = Finding { class: FailureClass::Leaked { owner: Owner::Poison }, ..finding() };
        assert_ne!(one, fingerprint(&class));
        let register = Finding { what: RegisterName::P(3), ..finding() };
        assert_ne!(one, fingerprint(&register));
    }
}
