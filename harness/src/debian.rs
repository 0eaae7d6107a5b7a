//! Debian's archive, without touching the system: a private apt, the mirrors to ask, and the cache folder that
//! processes share.
//!
//! apt fetches and checks the archive's signatures with a root of its own: nothing of the system is read but its
//! keyring, mirror and settings of apt (its proxy, say), and nothing is changed.

mod mirror;
pub mod version;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{FlockOperation, flock, statvfs};

/// The archive's keys.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The variable that turns fetching off.
pub const NO_PROVISION: &str = "HOLDFAST_NO_PROVISION";
/// The variable that names the Debian mirror to fetch from.
pub const DEBIAN_MIRROR: &str = "HOLDFAST_DEBIAN_MIRROR";

/// Why nothing can be fetched. Each message names what mends it.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// A tool of Debian's is missing.
    #[error("`{0}` is missing, which Debian and Ubuntu have")]
    Tool(&'static str),
    /// The archive's keys are missing.
    #[error("{KEYRING} is missing: run `sudo apt-get install debian-archive-keyring`")]
    Keyring,
    /// It is not known where to fetch from.
    #[error(
        "this machine's package sources name no Debian mirror: give one by --debian-mirror URL or {DEBIAN_MIRROR}=URL"
    )]
    NoMirror,
    /// The mirror is no address.
    #[error("`{0}` is no address of a Debian mirror: give one like http://HOST/debian")]
    BadMirror(String),
    /// There is no place to put it.
    #[error("there is no cache folder: set XDG_CACHE_HOME or HOME to an absolute path")]
    NoCache,
    /// The disk is too full.
    #[error("{} has {free} MB free, and {needed} MB are needed: make room, or set XDG_CACHE_HOME to another disk", folder.display())]
    Space {
        /// The cache folder.
        folder: PathBuf,
        /// Free megabytes.
        free: u64,
        /// Megabytes that are needed.
        needed: u64,
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
}

type Result<T> = std::result::Result<T, DebianError>;

/// The mirrors to try, best first: the one that was asked for, else the machine's own.
///
/// # Errors
///
/// If there is none, or something else is missing that fetching needs.
pub(crate) fn mirrors(mirror: Option<&str>) -> Result<Vec<String>> {
    let path = std::env::var_os("PATH");
    for tool in ["apt-get", "dpkg-deb"] {
        if crate::path::on_path(path.as_deref(), tool).is_none() {
            return Err(DebianError::Tool(tool));
        }
    }
    if !Path::new(KEYRING).is_file() {
        return Err(DebianError::Keyring);
    }
    let mirrors = match mirror {
        Some(mirror) if is_address(mirror) => vec![mirror.trim_end_matches('/').to_owned()],
        Some(mirror) => return Err(DebianError::BadMirror(mirror.to_owned())),
        None => mirror::candidates(),
    };
    if mirrors.is_empty() { Err(DebianError::NoMirror) } else { Ok(mirrors) }
}

/// Whether a mirror can stand in a line of `sources.list`.
#[must_use]
pub fn is_address(mirror: &str) -> bool {
    mirror.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && rest.starts_with('/'))
        && mirror.chars().all(|c| c.is_ascii_graphic() && c != '[' && c != ']')
}

/// A folder of the cache that this process alone writes to, until it is dropped.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    folder: &'a Path,
    _lock: File,
}

const STAGING: &str = "staging-";

impl<'a> Locked<'a> {
    /// Makes the folder and waits for other processes that provision `what` in it.
    pub(crate) fn new(folder: &'a Path, what: &str, say: &mut dyn FnMut(&str)) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|source| failed("create", folder, source))?;
        let path = folder.join("lock");
        let file = File::create(&path).map_err(|source| failed("create", &path, source))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            say(&format!("waiting for another process that provisions {what}"));
            flock(&file, FlockOperation::LockExclusive)
                .map_err(|error| failed("lock", &path, error.into()))?;
        }
        Ok(Self { folder, _lock: file })
    }

    /// Removes what interrupted processes left, and checks that the disk has room.
    pub(crate) fn make_room(&self, needed: u64) -> Result<()> {
        for entry in fs::read_dir(self.folder).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(STAGING.as_bytes()) {
                // What cannot be removed is only space lost.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let free = free_space(self.folder)
            .map_err(|source| failed("ask for the free space of", self.folder, source))?;
        if free < needed {
            let (free, needed) = (free / 1_000_000, needed / 1_000_000);
            return Err(DebianError::Space { folder: self.folder.to_owned(), free, needed });
        }
        Ok(())
    }

    /// A folder to build something in that then appears by one rename.
    pub(crate) fn staging(&self) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix(STAGING)
            .tempdir_in(self.folder)
            .map_err(|source| failed("create a folder in", self.folder, source))
    }
}

