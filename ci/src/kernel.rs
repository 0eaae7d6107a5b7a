//! `cargo ci kernel`: a small arm64 Linux from Debian's source, with published bugs of KVM put back on demand.
//!
//! Linux itself is not committed here. A revert names a function and a short expression in it, and what stands
//! there instead; the source comes from Debian and stays in `target/kernel`.

mod build;
mod edit;
mod revert;
mod source;
mod undo;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::project::Project;
use crate::section::Section;
use revert::Revert;
use undo::Undo;

/// The options of `cargo ci kernel`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print the reverts there are, and build nothing
    #[arg(long)]
    list: bool,
    /// The series of the kernel, as in the name of Debian's package linux-source-VERSION
    #[arg(long, value_name = "VERSION", default_value = "7.2", value_parser = series)]
    version: String,
    /// Put these bugs back, all into one image
    #[arg(long, value_name = "NAME", num_args = 1..)]
    revert: Vec<String>,
    /// Apply this patch first, as `patch -p1` does
    #[arg(long, value_name = "FILE")]
    patch: Vec<PathBuf>,
    /// Where the image goes [default: target/kernel/VERSION/images/NAMES.Image]
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    out: Option<PathBuf>,
    /// Fetch the source from this Debian mirror [default: HOLDFAST_DEBIAN_MIRROR, else this machine's own]
    #[arg(long, value_name = "URL")]
    debian_mirror: Option<String>,
    /// How many compilers run at once [default: as many as there are CPUs]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

/// Builds a kernel, or lists what could be put into it.
pub(crate) fn run(project: &Project, options: &Options) -> anyhow::Result<()> {
    let all = revert::all(project)?;
    if options.list {
        let mut out = io::stdout().lock();
        for revert in &all {
            writeln!(out, "{revert}")?;
        }
        return Ok(());
    }
    let reverts = chosen(&all, options)?;
    build::tools(!options.patch.is_empty())?;
    // Relative to where the user is: the project's shell stands in its root.
    let patches: Vec<PathBuf> =
        options.patch.iter().map(std::path::absolute).collect::<Result<_, _>>().context("no folder")?;
    for patch in &patches {
        ensure!(patch.is_file(), "there is no patch {}", patch.display());
    }

    let work = project.root().join("target/kernel").join(&options.version);
    let lock = lock(&work)?;
    let source = source::provide(&work, &options.version, options.debian_mirror.as_deref())?;
    let undo = Undo::open(&work, &source)?;
    let section = Section::new(format!("kernel {}, {}", options.version, what(options)));
    for patch in &patches {
        undo.patch(patch)?;
    }
    for revert in &reverts {
        for edit in &revert.edits {
            undo.edit(&edit.file, |text| edit::apply(text, edit))
                .with_context(|| format!("cannot apply {}", revert.name))?;
        }
    }
    let image = build::image(project, &work, &source, &label(options), options.jobs, &lock)?;
    undo.all()?;
    drop(section);

    let out = match &options.out {
        Some(out) => out.clone(),
        None => work.join("images").join(format!("{}.Image", file_name(options))),
    };
    copy(&image, &out)?;
    writeln!(io::stdout(), "{}", out.display())?;
    Ok(())
}

/// Keeps other builds out of a work folder, until the file is closed, here and in every process that has it.
fn lock(work: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
    let mut options = File::options();
    let lock = options.read(true).write(true).create(true).truncate(true).open(work.join("lock"));
    let lock = lock.context("cannot open the lock")?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another build in {}", work.display());
        lock.lock().context("cannot wait for another build")?;
    }
    Ok(lock)
}

/// A version as Debian names a series: two numbers.
fn series(text: &str) -> Result<String, String> {
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    match text.split_once('.') {
        Some((major, minor)) if number(major) && number(minor) => Ok(text.to_owned()),
        _ => Err("a series is two numbers, such as 7.2".to_owned()),
    }
}

