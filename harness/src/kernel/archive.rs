//! The arm64 kernels that Debian's archive offers now.

use std::fs;
use std::path::{Path, PathBuf};

use super::KernelError;
use super::cache::read;
use super::spec::Wanted;
use super::{modules, unpack};
use crate::debian::{self, Apt, DebianError, Repositories, failed, version};

/// Where kernels come from, of the archive itself.
const SUITES: [&str; 7] =
    ["bookworm", "bookworm-backports", "trixie", "trixie-backports", "forky", "sid", "experimental"];
/// And of the security archive, which lies beside it.
const SECURITY: [&str; 2] = ["bookworm-security", "trixie-security"];
/// The first version whose kernel file has a package of its own, `linux-binary-…`.
const SPLIT: &str = "6.19~";

/// A kernel that can be fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Offer {
    pub(super) package: String,
    pub(super) version: String,
    /// The mirror and suite.
    pub(super) from: String,
    kind: Kind,
}

/// What a package is, by its name: the better one of two is the smaller.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Kind {
    plain: bool,
    release: String,
    unsigned: bool,
    image: bool,
}

impl Kind {
    /// Only the kernels for clouds and the plain ones: those boot fast and everywhere.
    fn of(package: &str) -> Option<Self> {
        let (name, image) = match package.strip_prefix("linux-binary-") {
            Some(name) => (name, false),
            None => (package.strip_prefix("linux-image-")?, true),
        };
        let bare = name.strip_prefix("unsigned-").or_else(|| name.strip_suffix("-unsigned"));
        let (release, unsigned) = bare.map_or((name, false), |name| (name, true));
        let build = release.strip_suffix("-arm64")?;
        let (build, plain) = build.strip_suffix("-cloud").map_or((build, true), |build| (build, false));
        // `…-rt` is another flavor, and `linux-image-6.12-…` only depends on others. Without a build number
        // of Debian's are the release candidates, `linux-binary-7.3-…`.
        let is_build = build.starts_with(|c: char| c.is_ascii_digit())
            && !build.ends_with("-rt")
            && (!image || build.contains(['+', '-']))
            && build.chars().all(|c| c.is_ascii_alphanumeric() || ".+~-".contains(c));
        is_build.then(|| Self { plain, release: release.to_owned(), unsigned, image })
    }
}

impl Offer {
    /// The name of the entry in the cache.
    pub(super) fn entry(&self) -> String {
        format!("{}_{}", self.package, self.version.replace(':', "%3a"))
    }

    /// What it is called to people.
    pub(super) fn name(&self) -> String {
        format!("Debian {} ({})", self.version, self.package)
    }
}

/// The offers among lines of `apt-cache madison`, `PACKAGE | VERSION | MIRROR SUITE/main arm64 Packages`.
fn offers(madison: &str) -> Vec<Offer> {
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

/// The best offer, for a cloud if there is one.
fn choose<'a>(offers: &'a [Offer], wanted: &Wanted) -> Option<&'a Offer> {
    let of = |plain| offers.iter().filter(move |offer| offer.kind.plain == plain);
    wanted.best(of(false), |offer| &offer.version).or_else(|| wanted.best(of(true), |offer| &offer.version))
}

