//! Every wait and every buffer has a limit, and every limit a name here.
//!
//! Times are for a machine of [`CALIBRATION_NOMINAL`]; a slower one gets more, in proportion.

use std::time::Duration;

/// How long a request to stop may go unnoticed.
pub const STOP_LATENCY: Duration = Duration::from_millis(50);

/// How long a QEMU that closed its output may take to end.
pub const REAP: Duration = Duration::from_secs(2);

/// Bytes of console output kept for each case.
pub const CONSOLE: usize = 64 << 10;

/// How long a machine may take from its start to the end of its first job. Not scaled: nothing is known yet.
pub const BOOT: Duration = Duration::from_secs(30);

/// How long an emulated host may take to boot: some three seconds for a distribution's kernel on a quiet machine.
pub const BOOT_HOST: Duration = Duration::from_secs(120);

/// How long one may take, once it has booted, to say what its KVM has: less than a second on a quiet machine.
pub const GREETING: Duration = Duration::from_secs(20);

/// How long one may take to go on where it was saved: a fifth of a second on a quiet machine.
pub const RESUME_HOST: Duration = Duration::from_secs(10);
/// What the calibration job takes on such a host: a VM is made, run, and taken down.
pub const CALIBRATION_VM: Duration = Duration::from_millis(12);

/// What the calibration job takes on the machine that the other limits were measured on.
pub const CALIBRATION_NOMINAL: Duration = Duration::from_micros(300);

/// The slowest machine that limits are scaled for, relative to the nominal one.
pub const CALIBRATION_MAX: f64 = 50.0;

/// Jobs that calibrate a machine; the fastest counts, because the first ones translate code.
pub const CALIBRATION_JOBS: u32 = 4;

/// A case without a sweep takes about 1 ms.
pub const CASE: Duration = Duration::from_secs(2);

/// A round of `churn` takes up to 20 µs, at 2048 bits.
pub const CHURN_ROUND: Duration = Duration::from_micros(100);

/// One job of a sweep by `step-all` or by a chunk of `timer`: some ten thousand points of up to 0.1 ms each, or
/// [`TIMER_CHUNK`] passes.
pub const SWEEP: Duration = Duration::from_secs(10);

/// One job of a sweep by `step-each`, which has a pass for each point.
pub const SWEEP_EACH: Duration = Duration::from_secs(60);

/// Cases of a scenario that may run out of time: those after them are SKIP(gave-up). A hypervisor that hangs on
/// one step would else cost hours.
pub const HANGS: u32 = 2;

/// Once this many cases of a run have run out of time, the others get [`CASE`] divided by [`HURRY`]: still some
/// hundred times what they take.
pub const HANGS_OF_RUN: u32 = 8;

/// See [`HANGS_OF_RUN`].
pub const HURRY: u32 = 8;

/// Under `-icount` the guest's clock counts instructions, of which QEMU runs this many in a nanosecond at least.
pub const ICOUNT_RATE: f64 = 0.02;

/// The harness waits this much longer than the hypervisor that is to end a case in time.
pub const GRACE: Duration = Duration::from_secs(2);

/// The same where a job has a limit of its own: whoever sets one knows how long the case takes.
pub const GRACE_LIMITED: Duration = Duration::from_millis(500);

/// How often a case is run anew that ran out of time while its machine had less than [`STARVED`] of it, or in which
/// nothing happened of what was to disturb it.
pub const STALLS: u32 = 2;

/// How often that is done in a run because a disturbance did not happen.
pub const REPEATS: u32 = 40;

/// The part of its time that a machine must have been running, or running out of it says nothing about the guest:
/// the host may have been busy, suspended or short of memory. A guest that waits for ever uses none either; it is
/// found out by doing so every time.
pub const STARVED: f64 = 0.5;

/// The part that its threads must have run of the time that they were ready to. With two of QEMU's vCPUs spinning in each of
/// two machines, on two CPUs, it is a half.
pub const SHARE: f64 = 0.4;

/// Points of a `timer` sweep that are sent as one job. A job in which no tick fell into a window is the last.
pub const TIMER_CHUNK: u64 = 256;

/// Instructions of a sweep's window on the reference hypervisor, on the average of a case: a longer one makes the
/// default run slow, and is an error of its scenario.
pub const WINDOW: u64 = 200;

/// Points of a sweep.
pub const SWEEP_POINTS: u64 = 1 << 20;

/// Differences of swept passes that may be found legal before the sweep is given up.
pub const SWEEP_RESUMES: u32 = 4096;

/// Machines in a row that may fail to run their calibration before the cases that need one are given up, and saved hosts
/// that may fail to go on before all have to boot.
pub const START_FAILURES: u32 = 2;

/// Kinds of failure of a run whose first case is run once more with the trace events of KVM on, some 0.2 s each.
pub const TRACED: usize = 16;

/// Kinds of failure of a run that others are asked about.
pub const WITNESSED: usize = 16;

/// How long each of those who are asked may take for all of it, a boot included.
pub const WITNESS: Duration = Duration::from_secs(90);
