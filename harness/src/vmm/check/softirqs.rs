//! SIMD of the host kernel at any moment of the guest's, and of what KVM does for it.

use std::time::Instant;

use super::super::case::Case;
use super::super::rival::{self, When, Work};
use super::super::witness;

/// Softirqs that are enough: between them there was a moment of each kind in some case of a scenario.
const ENOUGH: u64 = 4;

impl Case<'_> {
    /// Begins it. A guest that waits for `disturb host-simd` spins, and is interrupted there: between an exit for a trap
    /// and the emulation, where interrupts are open as well (`kvm_arch_vcpu_ioctl_run()`), it never is.
    pub(super) fn begin_softirqs(&mut self) {
        let begun = Instant::now();
        let can = self.rival.can(Work::Simd);
        self.deadline += begun.elapsed();
        match can {
            Ok(()) => {
                self.softirqs = Some(0);
                // What they leave to a thread of their own needs the CPU as well.
                rival::urge(false);
                self.rival.work(Work::Simd, When::Now);
            }
            Err(lacks) => self.cannot_disturb(lacks),
        }
    }

    /// Before a KVM_RUN: what was decrypted outside counts for nothing.
    pub(in crate::vmm) fn forget_softirqs(&self) {
        if self.softirqs.is_some() {
            witness::arrived(self.rival);
        }
    }

    /// After it.
    pub(in crate::vmm) fn count_softirqs(&mut self) {
        if let Some(softirqs) = &mut self.softirqs {
            *softirqs += witness::arrived(self.rival);
        }
    }

    /// When the case is over: the proof.
    pub(in crate::vmm) fn end_softirqs(&mut self) {
        let happened = self.softirqs.is_some_and(|softirqs| softirqs >= ENOUGH);
        self.job.disturbed += u64::from(happened);
    }
}
