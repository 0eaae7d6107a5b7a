//! Versions of Debian packages: what comes after what.

use std::cmp::Ordering;

/// Compares two versions as dpkg does (Debian policy 5.6.12): `7.3~rc7-1` is before `7.3-1`, and `6.9` before `6.12`.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (Parts::of(left), Parts::of(right));
    number(left.epoch, right.epoch)
        .then_with(|| part(left.upstream, right.upstream))
        .then_with(|| part(left.revision, right.revision))
}

/// The version that the authors gave: `7.2.12` of `1:7.2.12-1~bpo13+1`.
#[must_use]
pub fn upstream(version: &str) -> &str {
    Parts::of(version).upstream
}

struct Parts<'a> {
    epoch: &'a str,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch, upstream, revision }
    }
}

fn part<'a>(mut left: &'a str, mut right: &'a str) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (words, rests) = split(left, right, |c| !c.is_ascii_digit());
        let (digits, rest) = split(rests.0, rests.1, |c| c.is_ascii_digit());
        let order = word(words.0, words.1).then_with(|| number(digits.0, digits.1));
        if order.is_ne() {
            return order;
        }
        (left, right) = rest;
    }
    Ordering::Equal
}

type Pair<'a> = (&'a str, &'a str);

/// Splits both where something else than what `belongs` begins.
fn split<'a>(left: &'a str, right: &'a str, belongs: impl Fn(char) -> bool) -> (Pair<'a>, Pair<'a>) {
    let split = |text: &'a str| text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()));
    let ((left, left_rest), (right, right_rest)) = (split(left), split(right));
    ((left, right), (left_rest, right_rest))
}

/// A tilde is before the end, the end before letters, letters before all else.
fn word(left: &str, right: &str) -> Ordering {
    let rank = |c: char| match c {
        '~' => 0,
        c if c.is_ascii_alphabetic() => 0x100 + u32::from(c),
        c => 0x1_0000 + u32::from(c),
    };
    // The end is after a tilde and before the rest.
    let ranks = |text: &str| text.chars().map(rank).chain([1]).collect::<Vec<_>>();
    ranks(left).cmp(&ranks(right))
}

/// Compares digits as a number of any length.
fn number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_does() {
        let ascending = [
            "6.1.164-1",
            "6.1.170-1",
            "6.1.170-3",
            "6.9-1",
            "6.12.43-1~bpo12+1",
            "6.12.43-1",
            "6.12.107-1~deb12u1",
            "6.12.107-1",
            "6.12.115-1",
            "6.12.115-2",
            "7.2.9-1~bpo13+1",
            "7.2.12-1~bpo13+1",
            "7.2.12-1",
            "7.3~rc7-1~exp1",
            "7.3~rc10-1~exp1",
            "7.3-1~exp1",
            "7.3-1",
            "7.3a-1",
            "7.3+b-1",
            "7.3.4-1",
            "1:0.1",
        ];
        for (index, left) in ascending.iter().enumerate() {
            for (other, right) in ascending.iter().enumerate() {
                assert_eq!(compare(left, right), index.cmp(&other), "{left} {right}");
            }
        }
        assert_eq!(compare("7.02-1", "7.2-1"), Ordering::Equal);
    }

    #[test]
    fn upstream_versions() {
        assert_eq!(upstream("7.2.12-1~bpo13+1"), "7.2.12");
        assert_eq!(upstream("7.3~rc7-1~exp1"), "7.3~rc7");
        assert_eq!(upstream("1:7.3-rc7-1"), "7.3-rc7");
        assert_eq!(upstream("7.3"), "7.3");
        assert_eq!(upstream(""), "");
    }

    proptest! {
        #[test]
        fn any_texts_are_ordered(left in "\\PC{0,12}", right in "[0-9a-z.~+:-]{0,12}") {
            prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
            prop_assert_eq!(compare(&left, &left), Ordering::Equal);
        }
    }
}
