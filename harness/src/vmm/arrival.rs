//! The boundary before the first instruction of a transition's target: a point of a sweep, or a stop of its own.
//!
//! Where KVM emulates an ERET of L1, or an exception to virtual EL2, by its slow path, a single step that began at the
//! instruction left does not end before the first instruction of the target but behind it: the step is set up anew at the
//! entry. A hardware breakpoint of the host's on the target stops the vCPU there with nothing executed yet.
//!
//! A step ends KVM_RUN, so that in a sweep no transition finds its registers in the CPU. It does where nothing is stepped
//! ([`Check::Arrival`](abi::doorbell::Check::Arrival)).

use std::mem::offset_of;

use abi::job::JobHeader;
use kvm_bindings::{KVM_GUESTDBG_USE_HW, kvm_guest_debug};
use kvm_ioctls::Cap;
use vm_memory::{Bytes as _, GuestAddress};

use super::case::Case;
use super::error::VmError;
use super::raw::reg;
use super::rival::Work;

/// DBGBCR<n>_EL1: enabled, for AArch64 instructions (BAS), at EL1 and EL0 (PMC), where virtual EL2 is as well.
const DBGBCR: u64 = 0xf << 5 | 0b11 << 1 | 1;

/// Where the transition of an open window may arrive: the addresses of first instructions.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrivals(Vec<u64>);

impl Case<'_> {
    /// The vCPU is where the transition arrives, with the registers that it brought there: others use the CPU.
    pub(super) fn arrived(&mut self) -> Result<(), VmError> {
        self.arrivals = Arrivals::default();
        self.step_or_not()?;
        self.everything = true;
        for work in [Work::Task, Work::Guest] {
            if self.rival.can(work).is_ok() {
                let of_rival = self.rival.once(work);
                self.of_rival.merge(of_rival);
            }
        }
        self.job.disturbed += 1;
        Ok(())
    }
}

impl Arrivals {
    /// Those of the window that has just opened: the target of an ERET, and the vectors of virtual EL2, to which an ERET
    /// may lead as well. No more than the CPU has breakpoints for.
    pub(super) fn of(case: &Case<'_>) -> Result<Self, VmError> {
        /// PSTATE.M of EL2 with SP_EL0.
        const EL2T: u64 = 0b1000;
        const MODE: u64 = 0b1111;
        const LOWER_SYNC: u64 = 0x400;
        const LOWER_IRQ: u64 = 0x480;
        const LOWER_SERROR: u64 = 0x580;

        if !case.kind.el2 {
            // The CPU makes its transitions by itself, and each ends its step.
            return Ok(Self::default());
        }
        let target = case.job_area + offset_of!(JobHeader, target_pc) as u64;
        let target = case.memory.read_obj(GuestAddress(target)).unwrap_or(0);
        let vectors = case.vm.get(reg::VBAR_EL2)?;
        let own_sync = if case.vm.get(reg::PSTATE)? & MODE == EL2T { 0 } else { 0x200 };
        let vector = |offset: u64| vectors + offset;
        let mut all = vec![target];
        all.extend([LOWER_SYNC, own_sync, LOWER_IRQ, LOWER_SERROR].map(vector));
        all.retain(|address| *address != 0);
        let breakpoints = usize::try_from(case.vm.fd.check_extension_int(Cap::DebugHwBps)).unwrap_or(0);
        all.truncate(breakpoints);
        Ok(Self(all))
    }

    /// Whether one of them is at `pc`.
    pub(super) fn contain(&self, pc: u64) -> bool {
        self.0.contains(&pc)
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same debugging, with breakpoints at all of them.
    pub(super) fn watch(&self, mut debug: kvm_guest_debug) -> kvm_guest_debug {
        if !self.is_empty() {
            debug.control |= KVM_GUESTDBG_USE_HW;
        }
        let registers = debug.arch.dbg_bcr.iter_mut().zip(&mut debug.arch.dbg_bvr);
        for ((control, value), address) in registers.zip(&self.0) {
            (*control, *value) = (DBGBCR, *address);
        }
        debug
    }
}
