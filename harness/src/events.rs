//! The event log: the one raw result of a run, from which every report is computed.
//!
//! One JSON object a line: an [`Environment`], then a [`Case`] for each case as it ended, a [`Witness`] for each answer that
//! was asked for when the cases were over, then a [`Summary`].
//! The file is written once, line by line, and never changed. A run that was killed has no summary, and a
//! reader takes it for void. Whatever a report shows stands in the log, so that a report made later, on
//! another machine, is the same.
//!
//! The layout has a version, [`SCHEMA_VERSION`]. Within one version fields may be added, never changed; a
//! reader ignores those that it does not know.

mod again;
mod complained;
pub mod convert;
mod environment;
mod evidence;
mod hex;
mod read;
mod write;

use serde::{Deserialize, Serialize};

pub use again::quote;
pub use environment::{Emulator, Environment, Host, Image, Kernel};
pub use evidence::{KernelEvent, KernelTrace, Witness};
pub use hex::Hex;
pub use read::{LINE_MAX, Log, ReadError, read};
pub use write::{EventWriter, WriteError};

use crate::result::State;

/// The version of the layout of every line.
pub const SCHEMA_VERSION: u32 = 1;

/// One line of the log.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Environment(Box<Environment>),
    /// A case that is over.
    Case(Box<Case>),
    /// Whether a failure is seen elsewhere as well.
    Witness(Witness),
    /// The last line.
    Summary(Summary),
}

/// A case that is over.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Case {
    /// The case's name.
    pub name: String,
    /// Its verdict: a name of [`State::NAMES`].
    pub state: String,
    /// Of a `skip`: the machine-readable code.
    pub code: Option<String>,
    /// Why, in one line; empty for a pass, and for a failure that its findings explain.
    pub why: String,
    /// A short stable hash of *what* went wrong, equal for equal failures. None for a case without fault.
    pub fingerprint: Option<String>,
    /// The expectation that made a failure XFAIL or a pass XPASS.
    pub expectation: Option<Expectation>,
    /// What the oracle found wrong.
    pub findings: Vec<Finding>,
    /// The scenario that the case was made from; only for a case that did not pass.
    pub scenario: Option<Scenario>,
    /// Where in the sources things happened; only for a case that did not pass.
    pub positions: Vec<Position>,
    /// The arrival that the program did not ask for, if that is how the case ended.
    pub unexpected: Option<Arrival>,
    /// The line of the step that was under way when the case ended before its time.
    pub stopped_at: Option<u32>,
    /// The sweep, if the case was swept.
    pub sweep: Option<Sweep>,
    /// What the reference hypervisor counted and saw.
    pub hypervisor: Option<Hypervisor>,
    /// What the host kernel traced of its KVM, for the first failure of a kind, on KVM; or why it was not traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_trace: Option<KernelTrace>,
    /// The end of what the case wrote to the console; only for a case that did not pass.
    pub console: String,
    /// Folder of the case's dumps, relative to the log's.
    pub artefacts: Option<String>,
    /// The states of all its runs, if it was run more than once.
    pub repeats: Vec<String>,
    /// Wall time of the case in microseconds, without the start of its machine; the last run's.
    pub duration_us: u64,
    /// The machine that ran it.
    pub machine: u32,
}

impl Case {
    /// The verdict, if the log names one that exists.
    #[must_use]
    pub fn verdict(&self) -> Option<State> {
        Some(match self.state.as_str() {
            "pass" => State::Pass,
            "fail" => State::Fail,
            "skip" => State::Skip(self.code.clone().unwrap_or_else(|| "no-code".to_owned())),
            "xfail" => State::Xfail,
            "xpass" => State::Xpass,
            "timeout" => State::Timeout,
            "crash" => State::Crash,
            "error" => State::Error,
            "miss" => State::Miss,
            "flaky" => State::Flaky,
            _ => return None,
        })
    }

    /// Whether the kernel's events stand beside it.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.kernel_trace.as_ref().is_some_and(|trace| trace.absent.is_none())
    }

    /// Sets the verdict.
    pub fn set_verdict(&mut self, state: &State) {
        state.name().clone_into(&mut self.state);
        self.code = match state {
            State::Skip(code) => Some(code.clone()),
            _ => None,
        };
    }
}

