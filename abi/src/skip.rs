//! Why a case was not run: an open list of machine-readable codes.

/// The target's CPU has not got what the case needs.
pub const FEATURE_ABSENT: &str = "feature-absent";
/// The target cannot give a guest an EL2.
pub const NO_EL2: &str = "no-el2";
/// The target answers no doorbell, and a step needs one.
pub const NO_DOORBELL: &str = "no-doorbell";
/// The target cannot do what a step asks of it: a hook, an interrupt source, a kind of sweep.
pub const NO_HOOK: &str = "no-hook";
/// The disturbance that the case is about did not happen.
pub const NOT_DISTURBED: &str = "not-disturbed";
/// The vector length that the case needs cannot be had.
pub const NO_VECTOR_LENGTH: &str = "no-vector-length";
/// Others of its scenario, or of its fault, cost too much: they hung or lost their machine.
pub const GAVE_UP: &str = "gave-up";
/// The user's filter or shard left it out. Never counted as a result.
pub const USER_FILTER: &str = "user-filter";
