//! Preemption points.
//!
//! A window is open between two doorbells of the payload. With `step-all` and `step-each` every instruction in
//! it is single-stepped; an instruction that was emulated counts as a step, or the first instruction after an
//! emulated ERET would never be a point. With `timer` one interrupt comes N ticks of open window after the
//! pass began; ticks that pass inside the hypervisor fire at the first instruction after it.

use abi::doorbell::Sweep;
use abi::hyp::Event;

use crate::Hyp;
use crate::bits::pstate;
use crate::fp::Owner;

/// The sweep of the current pass.
#[derive(Clone, Copy, Debug)]
pub struct State {
    kind: Sweep,
    /// The point to disturb at, for `step-each`; the ticks left, for `timer`.
    target: u64,
    /// Points that the windows of this pass have had.
    points: u64,
    open: bool,
    /// The timer's deadline, while it runs.
    deadline: Option<u64>,
}

impl State {
    /// No sweep.
    pub const fn off() -> Self {
        Self { kind: Sweep::Off, target: 0, points: 0, open: false, deadline: None }
    }

    /// Single step the next instruction.
    pub const fn stepping(&self) -> bool {
        self.open && matches!(self.kind, Sweep::StepAll | Sweep::StepEach)
    }

    /// The tick at which the guest is to be interrupted.
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }
}

impl Hyp {
    /// Doorbell SWEEP_BEGIN.
    pub fn sweep_begin(&mut self, value: u64) {
        let kind = Sweep::from_u64(value & 0xff).unwrap_or(Sweep::Off);
        self.sweep = State { kind, target: value >> 8, ..State::off() };
    }

    /// Doorbell SWEEP_END: what the pass had.
    pub fn sweep_end(&mut self) -> u64 {
        let points = self.sweep.points;
        self.sweep = State::off();
        self.arm_timer();
        self.set_stepping(false);
        points
    }

    /// Doorbell WINDOW.
    pub fn sweep_window(&mut self, open: bool) {
        self.sweep.open = open;
        if self.sweep.kind == Sweep::Timer && self.sweep.points == 0 {
            let now = self.ticks();
            if open {
                self.sweep.deadline = Some(now.saturating_add(self.sweep.target));
            } else if let Some(deadline) = self.sweep.deadline.take() {
                self.sweep.target = deadline.saturating_sub(now);
            }
            self.arm_timer();
        }
        self.set_stepping(self.sweep.stepping());
    }

    /// EC 0x32: one instruction was executed.
    pub fn stepped(&mut self) {
        self.job.counters.steps += 1;
        self.step_point();
    }

    /// After an exit: an emulated instruction is a step as well.
    pub fn account_emulated(&mut self) {
        if self.vcpu.emulated {
            self.vcpu.emulated = false;
            if self.sweep.stepping() {
                self.step_point();
            }
        }
    }

    fn step_point(&mut self) {
        let here = self.sweep.points;
        self.sweep.points += 1;
        match self.sweep.kind {
            Sweep::StepAll => self.point(),
            Sweep::StepEach if here == self.sweep.target => self.point(),
            _ => {}
        }
    }

    /// The timer fired.
    pub fn timer_point(&mut self) {
        self.sweep.deadline = None;
        self.sweep.points = 1;
        self.point();
    }

    fn point(&mut self) {
        self.job.counters.sweep_points += 1;
        if self.fp.owner == Owner::Guest {
            self.job.counters.sweep_points_live += 1;
        }
        self.event(Event::Point, [self.job.counters.sweep_points, 0]);
        self.disturb(self.config.sweep_disturbance);
    }

    /// PSTATE.SS for the next entry, if stepping is on. Nothing else sets it: a guest's own SPSR loses it.
    pub fn arm_step(&mut self) {
        if self.stepping {
            self.vcpu.frame.pstate |= pstate::SS;
        }
    }
}
