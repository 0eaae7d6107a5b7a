//! Configures and builds a kernel.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::project::Project;

/// What is asked of the configuration, over `make tinyconfig`.
const FRAGMENT: &str = "ci/kernels/tiny.config";
/// What it takes, as a program and the package of Debian that has it.
const TOOLS: [(&str, &str); 11] = [
    ("apt-get", "apt"),
    ("bc", "bc"),
    ("bison", "bison"),
    ("dpkg-deb", "dpkg"),
    ("flex", "flex"),
    ("gcc", "gcc"),
    ("make", "make"),
    ("perl", "perl"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
    (CROSS_GCC, "gcc-aarch64-linux-gnu"),
];
const CROSS: &str = "aarch64-linux-gnu-";
const CROSS_GCC: &str = "aarch64-linux-gnu-gcc";

/// Checks that the tools are there.
///
/// # Errors
///
/// Names all that are missing, and the command that installs them.
pub(super) fn tools(patch: bool) -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let there = |tool: &str| folders.iter().any(|folder| folder.join(tool).is_file());
    match missing(patch, there) {
        None => Ok(()),
        Some(what) => bail!(what),
    }
}

/// What to say of missing tools, given which are there.
fn missing(patch: bool, there: impl Fn(&str) -> bool) -> Option<String> {
    let patch = patch.then_some(("patch", "patch"));
    let missing: Vec<(&str, &str)> =
        TOOLS.into_iter().chain(patch).filter(|(tool, _)| !there(tool)).collect();
    if missing.is_empty() {
        return None;
    }
    let (tools, packages): (Vec<&str>, Vec<&str>) = missing.into_iter().unzip();
    Some(format!("{} not found: `apt-get install {}`", tools.join(", "), packages.join(" ")))
}

/// Brings the image up to date with the source; gives its path.
///
/// # Errors
///
/// If the source does not compile.
pub(super) fn image(
    project: &Project,
    work: &Path,
    source: &Path,
    label: &str,
    jobs: Option<NonZeroUsize>,
    lock: &File,
) -> anyhow::Result<PathBuf> {
    let build = work.join("build");
    let fragment = fs::read_to_string(project.root().join(FRAGMENT))
        .with_context(|| format!("cannot read {FRAGMENT}"))?;
    configure(source, &build, &fragment)?;
    let jobs = match jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism().context("cannot count the CPUs: see --jobs")?,
    };
    compile(make(&build, &[&format!("-j{jobs}"), &format!("LOCALVERSION={label}"), "Image"]), lock)?;
    Ok(build.join("arch/arm64/boot/Image"))
}

/// Writes the configuration, unless it is that of the same fragment.
fn configure(source: &Path, build: &Path, fragment: &str) -> anyhow::Result<()> {
    let done = build.join("fragment");
    if fs::read_to_string(&done).is_ok_and(|done| done == fragment) {
        return Ok(());
    }
    fs::create_dir_all(build).with_context(|| format!("cannot make {}", build.display()))?;
    let wanted = build.join("wanted");
    fs::write(&wanted, fragment)?;
    let mut out = std::ffi::OsString::from("O=");
    out.push(build);
    run(make(source, &["--silent", "tinyconfig"]).arg(out))?;
    let mut merge = Command::new(source.join("scripts/kconfig/merge_config.sh"));
    run(merge.args(["-m", "-Q", "-O", ".", ".config"]).arg(&wanted).current_dir(build))?;
    run(&mut make(build, &["--silent", "olddefconfig"]))?;
    let got = fs::read_to_string(build.join(".config")).context("there is no .config")?;
    for line in unfulfilled(fragment, &got) {
        eprintln!("warning: this kernel has not taken {line}");
    }
    fs::rename(wanted, done)?;
    Ok(())
}

/// The lines of a fragment that a configuration does not fulfil.
fn unfulfilled<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let got: Vec<&str> = config.lines().collect();
    let taken = |line: &str| match is_off(line) {
        // What depends on something that is off is not mentioned at all.
        Some(option) => !got.iter().any(|got| got.starts_with(&format!("{option}="))),
        None => got.contains(&line),
    };
    let asked = |line: &&str| line.starts_with("CONFIG_") || is_off(line).is_some();
    fragment.lines().filter(asked).filter(|line| !taken(line)).collect()
}

/// The option that a line of a configuration turns off.
fn is_off(line: &str) -> Option<&str> {
    line.strip_prefix("# ")?.strip_suffix(" is not set")
}

/// `make` for arm64 in a folder.
fn make(folder: &Path, arguments: &[&str]) -> Command {
    let mut make = Command::new("make");
    make.args(arguments).arg("ARCH=arm64").arg(format!("CROSS_COMPILE={CROSS}")).current_dir(folder);
    // The image tells nothing of the machine that built it.
    make.envs([("KBUILD_BUILD_USER", "holdfast"), ("KBUILD_BUILD_HOST", "holdfast")]);
    make.env("LC_ALL", "C");
    make
}

/// Runs a tool, with what it prints on standard error.
///
/// # Errors
///
/// If it fails.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdout(std::io::stderr());
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run `{name}`"))?;
    ensure!(status.success(), "`{name}` failed ({status})");
    Ok(())
}

/// How often the progress is told.
const TELL: Duration = Duration::from_secs(20);

/// Runs a long `make` and tells how far it is, instead of all its lines.
///
/// It holds the lock as well: if this process alone is killed, the next one waits until no compiler is left that
/// reads what is about to be undone.
fn compile(mut make: Command, lock: &File) -> anyhow::Result<()> {
    let lock = lock.try_clone().context("cannot share the lock")?;
    let child = make.stdin(lock).stdout(Stdio::piped()).spawn();
    let mut child = child.context("cannot run `make`")?;
    let begun = Instant::now();
    let mut told = begun;
    let mut steps = 0_u32;
    let lines = child.stdout.take().context("make has no standard output")?;
    for line in BufReader::new(lines).split(b'\n') {
        let line = line.context("cannot read what make says")?;
        steps += 1;
        if told.elapsed() >= TELL {
            told = Instant::now();
            let line = String::from_utf8_lossy(&line);
            eprintln!("{:.0} s, {steps} steps: {}", begun.elapsed().as_secs_f64(), line.trim());
        }
    }
    let status = child.wait().context("cannot wait for `make`")?;
    ensure!(status.success(), "`make` failed ({status})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tools_are_named_with_what_installs_them() {
        assert_eq!(missing(true, |_| true), None);
        assert_eq!(missing(false, |tool| tool != "patch"), None);
        assert_eq!(
            missing(true, |tool| !["patch", "xz", CROSS_GCC].contains(&tool)).unwrap(),
            "xz, aarch64-linux-gnu-gcc, patch not found: `apt-get install xz-utils gcc-aarch64-linux-gnu patch`"
        );
    }

    #[test]
    fn what_a_configuration_does_not_take_is_found() {
        let fragment = "# A comment is not set in stone.\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_N=8\n\
                        # CONFIG_C is not set\n# CONFIG_D is not set\n# CONFIG_E is not set\n";
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=80\n# CONFIG_C is not set\nCONFIG_D=m\n";
        assert_eq!(unfulfilled(fragment, config), ["CONFIG_B=y", "CONFIG_N=8", "# CONFIG_D is not set"]);
    }
}