/// Lets a folder that was built in `staging` appear at `place`, where a broken or older one may be.
pub(crate) fn appear(built: &Path, place: &Path, staging: &Path) -> Result<()> {
    if place.exists() {
        // What still uses the old one keeps its open files.
        fs::rename(place, staging.join("old")).map_err(|source| failed("replace", place, source))?;
    }
    fs::rename(built, place).map_err(|source| failed("create", place, source))
}

/// Bytes that this user may still write below a folder.
pub(crate) fn free_space(folder: &Path) -> io::Result<u64> {
    let stat = statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What a private apt is to know.
pub(crate) struct Repositories<'a> {
    /// Debian's name for the kind of machine.
    pub(crate) architecture: &'a str,
    /// Mirrors with their suites.
    pub(crate) suites: &'a [(String, &'a str)],
    /// The file of preferences.
    pub(crate) preferences: &'a str,
    /// More settings, `NAME=VALUE`.
    pub(crate) settings: &'a [&'a str],
}

/// An apt that knows nothing of the system's packages and changes none.
pub(crate) struct Apt {
    options: Vec<OsString>,
    archives: PathBuf,
}

impl Apt {
    /// Prepares one with its root in an empty folder; nothing is fetched.
    pub(crate) fn new(root: &Path, repositories: &Repositories<'_>) -> Result<Self> {
        for folder in [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/sources.list.d",
            "etc/preferences.d",
            "etc/apt.conf.d",
            "etc/trusted.gpg.d",
        ] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|source| failed("create", &path, source))?;
        }
        let sources: String = repositories
            .suites
            .iter()
            .map(|(mirror, suite)| {
                format!("deb [signed-by={KEYRING} target=Packages] {mirror} {suite} main\n")
            })
            .collect();
        for (file, text) in
            [("status", ""), ("etc/sources.list", &sources), ("etc/preferences", repositories.preferences)]
        {
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
        let architecture = repositories.architecture;
        let architectures =
            [format!("APT::Architecture={architecture}"), format!("APT::Architectures={architecture}")];
        let settings = [
            // As root apt reads as another user, who cannot enter the cache folder of this one.
            "APT::Sandbox::User=root",
            "Acquire::Languages=none",
            // Else a mirror that cannot be reached is only a warning.
            "APT::Update::Error-Mode=any",
            "Acquire::Retries=3",
            // Some container images delete the downloaded packages in these.
            "DPkg::Post-Invoke=",
            "APT::Update::Post-Invoke=",
            "APT::Update::Post-Invoke-Success=",
        ];
        let mut options = Vec::new();
        for (name, path) in folders {
            let mut option = OsString::from(format!("{name}="));
            option.push(root.join(path));
            options.extend(["-o".into(), option]);
        }
        let settings = settings.iter().chain(repositories.settings).map(|&setting| setting.to_owned());
        for setting in architectures.into_iter().chain(settings) {
            options.extend(["-o".into(), setting.into()]);
        }
        Ok(Self { options, archives: root.join("cache/archives") })
    }

    /// Where downloaded packages lie.
    pub(crate) fn archives(&self) -> &Path {
        &self.archives
    }

    /// Runs `apt-get`.
    pub(crate) fn get(&self, arguments: &[&str]) -> Result<()> {
        run(&mut self.command("apt-get", arguments), &format!("apt-get {}", arguments[0])).map(drop)
    }

    /// Fetches the lists of the suites that can be had, and returns the errors about the others.
    pub(crate) fn update_what_is_there(&self) -> Result<Vec<String>> {
        let output = output(&mut self.command("apt-get", &["update"]), "apt-get update")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let present =
            self.ask("apt-get", &["indextargets", "--format", "$(RELEASE)", "Created-By: Packages"])?;
        if present.trim().is_empty() {
            return Err(complaint("apt-get update", &output));
        }
        Ok(stderr.lines().filter_map(|line| line.strip_prefix("E: ")).map(str::to_owned).collect())
    }

    /// What a tool of apt's says.
    pub(crate) fn ask(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        let output = run(&mut self.command(tool, arguments), &format!("{tool} {}", arguments[0]))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Fetches one package, whose name and version are known, and returns its file.
    pub(crate) fn download(&self, package: &str, version: &str) -> Result<PathBuf> {
        // The folder is the package's alone, so its one file is the one.
        let folder = self.archives.join(package);
        fs::create_dir_all(&folder).map_err(|source| failed("create", &folder, source))?;
        let mut command = self.command("apt-get", &["download", &format!("{package}={version}")]);
        run(command.current_dir(&folder), "apt-get download")?;
        packages(&folder)?.into_iter().next().ok_or_else(|| DebianError::Failed {
            tool: "apt-get download".to_owned(),
            status: "no file".to_owned(),
            said: format!("{package} {version} did not come"),
        })
    }

    fn command(&self, tool: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(tool);
        command.args(&self.options).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// The packages in a folder.
pub(crate) fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| failed("read", folder, source))? {
        let path = entry.map_err(|source| failed("read", folder, source))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            packages.push(path);
        }
    }
    Ok(packages)
}

