//! Semihosting: the control channel between the harness and what runs in its machine: an image at the highest level,
//! or a process of an emulated host.
//!
//! QEMU carries the calls out at `HLT #0xf000`, through the translation in force: memory that a call reads or writes
//! has to be mapped and, if written, writable at once. Bytes of [`Console`] are QEMU's own standard input and output,
//! and a read blocks the whole machine until a byte is there.

use core::arch::asm;
use core::ffi::CStr;

const SYS_OPEN: u64 = 0x01;
const SYS_CLOSE: u64 = 0x02;
const SYS_WRITE0: u64 = 0x04;
const SYS_WRITE: u64 = 0x05;
const SYS_READ: u64 = 0x06;
const SYS_SEEK: u64 = 0x0a;
const SYS_GET_CMDLINE: u64 = 0x15;
const SYS_EXIT_EXTENDED: u64 = 0x20;
/// ADP_Stopped_ApplicationExit: the reason that makes the second word an exit code.
const APPLICATION_EXIT: u64 = 0x2_0026;
/// The special file that stands for the console.
const CONSOLE: &CStr = c":tt";

/// One direction of the console.
#[derive(Clone, Copy, Debug)]
pub struct Console(u64);

impl Console {
    /// Opens QEMU's standard input. `None` without semihosting of target `native`.
    #[must_use]
    pub fn input() -> Option<Self> {
        Self::open(0)
    }

    /// Opens QEMU's standard output. `None` without semihosting of target `native`.
    #[must_use]
    pub fn output() -> Option<Self> {
        Self::open(4)
    }

    /// Opens with the ISO C mode `mode`: 0 is "r", 4 is "w".
    fn open(mode: u64) -> Option<Self> {
        bring_in(CONSOLE.to_bytes_with_nul());
        let args = [CONSOLE.as_ptr().expose_provenance() as u64, mode, CONSOLE.count_bytes() as u64];
        // SAFETY: SYS_OPEN reads its arguments and the name, both alive here.
        let handle = unsafe { call(SYS_OPEN, args.as_ptr().expose_provenance() as u64) };
        (handle.cast_signed() >= 0).then_some(Self(handle))
    }

    /// Waits for one byte. `None` at the end of the input or on an error.
    #[must_use]
    pub fn read_byte(self) -> Option<u8> {
        let mut byte = 0u8;
        let args = [self.0, (&raw mut byte).expose_provenance() as u64, 1];
        // SAFETY: SYS_READ writes at most the one byte that its arguments name.
        let missing = unsafe { call(SYS_READ, args.as_ptr().expose_provenance() as u64) };
        (missing == 0).then_some(byte)
    }

    /// Closes the handle. Standard input and output themselves stay open.
    pub fn close(self) {
        let args = [self.0];
        // SAFETY: SYS_CLOSE reads its argument.
        unsafe { call(SYS_CLOSE, args.as_ptr().expose_provenance() as u64) };
    }

    /// Writes bytes. Whether they arrived is for the reader to see.
    pub fn write(self, bytes: &[u8]) {
        bring_in(bytes);
        let args = [self.0, bytes.as_ptr().expose_provenance() as u64, bytes.len() as u64];
        // SAFETY: SYS_WRITE reads its arguments and the bytes, both alive here.
        unsafe { call(SYS_WRITE, args.as_ptr().expose_provenance() as u64) };
    }
}

/// A file of the machine that QEMU runs on.
#[derive(Clone, Copy, Debug)]
pub struct File(u64);

impl File {
    /// Opens a file for reading and writing. `None` without semihosting of target `native`, or if QEMU cannot.
    #[must_use]
    pub fn open(path: &CStr) -> Option<Self> {
        /// ISO C's "r+b".
        const READ_WRITE: u64 = 3;
        bring_in(path.to_bytes_with_nul());
        let args = [path.as_ptr().expose_provenance() as u64, READ_WRITE, path.count_bytes() as u64];
        // SAFETY: SYS_OPEN reads its arguments and the name, both alive here.
        let handle = unsafe { call(SYS_OPEN, args.as_ptr().expose_provenance() as u64) };
        (handle.cast_signed() >= 0).then_some(Self(handle))
    }

