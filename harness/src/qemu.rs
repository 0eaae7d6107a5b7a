//! QEMU: finding one that will do, and running machines in it.

mod child;
pub mod command;
pub mod machine;
pub mod monitor;
pub mod provision;
pub mod share;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use crate::debian::{DEBIAN_MIRROR, NO_PROVISION};
use crate::image::sha256;

/// The program's name on PATH.
pub const PROGRAM: &str = "qemu-system-aarch64";

/// A version of QEMU.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version {
    /// 11 of 11.1.3.
    pub major: u32,
    /// 1 of 11.1.3.
    pub minor: u32,
    /// 3 of 11.1.3.
    pub patch: u32,
}

impl Version {
    /// The first version with everything that the suite can check.
    pub const FULL: Self = Self { major: 11, minor: 1, patch: 0 };
    /// The first version that is accepted; what it lacks is SKIP.
    pub const OLDEST: Self = Self { major: 10, minor: 0, patch: 0 };

    /// Reads the first line of `qemu-system-aarch64 --version`.
    #[must_use]
    pub fn parse(banner: &str) -> Option<Self> {
        let number = banner.strip_prefix("QEMU emulator version ")?;
        let number = number.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?;
        let mut parts = number.split('.').map(str::parse::<u32>);
        let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
        let patch = parts.next().and_then(Result::ok).unwrap_or(0);
        Some(Self { major, minor, patch })
    }

    /// Whether `-cpu max` has FEAT_FPMR.
    #[must_use]
    pub fn has_fpmr(self) -> bool {
        self >= Self::FULL
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Where a QEMU comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The machine's own, on PATH.
    Path,
    /// The private copy in the user's cache folder.
    Private,
    /// Named by the user.
    Named,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "on PATH",
            Self::Private => "private copy",
            Self::Named => "named",
        })
    }
}

/// A QEMU that starts and is new enough.
#[derive(Clone, Debug)]
pub struct Qemu {
    binary: PathBuf,
    /// The program and first arguments that start `binary`, with its own loader and libraries if it has them.
    start: Vec<OsString>,
    version: Version,
    banner: String,
    origin: Origin,
}

impl Qemu {
    /// The one that a user names.
    ///
    /// # Errors
    ///
    /// If it cannot be used.
    pub fn at(binary: &Path) -> Result<Self, Unusable> {
        let qemu = Self::ask(binary, vec![binary.into()], Origin::Named)?;
        if qemu.version < Version::OLDEST {
            let why = format!("is {}: {} is the oldest that will do", qemu.version, Version::OLDEST);
            return Err(Unusable { program: binary.to_owned(), why });
        }
        Ok(qemu)
    }

    /// A command that starts it, without arguments for QEMU itself.
    #[must_use]
    pub fn command(&self) -> Command {
        command_of(&self.start)
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The first line of its `--version`, with the distribution's own version.
    #[must_use]
    pub fn banner(&self) -> &str {
        &self.banner
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The program itself.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The SHA-256 of the program, in lower-case hexadecimal: archives replace versions, so a run records it.
    ///
    /// # Errors
    ///
    /// If the program cannot be read.
    pub fn sha256(&self) -> io::Result<String> {
        fs::read(&self.binary).map(|bytes| sha256(&bytes))
    }

    /// Asks a program for its version.
    fn ask(binary: &Path, start: Vec<OsString>, origin: Origin) -> Result<Self, Unusable> {
        let unusable = |why: String| Unusable { program: binary.to_owned(), why };
        let output = command_of(&start)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| unusable(format!("does not start: {error}")))?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let banner = stdout.lines().next().unwrap_or_default().to_owned();
        let Some(version) = Version::parse(&banner) else {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let said = stderr.lines().chain(stdout.lines()).next().unwrap_or("nothing");
            return Err(unusable(format!("does not tell its version ({}): {said}", output.status)));
        };
        Ok(Self { binary: binary.to_owned(), start, version, banner, origin })
    }
}

fn command_of(start: &[OsString]) -> Command {
    let (program, arguments) = start.split_first().expect("a start has a program");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// A program that calls itself QEMU and is of no use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{} {why}", program.display())]
pub struct Unusable {
    program: PathBuf,
    why: String,
}

/// Why there is no QEMU.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is none, and none may be provisioned.
    #[error(
        "no QEMU {oldest} or later: {found}. Provisioning is off: run the same without --no-provision and without \
         {NO_PROVISION} in the environment, or install {PROGRAM} (`sudo apt-get install qemu-system-arm`; {full} or \
         later runs everything)",
        oldest = Version::OLDEST,
        full = Version::FULL
    )]
    Off {
        /// What was found instead.
        found: String,
    },
    /// There is none, and provisioning failed.
    #[error("no QEMU {oldest} or later: {found}, and a private copy cannot be provisioned", oldest = Version::OLDEST)]
    Provision {
        /// What was found instead.
        found: String,
        /// Why it failed and what mends it.
        #[source]
        source: provision::ProvisionError,
    },
}

