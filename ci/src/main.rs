//! What continuous integration does, as commands that anybody can run: `cargo ci`.
//!
//! Every service that checks the project calls these and nothing else.

mod bless;
mod check;
mod compared;
mod format;
mod fuzz;
mod kernel;
mod kvm_matrix;
mod lint;
mod project;
mod section;
mod suite;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use project::Project;

/// Checks of the project, as continuous integration runs them.
#[derive(Debug, Parser)]
#[command(name = "cargo ci", bin_name = "cargo ci", arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Formatting, Clippy, documentation, and the checks of sources and images that no compiler makes
    Lint,
    /// Write sources and scenarios as `lint` wants them
    Fmt,
    /// Everything that runs: `cargo test`, then all strategies, depth 2, sweeps, the mutants, the bench
    Test,
    /// Make today's output of the tests the goldens, and take away goldens that no test has
    Bless {
        /// Only tests whose names have this in them; then no golden is taken away
        filter: Option<String>,
    },
    /// Run the fuzz targets of fuzz/ one after the other; needs cargo-fuzz and a C++ compiler
    Fuzz {
        /// How long each target runs
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u32,
        /// Only these targets
        targets: Vec<String>,
    },
    /// Build a small arm64 Linux from Debian's source, with published bugs of KVM put back by name
    Kernel(kernel::Options),
    /// Run the suite on the KVM of real kernels, in each of its modes, and write docs/kvm-matrix.md
    KvmMatrix(kvm_matrix::Matrix),
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that went away (`cargo ci kernel --list | head`) needs no word, as with `holdfast`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // A backtrace of this program would hide what failed.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(command: &Command) -> anyhow::Result<()> {
    let project = Project::open()?;
    match command {
        Command::Lint => lint::run(&project),
        Command::Fmt => format::run(&project),
        Command::Test => suite::run(&project),
        Command::Bless { filter } => bless::run(&project, filter.as_deref()),
        Command::Fuzz { seconds, targets } => fuzz::run(&project, *seconds, targets),
        Command::Kernel(options) => kernel::run(&project, options),
        Command::KvmMatrix(matrix) => kvm_matrix::run(&project, matrix),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_makes_sense() {
        super::Cli::command().debug_assert();
    }
}
