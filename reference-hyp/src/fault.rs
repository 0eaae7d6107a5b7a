//! The named bugs of [`abi::fault`].
//!
//! The line of a fault reads `if self.faults.commit(Fault::X) { wrong } else { right }`. `commit` is true if
//! the case is to commit that fault, and counts: a fault whose line never ran proves nothing.

use abi::fault::Fault;

/// The fault of the current case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    #[cfg(feature = "faults")]
    active: Option<Fault>,
    /// See [`abi::hyp::HypJob::fault_lines`].
    pub lines: [u64; 2],
    /// How often the faulty line ran.
    pub reached: u64,
    /// What a faulty line remembers until another one looks: a flag that sticks, a value that goes stale.
    pub latch: Option<u64>,
    /// L1's controls and whether EL2 ran, at the last entry.
    #[cfg(feature = "faults")]
    pub context_left: Option<(Option<(u64, u64)>, bool)>,
}

impl Faults {
    /// Commits `fault`, if there is one and this build can.
    #[cfg(feature = "faults")]
    pub const fn new(fault: Option<Fault>) -> Self {
        Self { active: fault, lines: [0; 2], reached: 0, latch: None, context_left: None }
    }

    /// A build without the feature commits none.
    #[cfg(not(feature = "faults"))]
    pub const fn new(_fault: Option<Fault>) -> Self {
        Self { lines: [0; 2], reached: 0, latch: None }
    }

    /// Whether this build can commit faults.
    pub const fn available() -> bool {
        cfg!(feature = "faults")
    }

    /// Whether to go wrong here.
    #[cfg(feature = "faults")]
    #[inline]
    pub fn commit(&mut self, fault: Fault) -> bool {
        if self.may(fault) {
            self.reached += 1;
            return true;
        }
        false
    }

    /// Whether this is the fault of the case, without committing it.
    #[cfg(feature = "faults")]
    #[inline]
    pub fn may(&mut self, fault: Fault) -> bool {
        let number = fault as usize;
        if let Some(lines) = self.lines.get_mut(number / 64) {
            *lines |= 1 << (number % 64);
        }
        self.active == Some(fault)
    }

    /// Never, in a build without the feature.
    #[cfg(not(feature = "faults"))]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "same signature as with the feature")]
    #[inline(always)]
    pub const fn may(&mut self, _fault: Fault) -> bool {
        false
    }

    /// Never, in a build without the feature.
    #[cfg(not(feature = "faults"))]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "same signature as with the feature")]
    #[inline(always)]
    pub const fn commit(&mut self, _fault: Fault) -> bool {
        false
    }
}
