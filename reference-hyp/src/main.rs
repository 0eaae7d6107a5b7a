//! The reference hypervisor: the smallest honest implementation of nested FP handling on arm64.
//!
//! It runs at EL2 with E2H = 1 and gives its guest an EL2 of its own by FEAT_NV2. There is one physical CPU and
//! one vCPU. Everything it does is in one of these modules, and each of them is one idea; `run` is where to
//! start reading, `fp`, `nested` and `traps` are what it is about.
#![no_std]
#![no_main]

mod bits;
mod config;
mod disturb;
mod doorbell;
mod exit;
mod fault;
mod fp;
#[cfg(feature = "faults")]
mod fp_faults;
mod inject;
mod job;
mod layout;
mod machine;
mod nested;
mod run;
mod shadow;
mod stage2;
mod statics;
mod sweep;
mod trace;
mod traps;
#[cfg(feature = "faults")]
mod traps_faults;
mod upper;
mod vcpu;

use abi::hyp::HypJob;

/// Everything there is.
pub struct Hyp {
    /// What the harness reads and writes.
    pub job: &'static mut HypJob,
    /// The current case.
    pub config: config::Config,
    /// The fault of the current case.
    pub faults: fault::Faults,
    /// What the physical CPU has.
    pub cpu: fp::Cpu,
    /// The FP state of the machine.
    pub fp: &'static mut fp::Fp,
    /// The vCPU.
    pub vcpu: &'static mut vcpu::Vcpu,
    /// Bits above a vector length that L1 has left.
    pub upper: &'static mut upper::Stash,
    /// L0's stage 2.
    pub stage2: &'static mut stage2::Stage2,
    /// The shadow of L1's.
    pub shadow: &'static mut shadow::Shadow,
    /// Who shares the CPU with the vCPU.
    pub neighbors: &'static mut disturb::Neighbors,
    /// The sweep of the current pass.
    pub sweep: sweep::State,
    /// HCR_EL2 and its like.
    pub installed: run::Installed,
    /// A virtual SError is pending in the CPU.
    pub vse_given: bool,
    /// VNCR_EL2 for L2, if it is a guest hypervisor itself: L1's, translated.
    pub l2_vncr: u64,
    /// The hypervisor takes the registers for SIMD of its own.
    pub in_host_simd: bool,
    /// The guest is single-stepped.
    pub stepping: bool,
    /// When the timer preempts next.
    pub preempt_at: Option<u64>,
    /// When the case has had its time.
    pub budget_end: u64,
    /// What is to happen while the guest waits next.
    pub at_next_wait: Option<abi::doorbell::Disturbance>,
    /// The guest's timer has sent an interrupt, which the guest has not withdrawn.
    pub guest_timer_fired: bool,
    /// It was that of EL1, below an EL2.
    pub el1_timer_fired: bool,
}
