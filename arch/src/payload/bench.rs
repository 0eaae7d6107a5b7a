//! The loop of L1-L2-L1 round trips that `holdfast bench` counts.

use core::arch::global_asm;

global_asm!(include_str!("bench.S"));

unsafe extern "C" {
    fn payload_round_trips(count: u64, vectors: u64, old_vectors: u64, vhe: u64) -> u64;
    static payload_bench_vectors: u8;
}

/// Makes `count` round trips (at least one) from L1 into L2 and back by HVC, each level using SVE once, and
/// returns the ticks of CNTVCT_EL0 that they took.
///
/// At L1, with FP and SVE open for both levels; Z0 and Z1 change, ELR_EL2 and SPSR_EL2 are lost.
#[must_use]
pub fn round_trips(count: u64, vhe: bool) -> u64 {
    let vectors = (&raw const payload_bench_vectors).addr() as u64;
    let old = if vhe { read!("S3_0_C12_C0_0") } else { read!("vbar_el2") };
    // SAFETY: the loop keeps the registers that the ABI keeps, and puts the vectors back.
    unsafe { payload_round_trips(count.max(1), vectors, old, u64::from(vhe)) }
}
