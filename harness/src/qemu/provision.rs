//! A private copy of Debian's QEMU in the user's cache folder.
//!
//! apt fetches the packages and checks the archive's signatures, with a root of its own: nothing of the
//! system is read but its keyring and mirror, and nothing is changed. The copy runs with its own loader and
//! libraries. It is built in a temporary folder and appears by one rename, so it is whole or absent.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock, statvfs};

use super::{DEBIAN_MIRROR, Origin, PROGRAM, Qemu, Unusable, Version, mirror};

/// The archive's keys.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The release whose libraries the copy has.
const RELEASE: &str = "trixie";
/// The suite that QEMU itself comes from.
const BACKPORTS: &str = "trixie-backports";
const PACKAGE: &str = "qemu-system-arm";
/// Bytes that provisioning needs at its peak: package lists, packages, and what is in them.
const SPACE: u64 = 500_000_000;

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
    /// The archive's keys are missing.
    #[error("{KEYRING} is missing: run `sudo apt-get install debian-archive-keyring`")]
    Keyring,
    /// It is not known where to fetch from.
    #[error(
        "this machine's package sources name no Debian mirror: give one by --debian-mirror URL or {DEBIAN_MIRROR}=URL, \
         or use the container"
    )]
    NoMirror,
    /// The mirror is no address.
    #[error("`{0}` is no address of a Debian mirror: give one like http://HOST/debian")]
    BadMirror(String),
    /// There is no place to put it.
    #[error("there is no cache folder: set XDG_CACHE_HOME or HOME to an absolute path")]
    NoCache,
    /// The disk is too full.
    #[error("{} has {free} MB free, and {} MB are needed: make room, or set XDG_CACHE_HOME to another disk", folder.display(), SPACE / 1_000_000)]
    Space {
        /// The cache folder.
        folder: PathBuf,
        /// Free megabytes.
        free: u64,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A tool failed.
    #[error(
        "`{tool}` failed ({status}): {said}. Give another mirror by --debian-mirror URL or {DEBIAN_MIRROR}=URL"
    )]
    Failed {
        /// The tool and what it was to do.
        tool: String,
        /// How it ended.
        status: String,
        /// The errors that it printed.
        said: String,
    },
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
    fs::create_dir_all(folder).map_err(|source| failed("create", folder, source))?;
    let _lock = lock(folder, say)?;
    if let Ok(Some(qemu)) = existing(folder)
        && qemu.version >= Version::FULL
    {
        return Ok(qemu);
    }
    sweep_up(folder);
    enough_space(folder)?;

    let mut result = Err(ProvisionError::NoMirror);
    for mirror in mirrors {
        if let Err(error) = &result
            && !matches!(error, ProvisionError::NoMirror)
        {
            say(&error.to_string());
        }
        result = from_mirror(&mirror, folder, &host, say);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn prepare<'a>(folder: Option<&'a Path>, mirror: Option<&str>) -> Result<(Host, &'a Path, Vec<String>)> {
    let host = Host::this()?;
    let path = std::env::var_os("PATH");
    for tool in ["apt-get", "dpkg-deb"] {
        if super::on_path(path.as_deref(), tool).is_none() {
            return Err(ProvisionError::Tool(tool));
        }
    }
    if !Path::new(KEYRING).is_file() {
        return Err(ProvisionError::Keyring);
    }
    let mirrors = match mirror {
        Some(mirror) if is_address(mirror) => vec![mirror.trim_end_matches('/').to_owned()],
        Some(mirror) => return Err(ProvisionError::BadMirror(mirror.to_owned())),
        None => mirror::candidates(),
    };
    if mirrors.is_empty() {
        return Err(ProvisionError::NoMirror);
    }
    Ok((host, folder.ok_or(ProvisionError::NoCache)?, mirrors))
}

/// Whether a mirror can stand in a line of `sources.list`.
pub fn is_address(mirror: &str) -> bool {
    mirror.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && rest.starts_with('/'))
        && mirror.chars().all(|c| c.is_ascii_graphic() && c != '[' && c != ']')
}

/// Excludes other processes that provision, until the file is closed.
fn lock(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|source| failed("create", &path, source))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        say("waiting for another process that provisions QEMU");
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed("lock", &path, error.into()))?;
    }
    Ok(file)
}

const STAGING: &str = "staging-";

