//! A call to KVM that failed.

use std::io;

/// Which call failed, and why.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub(super) struct VmError {
    /// The call that failed.
    pub(super) call: &'static str,
    /// What the kernel says.
    pub(super) source: io::Error,
}

/// The error of this call.
pub(super) fn failed(call: &'static str) -> impl Fn(kvm_ioctls::Error) -> VmError {
    move |error| VmError { call, source: error.into() }
}
