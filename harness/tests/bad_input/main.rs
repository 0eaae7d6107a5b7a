//! Bad input of every kind, and a disk and processes that fail in mid-run: a verdict or a clear error each time.
//!
//! What machines do that are killed or stand still is in `trouble.rs`, the reader of logs in `events.rs`, the DWARF of
//! damaged images in `symbols.rs`, each message of the language in the model's tests.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

mod images;
mod jobs;
mod logs;
mod rings;
mod runs;
mod scenarios;

use std::process::{Command, Output};

use abi::doorbell::Sweep;
use camino::{Utf8Path, Utf8PathBuf};
use harness::options::{Options, TargetKind};
use harness::qemu::machine::Machine;
use harness::qemu::{self, Qemu, Version};
use harness::target::{Target, TargetConfig};
use model::scenario::step::GuestSpec;
use tempfile::TempDir;

/// The command, with nothing fetched.
fn holdfast(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast")).args(args).output().unwrap()
}

/// Exit code, standard output and standard error of one that did not panic.
#[track_caller]
fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    let code = output.status.code();
    (code.unwrap_or_else(|| panic!("{}\n{stderr}", output.status)), stdout, stderr)
}

/// A folder for one test.
fn folder() -> (TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().to_owned();
    (folder, path)
}

/// The QEMU of this machine, if it has one; nothing is fetched for a test.
fn qemu() -> Option<Qemu> {
    qemu::present().inspect_err(|error| eprintln!("skipped: {error}")).ok()
}

fn target(kind: TargetKind, version: Version) -> Target {
    let options = Options { target: kind, ..Options::default() };
    Target::new(TargetConfig::new(&options), version).unwrap()
}

fn boot(qemu: &Qemu, target: &Target, guest: &GuestSpec) -> Machine {
    let memory = Machine::new_memory().unwrap();
    target.load(&memory).unwrap();
    Machine::start(&(qemu, target.machine_config(guest, Sweep::Off)), memory).unwrap()
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        abi::pattern::mix(self.0)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        let at = self.below(bytes.len());
        bytes[at] ^= 1 << self.below(8);
    }
}