/// Removes what interrupted processes left. The caller holds the lock.
fn sweep_up(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(STAGING.as_bytes()) {
            // What cannot be removed is only space lost.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn enough_space(folder: &Path) -> Result<()> {
    let free = free_space(folder).map_err(|source| failed("ask for the free space of", folder, source))?;
    if free < SPACE {
        return Err(ProvisionError::Space { folder: folder.to_owned(), free: free / 1_000_000 });
    }
    Ok(())
}

/// Bytes that this user may still write below a folder.
pub(crate) fn free_space(folder: &Path) -> io::Result<u64> {
    let stat = statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn from_mirror(mirror: &str, folder: &Path, host: &Host, say: &mut dyn FnMut(&str)) -> Result<Qemu> {
    let begun = Instant::now();
    say(&format!(
        "fetching Debian's {PACKAGE} ({BACKPORTS}, about 40 MB) from {mirror} into {}",
        folder.display()
    ));
    let staging = tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(folder)
        .map_err(|source| failed("create a folder in", folder, source))?;
    let apt = Apt::new(staging.path(), mirror, host)?;
    apt.run(&["update"])?;
    apt.run(&["install", "--yes", "--no-install-recommends", "--download-only", PACKAGE])?;

    let root = staging.path().join("root");
    let archives = staging.path().join("cache/archives");
    let mut count = 0;
    for entry in fs::read_dir(&archives).map_err(|source| failed("read", &archives, source))? {
        let package = entry.map_err(|source| failed("read", &archives, source))?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            run(unpack.arg("--extract").arg(&package).arg(&root), "dpkg-deb --extract")?;
            count += 1;
        }
    }

    let qemu =
        ask(&root, host).map_err(|source| ProvisionError::Broken { mirror: mirror.to_owned(), source })?;
    if qemu.version < Version::FULL {
        return Err(ProvisionError::TooOld { mirror: mirror.to_owned(), version: qemu.version });
    }
    let copy = folder.join(host.triplet);
    if copy.exists() {
        // A copy that is broken or too old: a machine that still runs from it keeps its open files.
        let old = staging.path().join("old");
        fs::rename(&copy, &old).map_err(|source| failed("replace", &copy, source))?;
    }
    fs::rename(&root, &copy).map_err(|source| failed("create", &copy, source))?;
    let qemu =
        ask(&copy, host).map_err(|source| ProvisionError::Broken { mirror: mirror.to_owned(), source })?;
    say(&format!(
        "unpacked {count} packages: QEMU {} is ready after {:.0} s",
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

/// An apt that knows nothing of the system's packages and changes none.
struct Apt {
    options: Vec<OsString>,
}

impl Apt {
    fn new(root: &Path, mirror: &str, host: &Host) -> Result<Self> {
        for folder in [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/sources.list.d",
            "etc/preferences.d",
            "etc/apt.conf.d",
            "etc/trusted.gpg.d",
            "root",
        ] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|source| failed("create", &path, source))?;
        }
        let sources: String = [RELEASE, BACKPORTS]
            .iter()
            .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
            .collect();
        let pin = format!("Package: qemu*\nPin: release n={BACKPORTS}\nPin-Priority: 900\n");
        for (file, text) in [("status", ""), ("etc/sources.list", &sources), ("etc/preferences", &pin)] {
            let path = root.join(file);
            fs::write(&path, text).map_err(|source| failed("write", &path, source))?;
        }
        let folders = [
            ("Dir::State", "state"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc", "etc"),
            ("Dir::Etc::sourcelist", "etc/sources.list"),
            ("Dir::Etc::sourceparts", "etc/sources.list.d"),
            ("Dir::Etc::preferences", "etc/preferences"),
            ("Dir::Etc::preferencesparts", "etc/preferences.d"),
            ("Dir::Etc::parts", "etc/apt.conf.d"),
            ("Dir::Etc::trustedparts", "etc/trusted.gpg.d"),
        ];
        let settings = [
            format!("APT::Architecture={}", host.architecture),
            format!("APT::Architectures={}", host.architecture),
            // As root apt reads as another user, who cannot enter the cache folder of this one.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // Else a mirror that cannot be reached is only a warning.
            "APT::Update::Error-Mode=any".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // Some container images delete the downloaded packages in these.
            "DPkg::Post-Invoke=".to_owned(),
            "APT::Update::Post-Invoke=".to_owned(),
            "APT::Update::Post-Invoke-Success=".to_owned(),
        ];
        let mut options = Vec::new();
        for (name, path) in folders {
            let mut option = OsString::from(format!("{name}="));
            option.push(root.join(path));
            options.extend(["-o".into(), option]);
        }
        for setting in settings {
            options.extend(["-o".into(), setting.into()]);
        }
        Ok(Self { options })
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.args(&self.options).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command, &format!("apt-get {}", arguments[0]))
    }
}

/// Runs a tool; what it prints is shown only if it fails.
fn run(command: &mut Command, tool: &str) -> Result<()> {
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| failed("run", Path::new(tool), source))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ProvisionError::Failed {
        tool: tool.to_owned(),
        status: output.status.to_string(),
        said: errors(&String::from_utf8_lossy(&output.stderr)),
    })
}

/// apt's error lines, or else the last line: the rest is progress.
fn errors(stderr: &str) -> String {
    let errors: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("E: ")).take(3).collect();
    if errors.is_empty() {
        stderr.lines().last().unwrap_or("no message").to_owned()
    } else {
        errors.join("; ")
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> ProvisionError {
    ProvisionError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_cannot_break_out_of_their_line() {
        for good in ["http://mirror.example/debian", "https://m.example:8080/x/", "file:/srv/debian"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "mirror.example", "http://a b", "http://a\ndeb", "[trusted=yes] http://a", ":/x"] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn apt_errors_are_picked_out() {
        let stderr = "W: a warning\nE: Unable to locate package x\nE: Broken\n";
        assert_eq!(errors(stderr), "Unable to locate package x; Broken");
        assert_eq!(
            errors("dpkg-deb: error: no space left on device\n"),
            "dpkg-deb: error: no space left on device"
        );
        assert_eq!(errors(""), "no message");
    }

    #[test]
    fn interrupted_work_is_swept_up_and_the_copy_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("staging-abc/root")).unwrap();
        fs::create_dir_all(folder.path().join("x86_64-linux-gnu")).unwrap();
        sweep_up(folder.path());
        assert!(!folder.path().join("staging-abc").exists());
        assert!(folder.path().join("x86_64-linux-gnu").exists());
    }

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
    fn the_lock_is_released_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut said = 0;
        drop(lock(folder.path(), &mut |_| said += 1).unwrap());
        drop(lock(folder.path(), &mut |_| said += 1).unwrap());
        assert_eq!(said, 0);
    }
}
