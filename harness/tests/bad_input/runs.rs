//! Runs whose disk fills up, and runs that are killed.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit, test_kill_process};
use tempfile::TempDir;

use super::trials::{self, Missing};
use super::{ended, folder, holdfast};

const LONG: Duration = Duration::from_secs(30);

/// A run of the whole suite that is under way.
struct Run {
    process: Child,
    pid: Pid,
    machines: Vec<Pid>,
    events: Utf8PathBuf,
    _folder: TempDir,
}

impl Run {
    /// Starts one, and waits for its first results.
    fn start() -> Result<Self, Missing> {
        trials::qemu()?;
        let (folder, path) = folder();
        let out = path.join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(["run", "--no-provision", "--workers", "2", "--out", out.as_str()]);
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&process);
        let events = out.join("events.jsonl");
        // Cases that are skipped need no machine, and come first.
        let passed = || fs::read_to_string(&events).map_or(0, |log| log.matches(r#""state":"pass""#).count());
        wait_for("results", || passed() > 20);
        let machines = children(pid);
        assert!(!machines.is_empty());
        Ok(Self { process, pid, machines, events, _folder: folder })
    }
}

#[track_caller]
fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_there() {
        assert!(Instant::now() < deadline, "no {what} in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The QEMUs of a process.
fn children(of: Pid) -> Vec<Pid> {
    let parent = format!("PPid:\t{}\n", of.as_raw_nonzero());
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        status.contains(&parent) && String::from_utf8_lossy(&command).contains("memory-backend-file")
    };
    pids.filter(ours).filter_map(Pid::from_raw).collect()
}

/// Whether a process is gone, or dead and not yet waited for by whoever is to.
fn is_gone(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_err() || status.contains("State:\tZ")
}

#[track_caller]
fn is_void(events: &Utf8Path) {
    let (code, stdout, stderr) = ended(&holdfast(&["report", events.as_str()]));
    assert_eq!(code, 3, "{stdout}{stderr}");
    assert!(stdout.contains("void: ended early"), "{stdout}");
}

pub fn a_log_that_cannot_grow_makes_the_run_void() -> Result<(), Missing> {
    let run = Run::start()?;
    // From here on no file grows beyond this: a full disk, as far as the process can tell.
    let limit = fs::metadata(&run.events).unwrap().len() + 3000;
    let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
    prlimit(Some(run.pid), Resource::Fsize, limit).unwrap();
    let (code, _, stderr) = ended(&run.process.wait_with_output().unwrap());
    assert_eq!(code, 3, "{stderr}");
    let expected = format!("the run is void: cannot write the event log {}: File too large", run.events);
    assert!(stderr.contains(&expected), "{stderr}");
    assert!(run.machines.iter().all(|pid| is_gone(*pid)), "a machine is left");
    let log = fs::read(&run.events).unwrap();
    assert_ne!(log.last(), Some(&b'\n'), "the last line is whole");
    is_void(&run.events);
    Ok(())
}

pub fn a_report_that_cannot_be_written_makes_the_run_void() -> Result<(), Missing> {
    trials::qemu()?;
    let (_folder, path) = folder();
    let out = path.join("run");
    let args = ["run", "--no-provision", "--out", out.as_str(), "--junit", "/dev/full", "call::smc_of_guest"];
    let (code, _, stderr) = ended(&holdfast(&args));
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("the run is void: cannot write the report: No space left on device"), "{stderr}");
    // The log has it all: the report can be made from it.
    let (code, stdout, _) = ended(&holdfast(&["report", out.as_str()]));
    assert_eq!(code, 0, "{stdout}");
    Ok(())
}

pub fn a_run_folder_that_cannot_be_made_starts_nothing() -> Result<(), Missing> {
    trials::qemu()?;
    let (_folder, path) = folder();
    let file = path.join("file");
    fs::write(&file, "").unwrap();
    let out = file.join("run");
    let (code, stdout, stderr) =
        ended(&holdfast(&["run", "--no-provision", "--out", out.as_str(), "call::"]));
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    assert!(stderr.contains(&format!("cannot write {out}: Not a directory")), "{stderr}");
    Ok(())
}

pub fn a_killed_run_leaves_no_machine_and_a_void_log() -> Result<(), Missing> {
    let mut run = Run::start()?;
    kill_process(run.pid, Signal::KILL).unwrap();
    run.process.wait().unwrap();
    wait_for("end of the machines", || run.machines.iter().all(|pid| is_gone(*pid)));
    is_void(&run.events);
    Ok(())
}
