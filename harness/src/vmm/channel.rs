//! How the agent reaches its mailbox.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;

use arch::semihosting::{self, Console};

use crate::qemu::command::RAM_BASE;

/// A way to the shared file and to whoever waits at its other end.
pub(super) trait Channel {
    /// Waits for a request. False if there will be none.
    fn wait(&mut self) -> io::Result<bool>;
    /// Says that the reply is in the mailbox.
    fn answer(&mut self) -> io::Result<()>;
    /// Copies a part of the shared file.
    fn read(&mut self, address: u64, to: &mut [u8]) -> io::Result<()>;
    /// Writes a part of it.
    fn write(&mut self, address: u64, from: &[u8]) -> io::Result<()>;
}

fn offset(address: u64) -> io::Result<u64> {
    address.checked_sub(RAM_BASE).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The harness is a process of this host: the file is a file, the bytes are those of standard input and output.
#[derive(Debug)]
pub(super) struct Local(File);

impl Local {
    pub(super) fn open(path: &str) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self)
    }
}

impl Channel for Local {
    fn wait(&mut self) -> io::Result<bool> {
        Ok(io::stdin().read(&mut [0])? != 0)
    }

    fn answer(&mut self) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(b"d")?;
        out.flush()
    }

    fn read(&mut self, address: u64, to: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(to, offset(address)?)
    }

    fn write(&mut self, address: u64, from: &[u8]) -> io::Result<()> {
        self.0.write_all_at(from, offset(address)?)
    }
}

/// The harness is on the other side of QEMU: everything goes by semihosting, which needs no driver in any kernel.
#[derive(Debug)]
pub(super) struct Emulated {
    file: semihosting::File,
    input: Console,
    output: Console,
    /// What QEMU reads and writes: memory that nobody else changes the mapping of.
    buffer: Vec<u8>,
}

impl Emulated {
    /// Bytes copied at a time.
    const CHUNK: usize = 64 << 10;

    pub(super) fn open(path: &str) -> io::Result<Self> {
        let missing = || io::Error::other("QEMU answers no semihosting from EL0 (enable=on,userspace=on)");
        let path = CString::new(path)?;
        Ok(Self {
            file: semihosting::File::open(&path).ok_or_else(missing)?,
            input: Console::input().ok_or_else(missing)?,
            output: Console::output().ok_or_else(missing)?,
            buffer: vec![0; Self::CHUNK],
        })
    }
}

impl Channel for Emulated {
    fn wait(&mut self) -> io::Result<bool> {
        Ok(self.input.read_byte().is_some())
    }

    fn answer(&mut self) -> io::Result<()> {
        self.output.write(b"d");
        Ok(())
    }

    fn read(&mut self, address: u64, to: &mut [u8]) -> io::Result<()> {
        let mut at = offset(address)?;
        for part in to.chunks_mut(Self::CHUNK) {
            let bytes = &mut self.buffer[..part.len()];
            if !self.file.read_at(at, bytes) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            part.copy_from_slice(bytes);
            at += part.len() as u64;
        }
        Ok(())
    }

    fn write(&mut self, address: u64, from: &[u8]) -> io::Result<()> {
        let mut at = offset(address)?;
        for part in from.chunks(Self::CHUNK) {
            let bytes = &mut self.buffer[..part.len()];
            bytes.copy_from_slice(part);
            if !self.file.write_at(at, bytes) {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += part.len() as u64;
        }
        Ok(())
    }
}