/// The series that there are, `6.1, 6.12, 7.2`.
fn series(offers: &[Offer]) -> String {
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

/// A mirror whose lists were fetched.
pub(super) struct Archive {
    apt: Apt,
    root: PathBuf,
    mirror: String,
    offers: Vec<Offer>,
    missing: Vec<String>,
}

/// What a package has.
pub(super) struct Contents {
    pub(super) vmlinuz: Vec<u8>,
    pub(super) config: Option<Vec<u8>>,
    /// See [`modules::archive`].
    pub(super) modules: Option<Vec<u8>>,
}

impl Archive {
    /// Fetches the lists of a mirror.
    pub(super) fn open(mirror: &str, root: &Path, say: &mut dyn FnMut(&str)) -> Result<Self, DebianError> {
        let all = SUITES.map(|suite| (mirror.to_owned(), suite)).into_iter();
        let suites: Vec<_> = all.chain(SECURITY.map(|suite| (format!("{mirror}-security"), suite))).collect();
        say(&format!("looking up Debian's arm64 kernels at {mirror} (about 40 MB of lists)"));
        // apt is asked several times, and reads its lists anew each time unless it may keep what it made of them.
        let settings =
            ["Acquire::GzipIndexes=true", "Dir::Cache::pkgcache=pkgcache.bin", "Dir::Cache::srcpkgcache="];
        let repositories =
            Repositories { architecture: "arm64", suites: &suites, preferences: "", settings: &settings };
        let apt = Apt::new(root, &repositories)?;
        let errors = apt.update_what_is_there()?;
        let missing = missing(&suites, &errors);
        for missing in &missing {
            say(&format!("without {missing}"));
        }
        let mut names = Vec::new();
        for prefix in ["linux-image-", "linux-binary-"] {
            let all = apt.ask("apt-cache", &["pkgnames", prefix])?;
            names.extend(all.lines().filter(|name| Kind::of(name).is_some()).map(str::to_owned));
        }
        let offers = if names.is_empty() {
            Vec::new()
        } else {
            let arguments: Vec<&str> =
                ["madison"].into_iter().chain(names.iter().map(String::as_str)).collect();
            offers(&apt.ask("apt-cache", &arguments)?)
        };
        Ok(Self { apt, root: root.to_owned(), mirror: mirror.to_owned(), offers, missing })
    }

    /// What answers a question.
    pub(super) fn choose(&self, wanted: &Wanted) -> Result<Offer, KernelError> {
        choose(&self.offers, wanted).cloned().ok_or_else(|| KernelError::NoMatch {
            wanted: wanted.clone(),
            mirror: self.mirror.clone(),
            series: series(&self.offers),
            missing: self.missing.clone(),
        })
    }

    /// Fetches and unpacks an offer.
    pub(super) fn fetch(&self, offer: &Offer) -> Result<Contents, KernelError> {
        let root = self.root.join("root");
        fs::create_dir(&root).map_err(|source| failed("create", &root, source))?;
        debian::unpack(&self.apt.download(&offer.package, &offer.version)?, &root)?;
        if !offer.kind.image {
            // The configuration, and the modules: without them the kernel is nearly as good.
            for what in ["base", "modules"] {
                let name = format!("linux-{what}-{}", offer.kind.release);
                if let Ok(package) = self.apt.download(&name, &offer.version) {
                    debian::unpack(&package, &root)?;
                }
            }
        }
        // For Secure Boot, which nothing here has: it is the same kernel.
        let vmlinuz = find(&root, "vmlinuz").or_else(|| find(&root, "vmlinuz.unsigned"));
        let Some(vmlinuz) = vmlinuz else {
            return Err(KernelError::NoKernel {
                package: offer.package.clone(),
                mirror: self.mirror.clone(),
            });
        };
        let vmlinuz = read(&vmlinuz, unpack::LIMIT).map_err(|source| failed("read", &vmlinuz, source))?;
        let config = find(&root, "config").and_then(|config| read(&config, unpack::LIMIT).ok());
        Ok(Contents { vmlinuz, config, modules: modules::archive(&root) })
    }
}

/// `boot/NAME-…` or `usr/lib/modules/…/NAME`, if it is a file of the package and no link to elsewhere.
fn find(root: &Path, name: &str) -> Option<PathBuf> {
    let inside = |folder: &str| {
        let folder = root.join(folder);
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let prefix = format!("{name}-");
    let is_named = |path: &PathBuf| {
        path.file_name().and_then(|file| file.to_str()).is_some_and(|file| file.starts_with(&prefix))
    };
    let modules =
        inside("usr/lib/modules").into_iter().chain(inside("lib/modules")).map(|path| path.join(name));
    inside("boot")
        .into_iter()
        .filter(is_named)
        .chain(modules)
        .find(|path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()))
}

/// The suites that apt complained of, each with its first complaint.
fn missing(suites: &[(String, &str)], errors: &[String]) -> Vec<String> {
    suites
        .iter()
        .filter_map(|(mirror, suite)| {
            let place = format!("{mirror}/dists/{suite}/");
            let release = format!("{mirror} {suite} ");
            let error = errors.iter().find(|error| error.contains(&place) || error.contains(&release))?;
            Some(format!("{suite}: {}", error.trim_end_matches('.')))
        })
        .collect()
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

    #[test]
    fn a_suite_that_is_missing_is_named_with_the_reason() {
        let suites =
            [("http://m.example/debian".to_owned(), "sid"), ("http://m.example/debian".to_owned(), "trixie")];
        let errors = [
            "Release file for http://m.example/debian/dists/sid/InRelease is expired (invalid since 14d)."
                .to_owned(),
            "The repository 'http://m.example/debian trixie Release' does not have a Release file."
                .to_owned(),
        ];
        let missing = missing(&suites, &errors);
        assert!(missing[0].starts_with("sid: Release file") && missing[0].ends_with("14d)"), "{missing:?}");
        assert!(missing[1].starts_with("trixie: The repository"), "{missing:?}");
        assert!(super::missing(&suites, &[]).is_empty());
    }

    #[test]
    fn a_link_is_no_kernel() {
        let root = tempfile::tempdir().unwrap();
        let modules = root.path().join("usr/lib/modules/7.2");
        fs::create_dir_all(&modules).unwrap();
        fs::create_dir(root.path().join("boot")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("boot/vmlinuz-7.2")).unwrap();
        assert_eq!(find(root.path(), "vmlinuz"), None);
        fs::write(modules.join("vmlinuz"), b"").unwrap();
        assert_eq!(find(root.path(), "vmlinuz"), Some(modules.join("vmlinuz")));
        fs::write(root.path().join("boot/config-7.2"), b"").unwrap();
        assert_eq!(find(root.path(), "config"), Some(root.path().join("boot/config-7.2")));
    }
}