/// The entry of an expectation file that applied.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Expectation {
    /// Why the case is expected not to pass.
    pub reason: String,
    /// Where more can be read.
    pub url: Option<String>,
}

/// One thing that the oracle found wrong.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Finding {
    /// Index of the step in the scenario, counted from 0.
    pub step: u32,
    /// Index of the operation in the compiled program.
    pub op: u32,
    /// Line of the step in the scenario file, counted from 1.
    pub line: u32,
    /// Where it was seen.
    pub place: String,
    /// The rules broken.
    pub rules: Vec<Rule>,
    /// What differs: a register, or what else can be wrong. Where a VMM or a kernel sees it, a clause.
    pub what: String,
    /// The failure class, in a word.
    pub class: String,
    /// The failure class with its particulars: `truncated to 128 bits`.
    pub class_words: String,
    /// Where the wrong value comes from, in words; empty if that is unknown or has no meaning.
    pub origin: String,
    /// The transition before it, or the call that showed it, in words; empty if there was none.
    pub transition: String,
    /// The values that the architecture allows.
    pub expected: Vec<String>,
    /// The value found.
    pub actual: String,
    /// The difference by lane, of those lanes that differ.
    pub lanes: Vec<Lane>,
    /// The sweep point of the pass that showed it; `None` in the unswept pass.
    pub point: Option<u64>,
    /// A hash of rule, register class, failure class and transition.
    pub fingerprint: String,
}

impl Scenario {
    /// The CPU with every vector length that is a multiple of 128 bits.
    pub const ALL_LENGTHS: &'static str = "all-lengths";
}

impl Finding {
    /// Where a VMM sees something: what it was answered, or finds in its own registers.
    pub const VMM: &'static str = "the VMM";
    /// Where a kernel sees it: in its log.
    pub const KERNEL: &'static str = "the host kernel";

    /// Whether [`Self::what`] says in a clause what is wrong, for it is of no register that a guest recorded.
    #[must_use]
    pub fn is_clause(&self) -> bool {
        [Self::VMM, Self::KERNEL].contains(&self.place.as_str())
    }

    /// What was before it, in words: `after eret L1 -> L2`, or the call that a VMM made.
    #[must_use]
    pub fn after(&self) -> String {
        let by = if self.is_clause() { "by" } else { "after" };
        format!("{by} {}", self.transition)
    }
}

/// A conformance rule.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Rule {
    /// Its name, `P-81`.
    pub id: String,
    /// What it asks for, in words.
    pub words: String,
}

/// A lane that differs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Lane {
    /// Its index, counted in lanes of 64 bits.
    pub lane: u32,
    /// What it has in the closest of the values that the architecture allows.
    pub expected: Hex,
    /// What was found.
    pub actual: Hex,
    /// Where that comes from, in words; empty if it does not tell.
    pub origin: String,
}

/// A scenario, as far as a report shows it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Scenario {
    /// Its path below `suites/`, or the path that was replayed.
    pub file: String,
    /// What it checks, in words.
    pub title: String,
    /// The rules that it checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// The CPU that it asks for, where that is not the usual one: `all-lengths`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Its steps with the matrix filled in.
    pub steps: Vec<Step>,
}

/// A step of a scenario, printed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Step {
    /// Its line in the file.
    pub line: u32,
    /// Its text.
    pub text: String,
}

/// A place in the sources.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Position {
    /// What was there, in words: `left`, `arrived`, `exit`.
    pub what: String,
    /// The image.
    pub image: String,
    /// The address in the running machine.
    pub address: Hex,
    /// Function and offset; empty if the image has no symbol there.
    pub symbol: String,
    /// The lines, the innermost inlined frame first.
    pub frames: Vec<Frame>,
}

/// A line of source.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Frame {
    /// The function.
    pub function: String,
    /// The file, relative to the sources' root where that is known.
    pub file: String,
    /// The line.
    pub line: u32,
}

