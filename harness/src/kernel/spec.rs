//! What `--kernel` may say.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::debian::version;

const DEBIAN: &str = "debian:";
const OLDEST: &str = "/oldest";

/// How Debian builds a kernel, best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Flavor {
    /// For clouds: it boots fastest.
    Cloud,
    /// With drivers for everything.
    Plain,
    /// With CONFIG_PREEMPT_RT.
    Rt,
    /// With pages of 16 KiB.
    Pages16,
}

impl Flavor {
    /// Those that a name can ask for, and how.
    const NAMED: [(&str, Self); 2] = [("/rt", Self::Rt), ("/16k", Self::Pages16)];

    /// That of a kernel with this release (`uname -r`), and the release without it. None if it is no arm64 kernel of Debian's.
    pub(super) fn of(release: &str) -> Option<(Self, &str)> {
        [
            ("-arm64-16k", Self::Pages16),
            ("-rt-arm64", Self::Rt),
            ("-cloud-arm64", Self::Cloud),
            ("-arm64", Self::Plain),
        ]
        .into_iter()
        .find_map(|(suffix, flavor)| Some((flavor, release.strip_suffix(suffix)?)))
    }
}

/// A kernel, as the command line names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KernelSpec {
    /// A file with an image.
    File(PathBuf),
    /// One of Debian's.
    Debian(Wanted),
}

/// Which of Debian's kernels is wanted.
///
/// It prints as it is parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    version: String,
    flavor: Option<Flavor>,
    oldest: bool,
}

/// A name that means no kernel.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` names no kernel: give the path of an arm64 image, or debian: and a version or its beginning, as in \
     debian:7.2, debian:6.12.43, debian:6.12/oldest, debian:7.2/rt or debian:7.2/16k"
)]
pub struct SpecError(String);

/// The kernel of a user who names none: the newest of a series that KVM's nested mode works in.
impl Default for KernelSpec {
    fn default() -> Self {
        Self::Debian(Wanted { version: "7.2".to_owned(), flavor: None, oldest: false })
    }
}

impl FromStr for KernelSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let Some(wanted) = text.strip_prefix(DEBIAN) else {
            return if text.is_empty() || text.contains('\0') {
                Err(SpecError(text.to_owned()))
            } else {
                Ok(Self::File(text.into()))
            };
        };
        let (wanted, oldest) = wanted.strip_suffix(OLDEST).map_or((wanted, false), |wanted| (wanted, true));
        let flavored = |(name, flavor)| Some((wanted.strip_suffix(name)?, Some(flavor)));
        let (version, flavor) = Flavor::NAMED.into_iter().find_map(flavored).unwrap_or((wanted, None));
        let sensible = version.starts_with(|c: char| c.is_ascii_digit())
            && !version.ends_with('.')
            && !version.contains("..")
            && version.len() <= 64
            && version.chars().all(|c| c.is_ascii_alphanumeric() || ".+~:-".contains(c));
        if !sensible {
            return Err(SpecError(text.to_owned()));
        }
        Ok(Self::Debian(Wanted { version: version.to_owned(), flavor, oldest }))
    }
}

impl fmt::Display for KernelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Debian(wanted) => wanted.fmt(f),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flavor = Flavor::NAMED.iter().find(|(_, flavor)| Some(*flavor) == self.flavor);
        let flavor = flavor.map_or("", |(name, _)| name);
        write!(f, "{DEBIAN}{}{flavor}{}", self.version, if self.oldest { OLDEST } else { "" })
    }
}

impl Wanted {
    /// The flavors that will do, best first: unless it is asked for, one that boots fast and everywhere.
    pub(super) const fn flavors(&self) -> &[Flavor] {
        match &self.flavor {
            None => &[Flavor::Cloud, Flavor::Plain],
            Some(flavor) => std::slice::from_ref(flavor),
        }
    }

    /// The same flavor, of this version and no other.
    pub(super) fn exactly(&self, version: &str) -> Self {
        Self { version: version.to_owned(), flavor: self.flavor, oldest: false }
    }

    /// Whether a package of this version will do: its whole version, or the beginning of the upstream version by
    /// whole components, where 7.3 is also the beginning of 7.3~rc7.
    pub(super) fn matches(&self, version: &str) -> bool {
        if self.version == version {
            return true;
        }
        let mut has = version::upstream(version).split('.');
        self.version.split('.').all(|want| {
            has.next().is_some_and(|has| {
                has == want
                    || has.strip_prefix(want).is_some_and(|rest| rest.starts_with('~') && !want.is_empty())
            })
        })
    }