/// Unpacks a package into a folder.
pub(crate) fn unpack(package: &Path, root: &Path) -> Result<()> {
    let mut command = Command::new("dpkg-deb");
    run(command.arg("--extract").arg(package).arg(root), "dpkg-deb --extract").map(drop)
}

/// Runs a tool; what it complains of is shown only if it fails.
fn run(command: &mut Command, tool: &str) -> Result<Output> {
    let output = output(command, tool)?;
    if output.status.success() { Ok(output) } else { Err(complaint(tool, &output)) }
}

fn output(command: &mut Command, tool: &str) -> Result<Output> {
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| failed("run", Path::new(tool), source))
}

fn complaint(tool: &str, output: &Output) -> DebianError {
    DebianError::Failed {
        tool: tool.to_owned(),
        status: output.status.to_string(),
        said: errors(&String::from_utf8_lossy(&output.stderr)),
    }
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

pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> DebianError {
    DebianError::Io { action, path: path.to_owned(), source }
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
    fn interrupted_work_is_swept_up_and_the_rest_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("staging-abc/root")).unwrap();
        fs::create_dir_all(folder.path().join("x86_64-linux-gnu")).unwrap();
        let locked = Locked::new(folder.path(), "nothing", &mut |_| ()).unwrap();
        locked.make_room(1).unwrap();
        assert!(!folder.path().join("staging-abc").exists());
        assert!(folder.path().join("x86_64-linux-gnu").exists());
    }

    #[test]
    fn a_full_disk_is_told_of_before_anything_is_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let locked = Locked::new(folder.path(), "nothing", &mut |_| ()).unwrap();
        let message = locked.make_room(u64::MAX).unwrap_err().to_string();
        assert!(message.contains("MB free, and 18446744073709 MB are needed: make room"), "{message}");
    }

    #[test]
    fn the_lock_is_released_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut said = 0;
        drop(Locked::new(folder.path(), "nothing", &mut |_| said += 1).unwrap());
        drop(Locked::new(folder.path(), "nothing", &mut |_| said += 1).unwrap());
        assert_eq!(said, 0);
    }

    #[test]
    fn what_appears_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let (built, place) = (folder.path().join("built"), folder.path().join("place"));
        for text in ["one", "two"] {
            let staging = tempfile::tempdir_in(folder.path()).unwrap();
            fs::create_dir(&built).unwrap();
            fs::write(built.join("file"), text).unwrap();
            appear(&built, &place, staging.path()).unwrap();
            assert_eq!(fs::read_to_string(place.join("file")).unwrap(), text);
        }
    }
}
