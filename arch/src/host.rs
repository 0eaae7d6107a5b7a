//! The registers of a Linux task around a system call, and a small guest that shares a CPU with the one under test.
//!
//! An image is laid out as the payload's: a header of [`HEADER`] bytes, then Z0 to Z31 at the task's vector length, 16
//! bytes in the V form.

use core::arch::{asm, global_asm};
use core::ffi::c_int;
use core::sync::atomic::AtomicU64;

/// Bytes of an image before Z0.
pub const HEADER: usize = 576;
/// Where the parts of an image lie: FPSR, FPCR, FPMR, the vector length in bytes, FFR, P0.
pub mod part {
    /// FPSR.
    pub const FPSR: usize = 0;
    /// FPCR.
    pub const FPCR: usize = 8;
    /// FPMR.
    pub const FPMR: usize = 16;
    /// The vector length in bytes.
    pub const VL: usize = 24;
    /// FFR.
    pub const FFR: usize = 32;
    /// P0; the others lie an eighth of the vector length apart.
    pub const P: usize = 64;
}

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

/// Of [`other_guest`] alone: before it stores its registers it loads others, and loads Q0 from its doorbell and stores Q1 to
/// it, for which no exception has a valid syndrome.
pub const Q_ACCESS: u64 = 32;
/// Of [`other_guest`] alone: before anything else it shares the pages of both images with the host, stores to its doorbell 0
/// if the hypervisor let it, stores the registers that it was entered with, and rings. Images in the V form fit.
pub const SHARES: u64 = 64;
/// Of [`other_guest`] alone: it makes the call [`CALL_HVC`] and then [`CALL_SMC`]. Before each it loads other registers, behind
/// each it stores them and rings.
pub const CALLS: u64 = 128;
/// Of [`other_guest`] alone: before it stores its registers it loads others.
pub const LOADS_ANEW: u64 = 512;
/// Calls of the range of silicon partners, which are nobody's here (SMCCC, DEN0028: fast, 64 bits, owner 2). By HVC.
pub const CALL_HVC: u32 = 0xc200_0001;
/// By SMC.
pub const CALL_SMC: u32 = 0xc200_0002;

/// Bits of the argument `uses` of [`sme_call`], beside [`FPMR`]: the call is made in streaming mode.
pub const STREAMING: u64 = 4;
/// It is made with ZA enabled.
pub const ZA: u64 = 8;
/// ZT0 is loaded and stored with ZA.
pub const ZT0: u64 = 16;
/// FFR is neither loaded nor stored with Z and P: streaming mode has none without FEAT_SME_FA64.
pub const NO_FFR: u64 = 256;

/// SVCR.SM.
pub const SVCR_SM: u64 = 1;
/// SVCR.ZA.
pub const SVCR_ZA: u64 = 2;

/// Bytes of an [`SmeImage`] before V0.
const SME_V: usize = 128;
/// Bytes of an [`SmeImage`] before ZA.
const SME_ZA: usize = SME_V + 32 * 16;
/// The largest streaming vector length in bytes.
const SVL_MAX: usize = 256;

/// What a task of streaming mode and ZA has.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct SmeImage {
    /// FPSR.
    pub fpsr: u64,
    /// FPCR.
    pub fpcr: u64,
    /// FPMR.
    pub fpmr: u64,
    /// The streaming vector length in bytes; only stored.
    pub svl: u64,
    /// SVCR; only stored.
    pub svcr: u64,
    /// TPIDR2_EL0.
    pub tpidr2: u64,
    _pad: [u64; 2],
    /// ZT0.
    pub zt0: [u8; 64],
    /// V0 to V31.
    pub v: [u8; 32 * 16],
    /// ZA: as many rows of as many bytes as the streaming vector length has.
    pub za: [u8; SVL_MAX * SVL_MAX],
}
const _: () = assert!(core::mem::offset_of!(SmeImage, za) == SME_ZA);

