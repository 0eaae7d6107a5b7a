//! The source of Linux as Debian has it, fetched by apt and kept.
//!
//! apt checks the archive's signatures, with a root of its own: nothing of the system is read but its keyring
//! and the address of its mirror, and nothing is changed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use super::build::run;
use crate::section::Section;

/// The suites with packages `linux-source-<series>`; where several have one, apt takes the newest.
const SUITES: [&str; 3] = ["trixie", "trixie-backports", "sid"];
/// The keys of Debian's archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The mirror, if no option says so.
const MIRROR: &str = "HOLDFAST_DEBIAN_MIRROR";

/// The folder of the source in this work folder; fetched if there is none.
///
/// # Errors
///
/// If there is no mirror, or it has no such package, or there is no room.
pub(super) fn provide(work: &Path, version: &str, mirror: Option<&str>) -> anyhow::Result<PathBuf> {
    let source = work.join("source");
    if source.is_dir() {
        return Ok(source);
    }
    let _section = Section::new(format!("the source of Linux {version}: 160 MB to fetch, 2 GB unpacked"));
    ensure!(
        Path::new(KEYRING).is_file(),
        "there is no {KEYRING}: install it with `apt-get install debian-archive-keyring`"
    );
    let mirror = match mirror.map(str::to_owned).or_else(|| std::env::var(MIRROR).ok()) {
        Some(mirror) => mirror,
        None => own_mirror()?,
    };
    ensure!(is_address(&mirror), "`{mirror}` is no address of a mirror");

    let fetched = work.join("fetched");
    let unpacked = work.join("unpacked");
    for folder in [&fetched, &unpacked] {
        // What an interrupted run left.
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let apt = apt(&fetched.join("apt"), &mirror)?;
    let package = format!("linux-source-{version}");
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(&apt).arg("--quiet").args(arguments).current_dir(&fetched);
        run(&mut command)
    };
    apt_get(&["update"])?;
    apt_get(&["download", &package]).with_context(|| {
        format!("{mirror} has no {package} in {}: see --debian-mirror", SUITES.join(", "))
    })?;

    let deb = fs::read_dir(&fetched)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt fetched nothing")?;
    eprintln!("{}", deb.file_name().unwrap_or_default().display());
    run(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&fetched))?;
    let tar = fetched.join(format!("usr/src/{package}.tar.xz"));
    run(Command::new("tar")
        .args(["--extract", "--xz", "--strip-components=1", "--file"])
        .arg(&tar)
        .arg("--directory")
        .arg(&unpacked))?;
    fs::rename(&unpacked, &source).context("cannot name the source")?;
    fs::remove_dir_all(&fetched).context("cannot remove what was fetched")?;
    Ok(source)
}

/// The mirror that the machine's own sources name, which only apt reads reliably.
fn own_mirror() -> anyhow::Result<String> {
    let targets = Command::new("apt-get")
        .args(["indextargets", "--format", "$(ORIGIN);$(LABEL);$(SITE)"])
        .stdin(Stdio::null())
        .output()
        .context("cannot run `apt-get`")?;
    match from_targets(&String::from_utf8_lossy(&targets.stdout)) {
        Some(mirror) => Ok(mirror),
        None => bail!("apt knows no mirror of Debian: give one by --debian-mirror URL or {MIRROR}=URL"),
    }
}

/// The first site of Debian's main archive among lines of `ORIGIN;LABEL;SITE`.
fn from_targets(lines: &str) -> Option<String> {
    let mut sites = lines.lines().filter_map(|line| line.strip_prefix("Debian;Debian;"));
    sites.find(|site| site.starts_with("http")).map(|site| site.trim_end_matches('/').to_owned())
}

/// Whether a mirror can stand in a line of `sources.list`.
fn is_address(mirror: &str) -> bool {
    mirror.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && rest.starts_with('/'))
        && mirror.chars().all(|c| c.is_ascii_graphic() && c != '[' && c != ']')
}

/// Makes a root for an apt that knows nothing of the system's packages; gives the options that name it.
fn apt(root: &Path, mirror: &str) -> anyhow::Result<Vec<OsString>> {
    for folder in ["state/lists/partial", "cache/archives/partial", "etc/empty"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let sources: String =
        SUITES.iter().map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n")).collect();
    fs::write(root.join("etc/sources.list"), sources)?;
    fs::write(root.join("status"), "")?;
    let folders = [
        ("Dir::State", "state"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
        ("Dir::Etc", "etc"),
        ("Dir::Etc::sourcelist", "etc/sources.list"),
        ("Dir::Etc::sourceparts", "etc/empty"),
        ("Dir::Etc::preferences", "etc/none"),
        ("Dir::Etc::preferencesparts", "etc/empty"),
        ("Dir::Etc::parts", "etc/empty"),
        ("Dir::Etc::trustedparts", "etc/empty"),
    ];
    let settings = [
        // As root apt reads as another user, who cannot enter the folder of this one.
        "APT::Sandbox::User=root",
        "Acquire::Languages=none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        // Else a mirror that cannot be reached is only a warning.
        "APT::Update::Error-Mode=any",
        "Acquire::Retries=3",
        // Some container images delete the downloaded packages in these.
        "APT::Update::Post-Invoke=",
        "APT::Update::Post-Invoke-Success=",
    ];
    let mut options = Vec::new();
    for (name, path) in folders {
        let mut option = OsString::from(format!("{name}="));
        option.push(root.join(path));
        options.extend(["-o".into(), option]);
    }
    options.extend(settings.iter().flat_map(|&setting| ["-o".into(), setting.into()]));
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_debians_main_archive() {
        let lines = "Debian;Debian-Security;http://mirror.example/debian-security\n\
                     $(ORIGIN);$(LABEL);https://third.example/apt\n\
                     Debian;Debian;cdrom://Debian 13\n\
                     Debian;Debian;http://mirror.example/debian/\n";
        assert_eq!(from_targets(lines).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(from_targets(""), None);
    }

    #[test]
    fn a_mirror_cannot_break_out_of_its_line() {
        for good in ["http://mirror.example/debian", "file:/srv/debian"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "mirror.example", "http://a b", "http://a\ndeb", "[trusted=yes] http://a", ":/x"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
