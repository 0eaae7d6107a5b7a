//! The oracle: what the architecture lets software know about FP, AdvSIMD and SVE state.
//!
//! It knows no hypervisor. Where the Arm ARM leaves a choice it holds the set of legal values; each rule names
//! where it comes from: `P-xx` are the suite's rules, other names are those of the manual (DDI0487) and of its
//! pseudocode.
//!
//! | module | what |
//! | --- | --- |
//! | [`value`] | the legal values of one register: bases, loose slices, cuts |
//! | [`file`](mod@file) | the register file and what instructions do to it |
//! | [`fill`] | the patterns of a fill |
//! | [`controls`] | control registers by bank, and what they enable where |
//! | [`sysreg`] | what an accessor reaches |
//! | [`length`] | the vector length |
//! | [`traps`] | where an instruction traps |
//! | [`exceptions`] | where exceptions arrive, and when interrupts are taken |
//! | [`syndrome`] | ESR_ELx |

pub mod controls;
pub mod exceptions;
pub mod file;
pub mod fill;
pub mod length;
pub mod syndrome;
pub mod sysreg;
pub mod traps;
pub mod value;
