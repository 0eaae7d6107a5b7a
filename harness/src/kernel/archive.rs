//! The arm64 kernels that Debian's archive offers now.

use std::fs;
use std::path::{Path, PathBuf};

use super::KernelError;
use super::cache::read;
use super::offers::{Kind, Offer, choose, offers, series};
use super::spec::Wanted;
use super::{modules, unpack};
use crate::debian::{self, Apt, DebianError, Repositories, failed};

/// Where kernels come from, of the archive itself.
const SUITES: [&str; 7] =
    ["bookworm", "bookworm-backports", "trixie", "trixie-backports", "forky", "sid", "experimental"];
/// And of the security archive, which lies beside it.
const SECURITY: [&str; 2] = ["bookworm-security", "trixie-security"];

/// What else comes with a kernel that has a package of its own, in `linux-NAME-RELEASE`, and what is lost without it. The
/// archive keeps a kernel for longer than these.
const PARTS: [(&str, &str); 2] = [
    ("base", "this kernel's configuration is not known, and reports have no hash of it"),
    ("modules", "this kernel comes without ESP and AES-GCM, and cases that need host-simd are skipped"),
];

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
    pub(super) fn fetch(&self, offer: &Offer, say: &mut dyn FnMut(&str)) -> Result<Contents, KernelError> {
        let root = self.root.join("root");
        fs::create_dir(&root).map_err(|source| failed("create", &root, source))?;
        debian::unpack(&self.apt.download(&offer.package, &offer.version)?, &root)?;
        if !offer.kind.image {
            for (part, without) in PARTS {
                let package = format!("linux-{part}-{}", offer.kind.release);
                if self.has(&package, &offer.version)? {
                    debian::unpack(&self.apt.download(&package, &offer.version)?, &root)?;
                } else {
                    say(&format!("the archive has no {package} {} any more: {without}", offer.version));
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

    /// Whether the lists have this version of a package.
    fn has(&self, package: &str, version: &str) -> Result<bool, DebianError> {
        let lines = self.apt.ask("apt-cache", &["madison", package])?;
        Ok(lines.lines().any(|line| line.split('|').nth(1).is_some_and(|field| field.trim() == version)))
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
    use super::*;

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
