//! A booted host that was saved, for further machines to begin with: no boot, and the same state each time.
//!
//! QEMU writes the state of its devices, some hundred kilobytes, into a file by migrating there. Memory it leaves where
//! it is (`x-ignore-shared`): a file of ours, of which a copy is kept. A machine that goes on from here maps that copy
//! privately, so nothing of it is read before it is used, and no machine sees what another one did.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SeekFrom, copy_file_range, ftruncate, memfd_create, seek};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::boot::{Beginning, MEMORY_SIZE};
use crate::qemu::monitor::{Monitor, MonitorError};

/// How long QEMU may take to save its devices: some ten milliseconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether it has.
const MOMENT: Duration = Duration::from_millis(2);

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The system has no memory for it.
    #[error("no memory for a snapshot")]
    Memory(#[from] io::Error),
    /// QEMU does not do what it is told.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// It could not save.
    #[error("QEMU saved nothing: {0}")]
    Migration(String),
}

/// A machine's memory and its devices.
#[derive(Debug)]
pub struct Snapshot {
    ram: OwnedFd,
    devices: OwnedFd,
}

impl Snapshot {
    /// What a machine begins with that goes on from here.
    ///
    /// # Errors
    ///
    /// If the system refuses more descriptors.
    pub fn beginning(&self) -> io::Result<Beginning> {
        Ok(Beginning::Saved { ram: self.ram.try_clone()?, devices: self.devices.try_clone()? })
    }
}

/// The harness's side of a machine that can be saved.
#[derive(Debug)]
pub struct Savable {
    ram: OwnedFd,
    devices: OwnedFd,
    /// What `devices` is called in QEMU.
    uri: String,
    monitor: Monitor,
}

impl Savable {
    /// This side, and what the machine begins with.
    ///
    /// # Errors
    ///
    /// If the system refuses the files.
    pub fn new() -> io::Result<(Self, Beginning)> {
        let ram = memory("holdfast-host")?;
        let devices = memfd_create("holdfast-devices", MemfdFlags::CLOEXEC)?;
        let (monitor, theirs) = Monitor::new()?;
        let beginning =
            Beginning::Savable { ram: ram.try_clone()?, devices: devices.try_clone()?, monitor: theirs };
        let Beginning::Savable { devices: inherited, .. } = &beginning else { unreachable!("made above") };
        let uri = format!("file:/proc/self/fd/{}", inherited.as_raw_fd());
        Ok((Self { ram, devices, uri, monitor }, beginning))
    }

    /// Saves the machine, which has to be resting, and lets it go on in any case.
    ///
    /// # Errors
    ///
    /// If QEMU or the system refuses.
    pub fn save(mut self) -> Result<Snapshot, SnapshotError> {
        let saved = self.saved();
        self.monitor.execute("cont", &json!({}))?;
        Ok(Snapshot { ram: saved?, devices: self.devices })
    }

    /// The memory that belongs to the devices' state.
    fn saved(&mut self) -> Result<OwnedFd, SnapshotError> {
        self.monitor.execute("migrate", &json!({ "uri": self.uri }))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.monitor.execute("query-migrate", &json!({}))?;
            match told.get("status").and_then(Value::as_str) {
                Some("completed") => break,
                Some("failed" | "cancelled") => return Err(SnapshotError::Migration(told.to_string())),
                _ if Instant::now() > deadline => {
                    return Err(SnapshotError::Migration("too slow".to_owned()));
                }
                _ => thread::sleep(MOMENT),
            }
        }
        // Whoever has migrated stands still: this is what it has when the copy goes on.
        let ram = memory("holdfast-snapshot")?;
        copy(&self.ram, &ram)?;
        Ok(ram)
    }
}

/// Memory of a host, zero.
fn memory(name: &str) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
    ftruncate(&file, MEMORY_SIZE)?;
    Ok(file)
}

/// Copies what was ever written of a file.
fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut end = 0;
    loop {
        let begin = match seek(from, SeekFrom::Data(end)) {
            Ok(begin) => begin,
            // No data behind this.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        end = seek(from, SeekFrom::Hole(begin))?;
        let (mut at, mut there) = (begin, begin);
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX);
            if copy_file_range(from, Some(&mut at), to, Some(&mut there), len)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn a_copy_is_equal_and_as_sparse() {
        let files = [memory("from"), memory("to")].map(|file| File::from(file.unwrap()));
        let [from, to] = &files;
        from.write_all_at(b"first", 0).unwrap();
        from.write_all_at(&[7; 10_000], 1 << 20).unwrap();
        from.write_all_at(b"last", MEMORY_SIZE - 4).unwrap();
        let [a, b] = [from, to].map(|file| OwnedFd::from(file.try_clone().unwrap()));
        copy(&a, &b).unwrap();
        for (at, expected) in [(0, b"first\0"), ((1 << 20) + 9_999, b"\x07\0\0\0\0\0")] {
            let mut bytes = [0; 6];
            to.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(&bytes, expected);
        }
        let mut bytes = [0; 4];
        to.read_exact_at(&mut bytes, MEMORY_SIZE - 4).unwrap();
        assert_eq!(&bytes, b"last");
        assert!(to.metadata().unwrap().blocks() <= from.metadata().unwrap().blocks());
    }
}
