//! The scenario language and the oracle.

pub mod scenario;
