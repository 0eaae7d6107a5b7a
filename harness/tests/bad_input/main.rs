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
#[macro_use]
#[path = "../trials/mod.rs"]
mod trials;

use std::process::{Command, Output};

use abi::doorbell::Sweep;
use camino::{Utf8Path, Utf8PathBuf};
use harness::options::{Options, TargetKind};
use harness::qemu::machine::Machine;
use harness::qemu::{Qemu, Version};
use harness::target::{Target, TargetConfig};
use model::scenario::step::GuestSpec;
use tempfile::TempDir;

tests! {
    images::a_cut_image_is_refused_or_used,
    images::a_flipped_image_is_refused_or_used,
    jobs::a_job_that_makes_no_sense_is_refused_and_the_machine_goes_on,
    jobs::records_that_do_not_fit_make_the_run_void,
    jobs::lies_in_guest_memory_are_found,
    jobs::garbage_in_guest_memory_never_panics,
    logs::a_log_cut_behind_its_first_line_is_void,
    logs::every_format_of_a_cut_log_says_that_it_is_void,
    logs::what_is_no_log_is_refused,
    logs::a_summary_that_contradicts_its_cases_is_refused,
    logs::no_flipped_bit_makes_a_failed_run_pass,
    rings::a_cut_ring_never_passes,
    rings::a_ring_that_goes_on_never_passes,
    rings::a_flipped_bit_passes_only_where_nothing_is_checked,
    rings::garbage_never_passes,
    runs::a_log_that_cannot_grow_makes_the_run_void,
    runs::a_report_that_cannot_be_written_makes_the_run_void,
    runs::a_run_folder_that_cannot_be_made_starts_nothing,
    runs::a_killed_run_leaves_no_machine_and_a_void_log,
    scenarios::files_that_are_no_scenarios_are_told_with_the_place,
    scenarios::a_step_that_makes_no_sense_is_told_with_the_place,
    scenarios::what_is_no_file_is_told_as_such,
}

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
