//! What the payload, the reference hypervisor and the harness share.
//!
//! Everything here crosses a boundary between separately built programs: it lies in guest memory that the
//! harness maps, or it names what lies there. Layouts are fixed-size, little-endian and checked at compile
//! time; a reader treats every field as hostile. There is no logic here and no assembly: the program that
//! checks and the program that is checked have nothing else in common.
//!
//! | module | crosses between |
//! | --- | --- |
//! | [`place`] | all: where a step runs |
//! | [`op`] | model → payload: the compiled program |
//! | [`job`] | harness ↔ payload: one case, its buffers, its outcome |
//! | [`record`] | payload → harness: dumps, arrivals, register reads |
//! | [`pattern`] | all: lanes that know where they come from |
//! | [`doorbell`] | payload → hypervisor under test |
//! | [`hyp`] | harness ↔ reference hypervisor: strategy, counters, trace |
//! | [`fault`] | harness ↔ reference hypervisor: the named bugs |
//! | [`skip`] | harness, reports: why a case was not run |
#![no_std]

pub mod doorbell;
pub mod fault;
pub mod hyp;
pub mod job;
pub mod op;
pub mod pattern;
pub mod place;
pub mod record;
pub mod skip;
pub mod sysreg;

/// The version of every layout of this crate. Layout or meaning changes only together with it.
pub const ABI_VERSION: u32 = 2;

/// Bytes in a Z register at the largest vector length that the architecture allows (2048 bits).
pub const VL_BYTES_MAX: usize = 256;

/// Bytes in a P register, and in FFR, at the largest vector length.
pub const PL_BYTES_MAX: usize = VL_BYTES_MAX / 8;
