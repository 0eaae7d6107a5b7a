//! The registers of a Linux task around KVM_RUN, and a small guest that shares a CPU with the one under test.
//!
//! An image is laid out as the payload's: a header of [`HEADER`] bytes, then Z0 to Z31 at the task's vector length, 16
//! bytes in the V form.

use core::arch::global_asm;
use core::ffi::c_int;

/// Bytes of an image before Z0.
pub const HEADER: usize = 576;
/// Bytes of the largest image.
pub const IMAGE: usize = HEADER + 32 * 256;

/// A register file in memory.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct Image(pub [u8; IMAGE]);

impl Image {
    /// All zero.
    pub const ZERO: Self = Self([0; IMAGE]);
}

/// Bits of the argument `uses`: Z, P and FFR are loaded and stored, not V alone.
pub const SVE: u64 = 1;
/// FPMR is loaded and stored.
pub const FPMR: u64 = 2;

/// Loads every register from `before`, makes the system call `ioctl(fd, KVM_RUN, 0)`, and stores every register to
/// `after`, with no instruction in between that touches one. Returns what the call returned: 0 or `-errno`.
///
/// # Safety
///
/// `fd` is a vCPU; `uses` asks for nothing that the CPU has not got.
#[must_use]
pub unsafe fn run(fd: c_int, before: &Image, after: &mut Image, uses: u64) -> i64 {
    // SAFETY: the caller's; both images are large enough for every vector length.
    unsafe { host_run(fd, before.0.as_ptr(), after.0.as_mut_ptr(), uses) }
}

/// The code of the other guest: position-independent, to be entered at its first byte at EL1 with X0 the address of an
/// image to load, X1 that of one to store to, X2 that of a doorbell, and X3 what it uses.
#[must_use]
pub fn other_guest() -> &'static [u8] {
    unsafe extern "C" {
        static host_other_guest: u8;
        static host_other_guest_end: u8;
    }
    let (start, end) = (&raw const host_other_guest, &raw const host_other_guest_end);
    // SAFETY: the two symbols delimit code, which nothing writes.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

unsafe extern "C" {
    fn host_run(fd: c_int, before: *const u8, after: *mut u8, uses: u64) -> i64;
}

global_asm!(
    include_str!("host.S"),
    FPSR = const 0,
    FPCR = const 8,
    FPMR = const 16,
    VL = const 24,
    FFR = const 32,
    P = const 64,
    Z = const HEADER,
);
