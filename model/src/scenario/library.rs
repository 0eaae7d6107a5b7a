//! Many scenarios: names from paths, loading, choosing.

use std::num::NonZeroU32;
use std::str::FromStr;

use super::{ParseError, Scenario, parse};

/// The folder that scenario paths begin with.
const ROOT: &str = "suites/";
/// How they end.
const EXTENSION: &str = ".toml";

/// A scenario's name: `suites/nested/eret_keeps_z.toml` is `nested::eret_keeps_z`.
///
/// A path that does not lie in `suites/` gives its file name alone, as for a file made by hand or by a failure.
#[must_use]
pub fn name_of_path(path: &str) -> String {
    let stem = path.strip_suffix(EXTENSION).unwrap_or(path);
    let inside = stem.strip_prefix(ROOT).or_else(|| stem.rsplit_once("/suites/").map(|(_, inside)| inside));
    match inside {
        Some(inside) => inside.split('/').collect::<Vec<_>>().join("::"),
        None => stem.rsplit('/').next().unwrap_or(stem).to_owned(),
    }
}

/// Parses files given as path and text, and returns the scenarios in the order of their names.
///
/// # Errors
///
/// Returns the first error of each file that has one.
pub fn load_embedded(files: &[(&str, &str)]) -> Result<Vec<Scenario>, Vec<ParseError>> {
    let mut scenarios = Vec::with_capacity(files.len());
    let mut errors = Vec::new();
    for (path, text) in files {
        match parse(&name_of_path(path), path, text) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}

/// Whether the user's filters choose a case: one of them does, or there is none.
///
/// A filter with a `*` is a pattern for the whole name, in which `*` stands for anything; any other is a part of
/// the name. Brackets mean themselves.
#[must_use]
pub fn matches(case_name: &str, filters: &[String]) -> bool {
    filters.is_empty() || filters.iter().any(|filter| matches_one(case_name, filter))
}

fn matches_one(name: &str, filter: &str) -> bool {
    let Some((head, rest)) = filter.split_once('*') else { return name.contains(filter) };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let Some((middle, tail)) = rest.rsplit_once('*') else { return left.ends_with(rest) };
    // Each part between two stars may be taken where it first occurs: that leaves most for the others.
    for part in middle.split('*') {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(tail)
}

/// One of several equal parts of all cases: `2/4` is the second of four.
///
/// A case's part depends on its name alone, so the parts of two runs hold the same cases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shard {
    /// Counted from 0.
    index: u32,
    /// How many parts there are.
    count: NonZeroU32,
}

impl Shard {
    /// Whether the case is in this part.
    #[must_use]
    pub fn contains(self, case_name: &str) -> bool {
        hash(case_name) % u64::from(self.count.get()) == u64::from(self.index)
    }
}

/// Text that names no part.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no shard: expected i/n with i from 1 to n")]
pub struct ShardError(String);

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let shard = || {
            let (number, count) = text.split_once('/')?;
            let count: NonZeroU32 = count.parse().ok()?;
            let index = number.parse::<NonZeroU32>().ok().filter(|number| *number <= count)?.get() - 1;
            Some(Self { index, count })
        };
        shard().ok_or_else(|| ShardError(text.to_owned()))
    }
}

/// FNV-1a, and then every bit made to depend on all others.
fn hash(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    abi::pattern::mix(fnv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_paths() {
        for (path, name) in [
            ("suites/nested/eret_keeps_z.toml", "nested::eret_keeps_z"),
            ("/home/u/holdfast/suites/a/b/c.toml", "a::b::c"),
            ("failures/found.toml", "found"),
            ("found.toml", "found"),
            ("found", "found"),
        ] {
            assert_eq!(name_of_path(path), name);
        }
    }

    #[test]
    fn filters() {
        let name = "nested::eret_keeps_z[l1=vhe,vl=min]";
        for (filter, expected) in [
            ("eret", true),
            ("l1=vhe", true),
            ("[l1=vhe,vl=min]", true),
            ("", true),
            ("Eret", false),
            ("*", true),
            ("nested*", true),
            ("eret*", false),
            ("*vl=min]", true),
            ("*vl=min", false),
            ("nested::*[*vl=min]", true),
            ("*eret*keeps*vhe*", true),
            ("*keeps*eret*", false),
            ("**", true),
            ("nested::eret_keeps_z[l1=vhe,vl=min]*", true),
            ("nested::eret_keeps_z[l1=vhe,vl=min]*]", false),
        ] {
            assert_eq!(matches(name, &[filter.to_owned()]), expected, "{filter}");
        }
        assert!(matches(name, &[]));
        assert!(matches(name, &["no".to_owned(), "vhe".to_owned()]));
    }

    #[test]
    fn shards_part_all_names() {
        let names: Vec<_> = (0..1000).map(|n| format!("area::file[n={n}]")).collect();
        let shards: Vec<Shard> = (1..=4).map(|i| format!("{i}/4").parse().unwrap()).collect();
        for name in &names {
            assert_eq!(shards.iter().filter(|shard| shard.contains(name)).count(), 1);
        }
        for shard in &shards {
            let share = names.iter().filter(|name| shard.contains(name)).count();
            assert!((200..300).contains(&share), "{share}");
        }
    }

    #[test]
    fn a_name_s_shard_never_changes() {
        let shard: Shard = "2/3".parse().unwrap();
        let chosen = ["a::b", "a::c", "a::d", "a::e", "a::f"].map(|name| shard.contains(name));
        assert_eq!(chosen, [false, true, false, false, false]);
    }

    #[test]
    fn odd_shards() {
        for text in ["", "1", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
