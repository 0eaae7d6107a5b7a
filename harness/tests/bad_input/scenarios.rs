//! `replay` of files that are no scenarios.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8Path;

use super::trials::{self, Missing};
use super::{ended, folder, holdfast};

/// Replays a file: usage, with this message and nothing that could be taken for a result.
#[track_caller]
fn refused(file: &Utf8Path, message: &str) {
    let (_folder, out) = folder();
    let out = out.join("run");
    let (code, stdout, stderr) = ended(&holdfast(&["replay", "--out", out.as_str(), file.as_str()]));
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.contains(message), "no `{message}` in\n{stderr}");
    assert!(!out.exists(), "a run folder of no run");
}

#[track_caller]
fn refused_text(text: impl AsRef<[u8]>, message: &str) {
    let (_folder, path) = folder();
    let file = path.join("broken.toml");
    fs::write(&file, text).unwrap();
    refused(&file, &format!("{file}:{message}"));
}

pub fn files_that_are_no_scenarios_are_told_with_the_place() {
    const HEAD: &str = "title = \"t\"\nrules = [\"P-01\"]\n";
    refused_text("", "1:1: the key `title` is missing");
    refused_text("title = \n", "1:9: ");
    refused_text(format!("{HEAD}titel = 1\n"), "3:1: found `titel`, expected a key; did you mean `title`?");
    refused_text(format!("{HEAD}steps = \"\"\"\nG  fil z\n\"\"\"\n"), "4:4: found `fil`, expected a verb");
    refused_text(format!("{HEAD}steps = \"\"\"\nL7  fill z\n\"\"\"\n"), "4:1: found `L7`, expected a place");
    refused_text(format!("{HEAD}steps = \"\"\"\nL1  wfi"), "4:8: invalid multi-line basic string");
    refused_text(b"\x7fELF\x02\x01\x01\0", "1:9: key with no value");
    refused_text(b"title = \"t\"\nrules = \xffP-01", "2:9: found a byte that is no UTF-8, expected text");
    refused_text("x".repeat(300_000), "1:1: a scenario file has at most 262144 bytes");
    refused_text("[".repeat(200_000), "1:");
    refused_text("a = {".repeat(50_000), "1:");
}

/// Which machine a step can be compiled for depends on the target, and that on QEMU.
pub fn a_step_that_makes_no_sense_is_told_with_the_place() -> Result<(), Missing> {
    trials::qemu()?;
    refused_text(
        "title = \"t\"\nrules = [\"P-01\"]\nsteps = \"\"\"\nL1  eret L2\nL1  expect all\n\"\"\"\n",
        "5:1: this step is at L1, but the cursor is at L2",
    );
    Ok(())
}

pub fn what_is_no_file_is_told_as_such() {
    let (_folder, path) = folder();
    refused(&path, &format!("cannot read {path}: Is a directory"));
    // Endless.
    refused("/dev/zero".into(), "/dev/zero:1:1: a scenario file has at most 262144 bytes");
    let secret = path.join("secret.toml");
    fs::write(&secret, "title = \"t\"\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads it all the same.
    if fs::read(&secret).is_err() {
        refused(&secret, &format!("cannot read {secret}: Permission denied"));
    }
}
