//! `cargo ci lint`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use xshell::cmd;

use crate::check::{Complaint, assembly, binary, fp, goldens, machine, suites};
use crate::project::{File, Project};
use crate::section::Section;

/// The target of the bare-metal packages.
const TARGET: &str = "aarch64-unknown-none-softfloat";
/// What drives KVM: compiled for arm64 Linux alone.
const AGENT_TARGET: &str = "aarch64-unknown-linux-musl";

/// Runs every check that executes nothing of the project but build scripts.
pub(crate) fn run(project: &Project) -> anyhow::Result<()> {
    sources(project)?;
    format(project)?;
    clippy(project)?;
    documentation(project)?;
    images(project)
}

/// Our own checks of what is committed: they are the fastest.
fn sources(project: &Project) -> anyhow::Result<()> {
    let _section = Section::new("sources");
    let files = project.files()?;
    let root = project.root().to_str().context("the path of the project is not UTF-8")?;
    let mut complaints = binary::check(&files);
    let files: Vec<_> = files.into_iter().filter_map(File::into_text).collect();
    complaints.extend(assembly::check(&files));
    complaints.extend(suites::check(&files));
    complaints.extend(goldens::pending(&project.walk("golden", goldens::PENDING)?));
    complaints.extend(machine::check(&files, root));
    settle(&complaints)
}

fn format(project: &Project) -> anyhow::Result<()> {
    let _section = Section::new("rustfmt");
    let sh = &project.shell;
    cmd!(sh, "cargo fmt --all --check").run()?;
    cmd!(sh, "cargo fmt --manifest-path fuzz/Cargo.toml --check").run()?;
    Ok(())
}

fn clippy(project: &Project) -> anyhow::Result<()> {
    let sh = &project.shell;
    {
        let _section = Section::new("clippy, host");
        cmd!(sh, "cargo clippy --locked --quiet --all-targets -- -D warnings").run()?;
    }
    {
        let _section = Section::new("clippy, arm64 host");
        cmd!(sh, "cargo clippy --locked --quiet --package harness --target {AGENT_TARGET} -- -D warnings")
            .run()?;
    }
    let _section = Section::new("clippy, bare metal");
    // The linker's options that `harness/build.rs` gives make no difference to a check.
    let bare = ["--package", "arch", "--package", "guest-payloads", "--package", "reference-hyp"];
    cmd!(sh, "cargo clippy --locked --quiet {bare...} --target {TARGET} -- -D warnings").run()?;
    let faults = ["--package", "reference-hyp", "--features", "faults"];
    cmd!(sh, "cargo clippy --locked --quiet {faults...} --target {TARGET} -- -D warnings").run()?;
    Ok(())
}

fn documentation(project: &Project) -> anyhow::Result<()> {
    let _section = Section::new("rustdoc");
    let sh = &project.shell;
    let _flags = sh.push_env("RUSTDOCFLAGS", "-D warnings");
    cmd!(sh, "cargo doc --locked --quiet --no-deps").run()?;
    let bare = ["--package", "arch", "--package", "guest-payloads", "--package", "reference-hyp"];
    cmd!(sh, "cargo doc --locked --quiet --no-deps {bare...} --target {TARGET}").run()?;
    Ok(())
}

/// The images as `harness` embeds them.
fn images(project: &Project) -> anyhow::Result<()> {
    let _section = Section::new("images");
    let folder = image_folder(project)?;
    let mut complaints = Vec::new();
    for image in &fp::IMAGES {
        let path = folder.join(image.file);
        let elf = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        complaints.extend(fp::check(image, &elf)?);
    }
    settle(&complaints)
}

/// Where the build script of `harness` leaves the images. Cargo tells it in its messages alone.
fn image_folder(project: &Project) -> anyhow::Result<PathBuf> {
    let sh = &project.shell;
    let messages = cmd!(sh, "cargo check --locked --quiet --package harness --message-format=json").read()?;
    let harness = project.root().join("harness");
    for message in messages.lines() {
        let message: serde_json::Value =
            serde_json::from_str(message).context("cannot read cargo's messages")?;
        let text = |key: &str| message.get(key).and_then(serde_json::Value::as_str);
        if text("reason") == Some("build-script-executed")
            && text("package_id").is_some_and(|id| id.contains(&format!("{}#", harness.display())))
        {
            return Ok(text("out_dir").context("cargo's message names no out_dir")?.into());
        }
    }
    anyhow::bail!("cargo ran no build script of harness")
}

/// Prints all complaints; any is an error.
fn settle(complaints: &[Complaint]) -> anyhow::Result<()> {
    let mut text = String::new();
    for complaint in complaints {
        writeln!(text, "{complaint}")?;
    }
    eprint!("{text}");
    anyhow::ensure!(complaints.is_empty(), "{} complaint(s)", complaints.len());
    Ok(())
}
