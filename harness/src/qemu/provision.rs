//! A private copy of Debian's QEMU in the user's cache folder.
//!
//! apt fetches the packages and checks the archive's signatures, with a root of its own: nothing of the
//! system is read but its keyring and mirror, and nothing is changed. The copy runs with its own loader and
//! libraries. It is built in a temporary folder and appears by one rename, so it is whole or absent.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::{DEBIAN_MIRROR, Origin, PROGRAM, Qemu, Unusable, Version};
use crate::debian::{self, Apt, DebianError, Locked, Repositories};

/// The release whose libraries the copy has.
const RELEASE: &str = "trixie";
/// The suite that QEMU itself comes from.
const BACKPORTS: &str = "trixie-backports";
const PACKAGE: &str = "qemu-system-arm";
/// Bytes that provisioning needs at its peak: package lists, packages, and what is in them.
pub(crate) const SPACE: u64 = 500_000_000;

/// Why a private copy could not be made. Each message names what mends it.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Debian has no packages for this kind of machine, or nobody tried.
    #[error(
        "there is no private copy for {0} machines: install {PROGRAM} {full} or later so that it is on PATH",
        full = Version::FULL
    )]
    Architecture(&'static str),
    /// A tool of Debian's is missing.
    #[error(
        "`{0}` is missing, which Debian and Ubuntu have: install {PROGRAM} {full} or later so that it is on PATH, \
         or use the container",
        full = Version::FULL
    )]
    Tool(&'static str),
    /// It is not known where to fetch from.
    #[error(
        "this machine's package sources name no Debian mirror: give one by --debian-mirror URL or {DEBIAN_MIRROR}=URL, \
         or use the container"
    )]
    NoMirror,
    /// Fetching failed otherwise.
    #[error(transparent)]
    Debian(DebianError),
    /// What came out does not run.
    #[error("the packages from {mirror} give no QEMU that runs here")]
    Broken {
        /// The mirror.
        mirror: String,
        /// What is wrong.
        #[source]
        source: Unusable,
    },
    /// What came out is too old.
    #[error(
        "{mirror} has QEMU {version}, and {} is needed: give another mirror by --debian-mirror URL",
        Version::FULL
    )]
    TooOld {
        /// The mirror.
        mirror: String,
        /// Its version.
        version: Version,
    },
}

impl From<DebianError> for ProvisionError {
    fn from(error: DebianError) -> Self {
        match error {
            DebianError::Tool(tool) => Self::Tool(tool),
            DebianError::NoMirror => Self::NoMirror,
            other => Self::Debian(other),
        }
    }
}

type Result<T> = std::result::Result<T, ProvisionError>;

/// What Debian calls this kind of machine.
struct Host {
    architecture: &'static str,
    triplet: &'static str,
    loader: &'static str,
}

impl Host {
    fn this() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self {
                architecture: "amd64",
                triplet: "x86_64-linux-gnu",
                loader: "ld-linux-x86-64.so.2",
            }),
            "aarch64" => Ok(Self {
                architecture: "arm64",
                triplet: "aarch64-linux-gnu",
                loader: "ld-linux-aarch64.so.1",
            }),
            other => Err(ProvisionError::Architecture(other)),
        }
    }
}

/// The private copy in this folder, if there is one.
pub(super) fn existing(folder: &Path) -> std::result::Result<Option<Qemu>, Unusable> {
    match Host::this() {
        Ok(host) if folder.join(host.triplet).is_dir() => ask(&folder.join(host.triplet), &host).map(Some),
        _ => Ok(None),
    }
}

/// What is missing for provisioning, without trying: nothing is fetched.
///
/// # Errors
///
/// The first thing that is missing.
pub fn possible(cache: Option<&Path>, mirror: Option<&str>) -> Result<()> {
    prepare(cache, mirror).map(drop)
}

