//! The scenario language and the oracle.

pub mod machine;
pub mod oracle;
pub mod rules;
pub mod scenario;
