//! What stands beside a failure on Linux KVM: the kernel's own trace of it, and who else was asked.

use serde::{Deserialize, Serialize};

/// Trace events of the host kernel around the step that failed. They are of a second run of the case, for tracing
/// changes what is traced: the verdict is that of the first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct KernelTrace {
    /// Why there is none; with it all else is empty.
    pub absent: Option<String>,
    /// What the second run came to: a name of [`Self::ENDS`].
    pub end: String,
    /// The second run was cut behind the failing step, so that the last event is the nearest to it; else the events are
    /// the last of the whole case.
    pub cut: bool,
    /// Events that were wanted, and that this kernel does not have.
    pub missing: Vec<String>,
    /// The last events, oldest first.
    pub events: Vec<KernelEvent>,
}

impl KernelTrace {
    /// None, and why.
    #[must_use]
    pub fn absent(why: impl Into<String>) -> Self {
        Self { absent: Some(why.into()), ..Self::default() }
    }

    /// The second run failed in the same way.
    pub const SAME: &'static str = "same";
    /// It failed otherwise.
    pub const OTHER: &'static str = "other";
    /// It did not fail, as far as it went.
    pub const PASSED: &'static str = "passed";
    /// What it can come to.
    pub const ENDS: [&'static str; 3] = [Self::SAME, Self::OTHER, Self::PASSED];
}

/// One trace event of the host kernel.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct KernelEvent {
    /// The CPU of the host.
    pub cpu: u32,
    /// When, in seconds of the kernel's trace clock, as it prints them.
    pub time: String,
    /// The event, as in tracefs: `kvm_exit`.
    pub name: String,
    /// What it tells, in the kernel's own format.
    pub text: String,
    /// It is not of the thread that runs the case's vCPU: that of another guest.
    pub other: bool,
}

/// The answer of somebody else to a failure: one for each kind of failure and each who was to be asked.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Witness {
    /// The kind of failure: the fingerprint of its cases.
    pub fingerprint: String,
    /// The case that was tried.
    pub case: String,
    /// Who was asked: a name of [`Self::ALL`].
    pub on: String,
    /// What that was, more exactly: a QEMU by its version, a board by its kernel; empty if there was nobody.
    pub with: String,
    /// Whether the case fails there as well: `yes`, `no`, or `untried`.
    pub answer: String,
    /// Why it was not tried, or in what other way it fails; else empty.
    pub why: String,
}

impl Witness {
    /// The payload on the CPU of the same QEMU, with no hypervisor: if it fails there, no kernel is to blame.
    pub const BARE: &'static str = "bare";
    /// The same kernel in a QEMU of another version.
    pub const OTHER_QEMU: &'static str = "other-qemu";
    /// The KVM of a machine that is not emulated.
    pub const BOARD: &'static str = "board";
    /// Who can be asked.
    pub const ALL: [&'static str; 3] = [Self::BARE, Self::OTHER_QEMU, Self::BOARD];

    /// It fails there as well.
    pub const YES: &'static str = "yes";
    /// It passes there.
    pub const NO: &'static str = "no";
    /// Nobody knows.
    pub const UNTRIED: &'static str = "untried";
    /// What can be answered.
    pub const ANSWERS: [&'static str; 3] = [Self::YES, Self::NO, Self::UNTRIED];
}
