//! What this machine can run, and why not the rest. Nothing is changed, fetched or started but `--version`.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use rustix::fs::{Access, access};

use crate::debian;
use crate::kernel;
use crate::options::TargetKind;
use crate::qemu::{Qemu, Settings, Unusable, Version, provision};

/// How a check came out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Health {
    /// As it should be.
    Good,
    /// Usable, with something missing.
    Limited,
    /// Not there, and nothing needs it now.
    Absent,
    /// Something that is needed is missing.
    Bad,
}

impl Health {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Limited => "limited",
            Self::Absent => "absent",
            Self::Bad => "missing",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it came out.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What to do about it; empty if there is nothing to do.
    pub mend: String,
}

/// A target, and whether it can run here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Runnable {
    /// The target.
    pub target: TargetKind,
    /// Whether it can run now, or by provisioning.
    pub runs: bool,
    /// Why not, or what it lacks; empty if nothing.
    pub why: String,
}

/// The state of a machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// What was looked at, in the order of a report.
    pub checks: Vec<Check>,
    /// Every target.
    pub targets: Vec<Runnable>,
}

impl Report {
    /// Whether every target can run that any machine could.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        // Few machines have a KVM for arm64 guests: the others boot one.
        self.targets.iter().all(|target| target.runs || target.target == TargetKind::Kvm)
    }
}

/// Looks at the machine.
#[must_use]
pub fn examine(settings: &Settings) -> Report {
    let (on_path, private) = (settings.on_path(), settings.private());
    let provisioning = provision::possible(settings.cache.as_deref(), settings.mirror.as_deref());
    let provisioning = match (settings.provision, provisioning) {
        (false, _) => Err("turned off".to_owned()),
        (true, Err(error)) => Err(error.to_string()),
        (true, Ok(())) => settings.cache.as_deref().map_or(Ok(()), has_room),
    };
    let (runs, why) = usable(&on_path, &private, &provisioning);
    let target = |target| match target {
        TargetKind::Kvm => {
            let native = native_kvm();
            Runnable { target, runs: native.is_ok(), why: native.err().unwrap_or_default() }
        }
        TargetKind::Reference | TargetKind::Bare | TargetKind::KvmQemu => {
            Runnable { target, runs, why: why.clone() }
        }
    };
    let targets = TargetKind::ALL.map(target).to_vec();
    let checks = vec![
        of_qemu("QEMU on PATH", &on_path),
        of_qemu("QEMU, private copy", &private),
        of_provisioning(&provisioning),
        rust_target(),
        processors(),
        space(settings.cache.as_deref()),
        kernels(settings),
        kvm(),
    ];
    Report { checks, targets }
}

type Found = Result<Option<Qemu>, Unusable>;

/// Whether some QEMU can be had, and what will be missing.
fn usable(on_path: &Found, private: &Found, provisioning: &Result<(), String>) -> (bool, String) {
    let version = |found: &Found| found.as_ref().ok().and_then(Option::as_ref).map(Qemu::version);
    let best = version(on_path).max(version(private));
    match (best, provisioning) {
        (Some(version), _) if version >= Version::FULL => (true, String::new()),
        (_, Ok(())) => (true, "the first run provisions QEMU".to_owned()),
        (Some(version), Err(_)) if version >= Version::OLDEST => {
            (true, format!("QEMU {version} has no FPMR: cases that need it are skipped"))
        }
        (_, Err(why)) => (false, format!("no QEMU {} or later, and provisioning: {why}", Version::OLDEST)),
    }
}

fn of_qemu(name: &'static str, found: &Found) -> Check {
    let (health, found, mend) = match found {
        Ok(Some(qemu)) => {
            let text = format!("{} ({})", qemu.banner(), qemu.binary().display());
            let mend = format!("QEMU {} or later has FPMR too", Version::FULL);
            match qemu.version() {
                version if version >= Version::FULL => (Health::Good, text, String::new()),
                version if version >= Version::OLDEST => (Health::Limited, text, mend),
                _ => (Health::Absent, format!("{text} is too old"), String::new()),
            }
        }
        Ok(None) => (Health::Absent, "none".to_owned(), String::new()),
        Err(unusable) => (Health::Absent, unusable.to_string(), String::new()),
    };
    Check { name, health, found, mend }
}

fn of_provisioning(provisioning: &Result<(), String>) -> Check {
    let name = "provisioning";
    match provisioning {
        Ok(()) => Check { name, health: Health::Good, found: "possible".to_owned(), mend: String::new() },
        Err(why) => Check { name, health: Health::Absent, found: why.clone(), mend: String::new() },
    }
}