/// Where to look for a QEMU and what may be done to get one.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// A private copy may be provisioned.
    pub provision: bool,
    /// The Debian mirror to provision from; the machine's own without one.
    pub mirror: Option<String>,
    /// The user's cache folder.
    pub cache: Option<PathBuf>,
    /// PATH.
    pub path: Option<OsString>,
}

impl Settings {
    /// The settings that the environment asks for.
    #[must_use]
    pub fn from_env() -> Self {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        // The XDG base directory specification: a relative path is to be ignored.
        let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            provision: !is_set(NO_PROVISION),
            mirror: env::var(DEBIAN_MIRROR).ok().filter(|mirror| !mirror.is_empty()),
            cache: absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))),
            path: env::var_os("PATH"),
        }
    }

    /// The folder of private copies.
    fn folder(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join("holdfast").join("qemu"))
    }

    /// The QEMU on PATH, whatever its version.
    ///
    /// # Errors
    ///
    /// If the first program of that name cannot be used.
    pub fn on_path(&self) -> Result<Option<Qemu>, Unusable> {
        crate::path::on_path(self.path.as_deref(), PROGRAM)
            .map(|binary| Qemu::ask(&binary, vec![binary.clone().into()], Origin::Path))
            .transpose()
    }

    /// A QEMU of another version than this one, of those that are there.
    #[must_use]
    pub fn other_than(&self, qemu: &Qemu) -> Option<Qemu> {
        let there = [self.on_path(), self.private()].into_iter().filter_map(|found| found.ok().flatten());
        there.into_iter().find(|other| other.version >= Version::OLDEST && other.version != qemu.version)
    }

    /// The private copy, whatever its version.
    ///
    /// # Errors
    ///
    /// If there is one and it cannot be used.
    pub fn private(&self) -> Result<Option<Qemu>, Unusable> {
        self.folder().map_or(Ok(None), |folder| provision::existing(&folder))
    }
}

