//! How the agent reaches its mailbox.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;

use arch::semihosting::{self, Console};
use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::kvm::mailbox::{self, Mail};
use crate::qemu::command::RAM_BASE;

/// A way to the shared file and to whoever waits at its other end.
pub(super) trait Channel {
    /// Waits for a request. False if there will be none.
    fn wait(&mut self) -> io::Result<bool>;
    /// Says that the reply is in the mailbox.
    fn answer(&mut self) -> io::Result<()>;
    /// Waits until the mail is such that the rest is `over`, and does nothing else meanwhile that the machine's host
    /// would have to end: the machine may be saved, and a copy of it go on.
    fn rest(&mut self, over: &dyn Fn(&Mail) -> bool) -> io::Result<()>;
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

    fn rest(&mut self, _: &dyn Fn(&Mail) -> bool) -> io::Result<()> {
        Err(io::Error::other("a process cannot be saved with its host"))
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
    /// Turns of a loop between two looks at the mailbox: some ten microseconds.
    const PAUSE: u32 = 1000;

    pub(super) fn open() -> io::Result<Self> {
        let mut buffer = vec![0; Self::CHUNK];
        let file = Self::file(&mut buffer)?;
        let (input, output) = Self::consoles()?;
        Ok(Self { file, input, output, buffer })
    }

    /// The shared file. What it is called QEMU says and not the kernel's command line: a copy of this machine has
    /// another one.
    fn file(buffer: &mut [u8]) -> io::Result<semihosting::File> {
        semihosting::command_line(buffer).and_then(semihosting::File::open).ok_or_else(unanswered)
    }

    fn consoles() -> io::Result<(Console, Console)> {
        Console::input().zip(Console::output()).ok_or_else(unanswered)
    }
}

fn unanswered() -> io::Error {
    io::Error::other("QEMU answers no semihosting from EL0 (enable=on,userspace=on)")
}

impl Channel for Emulated {
    fn wait(&mut self) -> io::Result<bool> {
        Ok(self.input.read_byte().is_some())
    }

    fn answer(&mut self) -> io::Result<()> {
        self.output.write(b"d");
        Ok(())
    }

    fn rest(&mut self, over: &dyn Fn(&Mail) -> bool) -> io::Result<()> {
        self.file.close();
        self.input.close();
        self.output.close();
        loop {
            // QEMU does not save handles: whatever fails is tried anew, in the machine that this one is by now.
            if let Ok(file) = Self::file(&mut self.buffer) {
                self.file = file;
                let mut mail = Mail::new_zeroed();
                if self.read(mailbox::ADDRESS, mail.as_mut_bytes()).is_ok() && over(&mail) {
                    (self.input, self.output) = Self::consoles()?;
                    return Ok(());
                }
                file.close();
            }
            for _ in 0..Self::PAUSE {
                std::hint::spin_loop();
            }
        }
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