/// The bare-metal images are part of this program: the target is needed only to build it again.
fn rust_target() -> Check {
    const TARGET: &str = "aarch64-unknown-none-softfloat";
    let name = "Rust target";
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let check = |health, found: String, mend: String| Check { name, health, found, mend };
    let output = match output {
        Ok(output) => output,
        Err(error) => return check(Health::Absent, format!("rustc does not start: {error}"), String::new()),
    };
    if output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir() {
        return check(Health::Good, TARGET.to_owned(), String::new());
    }
    check(Health::Absent, format!("{TARGET} is not installed"), format!("rustup target add {TARGET}"))
}

fn processors() -> Check {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let found = format!("{count}: as many machines run at the same time");
    Check { name: "CPUs", health: Health::Good, found, mend: String::new() }
}

fn space(cache: Option<&Path>) -> Check {
    let name = "cache folder";
    let Some(cache) = cache else {
        let mend = "set XDG_CACHE_HOME or HOME to an absolute path".to_owned();
        return Check { name, health: Health::Limited, found: "none".to_owned(), mend };
    };
    match debian::free_space(existing(cache)) {
        Ok(free) => {
            let found = format!("{}, {} MB free", cache.display(), free / 1_000_000);
            let (health, mend) = match has_room(cache) {
                Ok(()) => (Health::Good, String::new()),
                Err(why) => (Health::Limited, format!("{why}: nothing can be fetched")),
            };
            Check { name, health, found, mend }
        }
        Err(error) => {
            let found = format!("{}: {error}", cache.display());
            Check { name, health: Health::Limited, found, mend: String::new() }
        }
    }
}

/// The folder itself may still have to be made: what there is of its path.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(folder)
}

/// Whether a QEMU, or a kernel, can be put there.
fn has_room(cache: &Path) -> Result<(), String> {
    let existing = existing(cache);
    access(existing, Access::WRITE_OK)
        .map_err(|error| format!("{} cannot be written: {error}", existing.display()))?;
    match debian::free_space(existing) {
        Ok(free) if free < provision::SPACE => {
            Err(format!("{} MB are needed there", provision::SPACE / 1_000_000))
        }
        _ => Ok(()),
    }
}

/// The kernels that `kvm-qemu` can boot without fetching one.
fn kernels(settings: &Settings) -> Check {
    let cached = kernel::cached(&kernel::Settings::from(settings));
    let mut names: Vec<String> = cached.into_iter().map(|kernel| kernel.release).collect();
    names.sort();
    let (health, found) = match names.as_slice() {
        [] => (Health::Absent, "none: the first run with --target kvm-qemu fetches one".to_owned()),
        names => (Health::Good, names.join(", ")),
    };
    Check { name: "kernels, cached", health, found, mend: String::new() }
}

fn kvm() -> Check {
    let (health, found) = match native_kvm() {
        Ok(()) => (Health::Good, format!("{KVM} opens")),
        Err(why) => (Health::Absent, why),
    };
    Check { name: "KVM", health, found, mend: String::new() }
}

const KVM: &str = "/dev/kvm";

/// Whether this machine has a KVM for arm64 guests.
///
/// # Errors
///
/// Why not.
pub fn native_kvm() -> Result<(), String> {
    const HOST: &str = std::env::consts::ARCH;
    if HOST != "aarch64" {
        return Err(format!("this is no arm64 host but {HOST}: --target kvm-qemu boots one"));
    }
    match OpenOptions::new().read(true).write(true).open(KVM) {
        Ok(_) => Ok(()),
        Err(_) if fs::metadata(KVM).is_err() => {
            Err(format!("no {KVM}: this kernel has no KVM, or is a guest"))
        }
        Err(error) => Err(format!("{KVM}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_anything_is_told_so() {
        let report = examine(&Settings::default());
        assert!(!report.is_healthy());
        let others = report.targets.iter().filter(|target| target.target != TargetKind::Kvm);
        assert!(others.clone().count() > 0);
        assert!(others.into_iter().all(|target| target.why.contains("provisioning: turned off")));
        let names: Vec<_> = report.checks.iter().map(|check| (check.name, check.health)).collect();
        assert!(names.contains(&("QEMU on PATH", Health::Absent)));
        assert!(names.contains(&("cache folder", Health::Limited)));
    }

    #[test]
    fn provisioning_makes_up_for_a_missing_program() {
        let none: Found = Ok(None);
        assert_eq!(usable(&none, &none, &Ok(())), (true, "the first run provisions QEMU".to_owned()));
        assert!(!usable(&none, &none, &Err("no mirror".to_owned())).0);
    }
}