/// Finds a QEMU: 11.1 or later on PATH, else the private copy, else one that is provisioned now, else 10.0 or
/// later on PATH. `say` is told of everything that takes time or that the user may want to know.
///
/// # Errors
///
/// If there is none: the error says what is missing and what mends it.
pub fn find(settings: &Settings, say: &mut dyn FnMut(&str)) -> Result<Qemu, FindError> {
    let on_path = settings.on_path();
    if let Ok(Some(qemu)) = &on_path
        && qemu.version >= Version::FULL
    {
        return Ok(qemu.clone());
    }
    let (fallback, found) = match on_path {
        Ok(Some(qemu)) if qemu.version >= Version::OLDEST => {
            let found = format!("{} is {}", qemu.binary.display(), qemu.version);
            (Some(qemu), found)
        }
        Ok(Some(qemu)) => (None, format!("{} is {}", qemu.binary.display(), qemu.version)),
        Ok(None) => (None, format!("{PROGRAM} is not on PATH")),
        Err(unusable) => (None, unusable.to_string()),
    };
    match settings.private() {
        Ok(Some(qemu)) if qemu.version >= Version::FULL => return Ok(qemu),
        Ok(Some(qemu)) => say(&format!("the private copy of QEMU is {}, which is too old", qemu.version)),
        Ok(None) => {}
        Err(unusable) => say(&format!("the private copy of QEMU is broken: {unusable}")),
    }
    let provisioned = if settings.provision {
        say(&format!("{found}; the suite wants QEMU {} or later", Version::FULL));
        Some(provision::provision(settings.folder().as_deref(), settings.mirror.as_deref(), say))
    } else {
        None
    };
    match (provisioned, fallback) {
        (Some(Ok(qemu)), _) => Ok(qemu),
        (Some(Err(error)), Some(qemu)) => {
            say(&format!("cannot provision a private copy of QEMU: {error}"));
            say(&format!("using QEMU {} on PATH: cases that need more are skipped", qemu.version));
            Ok(qemu)
        }
        (None, Some(qemu)) => {
            say(&format!("using QEMU {} on PATH: cases that need more are skipped", qemu.version));
            Ok(qemu)
        }
        (Some(Err(source)), None) => Err(FindError::Provision { found, source }),
        (None, None) => Err(FindError::Off { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(banner: &str, expected: Option<&str>) {
        assert_eq!(Version::parse(banner).map(|version| version.to_string()).as_deref(), expected);
    }

    #[test]
    fn versions() {
        check("QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)", Some("11.1.3"));
        check("QEMU emulator version 7.2.19 (Debian 1:7.2+dfsg-7+deb12u15)", Some("7.2.19"));
        check("QEMU emulator version 11.2.50 (v11.1.0-1234-g0123456789)", Some("11.2.50"));
        check("QEMU emulator version 12.0", Some("12.0.0"));
        check("QEMU emulator version ", None);
        check("QEMU emulator version 99999999999.1", None);
        check("sh: not found", None);
        assert!(Version::parse("QEMU emulator version 10.2.1").unwrap() < Version::FULL);
        assert!(Version::parse("QEMU emulator version 11.1.0").unwrap().has_fpmr());
        assert!(!Version::parse("QEMU emulator version 11.0.9").unwrap().has_fpmr());
    }

    /// A folder with a program that prints `output` when it is asked for its version.
    fn impostor(output: &str) -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(PROGRAM);
        fs::write(&file, format!("#!/bin/sh\necho '{output}'\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    fn find_in(folder: &Path) -> (Result<Qemu, FindError>, Vec<String>) {
        let settings = Settings { path: Some(folder.into()), ..Settings::default() };
        let mut said = Vec::new();
        let result = find(&settings, &mut |line| said.push(line.to_owned()));
        (result, said)
    }

    #[test]
    fn the_version_on_path_decides() {
        let new = impostor("QEMU emulator version 11.1.0");
        let (qemu, said) = find_in(new.path());
        assert_eq!(qemu.unwrap().version(), Version::FULL);
        assert!(said.is_empty());

        let middle = impostor("QEMU emulator version 10.0.2");
        let (qemu, said) = find_in(middle.path());
        assert_eq!(qemu.unwrap().version().major, 10);
        assert_eq!(said, ["using QEMU 10.0.2 on PATH: cases that need more are skipped"]);

        let old = impostor("QEMU emulator version 7.2.0");
        let message = find_in(old.path()).0.unwrap_err().to_string();
        assert!(message.contains("is 7.2.0. Provisioning is off"), "{message}");

        let strange = impostor("hello");
        let message = find_in(strange.path()).0.unwrap_err().to_string();
        assert!(message.contains("does not tell its version (exit status: 0): hello"), "{message}");

        let empty = tempfile::tempdir().unwrap();
        let message = find_in(empty.path()).0.unwrap_err().to_string();
        assert!(message.contains("qemu-system-aarch64 is not on PATH"), "{message}");
    }
}