/// An arrival at a place, with the registers that explain it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Arrival {
    /// Offset of the vector, or one of `abi::record::VECTOR_*`.
    pub vector: Hex,
    /// ESR of the level reached.
    pub esr: Hex,
    /// ELR of the level reached.
    pub elr: Hex,
    /// SPSR of the level reached.
    pub spsr: Hex,
    /// FAR of the level reached.
    pub far: Hex,
    /// HPFAR_EL2, at L1.
    pub hpfar: Hex,
    /// SP.
    pub sp: Hex,
    /// PSTATE as read.
    pub pstate: Hex,
    /// Where the last transition left from.
    pub left_pc: Hex,
    /// Where it was to go.
    pub target_pc: Hex,
    /// X0 to X30.
    pub x: Vec<Hex>,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Sweep {
    /// The kind.
    pub kind: String,
    /// World switches forced inside a window.
    pub points: u64,
    /// Of these, with guest FP state live in the registers.
    pub points_live: u64,
    /// The first failing point.
    pub failing_point: Option<u64>,
}

/// What the reference hypervisor reported.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Hypervisor {
    /// Why the case ended; none while it ran.
    pub end: Option<String>,
    /// By kind of end.
    pub end_arg: Hex,
    /// PC, PSTATE, FAR and HPFAR of the guest when it ended.
    pub end_at: Vec<Hex>,
    /// How often the faulty line of the committed fault ran.
    pub fault_reached: u64,
    /// Disturbances that happened.
    pub disturbed: u64,
    /// Counters that are not zero.
    pub counters: Vec<Counter>,
    /// The last events, oldest first; only for a case that did not pass.
    pub trace: Vec<Trace>,
}

/// One counter.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Counter {
    /// Its name.
    pub name: String,
    /// What it counted.
    pub count: u64,
}

/// One event of the hypervisor's trace.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Trace {
    /// Number of the event kind.
    pub event: u32,
    /// Context bits.
    pub context: u32,
    /// The guest's PC.
    pub pc: Hex,
    /// By event.
    pub arg: Vec<Hex>,
    /// The event for people.
    pub text: String,
    /// The line of the hypervisor that wrote the event, if it told.
    pub site: Option<Frame>,
}

/// The last line: how many cases had which verdict.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    /// Cases that passed.
    pub pass: u64,
    /// Cases that failed.
    pub fail: u64,
    /// Cases that were not run.
    pub skip: u64,
    /// Cases that failed as expected.
    pub xfail: u64,
    /// Cases that passed unexpectedly.
    pub xpass: u64,
    /// Cases that took too long.
    pub timeout: u64,
    /// Cases whose guest died.
    pub crash: u64,
    /// Cases that were themselves at fault.
    pub error: u64,
    /// Cases that were planned and never run.
    pub miss: u64,
    /// Cases with mixed results.
    pub flaky: u64,
    /// Sweep points of all cases.
    pub sweep_points: u64,
    /// Whether the run was interrupted or stopped at the first failure: some planned cases have no line.
    pub stopped: bool,
    /// Wall time of the run in seconds.
    pub wall_s: f64,
}

impl Summary {
    /// Counts one more case of this state.
    pub const fn count(&mut self, state: &State) {
        let counter = match state {
            State::Pass => &mut self.pass,
            State::Fail => &mut self.fail,
            State::Skip(_) => &mut self.skip,
            State::Xfail => &mut self.xfail,
            State::Xpass => &mut self.xpass,
            State::Timeout => &mut self.timeout,
            State::Crash => &mut self.crash,
            State::Error => &mut self.error,
            State::Miss => &mut self.miss,
            State::Flaky => &mut self.flaky,
        };
        *counter = counter.saturating_add(1);
    }

    /// The counts, in the order of [`State::NAMES`].
    #[must_use]
    pub const fn counts(&self) -> [u64; 10] {
        [
            self.pass,
            self.fail,
            self.skip,
            self.xfail,
            self.xpass,
            self.timeout,
            self.crash,
            self.error,
            self.miss,
            self.flaky,
        ]
    }

    /// All cases counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts().into_iter().fold(0, u64::saturating_add)
    }

    /// Cases that make the target not conformant.
    #[must_use]
    pub fn nonconformant(&self) -> u64 {
        [self.fail, self.xpass, self.timeout, self.crash, self.flaky].into_iter().fold(0, u64::saturating_add)
    }
}
