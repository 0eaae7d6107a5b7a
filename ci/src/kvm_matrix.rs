//! `cargo ci kvm-matrix`: the suite on the KVM of real kernels, in each of its modes.

mod page;
mod row;
mod whole;

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use xshell::cmd;

use crate::project::Project;
use crate::section::Section;
use row::{Outcome, Row};

/// Where the page is, and where the event logs of its rows are kept.
const PAGE: &str = "docs/kvm-matrix.md";
const LOGS: &str = "target/holdfast/kvm-matrix";

/// Kernels and modes in the order of the page.
const KERNELS: [&str; 7] = [
    "debian:6.1",
    "debian:6.12/oldest",
    "debian:6.12",
    "debian:7.2",
    "debian:7.3",
    // PREEMPT_RT, and pages of 16 KiB.
    "debian:7.3/rt",
    "debian:7.3/16k",
];
const MODES: [&str; 4] = ["vhe", "nvhe", "protected", "nested"];

/// What tells whether a kernel has guests with an EL2 at all: any scenario that needs one, and is quick.
const NEEDS_EL2: &str = "nested::chain";

/// A TLBI of L1 takes KVM some seconds under QEMU: it goes through 2^48 bytes of each shadow stage 2, and where the kernel
/// invalidates by ranges (CONFIG_ARM64_TLB_RANGE) it does so for every gigabyte, mapped or not.
const TIMEOUT_SCALE: &str = "20";

/// The arguments.
#[derive(Args, Debug)]
pub(crate) struct Matrix {
    /// Kernels to run anew, as `holdfast run --kernel` takes them
    #[arg(long, value_name = "KERNEL", value_delimiter = ',', default_values = KERNELS)]
    kernels: Vec<String>,
    /// Modes of KVM to run anew
    #[arg(long, value_name = "MODE", value_delimiter = ',', default_values = MODES)]
    modes: Vec<String>,
    /// Run nothing: write the page from the logs of the last runs
    #[arg(long)]
    write_only: bool,
    /// The `holdfast` to run, instead of one built from here
    #[arg(long, value_name = "PROGRAM")]
    holdfast: Option<PathBuf>,
    /// Machines at the same time
    #[arg(long, value_name = "N")]
    workers: Option<u16>,
}

impl Matrix {
    /// Whether a row is to be run.
    fn asks_for(&self, kernel: &str, mode: &str) -> bool {
        !self.write_only
            && self.kernels.iter().any(|one| one == kernel)
            && self.modes.iter().any(|one| one == mode)
    }
}

/// Runs the rows asked for and writes the page, of which every other row is as it was last run here.
pub(crate) fn run(project: &Project, matrix: &Matrix) -> anyhow::Result<()> {
    let path = project.root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let on_page = page::rows(&page);
    whole::is_kept(&on_page, |kernel, mode| {
        matrix.asks_for(kernel, mode) || log(project, kernel, mode).exists()
    })?;
    let mut kernels: Vec<&str> = KERNELS.to_vec();
    let others = on_page.iter().map(|(kernel, _)| *kernel).chain(matrix.kernels.iter().map(String::as_str));
    for kernel in others {
        if !kernels.contains(&kernel) {
            kernels.push(kernel);
        }
    }
    let mut rows = Vec::new();
    for kernel in kernels {
        for mode in MODES {
            let log = log(project, kernel, mode);
            if matrix.asks_for(kernel, mode) {
                let _section = Section::new(format!("{kernel}, {mode}"));
                run_row(project, matrix, kernel, mode, &log)?;
            }
            if let Ok(text) = fs::read_to_string(&log) {
                let row = Row::read(kernel, mode, &text);
                rows.push(row.with_context(|| format!("cannot read {}", log.display()))?);
            }
        }
    }
    let suite = whole::suite(&rows)?;
    fs::write(path, page::page(suite, &rows)).with_context(|| format!("cannot write {PAGE}"))?;
    let bad: Vec<String> = rows.iter().filter(|row| row.is_bad()).map(Row::name).collect();
    anyhow::ensure!(bad.is_empty(), "not conformant, and not known to be: {}", bad.join("; "));
    Ok(())
}

fn log(project: &Project, kernel: &str, mode: &str) -> PathBuf {
    let name: String =
        kernel.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    project.root().join(LOGS).join(format!("{name}-{mode}.jsonl"))
}

/// Runs one row. A kernel without guests of the kind that the mode is about is not run further.
fn run_row(
    project: &Project,
    matrix: &Matrix,
    kernel: &str,
    mode: &str,
    log: &PathBuf,
) -> anyhow::Result<()> {
    fs::create_dir_all(project.root().join(LOGS)).with_context(|| format!("cannot make {LOGS}"))?;
    if mode == "nested" {
        holdfast(project, matrix, &["--kernel", kernel, "--kvm-mode", mode, NEEDS_EL2], log)?;
        let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
        if matches!(Row::read(kernel, mode, &text)?.outcome, Outcome::Lacks(_)) {
            return Ok(());
        }
    }
    holdfast(project, matrix, &["--kernel", kernel, "--kvm-mode", mode], log)
}

/// `holdfast run`. How it ends is read from the log; without one it is an error.
fn holdfast(project: &Project, matrix: &Matrix, what: &[&str], log: &PathBuf) -> anyhow::Result<()> {
    let sh = &project.shell;
    if log.exists() {
        fs::remove_file(log).with_context(|| format!("cannot remove {}", log.display()))?;
    }
    let workers = matrix.workers.map(|workers| vec!["--workers".to_owned(), workers.to_string()]);
    let workers = workers.unwrap_or_default();
    let run = match &matrix.holdfast {
        Some(program) => cmd!(sh, "{program} run --target kvm-qemu"),
        None => cmd!(sh, "cargo holdfast run --target kvm-qemu"),
    };
    run.args(["--timeout-scale", TIMEOUT_SCALE])
        .args(what)
        .args(workers)
        .arg("--events")
        .arg(log)
        .ignore_status()
        .run()?;
    anyhow::ensure!(log.exists(), "the run left no log");
    Ok(())
}
