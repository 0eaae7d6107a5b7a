//! How long a case may take.

use std::time::Duration;

use abi::doorbell::Sweep;
use abi::op::{Code, Op};

use crate::limits;
use crate::qemu::command::MachineConfig;
use crate::target::SweepRun;

/// How fast a machine is, and how patient the user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace(f64);

impl Pace {
    /// The pace before anything is known.
    pub(super) fn unknown(scale: f64) -> Self {
        Self(scale.max(f64::MIN_POSITIVE))
    }

    /// The pace of a machine whose fastest calibration job took `job`, and takes `nominal` where limits were set.
    pub(super) fn calibrated(job: Duration, nominal: Duration, scale: f64) -> Self {
        let slowness = job.as_secs_f64() / nominal.as_secs_f64();
        Self(slowness.clamp(1.0, limits::CALIBRATION_MAX) * scale.max(f64::MIN_POSITIVE))
    }

    fn scale(self, time: Duration) -> Duration {
        // Far above every sum of limits, and far below what a deadline can hold.
        const MAX: Duration = Duration::from_secs(24 * 3600);
        Duration::try_from_secs_f64(time.as_secs_f64() * self.0).map_or(MAX, |time| time.min(MAX))
    }
}

/// The two limits of a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Budget {
    /// Ticks of the guest's counter after which the hypervisor ends the case.
    pub(super) ticks: u64,
    /// Wall time after which the harness gives up on the machine.
    pub(super) timeout: Duration,
}

impl Budget {
    /// The budget of a job. `limit` replaces what its operations and its sweep would be given.
    pub(super) fn of(
        ops: &[Op],
        sweep: Option<SweepRun>,
        limit: Option<Duration>,
        config: &MachineConfig,
        pace: Pace,
    ) -> Self {
        let rounds: u64 = ops
            .iter()
            .filter(|op| op.code == Code::Churn as u16)
            .map(|op| op.arg[0].min(abi::op::churn::ROUNDS_MAX))
            .sum();
        let churn = limits::CHURN_ROUND.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        let own = limit.unwrap_or(usual(sweep));
        let wall = pace.scale(own + churn);
        // The counter of `-cpu max` has ticks of 1 ns; under icount each instruction is one.
        let rate = if config.icount { limits::ICOUNT_RATE } else { 1.0 };
        let ticks = (wall.as_secs_f64() * 1e9 * rate) as u64;
        let grace = if limit.is_some() { limits::GRACE_LIMITED } else { limits::GRACE };
        Self { ticks, timeout: wall + pace.scale(grace) }
    }
}

/// What a job is given without regard to its operations, where nothing else limits it.
pub(super) fn usual(sweep: Option<SweepRun>) -> Duration {
    let swept = match sweep.map(|sweep| sweep.kind) {
        None | Some(Sweep::Off) => Duration::ZERO,
        Some(Sweep::StepAll | Sweep::Timer) => limits::SWEEP,
        Some(Sweep::StepEach) => limits::SWEEP_EACH,
    };
    limits::CASE + swept
}

/// What a case will take, for the order of work only.
pub(super) fn estimate(ops: &[Op], sweep: bool) -> Duration {
    let transitions = ops.iter().filter(|op| op.code == Code::Go as u16).count();
    let transitions = u32::try_from(transitions).unwrap_or(u32::MAX);
    let own = Duration::from_micros(600) + Duration::from_micros(20).saturating_mul(transitions);
    if sweep { own + Duration::from_millis(8).saturating_mul(transitions) } else { own }
}

#[cfg(test)]
mod tests {
    use model::scenario::step::Cpu;
    use zerocopy::FromZeros as _;

    use super::*;

    const CONFIG: MachineConfig =
        MachineConfig { el2: true, cpu: Cpu::Max, vl_max: 2048, sme: true, icount: false };

    fn churn(rounds: u64) -> Op {
        let mut op = Op::new_zeroed();
        op.code = Code::Churn as u16;
        op.arg[0] = rounds;
        op
    }

    fn budget(ops: &[Op], limit: Option<Duration>, pace: Pace) -> Budget {
        Budget::of(ops, None, limit, &CONFIG, pace)
    }

    #[test]
    fn a_slow_machine_gets_more_and_a_fast_one_not_less() {
        let nominal = Pace::calibrated(limits::CALIBRATION_NOMINAL, limits::CALIBRATION_NOMINAL, 1.0);
        let slow = Pace::calibrated(limits::CALIBRATION_NOMINAL * 3, limits::CALIBRATION_NOMINAL, 1.0);
        let fast = Pace::calibrated(limits::CALIBRATION_NOMINAL / 3, limits::CALIBRATION_NOMINAL, 1.0);
        let stuck = Pace::calibrated(Duration::from_secs(100), limits::CALIBRATION_NOMINAL, 1.0);
        assert_eq!(budget(&[], None, nominal).timeout, limits::CASE + limits::GRACE);
        assert_eq!(budget(&[], None, slow).timeout, 3 * (limits::CASE + limits::GRACE));
        assert_eq!(budget(&[], None, fast), budget(&[], None, nominal));
        assert_eq!(budget(&[], None, stuck).timeout.as_secs_f64(), 4.0 * limits::CALIBRATION_MAX);
    }

    #[test]
    fn the_hypervisor_ends_a_case_before_the_harness_does() {
        let pace = Pace::unknown(1.0);
        for limit in [None, Some(Duration::from_millis(10))] {
            let budget = budget(&[churn(u64::MAX)], limit, pace);
            assert!(Duration::from_nanos(budget.ticks) < budget.timeout);
        }
    }

    #[test]
    fn work_and_limits_count() {
        let pace = Pace::unknown(1.0);
        let plain = budget(&[], None, pace).ticks;
        assert_eq!(budget(&[churn(1000)], None, pace).ticks - plain, 100_000_000);
        let limited = budget(&[], Some(Duration::from_millis(5)), pace);
        assert_eq!(limited.ticks, 5_000_000);
        assert_eq!(limited.timeout, Duration::from_millis(5) + limits::GRACE_LIMITED);
        let icount = MachineConfig { icount: true, ..CONFIG };
        assert!(Budget::of(&[], None, None, &icount, pace).ticks < plain);
        assert_eq!(
            budget(&[], None, Pace::unknown(f64::INFINITY)).timeout,
            Duration::from_secs(2 * 24 * 3600)
        );
        assert!(budget(&[], None, Pace::unknown(-1.0)).timeout < Duration::from_millis(1));
    }
}