/// Makes a private copy in `folder`, unless another process has just done so.
pub(super) fn provision(
    folder: Option<&Path>,
    mirror: Option<&str>,
    say: &mut dyn FnMut(&str),
) -> Result<Qemu> {
    let (host, folder, mirrors) = prepare(folder, mirror)?;
    let locked = Locked::new(folder, "QEMU", say)?;
    if let Ok(Some(qemu)) = existing(folder)
        && qemu.version >= Version::FULL
    {
        return Ok(qemu);
    }
    locked.make_room(SPACE)?;

    let mut result = Err(ProvisionError::NoMirror);
    for mirror in mirrors {
        if let Err(error) = &result
            && !matches!(error, ProvisionError::NoMirror)
        {
            say(&error.to_string());
        }
        result = from_mirror(&mirror, folder, &locked, &host, say);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn prepare<'a>(folder: Option<&'a Path>, mirror: Option<&str>) -> Result<(Host, &'a Path, Vec<String>)> {
    let host = Host::this()?;
    let mirrors = debian::mirrors(mirror)?;
    Ok((host, folder.ok_or(DebianError::NoCache)?, mirrors))
}

fn from_mirror(
    mirror: &str,
    folder: &Path,
    locked: &Locked<'_>,
    host: &Host,
    say: &mut dyn FnMut(&str),
) -> Result<Qemu> {
    let begun = Instant::now();
    say(&format!(
        "fetching Debian's {PACKAGE} ({BACKPORTS}, about 40 MB) from {mirror} into {}",
        folder.display()
    ));
    let staging = locked.staging()?;
    let repositories = Repositories {
        architecture: host.architecture,
        suites: &[RELEASE, BACKPORTS].map(|suite| (mirror.to_owned(), suite)),
        preferences: &format!("Package: qemu*\nPin: release n={BACKPORTS}\nPin-Priority: 900\n"),
        settings: &[],
    };
    let apt = Apt::new(staging.path(), &repositories)?;
    apt.get(&["update"])?;
    apt.get(&["install", "--yes", "--no-install-recommends", "--download-only", PACKAGE])?;

    let root = staging.path().join("root");
    fs::create_dir(&root).map_err(|source| debian::failed("create", &root, source))?;
    let packages = debian::packages(apt.archives())?;
    for package in &packages {
        debian::unpack(package, &root)?;
    }

    let qemu =
        ask(&root, host).map_err(|source| ProvisionError::Broken { mirror: mirror.to_owned(), source })?;
    if qemu.version < Version::FULL {
        return Err(ProvisionError::TooOld { mirror: mirror.to_owned(), version: qemu.version });
    }
    let copy = folder.join(host.triplet);
    debian::appear(&root, &copy, staging.path())?;
    let qemu =
        ask(&copy, host).map_err(|source| ProvisionError::Broken { mirror: mirror.to_owned(), source })?;
    say(&format!(
        "unpacked {} packages: QEMU {} is ready after {:.0} s",
        packages.len(),
        qemu.version,
        begun.elapsed().as_secs_f64()
    ));
    Ok(qemu)
}

/// The QEMU in an unpacked root, started by that root's own loader.
fn ask(root: &Path, host: &Host) -> std::result::Result<Qemu, Unusable> {
    let libraries = root.join("usr/lib").join(host.triplet);
    let binary = root.join("usr/bin").join(PROGRAM);
    let start = vec![
        libraries.join(host.loader).into_os_string(),
        "--library-path".into(),
        libraries.into_os_string(),
        binary.clone().into_os_string(),
        "-L".into(),
        root.join("usr/share/qemu").into_os_string(),
    ];
    Qemu::ask(&binary, start, Origin::Private)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_program_is_an_unusable_copy() {
        let host = Host::this().unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(existing(folder.path()), Ok(None)));
        fs::create_dir_all(folder.path().join(host.triplet)).unwrap();
        let error = existing(folder.path()).unwrap_err();
        assert!(error.to_string().contains("does not start"), "{error}");
    }

    #[test]
    fn what_is_missing_names_the_ways_around_it() {
        let message = |error: DebianError| ProvisionError::from(error).to_string();
        assert!(
            message(DebianError::Tool("apt-get")).contains("missing, which Debian and Ubuntu have: install")
        );
        assert!(message(DebianError::NoMirror).ends_with("or use the container"));
        assert_eq!(message(DebianError::NoCache), DebianError::NoCache.to_string());
    }
}