    /// The best of some things with versions.
    pub(super) fn best<T>(&self, all: impl IntoIterator<Item = T>, of: impl Fn(&T) -> &str) -> Option<T> {
        let matching = all.into_iter().filter(|one| self.matches(of(one)));
        let order = |left: &T, right: &T| version::compare(of(left), of(right));
        if self.oldest { matching.min_by(order) } else { matching.max_by(order) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(text: &str) -> Wanted {
        match text.parse().unwrap() {
            KernelSpec::Debian(wanted) => wanted,
            KernelSpec::File(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn names() {
        for good in [
            "debian:7.2",
            "debian:6.12.43",
            "debian:6.12/oldest",
            "debian:7",
            "debian:7.2.12-1~bpo13+1",
            "debian:7.2/rt",
            "debian:7.2/16k",
            "debian:6.12/rt/oldest",
        ] {
            assert_eq!(wanted(good).to_string(), good);
        }
        for file in ["Image", "./debian:7.2", "/boot/vmlinuz", "a/oldest"] {
            assert_eq!(file.parse(), Ok(KernelSpec::File(file.into())));
        }
        for bad in [
            "",
            "debian:",
            "debian:x",
            "debian:/oldest",
            "debian:7.",
            "debian:7..2",
            "debian:7/2",
            "debian:7.2/oldest/rt",
            "debian:/rt",
            "debian:7 2",
        ] {
            let error = bad.parse::<KernelSpec>().unwrap_err();
            assert!(error.to_string().contains("debian:7.2"), "{error}");
        }
    }

    #[test]
    fn the_exact_name_keeps_the_flavor() {
        let exactly = |name: &str| wanted(name).exactly("7.3.4-1~bpo13+1").to_string();
        assert_eq!(exactly("debian:7.3/16k"), "debian:7.3.4-1~bpo13+1/16k");
        assert_eq!(exactly("debian:7.3/oldest"), "debian:7.3.4-1~bpo13+1");
    }

    #[test]
    fn components_match_as_a_whole() {
        let check = |want: &str, version: &str, expected: bool| {
            assert_eq!(wanted(want).matches(version), expected, "{want} {version}");
        };
        check("debian:7.2", "7.2.12-1~bpo13+1", true);
        check("debian:7.2", "7.2-1", true);
        check("debian:7.2", "7.20.1-1", false);
        check("debian:7", "7.2.12-1", true);
        check("debian:6.1", "6.12.43-1", false);
        check("debian:6.12.43", "6.12.43-1~bpo12+1", true);
        check("debian:6.12.43", "6.12-1", false);
        check("debian:7.3", "7.3~rc7-1~exp1", true);
        check("debian:7.3~rc7", "7.3~rc7-1~exp1", true);
        check("debian:7.3~rc", "7.3~rc7-1~exp1", false);
        check("debian:7.2.12-1", "7.2.12-1", true);
        check("debian:7.2.12-1", "7.2.12-1~bpo13+1", false);
    }

    #[test]
    fn the_best_is_the_newest_or_the_oldest() {
        let all = ["6.12.100-1", "6.12.43-1~bpo12+1", "6.12.9-1", "6.1.170-3", "7.3~rc7-1", "7.3.1-1"];
        let best = |want: &str| wanted(want).best(all, |version| version);
        assert_eq!(best("debian:6.12"), Some("6.12.100-1"));
        assert_eq!(best("debian:6.12/oldest"), Some("6.12.9-1"));
        assert_eq!(best("debian:7.3"), Some("7.3.1-1"));
        assert_eq!(best("debian:7.3/oldest"), Some("7.3~rc7-1"));
        assert_eq!(best("debian:7.4"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_a_name_prints_as_it_was(text in "(debian:)?[0-9a-z.~+/-]{0,12}") {
            if let Ok(spec) = text.parse::<KernelSpec>() {
                prop_assert_eq!(spec.to_string(), text);
            }
        }

        #[test]
        fn no_version_is_too_strange(version in "\\PC{0,20}") {
            wanted("debian:7.3").matches(&version);
        }
    }
}
