//! Fill, dump and churn of FP and SVE state. The compiler never touches it: this is all that does.
//!
//! Every function runs with whatever traps and vector length are in force; one that traps arrives as an
//! exception, which the program did not ask for. An image is laid out as a header of [`HEADER`] bytes and Z0 to
//! Z31 at the present vector length, 16 bytes in the V form.

use core::arch::global_asm;

/// Bytes of an image before Z0.
pub const HEADER: usize = 576;
/// Room to keep one predicate register in.
type Spill = [u64; 4];

/// Loads the registers of `mask`, SVE ones among them: bits 31:0 Z, 47:32 P, 48 FFR, 49 FPSR, 50 FPCR, 51 FPMR.
/// Without bits of Z, P and FFR no SVE instruction runs.
///
/// # Safety
///
/// `image` is an image, readable as far as the mask reaches.
pub unsafe fn fill(image: *const u8, mask: u64) {
    let mut spill: Spill = [0; 4];
    // SAFETY: the caller's; the spill holds a predicate of the largest length.
    unsafe { payload_fill(image, mask, &raw mut spill) };
}

/// Loads the registers of `mask` as [`fill`] does, bits 31:0 being V. P and FFR are not touched.
///
/// # Safety
///
/// As for [`fill`].
pub unsafe fn fill_v(image: *const u8, mask: u64) {
    // SAFETY: the caller's.
    unsafe { payload_fill_v(image, mask) };
}

/// Stores all Z, P, FFR, FPSR, FPCR, the vector length, and FPMR if asked to. Changes nothing.
///
/// # Safety
///
/// `image` can be written, for [`HEADER`] bytes and 32 times [`vector_length`].
pub unsafe fn dump(image: *mut u8, fpmr: bool) {
    // SAFETY: the caller's.
    unsafe { payload_dump(image, u64::from(fpmr)) };
}

/// Stores V0 to V31, FPSR, FPCR and the length 16, and FPMR if asked to. Runs no SVE instruction.
///
/// # Safety
///
/// `image` can be written, for [`HEADER`] bytes and 512 more.
pub unsafe fn dump_v(image: *mut u8, fpmr: bool) {
    // SAFETY: the caller's.
    unsafe { payload_dump_v(image, u64::from(fpmr)) };
}

/// The vector length in bytes (RDVL).
#[must_use]
pub fn vector_length() -> u64 {
    // SAFETY: reads a length.
    unsafe { payload_rdvl() }
}

/// Uses the FP registers without a change: where they are loaded on their first use, they are loaded now.
pub fn touch() {
    // SAFETY: reads a register.
    unsafe { payload_touch() };
}

/// Changes every Z and P register so that a second call changes it back. Runs SVE instructions.
pub fn flip() {
    // SAFETY: registers only.
    unsafe { payload_flip() };
}

/// Changes every V register so that a second call changes it back. A guest with SVE would lose the bits above them.
pub fn flip_v() {
    // SAFETY: registers only.
    unsafe { payload_flip_v() };
}

/// Runs rounds of the churn on Z and P registers: for each `i` in order `Z[i] += Z[i+1]`, `Z[i] ^= Z[i+7]`;
/// then `P[i] ^= P[i+1]`; indices modulo 32 and 16.
pub fn churn(rounds: u64) {
    if rounds != 0 {
        let mut spill: Spill = [0; 4];
        // SAFETY: registers only, but for the spill, which holds a predicate of the largest length.
        unsafe { payload_churn(rounds, &raw mut spill) };
    }
}

/// Runs rounds of the churn on V registers.
pub fn churn_v(rounds: u64) {
    if rounds != 0 {
        // SAFETY: registers only.
        unsafe { payload_churn_v(rounds) };
    }
}

/// Zeroes every register at the present vector length: a reset, which a machine without a hypervisor must do
/// for itself.
pub fn zero(sve: bool, fpmr: bool) {
    // SAFETY: registers only.
    unsafe { payload_zero(u64::from(sve), u64::from(fpmr)) };
}

unsafe extern "C" {
    fn payload_fill(image: *const u8, mask: u64, spill: *mut Spill);
    fn payload_fill_v(image: *const u8, mask: u64);
    fn payload_dump(image: *mut u8, fpmr: u64);
    fn payload_dump_v(image: *mut u8, fpmr: u64);
    fn payload_rdvl() -> u64;
    fn payload_touch();
    fn payload_flip();
    fn payload_flip_v();
    fn payload_churn(rounds: u64, spill: *mut Spill);
    fn payload_churn_v(rounds: u64);
    fn payload_zero(sve: u64, fpmr: u64);
}

global_asm!(
    include_str!("fp.S"),
    FPSR = const 0,
    FPCR = const 8,
    FPMR = const 16,
    VL = const 24,
    FFR = const 32,
    P = const 64,
    Z = const HEADER,
    P_BIT = const 32,
    FFR_BIT = const 48,
    FPSR_BIT = const 49,
    FPCR_BIT = const 50,
    FPMR_BIT = const 51,
);
