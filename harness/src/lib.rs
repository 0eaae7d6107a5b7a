//! Harness.

pub mod events;
pub mod options;
pub mod result;
