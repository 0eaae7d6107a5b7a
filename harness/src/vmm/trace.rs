//! Trace events of the host's KVM, for a case that failed: on for one run, in an instance of tracefs of our own, so that
//! whatever else the host traces stays as it is (`Documentation/trace/ftrace.rst`, "Instances").

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

use crate::kvm::mailbox::Traced;

/// Where tracefs is mounted; the second is where older systems have it.
const ROOTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The events, from `arch/arm64/kvm/trace_arm.h` and `include/trace/events/kvm.h`. Linux 6.1 has not
/// the two nested ones.
const EVENTS: [&str; 5] =
    ["kvm_entry", "kvm_exit", "kvm_nested_eret", "kvm_inject_nested_exception", "kvm_userspace_exit"];

/// KiB of each CPU's ring: more than a thousand events.
const RING: &str = "64";

/// Lines that are told.
const KEPT: usize = 128;

/// A trace that is being written.
#[derive(Debug)]
pub(super) struct Tracer {
    folder: PathBuf,
    missing: Vec<String>,
    stopped: Cell<bool>,
    /// It was stopped when the payload came to its end.
    ended: Cell<bool>,
}

impl Tracer {
    /// Begins.
    pub(super) fn start() -> Result<Self, String> {
        let root = root()?;
        if !root.join("events/kvm").is_dir() {
            return Err("the host kernel has no trace events of KVM".to_owned());
        }
        let folder = root.join(format!("instances/holdfast-{}", std::process::id()));
        let failed = |error: io::Error| format!("cannot trace in {}: {error}", folder.display());
        fs::create_dir(&folder).map_err(failed)?;
        let (has, missing): (Vec<_>, Vec<_>) =
            EVENTS.into_iter().partition(|event| folder.join("events/kvm").join(event).is_dir());
        let missing = missing.into_iter().map(str::to_owned).collect();
        let tracer = Self { folder, missing, stopped: Cell::new(false), ended: Cell::new(false) };
        let failed = |error: io::Error| format!("cannot trace in {}: {error}", tracer.folder.display());
        tracer.set("buffer_size_kb", RING).map_err(failed)?;
        for event in has {
            tracer.set(&format!("events/kvm/{event}/enable"), "1").map_err(failed)?;
        }
        Ok(tracer)
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), value)
    }

    /// Keeps what there is: something went wrong just now.
    pub(super) fn stop(&self) {
        if !self.stopped.replace(true) {
            // One that goes on loses its oldest events, no more.
            let _ = self.set("tracing_on", "0");
        }
    }

    /// The payload is about to end the case: what follows is of no interest.
    pub(super) fn stop_at_end(&self) {
        if !self.stopped.get() {
            self.ended.set(true);
            self.stop();
        }
    }

    /// Ends it.
    pub(super) fn end(self) -> Traced {
        self.stop();
        // SAFETY: it only tells.
        let thread = unsafe { libc::gettid() };
        let lines = last_lines(&self.folder.join("trace"));
        Traced {
            absent: lines.as_ref().err().map(|error| format!("cannot read the trace: {error}")),
            missing: self.missing.clone(),
            thread: thread.unsigned_abs(),
            ended: self.ended.get(),
            lines: lines.unwrap_or_default(),
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.set("events/enable", "0");
        // Its files are the kernel's: they go with it.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Where tracefs is. The agent of an emulated host has nobody who mounts it; on a host of somebody's it is either there or
/// not for us.
fn root() -> Result<&'static Path, String> {
    let is_there = |root: &&&str| Path::new(root).join("instances").is_dir();
    if let Some(root) = ROOTS.iter().find(is_there) {
        return Ok(Path::new(*root));
    }
    let [root, _] = ROOTS;
    if std::process::id() != 1 {
        return Err(format!("{root} is not mounted, or not for this user"));
    }
    mount("tracefs", root, "tracefs", MountFlags::empty(), None)
        .map_err(|error| format!("the host kernel has no tracefs: {error}"))?;
    Ok(Path::new(root))
}

fn last_lines(trace: &Path) -> io::Result<Vec<String>> {
    let mut last = VecDeque::with_capacity(KEPT + 1);
    for line in BufReader::new(File::open(trace)?).lines() {
        let line = line?;
        if !line.starts_with('#') {
            last.push_back(line);
        }
        if last.len() > KEPT {
            last.pop_front();
        }
    }
    Ok(last.into())
}
