//! What running one case gave: made by the runner, consumed by the event log and the reports.

use std::fmt;
use std::time::Duration;

use abi::doorbell::Sweep;
use abi::fault::Fault;
use abi::hyp::{Counters, End, Harm, TraceEvent};
use abi::record::Arrival;

use crate::events::KernelTrace;
use crate::kvm::complaint::Complaint;

/// One thing that the oracle found wrong.
pub use model::judge::Finding;

/// The state of a case.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Every required check ran and held.
    Pass,
    /// The target broke a rule.
    Fail,
    /// Not run; the code is one of [`abi::skip`] (an open list).
    Skip(String),
    /// Failed, and an expectation names this failure.
    Xfail,
    /// Passed although an expectation says that it fails.
    Xpass,
    /// The guest was alive past its budget.
    Timeout,
    /// The guest or its machine died.
    Crash,
    /// The test itself is at fault: the run is void.
    Error,
    /// Planned, and never run: the run is void.
    Miss,
    /// Repeats of the case gave different results.
    Flaky,
}

impl State {
    /// The states without their payload, in the order of the summary.
    pub const NAMES: [&'static str; 10] =
        ["pass", "fail", "skip", "xfail", "xpass", "timeout", "crash", "error", "miss", "flaky"];

    /// The name in the event log, in lower case and without the skip code.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip(_) => "skip",
            Self::Xfail => "xfail",
            Self::Xpass => "xpass",
            Self::Timeout => "timeout",
            Self::Crash => "crash",
            Self::Error => "error",
            Self::Miss => "miss",
            Self::Flaky => "flaky",
        }
    }

    /// How bad the state is, for the state of a group of cases: the largest wins.
    ///
    /// ERROR and MISS make a run void and come first; a group of nothing but SKIP is SKIP, never PASS, so
    /// SKIP is the least.
    #[must_use]
    pub const fn severity(&self) -> u8 {
        match self {
            Self::Skip(_) => 0,
            Self::Pass => 1,
            Self::Xfail => 2,
            Self::Flaky => 3,
            Self::Xpass => 4,
            Self::Timeout => 5,
            Self::Fail => 6,
            Self::Crash => 7,
            Self::Miss => 8,
            Self::Error => 9,
        }
    }

    /// Whether the target is not conformant for this state alone.
    #[must_use]
    pub const fn is_nonconformant(&self) -> bool {
        matches!(self, Self::Fail | Self::Crash | Self::Timeout | Self::Xpass | Self::Flaky)
    }

    /// Whether this state alone makes the run void.
    #[must_use]
    pub const fn is_void(&self) -> bool {
        matches!(self, Self::Error | Self::Miss)
    }
}

/// The state as people read it: `PASS`, `SKIP(no-el2)`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip(code) => f.pad(&format!("SKIP({code})")),
            other => f.pad(&other.name().to_ascii_uppercase()),
        }
    }
}

/// Everything that running one case gave.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// The fault that the hypervisor was to commit.
    pub fault: Option<Fault>,
    /// Its state, before expectations and repeats are taken into account.
    pub state: State,
    /// Why, in one line; empty for PASS and for a FAIL that its findings explain.
    pub why: String,
    /// What the oracle found wrong.
    pub findings: Vec<Finding>,
    /// What KVM did wrong as its user sees it; [`Self::why`] begins with it.
    pub complaints: Vec<Complaint>,
    /// The sweep, if the case was swept.
    pub sweep: Option<SweepOutcome>,
    /// What the reference hypervisor reported; none on other targets.
    pub hyp: Option<Box<HypReport>>,
    /// What the host kernel traced of the case when it was run once more, on KVM.
    pub kernel_trace: Option<Box<KernelTrace>>,
    /// The arrival that the program did not ask for, if that is how the case ended.
    pub unexpected: Option<Arrival>,
    /// The line of the step that was under way when the case ended before its time.
    pub stopped_at: Option<u32>,
    /// The raw ring of the failing pass, for the run folder; empty if the case passed.
    pub dump: Vec<u8>,
    /// What the case wrote to the console: bytes of a stranger, as they came, made valid UTF-8.
    pub console: String,
    /// Wall time of the case alone, without the start of its machine.
    pub duration: Duration,
    /// The number of the machine that ran it, counted from 0 in a run.
    pub machine: u32,
}

impl CaseResult {
    /// A result that ended before, or without, anything to judge.
    #[must_use]
    pub fn without_findings(name: &str, state: State, why: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            fault: None,
            state,
            why: why.into(),
            findings: Vec::new(),
            complaints: Vec::new(),
            sweep: None,
            hyp: None,
            kernel_trace: None,
            unexpected: None,
            stopped_at: None,
            dump: Vec::new(),
            console: String::new(),
            duration: Duration::ZERO,
            machine: 0,
        }
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug)]
pub struct SweepOutcome {
    /// The kind.
    pub kind: Sweep,
    /// World switches forced inside a window.
    pub points: u64,
    /// Of these, with guest FP state live in the registers.
    pub points_live: u64,
    /// The point at which the first finding of a swept pass arose; `None` if the unswept pass failed, or
    /// none did.
    pub failing_point: Option<u64>,
}

/// What the reference hypervisor reported of one case.
#[derive(Clone, Debug)]
pub struct HypReport {
    /// Why the case ended; `None` while it ran (it hung) or if the value is unknown.
    pub end: Option<End>,
    /// By kind of end: the payload's status, or the syndrome of the exit, on KVM a [`crate::kvm::exit::Gave`].
    pub end_arg: u64,
    /// Where the guest was when the case ended: PC, PSTATE, FAR, HPFAR.
    pub end_at: [u64; 4],
    /// How often the faulty line of the committed fault ran.
    pub fault_reached: u64,
    /// The faults whose lines ran, committed or not: see [`abi::hyp::HypJob::fault_lines`].
    pub fault_lines: [u64; 2],
    /// Disturbances that happened.
    pub disturbed: u64,
    /// What a neighbor found changed in its own registers; `neighbor` is 0 if nothing.
    pub harm: Harm,
    /// What was counted.
    pub counters: Counters,
    /// The last events, oldest first.
    pub trace: Vec<TraceEvent>,
}

/// What the runner tells while it runs.
#[derive(Debug)]
pub enum Progress {
    /// A case was sent to a machine.
    Started {
        /// The case's name.
        name: String,
        /// The machine's number.
        machine: u32,
    },
    /// A case is over.
    Finished(Box<CaseResult>),
}
