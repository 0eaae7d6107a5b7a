//! Which kernels an archive's lists offer, and which of them is meant: read from what `apt-cache` prints.

use super::spec::{Flavor, Wanted};
use crate::debian::version;

/// The first version whose kernel file has a package of its own, `linux-binary-…`.
const SPLIT: &str = "6.19~";

/// A kernel that can be fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// The name of the package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The mirror and suite.
    pub(super) from: String,
    pub(super) kind: Kind,
}

/// What a package is, by its name: the better one of two is the smaller.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Kind {
    flavor: Flavor,
    pub(super) release: String,
    unsigned: bool,
    /// It is a `linux-image-…`, which has everything in one package before [`SPLIT`].
    pub(super) image: bool,
}

impl Kind {
    /// That of a package with a kernel.
    pub(super) fn of(package: &str) -> Option<Self> {
        let (name, image) = match package.strip_prefix("linux-binary-") {
            Some(name) => (name, false),
            None => (package.strip_prefix("linux-image-")?, true),
        };
        let bare = name.strip_prefix("unsigned-").or_else(|| name.strip_suffix("-unsigned"));
        let (release, unsigned) = bare.map_or((name, false), |name| (name, true));
        let (flavor, build) = Flavor::of(release)?;
        // `linux-image-6.12-…` only depends on others. Without a build number of Debian's are the release candidates,
        // `linux-binary-7.3-…`.
        let is_build = build.starts_with(|c: char| c.is_ascii_digit())
            && (!image || build.contains(['+', '-']))
            && build.chars().all(|c| c.is_ascii_alphanumeric() || ".+~-".contains(c));
        is_build.then(|| Self { flavor, release: release.to_owned(), unsigned, image })
    }
}

impl Offer {
    /// The name of the entry in the cache.
    #[must_use]
    pub fn entry(&self) -> String {
        format!("{}_{}", self.package, self.version.replace(':', "%3a"))
    }

    /// What it is called to people.
    pub(super) fn name(&self) -> String {
        format!("Debian {} ({})", self.version, self.package)
    }
}

/// The offers among lines of `apt-cache madison`, `PACKAGE | VERSION | MIRROR SUITE/main arm64 Packages`.
#[must_use]
pub fn offers(madison: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = madison
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('|').map(str::trim);
            let (package, version, source) = (fields.next()?, fields.next()?, fields.next()?);
            let kind = Kind::of(package)?;
            let sensible = version.starts_with(|c: char| c.is_ascii_digit())
                && version.chars().all(|c| c.is_ascii_alphanumeric() || ".+~:-".contains(c));
            let split = version::compare(version::upstream(version), SPLIT).is_ge();
            let from = source.split("/main ").next().unwrap_or(source).to_owned();
            (sensible && kind.image != split).then(|| Offer {
                package: package.to_owned(),
                version: version.to_owned(),
                from,
                kind,
            })
        })
        .collect();
    offers.sort_by(|left, right| left.kind.cmp(&right.kind).then_with(|| left.version.cmp(&right.version)));
    offers.dedup_by(|next, kept| next.kind.release == kept.kind.release && next.version == kept.version);
    offers
}

/// The best offer, of the best flavor.
#[must_use]
pub fn choose<'a>(offers: &'a [Offer], wanted: &Wanted) -> Option<&'a Offer> {
    let of = |flavor| offers.iter().filter(move |offer| offer.kind.flavor == flavor);
    wanted.flavors().iter().find_map(|flavor| wanted.best(of(*flavor), |offer| &offer.version))
}