/// The reverts that were asked for, in that order.
fn chosen<'a>(all: &'a [Revert], options: &Options) -> anyhow::Result<Vec<&'a Revert>> {
    let mut chosen: Vec<&Revert> = Vec::new();
    for name in &options.revert {
        let revert = all.iter().find(|revert| revert.name == *name);
        let revert =
            revert.with_context(|| format!("there is no revert {name}: see `cargo ci kernel --list`"))?;
        if !revert.versions.contains(&options.version) {
            bail!("{name} is for {}, not for {}", revert.versions.join(" and "), options.version);
        }
        ensure!(chosen.iter().all(|other| other.name != *name), "{name} is given twice");
        chosen.push(revert);
    }
    Ok(chosen)
}

/// What is built, for people.
fn what(options: &Options) -> String {
    let patches = options.patch.iter().map(|patch| patch.display().to_string());
    let all: Vec<String> = patches.chain(options.revert.iter().cloned()).collect();
    if all.is_empty() { "as it is".to_owned() } else { all.join(" ") }
}

/// What is built, as a file's name.
fn file_name(options: &Options) -> String {
    let mut parts = options.revert.clone();
    parts.extend((!options.patch.is_empty()).then(|| "patched".to_owned()));
    if parts.is_empty() { "plain".to_owned() } else { parts.join("+") }
}

/// What is built, as the end of what `uname -r` says there, which has room for 64 characters.
fn label(options: &Options) -> String {
    let patched = if options.patch.is_empty() { "" } else { "-patched" };
    match &options.revert[..] {
        [] => patched.to_owned(),
        [one] => format!("{patched}-{one}"),
        many => format!("{patched}-{}-reverts", many.len()),
    }
}

fn copy(image: &Path, out: &Path) -> anyhow::Result<()> {
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::copy(image, out).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        Cli::try_parse_from([&["kernel"], arguments].concat()).map(|cli| cli.options)
    }

    fn revert(name: &str) -> Revert {
        let text = "title = \"t\"\nversions = [\"7.2\"]\nmodes = [\"vhe\"]\nside = \"guest\"\nrules = [\"P-01\"]\n\
                    shows = \"s\"\n[[edit]]\nfile = \"f.c\"\nfunction = \"f\"\nfind = \"a\"\nreplace = \"b\"\n";
        Revert::parse(name, text).unwrap()
    }

    #[test]
    fn a_series_is_two_numbers() {
        assert_eq!(parse(&["--version", "6.12"]).unwrap().version, "6.12");
        for bad in ["7", "7.", ".2", "7.2.13", "7.2-rc1", "../x"] {
            assert!(parse(&["--version", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn reverts_are_chosen_by_name_and_version() {
        let all = [revert("one"), revert("two")];
        let names = |arguments: &[&str]| {
            let options = parse(arguments).unwrap();
            chosen(&all, &options)
                .map(|chosen| chosen.iter().map(|revert| revert.name.clone()).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        assert_eq!(names(&["--revert", "two", "one"]).unwrap(), ["two", "one"]);
        assert_eq!(names(&[]).unwrap(), [""; 0]);
        assert_eq!(
            names(&["--revert", "three"]).unwrap_err(),
            "there is no revert three: see `cargo ci kernel --list`"
        );
        assert_eq!(names(&["--revert", "one", "one"]).unwrap_err(), "one is given twice");
        assert_eq!(
            names(&["--version", "6.12", "--revert", "one"]).unwrap_err(),
            "one is for 7.2, not for 6.12"
        );
    }

    #[test]
    fn a_kernel_says_what_it_is() {
        let told = |arguments: &[&str]| {
            let options = parse(arguments).unwrap();
            (file_name(&options), label(&options))
        };
        let pair = |file: &str, label: &str| (file.to_owned(), label.to_owned());
        assert_eq!(told(&[]), pair("plain", ""));
        assert_eq!(told(&["--revert", "a"]), pair("a", "-a"));
        assert_eq!(told(&["--revert", "a", "b"]), pair("a+b", "-2-reverts"));
        assert_eq!(told(&["--patch", "p", "--revert", "a"]), pair("a+patched", "-patched-a"));
    }
}
