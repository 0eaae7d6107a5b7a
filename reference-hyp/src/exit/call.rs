//! HVC, SMC, WFI and WFE.

use abi::fault::Fault;
use abi::hyp::End;
use arch::read;

use crate::Hyp;
use crate::bits::hcr;
use crate::fp::{self, Owner};
use crate::inject::Vector;

/// PSCI and SMCCC functions that a guest may call.
mod function {
    pub(super) const PSCI_VERSION: u64 = 0x8400_0000;
    pub(super) const CPU_SUSPEND_64: u64 = 0xc400_0001;
    pub(super) const SYSTEM_OFF: u64 = 0x8400_0008;
    pub(super) const SMCCC_VERSION: u64 = 0x8000_0000;
    pub(super) const DOORBELL: u64 = abi::doorbell::CALL as u64;
}

/// PSCI 1.1.
const PSCI_1_1: u64 = 0x0001_0001;
/// SMCCC 1.1, as KVM reports.
const SMCCC_1_1: u64 = 0x0001_0001;
/// NOT_SUPPORTED.
const NOT_SUPPORTED: u64 = u64::MAX;

impl Hyp {
    /// HVC: belongs to the guest's EL2 if it has one.
    pub fn hypervisor_call(&mut self, esr: u64) {
        if self.config.el2() {
            self.nested_exception(Vector::Sync, Some(esr), 0);
        } else {
            self.firmware_call();
        }
    }

    /// SMC: trapped by HCR_EL2.TSC before it executes, so ELR points at it.
    pub fn monitor_call(&mut self, esr: u64) {
        if self.config.el2() && !self.vcpu.in_el2 && self.l1_hcr(hcr::TSC) {
            self.nested_exception(Vector::Sync, Some(esr), 0);
        } else {
            self.firmware_call();
            self.advance();
        }
    }

    /// Answers as firmware. Nothing but X0 changes.
    fn firmware_call(&mut self) {
        self.firmware_uses_simd();
        let result = match self.vcpu.frame.x[0] & 0xffff_ffff {
            function::PSCI_VERSION => PSCI_1_1,
            function::SMCCC_VERSION => SMCCC_1_1,
            function::CPU_SUSPEND_64 => {
                // A retention state that is left at once: a put and a load, and success (rule P-16).
                self.vcpu_put();
                self.vcpu_load();
                0
            }
            function::DOORBELL if self.config.outermost() => self.doorbell_call().unwrap_or(NOT_SUPPORTED),
            function::SYSTEM_OFF => return self.end(End::Idle, 0),
            _ => NOT_SUPPORTED,
        };
        self.vcpu.frame.x[0] = result;
        self.vcpu.emulated = true;
    }

    /// Firmware that computes with V registers, or takes SVE state for lost, as two published bugs had it.
    fn firmware_uses_simd(&mut self) {
        if self.fp.owner == Owner::Guest && self.fault(Fault::RmHypSimdNoSave) {
            fp::open();
            self.fp.host_simd.vectors.load_v();
        }
        if self.fp.owner == Owner::Guest && self.config.sve() && self.fault(Fault::SpSuspendLoses) {
            fp::open();
            fp::limit(self.config.len_max());
            self.fp.poison.vectors.load_sve();
        }
    }

    /// WFI or WFE: the vCPU is parked, others get the CPU, and it gets it back. From WFE it is woken at once, which the
    /// architecture allows of both.
    pub fn wait(&mut self, esr: u64) {
        const WFE: u64 = 1;
        let trap = if esr & WFE == 0 { hcr::TWI } else { hcr::TWE };
        if self.config.el2() && !self.vcpu.in_el2 && self.l1_hcr(trap) {
            return self.nested_exception(Vector::Sync, Some(esr), 0);
        }
        match self.at_next_wait.take() {
            Some(kind) => self.disturb(kind),
            None => {
                self.vcpu_put();
                self.vcpu_load();
            }
        }
        if esr & WFE == 0 {
            self.sleep();
        }
        self.advance();
    }

    /// Sleeps until something is pending that ends a WFI of the guest, masked or not, or its time is over.
    fn sleep(&mut self) {
        self.load_guest_timer();
        while self.job.end == 0 && !self.wakes() {
            arch::hyp::wait_for_interrupt();
            // ISR_EL1.I: EL2 runs with interrupts masked.
            if read!("isr_el1") & 1 << 7 != 0 {
                self.interrupt();
            }
        }
    }

    /// Whether the guest has something pending, for whichever level.
    fn wakes(&mut self) -> bool {
        let pending = self.vcpu.pending;
        if self.guest_timer_fired && self.fault(Fault::WfTimerUnseen) {
            return false;
        }
        let below = self.config.el2() && !self.vcpu.in_el2;
        let virtual_ones = hcr::VI | hcr::VF | hcr::VSE;
        pending.irq || pending.serror || (below && self.vcpu.hcr_el2() & virtual_ones != 0)
    }

    /// The trapped instruction counts as executed.
    pub const fn advance(&mut self) {
        self.vcpu.frame.pc = self.vcpu.frame.pc.wrapping_add(4);
        self.vcpu.emulated = true;
    }
}