/// The series that there are, `6.1, 6.12, 7.2`.
#[must_use]
pub fn series(offers: &[Offer]) -> String {
    let mut series: Vec<String> = offers
        .iter()
        .map(|offer| {
            let upstream = version::upstream(&offer.version).split('~').next().unwrap_or_default();
            upstream.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
        })
        .collect();
    series.sort_by(|left, right| version::compare(left, right));
    series.dedup();
    if series.is_empty() { "none".to_owned() } else { series.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::cache::tests::wanted;
    use super::*;

    const MADISON: &str = "\
linux-image-6.1.0-47-cloud-arm64 |  6.1.170-3 | http://m.example/debian bookworm/main arm64 Packages
linux-image-6.1.0-47-cloud-arm64 |  6.1.170-3 | http://m.example/debian-security bookworm-security/main arm64 Packages
linux-image-6.12.43+deb12-cloud-arm64 | 6.12.43-1~bpo12+1 | http://m.example/debian bookworm-backports/main arm64 Packages
linux-image-6.12.107+deb13-cloud-arm64-unsigned | 6.12.107-1 | http://m.example/debian trixie/main arm64 Packages
linux-image-6.12.107+deb13-cloud-arm64 | 6.12.107-1 | http://m.example/debian trixie/main arm64 Packages
linux-image-6.12.107+deb13-cloud-arm64-dbg | 6.12.107-1 | http://m.example/debian trixie/main arm64 Packages
linux-image-6.12.117+deb13-arm64 | 6.12.117-1 | http://m.example/debian trixie/main arm64 Packages
linux-image-6.12.117+deb13-rt-arm64 | 6.12.117-1 | http://m.example/debian trixie/main arm64 Packages
linux-image-6.12.117+deb13-arm64-16k | 6.12.117-1 | http://m.example/debian trixie/main arm64 Packages
linux-image-6.12-cloud-arm64 | 6.12.117-1 | http://m.example/debian trixie/main arm64 Packages
linux-image-7.2.12+deb13-cloud-arm64 | 7.2.12-1~bpo13+1 | http://m.example/debian trixie-backports/main arm64 Packages
linux-binary-7.2.12+deb13-cloud-arm64 | 7.2.12-1~bpo13+1 | http://m.example/debian trixie-backports/main arm64 Packages
linux-image-7.4.1+deb13-cloud-arm64 | 7.4.1-1 | http://m.example/debian sid/main arm64 Packages
linux-binary-7.3-cloud-arm64 | 7.3~rc7-1~exp1 | http://m.example/debian experimental/main arm64 Packages
linux-binary-unsigned-7.3-cloud-arm64 | 7.3~rc7-1~exp1 | http://m.example/debian experimental/main arm64 Packages
linux-image-7.3-cloud-arm64 | 7.3~rc7-1~exp1 | http://m.example/debian experimental/main arm64 Packages
linux-binary-unsigned-7.5.1+deb13-cloud-arm64 | 7.5.1-1~bpo13+1 | http://m.example/debian trixie-backports/main arm64 Packages
linux-image-cloud-arm64 | 6.12.117-1 | http://m.example/debian trixie/main arm64 Packages
linux-image-6.12.9+x-cloud-arm64 | ../../6 | nowhere
garbage
";

    #[test]
    fn the_right_package_is_chosen() {
        let offers = offers(MADISON);
        let best = |want: &str| choose(&offers, &wanted(want)).map(Offer::entry);
        let entry = |name: &str| Some(name.to_owned());
        assert_eq!(best("debian:6.1"), entry("linux-image-6.1.0-47-cloud-arm64_6.1.170-3"));
        assert_eq!(best("debian:6.12"), entry("linux-image-6.12.107+deb13-cloud-arm64_6.12.107-1"));
        assert_eq!(
            best("debian:6.12/oldest"),
            entry("linux-image-6.12.43+deb12-cloud-arm64_6.12.43-1~bpo12+1")
        );
        assert_eq!(best("debian:6.12.117"), entry("linux-image-6.12.117+deb13-arm64_6.12.117-1"));
        assert_eq!(best("debian:6.12/rt"), entry("linux-image-6.12.117+deb13-rt-arm64_6.12.117-1"));
        assert_eq!(best("debian:6.12.117/16k"), entry("linux-image-6.12.117+deb13-arm64-16k_6.12.117-1"));
        assert_eq!(best("debian:7.2/rt"), None, "another flavor is no answer");
        assert_eq!(best("debian:7.2"), entry("linux-binary-7.2.12+deb13-cloud-arm64_7.2.12-1~bpo13+1"));
        assert_eq!(best("debian:7.3"), entry("linux-binary-7.3-cloud-arm64_7.3~rc7-1~exp1"));
        assert_eq!(
            best("debian:7.5"),
            entry("linux-binary-unsigned-7.5.1+deb13-cloud-arm64_7.5.1-1~bpo13+1")
        );
        assert_eq!(best("debian:7.4"), None, "its kernel file has not come yet");
        assert_eq!(best("debian:6.12.9"), None);
        assert_eq!(series(&offers), "6.1, 6.12, 7.2, 7.3, 7.5");
        assert_eq!(series(&[]), "none");
        let first = choose(&offers, &wanted("debian:6.12.43")).unwrap();
        assert_eq!(first.from, "http://m.example/debian bookworm-backports");
        assert_eq!(first.name(), "Debian 6.12.43-1~bpo12+1 (linux-image-6.12.43+deb12-cloud-arm64)");
    }
}
