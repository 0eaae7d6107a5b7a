//! The machines that a test's own process runs, for tests that harm them.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;

/// Keeps the machines of this process those of one test: for as long as it holds this, others wait.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The QEMUs that this process runs.
pub fn machines() -> Vec<Pid> {
    let parent = format!("PPid:\t{}\n", std::process::id());
    let processes = fs::read_dir("/proc").expect("a /proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        status.contains(&parent) && String::from_utf8_lossy(&command).contains("memory-backend-file")
    };
    pids.filter(ours).filter_map(Pid::from_raw).collect()
}
