//! The `holdfast` command.

mod args;
mod bench;
mod doctor;
mod exit;
mod explain;
mod list;
mod mutants;
mod report;
mod run;
mod session;
mod witness;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;

use args::{Cli, Command};
use exit::Exit;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    if std::process::id() == 1 {
        crate::vmm::init();
    }
    let cli = Cli::parse();
    writes_fail();
    let mut out = anstream::AutoStream::auto(io::stdout());
    let ended = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::List(args) => list::run(args, &mut out),
        Command::Explain(args) => explain::run(args, &mut out),
        Command::Replay(args) => run::replay(args),
        Command::Report(args) => report::run(args, &mut out),
        #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
        Command::Agent(args) => return crate::vmm::serve(&args.mail),
        #[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
        Command::Agent(_) => Err(anyhow::anyhow!("only an arm64 Linux host has a KVM to drive")),
        Command::Mutants(args) => mutants::run(args, &mut out),
        Command::Bench(args) => bench::run(args, &mut out),
        Command::Doctor(args) => doctor::run(args, &mut out),
    };
    let ended = ended.and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    let measures =
        matches!(cli.command, Command::Run(_) | Command::Replay(_) | Command::Mutants(_) | Command::Bench(_));
    ended.unwrap_or_else(|error| failed(&error, measures)).into()
}

/// A file that may grow no further (RLIMIT_FSIZE) is a write that fails, and is told as one: without a handler
/// SIGXFSZ would end the process where it stands. One that does nothing is enough, and is not inherited.
fn writes_fail() {
    // Without it everything works but that.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Says why the command failed; a reader that went away (`holdfast list | head`) needs no word, unless it takes a
/// verdict with it.
fn failed(error: &anyhow::Error, measures: bool) -> Exit {
    use io::ErrorKind::{BrokenPipe, FileTooLarge, QuotaExceeded, StorageFull};
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    match io {
        Some(BrokenPipe) if !measures => return Exit::Success,
        Some(BrokenPipe) => return Exit::Void,
        _ => {}
    }
    // Nobody is left to tell if standard error is gone, too.
    let _ = writeln!(io::stderr(), "error: {error:#}");
    let no_room = matches!(io, Some(StorageFull | QuotaExceeded | FileTooLarge));
    if no_room || error.is::<session::Void>() { Exit::Void } else { Exit::Usage }
}
