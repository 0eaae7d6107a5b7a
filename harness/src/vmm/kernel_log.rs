//! What the host kernel says: its log, from the last look on.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// Severity of KERN_WARNING in `/dev/kmsg`; smaller ones are worse.
const WARNING: u32 = 4;
/// Bytes of log kept for one case.
const KEPT: usize = 32 << 10;

/// A reader of `/dev/kmsg`.
#[derive(Debug)]
pub(super) struct KernelLog(Option<File>);

impl KernelLog {
    /// Opens the log behind its last line. A host that has none, or does not let us, has nothing to say.
    pub(super) fn open() -> Self {
        let mut log = Self(open());
        drop(log.take());
        log
    }

    /// Opens the log at its first line, and takes what it has of arm64's own code: what a driver had to say of this machine
    /// while it booted is no matter of KVM's.
    pub(super) fn since_boot() -> (Self, String) {
        let mut log = Self(open());
        let boot = log.take();
        let own =
            boot.lines().filter(|line| line.contains("arch/arm64/")).flat_map(|line| [line, "\n"]).collect();
        (log, own)
    }

    /// Warnings and worse that were logged since the last call, one a line.
    pub(super) fn take(&mut self) -> String {
        let mut text = String::new();
        for (severity, line) in self.lines() {
            if severity <= WARNING && text.len() + line.len() < KEPT {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// Each line with its severity.
    fn lines(&mut self) -> Vec<(u32, String)> {
        let mut lines = Vec::new();
        let Some(file) = &mut self.0 else { return lines };
        let mut record = [0; 8192];
        loop {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(len) => lines.extend(parse(&String::from_utf8_lossy(&record[..len]))),
                // The oldest lines were overwritten: the next read goes on behind them.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => break,
            }
        }
        lines
    }
}

fn open() -> Option<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()
}

/// One record: `severity and facility,number,time,flags;text` (`Documentation/ABI/testing/dev-kmsg`).
fn parse(record: &str) -> Option<(u32, String)> {
    let (head, text) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    Some((priority & 7, text.lines().next().unwrap_or_default().to_owned()))
}

/// What KVM logged of its mode.
pub(super) fn kvm_mode() -> String {
    let mut log = KernelLog(open());
    let mut said = log.lines().into_iter().filter_map(|(_, line)| {
        line.split_once("kvm [1]: ").map(|(_, text)| text.to_owned()).filter(|text| text.contains("mode"))
    });
    said.next_back()
        .or_else(|| fs::read_to_string("/sys/module/kvm/parameters/mode").ok())
        .unwrap_or_default()
}
