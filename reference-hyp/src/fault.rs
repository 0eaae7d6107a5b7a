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
    /// How often the faulty line ran.
    pub reached: u64,
}

impl Faults {
    /// Commits `fault`, if there is one and this build can.
    #[cfg(feature = "faults")]
    pub const fn new(fault: Option<Fault>) -> Self {
        Self { active: fault, reached: 0 }
    }

    /// A build without the feature commits none.
    #[cfg(not(feature = "faults"))]
    pub const fn new(_fault: Option<Fault>) -> Self {
        Self { reached: 0 }
    }

    /// Whether this build can commit faults.
    pub const fn available() -> bool {
        cfg!(feature = "faults")
    }

    /// Whether to go wrong here.
    #[cfg(feature = "faults")]
    #[inline]
    pub fn commit(&mut self, fault: Fault) -> bool {
        if self.active == Some(fault) {
            self.reached += 1;
            return true;
        }
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
