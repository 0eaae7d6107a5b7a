//! The scenario language and the oracle.

pub mod compile;
pub mod fingerprint;
pub mod judge;
pub mod machine;
pub mod oracle;
pub mod rules;
pub mod scenario;
