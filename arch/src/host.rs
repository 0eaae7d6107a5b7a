//! The registers of a Linux task around a system call, and a small guest that shares a CPU with the one under test.
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

/// A system call with up to three arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its number.
    pub number: u64,
    /// Its arguments.
    pub arguments: [u64; 3],
}

impl Call {
    /// `ioctl(vcpu, KVM_RUN, 0)`.
    #[must_use]
    pub const fn kvm_run(vcpu: c_int) -> Self {
        const IOCTL: u64 = 29;
        const KVM_RUN: u64 = 0xae80;
        Self { number: IOCTL, arguments: [vcpu as u64, KVM_RUN, 0] }
    }

    /// `nanosleep(time, NULL)`: two words, seconds and nanoseconds.
    #[must_use]
    pub fn sleep(time: &[i64; 2]) -> Self {
        const NANOSLEEP: u64 = 101;
        Self { number: NANOSLEEP, arguments: [time.as_ptr().expose_provenance() as u64, 0, 0] }
    }
}

/// Loads every register from `before`, makes the system call, and stores every register to `after`, with no instruction
/// in between that touches one. Returns what the call returned: a negative one is `-errno`.
///
/// # Safety
///
/// The call is one that Rust can bear; `uses` asks for nothing that the CPU has not got.
#[must_use]
pub unsafe fn call(call: &Call, before: &Image, after: &mut Image, uses: u64) -> i64 {
    // SAFETY: the caller's; both images are large enough for every vector length.
    unsafe { host_call(call, before.0.as_ptr(), after.0.as_mut_ptr(), uses) }
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
    fn host_call(call: *const Call, before: *const u8, after: *mut u8, uses: u64) -> i64;
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
