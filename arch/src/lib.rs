//! Everything that needs assembly, and the pure decoders.
//!
//! The hypervisor's routines (`hyp`) and the payload's (`payload`) are separate code on purpose: the one
//! is checked by the other. Only `sysreg` and the pure [`esr`] serve both. `host` is for processes of a Linux host.
#![no_std]

pub mod esr;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[macro_use]
pub mod sysreg;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
pub mod boot;
#[cfg(all(target_arch = "aarch64", target_os = "linux"))]
pub mod host;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
pub mod hyp;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
pub mod payload;
#[cfg(target_arch = "aarch64")]
pub mod semihosting;
