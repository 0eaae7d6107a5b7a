//! Preemption points by KVM_GUESTDBG_SINGLESTEP: each instruction of an open window is one.

use abi::doorbell;

/// The sweep of the current pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    kind: doorbell::Sweep,
    /// The point to disturb at, for `step-each`.
    target: u64,
    /// Points that the windows of this pass have had.
    points: u64,
    open: bool,
}

impl Sweep {
    /// No sweep.
    pub(super) const fn off() -> Self {
        Self { kind: doorbell::Sweep::Off, target: 0, points: 0, open: false }
    }

    /// The doorbell's SWEEP_BEGIN.
    pub(super) fn begin(value: u64) -> Self {
        let kind = doorbell::Sweep::from_u64(value & 0xff).unwrap_or(doorbell::Sweep::Off);
        Self { kind, target: value >> 8, ..Self::off() }
    }

    /// The doorbell's SWEEP_END: what the pass had.
    pub(super) fn end(&mut self) -> u64 {
        let points = self.points;
        *self = Self::off();
        points
    }

    /// The doorbell's WINDOW.
    pub(super) fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Whether the vCPU is to be stepped.
    pub(super) fn steps(&self) -> bool {
        self.open && matches!(self.kind, doorbell::Sweep::StepAll | doorbell::Sweep::StepEach)
    }

    /// An instruction was executed. Whether it is a point to disturb at.
    pub(super) fn step(&mut self) -> bool {
        let here = self.points;
        self.points += 1;
        match self.kind {
            doorbell::Sweep::StepAll => true,
            doorbell::Sweep::StepEach => here == self.target,
            doorbell::Sweep::Off | doorbell::Sweep::Timer => false,
        }
    }
}