    /// Reads all of `to` from `offset` on. False if the file is shorter, or on an error.
    #[must_use]
    pub fn read_at(self, offset: u64, to: &mut [u8]) -> bool {
        to.fill(0);
        // The compiler must not find out that nobody reads these zeros.
        core::hint::black_box(&mut *to);
        let args = [self.0, to.as_mut_ptr().expose_provenance() as u64, to.len() as u64];
        // SAFETY: SYS_READ writes at most the bytes of `to`.
        self.seek(offset) && unsafe { call(SYS_READ, args.as_ptr().expose_provenance() as u64) } == 0
    }

    /// Writes all of `from` at `offset`. False on an error.
    #[must_use]
    pub fn write_at(self, offset: u64, from: &[u8]) -> bool {
        bring_in(from);
        let args = [self.0, from.as_ptr().expose_provenance() as u64, from.len() as u64];
        // SAFETY: SYS_WRITE reads its arguments and the bytes, all alive here.
        self.seek(offset) && unsafe { call(SYS_WRITE, args.as_ptr().expose_provenance() as u64) } == 0
    }

    /// Closes the handle.
    pub fn close(self) {
        let args = [self.0];
        // SAFETY: SYS_CLOSE reads its argument.
        unsafe { call(SYS_CLOSE, args.as_ptr().expose_provenance() as u64) };
    }

    fn seek(self, offset: u64) -> bool {
        let args = [self.0, offset];
        // SAFETY: SYS_SEEK reads its arguments.
        unsafe { call(SYS_SEEK, args.as_ptr().expose_provenance() as u64) == 0 }
    }
}

/// QEMU's `-semihosting-config arg=…`, written into `buffer`. `None` without semihosting, or if it does not fit.
#[must_use]
pub fn command_line(buffer: &mut [u8]) -> Option<&CStr> {
    buffer.fill(0);
    core::hint::black_box(&mut *buffer);
    let mut args = [buffer.as_mut_ptr().expose_provenance() as u64, buffer.len() as u64];
    // SAFETY: SYS_GET_CMDLINE writes at most the bytes of `buffer`, and the length into its arguments.
    let failed = unsafe { call(SYS_GET_CMDLINE, args.as_mut_ptr().expose_provenance() as u64) };
    if failed == 0 { CStr::from_bytes_until_nul(buffer).ok() } else { None }
}

/// Reads a byte of every page, so that a process has them when QEMU looks: it takes no page faults.
fn bring_in(bytes: &[u8]) {
    const PAGE: usize = 4096;
    for byte in bytes.iter().step_by(PAGE).chain(bytes.last()) {
        // SAFETY: it is a byte of a slice.
        unsafe { core::ptr::from_ref(byte).read_volatile() };
    }
}

/// Writes text to QEMU's standard error, for messages about a broken image.
pub fn complain(text: &CStr) {
    // SAFETY: SYS_WRITE0 reads a string up to its NUL.
    unsafe { call(SYS_WRITE0, text.as_ptr().expose_provenance() as u64) };
}

/// Ends QEMU with an exit code.
pub fn exit(code: u64) -> ! {
    let args = [APPLICATION_EXIT, code];
    loop {
        // SAFETY: SYS_EXIT_EXTENDED reads two words and does not come back.
        unsafe { call(SYS_EXIT_EXTENDED, args.as_ptr().expose_provenance() as u64) };
    }
}

/// One semihosting call.
///
/// # Safety
///
/// `arg` is what the operation `op` takes; memory that the operation writes is the caller's to be written.
unsafe fn call(op: u64, arg: u64) -> u64 {
    let result;
    // SAFETY: the caller answers for the operation; no register but X0 changes.
    unsafe { asm!("hlt #0xf000", inout("x0") op => result, in("x1") arg, options(nostack)) };
    result
}
