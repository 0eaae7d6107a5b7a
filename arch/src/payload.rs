//! The payload's assembly: the stubs by which it leaves and enters a place, fill and dump of FP state, and the
//! single instructions that its boot needs.
//!
//! Nothing of it is shared with [`crate::hyp`], whose save and load routines it checks.

pub mod bench;
pub mod control;
pub mod fp;
pub mod stubs;