impl SmeImage {
    /// All zero.
    pub const ZERO: Self = Self {
        fpsr: 0,
        fpcr: 0,
        fpmr: 0,
        svl: 0,
        svcr: 0,
        tpidr2: 0,
        _pad: [0; 2],
        zt0: [0; 64],
        v: [0; 32 * 16],
        za: [0; SVL_MAX * SVL_MAX],
    };
}

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

    /// `read(file, byte, 1)`.
    #[must_use]
    pub fn read(file: c_int, byte: &mut u8) -> Self {
        const READ: u64 = 63;
        Self {
            number: READ,
            arguments: [file as u64, core::ptr::from_mut(byte).expose_provenance() as u64, 1],
        }
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

/// Loads every register from `before`, waits until `word` is no longer `value` or `rounds` are over, and stores every
/// register to `after`, with no system call in between. Returns the rounds that were left.
///
/// # Safety
///
/// `uses` asks for nothing that the CPU has not got.
pub unsafe fn hold(
    before: &Image,
    after: &mut Image,
    uses: u64,
    word: &AtomicU64,
    value: u64,
    rounds: u64,
) -> u64 {
    // SAFETY: the caller's; both images are large enough for every vector length, and the word is only read.
    unsafe { host_hold(before.0.as_ptr(), after.0.as_mut_ptr(), uses, word.as_ptr(), value, rounds) }
}

/// As [`call`], from streaming mode or with ZA enabled as `uses` says. Both are off, and TPIDR2_EL0 zero, afterwards.
///
/// # Safety
///
/// The call is one that Rust can bear; `uses` asks for nothing that the CPU has not got, and the CPU has SME.
#[must_use]
pub unsafe fn sme_call(call: &Call, before: &SmeImage, after: &mut SmeImage, uses: u64) -> i64 {
    // SAFETY: the caller's; both images are large enough for every vector length.
    unsafe { host_sme_call(call, before, after, uses) }
}

/// Loads every register from `before`, reads the byte at `at`, and stores every register to `after`, with no system call in
/// between.
///
/// # Safety
///
/// The byte can be read, sooner or later; `uses` asks for nothing that the CPU has not got.
pub unsafe fn touch(before: &Image, after: &mut Image, uses: u64, at: *const u8) {
    // SAFETY: the caller's; both images are large enough for every vector length.
    unsafe { host_touch(before.0.as_ptr(), after.0.as_mut_ptr(), uses, at) }
}

/// As [`touch`], in streaming mode or with ZA enabled as `uses` says: ZA, ZT0, SVCR and TPIDR2_EL0 are those of the SME images,
/// everything else is of the others, which are at the streaming vector length in streaming mode. ZA and streaming mode are off,
/// and TPIDR2_EL0 zero, afterwards.
///
/// # Safety
///
/// As of [`touch`], and the CPU has SME.
pub unsafe fn sme_touch(
    (before, sme_before): (&Image, &SmeImage),
    (after, sme_after): (&mut Image, &mut SmeImage),
    uses: u64,
    at: *const u8,
) {
    // SAFETY: the caller's; all images are large enough for every vector length.
    unsafe { host_sme_touch(before.0.as_ptr(), after.0.as_mut_ptr(), sme_before, sme_after, uses, at) }
}

/// As [`sme_touch`], with a system call in place of the read. Returns what the call returned. What is stored of Z and P is at the
/// vector length of the mode that the thread is in by then.
///
/// # Safety
///
/// As of [`call`], and the CPU has SME.
#[must_use]
pub unsafe fn sme_call_whole(
    call: &Call,
    (before, sme_before): (&Image, &SmeImage),
    (after, sme_after): (&mut Image, &mut SmeImage),
    uses: u64,
) -> i64 {
    let (before, after) = (before.0.as_ptr(), after.0.as_mut_ptr());
    // SAFETY: the caller's; all images are large enough for every vector length.
    unsafe { host_sme_call_whole(before, after, sme_before, sme_after, uses, call) }
}

/// TPIDR_EL0.
#[must_use]
pub fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: it only tells.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// The code of a guest, between its two symbols in `host.S`.
macro_rules! guest {
    ($(#[doc = $doc:literal])* $name:ident: $start:ident to $end:ident) => {
        $(#[doc = $doc])*
        #[must_use]
        pub fn $name() -> &'static [u8] {
            unsafe extern "C" {
                static $start: u8;
                static $end: u8;
            }
            let (start, end) = (&raw const $start, &raw const $end);
            // SAFETY: the two symbols delimit code, which nothing writes.
            unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
        }
    };
}

guest! {
    /// The code of the other guest: position-independent, to be entered at its first byte at EL1 with X0 the address of an
    /// image to load, X1 that of one to store to, X2 that of a doorbell, and X3 what it uses.
    other_guest: host_other_guest to host_other_guest_end
}

guest! {
    /// The code with which a vCPU makes one SMCCC call: position-independent, to be entered at its first byte at the guest's
    /// highest level with X0 to X3 the call's, and X4 the address of a doorbell, to which it stores what the call returned.
    caller: host_caller to host_caller_end
}

guest! {
    /// The code of a guest that writes APIAKeyLo_EL1 and then stores to a doorbell: position-independent, to be entered at its
    /// first byte at EL1 with X2 the doorbell's address.
    key_guest: host_key_guest to host_key_guest_end
}

guest! {
    /// The code of a guest that stores what it finds in TCR2_EL1 to a doorbell: position-independent, to be entered at its
    /// first byte at EL1 with X2 the doorbell's address.
    tcr2_guest: host_tcr2_guest to host_tcr2_guest_end
}

unsafe extern "C" {
    fn host_call(call: *const Call, before: *const u8, after: *mut u8, uses: u64) -> i64;
    fn host_hold(
        before: *const u8,
        after: *mut u8,
        uses: u64,
        word: *const u64,
        value: u64,
        rounds: u64,
    ) -> u64;
    fn host_touch(before: *const u8, after: *mut u8, uses: u64, at: *const u8);
    fn host_sme_touch(
        before: *const u8,
        after: *mut u8,
        sme_before: *const SmeImage,
        sme_after: *mut SmeImage,
        uses: u64,
        at: *const u8,
    );
    fn host_sme_call_whole(
        before: *const u8,
        after: *mut u8,
        sme_before: *const SmeImage,
        sme_after: *mut SmeImage,
        uses: u64,
        call: *const Call,
    ) -> i64;
    fn host_sme_call(call: *const Call, before: *const SmeImage, after: *mut SmeImage, uses: u64) -> i64;
}

global_asm!(
    include_str!("host.S"),
    FPSR = const part::FPSR,
    FPCR = const part::FPCR,
    FPMR = const part::FPMR,
    VL = const part::VL,
    FFR = const part::FFR,
    P = const part::P,
    Z = const HEADER,
    SVCR = const 32,
    TPIDR2 = const 40,
    ZT0 = const 64,
    V = const SME_V,
    CALL_HVC = const CALL_HVC,
    CALL_SMC = const CALL_SMC,
    ZA = const SME_ZA,
);
