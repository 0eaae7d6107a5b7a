//! The machine: stage 1 of the hypervisor itself, the interrupt controller, the timer, single step.

use arch::{read, write};

use crate::Hyp;
use crate::bits::{pstate, vncr};
use crate::stage2::Table;

/// PPI of the EL2 physical timer on QEMU's `virt`, as on every BSA machine.
const TIMER_PPI: u64 = 26;
/// PPI of the EL1 virtual timer, likewise.
const GUEST_TIMER_PPI: u64 = 27;
/// QEMU `virt`: the GICv3 distributor and the first redistributor's two frames.
const GICD: usize = 0x0800_0000;
const GICR: usize = 0x080a_0000;

/// Turns stage 1 on for EL2: an identity map in blocks of 1 GiB, the first one Device, the others Normal.
///
/// With the MMU off all memory would be Device, and every vector access would have to be aligned.
pub fn enable_mmu(table: &mut Table) {
    const BLOCK: u64 = 1;
    const AF: u64 = 1 << 10;
    const INNER_SHAREABLE: u64 = 3 << 8;
    const EXECUTE_NEVER: u64 = 3 << 53;
    /// MAIR attribute 1: Normal, write-back. Attribute 0: Device-nGnRE.
    const MAIR: u64 = 0xff04;
    for (i, entry) in (0u64..).zip(table.0.iter_mut()) {
        let attributes = if i == 0 { EXECUTE_NEVER } else { INNER_SHAREABLE | 1 << 2 };
        *entry = i << 30 | AF | BLOCK | attributes;
    }
    // T0SZ 25, write-back inner-shareable walks, 4 KiB, no upper range, 40-bit output.
    const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32;
    /// M, C, I, and the pointer authentication keys on: [`arch::hyp::sign`] signs for the guest.
    const SCTLR: u64 = crate::bits::SCTLR_RESET | 1 | 1 << 2 | 1 << 12 | 1 << 31 | 1 << 30;
    write!("S3_0_C10_C2_0", MAIR);
    write!("S3_0_C2_C0_2", TCR);
    write!("S3_0_C2_C0_0", table.address());
    arch::hyp::invalidate_own_tlb();
    write!("S3_0_C1_C0_0", SCTLR);
    arch::sysreg::isb();
}

/// Sets up what only the outermost hypervisor has: interrupt controller, counter access, fine-grained traps.
pub fn take_machine() {
    // ICC_SRE_EL2, ICC_SRE_EL1: system registers.
    write!("S3_4_C12_C9_5", 0xf);
    arch::sysreg::isb();
    write!("S3_0_C12_C12_5", 7);
    arch::sysreg::isb();
    // SAFETY: the addresses are the machine's interrupt controller, mapped Device; nobody else uses it.
    unsafe { arch::hyp::gic_enable_ppis(GICD, GICR, 1 << TIMER_PPI | 1 << GUEST_TIMER_PPI) };
    // ICC_PMR_EL1, ICC_IGRPEN1_EL1.
    write!("S3_0_C4_C6_0", 0xff);
    write!("S3_0_C12_C12_7", 1);
    // CNTHCTL_EL2 (E2H): the guest's counters and timers are free.
    write!("cnthctl_el2", 0xc03);
    write!("cntvoff_el2", 0);
    arch::sysreg::isb();
}

impl Hyp {
    /// The counter that all deadlines are in.
    pub fn ticks(&self) -> u64 {
        arch::sysreg::isb();
        read!("cntpct_el0")
    }

    /// Programs the EL2 physical timer for the next deadline.
    pub fn arm_timer(&mut self) {
        if !self.config.outermost() {
            return;
        }
        let next = [Some(self.budget_end), self.preempt_at, self.sweep.deadline()];
        let next = next.into_iter().flatten().min().unwrap_or(u64::MAX);
        // CNTHP_CVAL_EL2, CNTHP_CTL_EL2.
        write!("S3_4_C14_C2_2", next);
        write!("S3_4_C14_C2_1", 1);
        arch::sysreg::isb();
    }

    /// Takes the interrupt that exited, and gives its number. The timer is off until it is armed again. That of the
    /// guest is the guest's to turn off: it is pending for it, and here no more until the guest has withdrawn it.
    pub fn acknowledge_interrupt(&mut self) -> u64 {
        // ICC_IAR1_EL1, ICC_EOIR1_EL1.
        let number = read!("S3_0_C12_C12_0");
        write!("S3_4_C14_C2_1", 0);
        if number == GUEST_TIMER_PPI {
            self.vcpu.pending.irq = true;
            self.guest_timer_fired = true;
            self.el1_timer_fired = self.config.el2() && !self.vcpu.in_el2;
            if self.el1_timer_fired {
                // It is EL2 that may take the interrupt, and turn off in memory what has sent it.
                self.vcpu.vncr.set(vncr::CNTV_CTL_EL0, read!("S3_5_C14_C3_1"));
                self.vcpu.vncr.set(vncr::CNTV_CVAL_EL0, read!("S3_5_C14_C3_2"));
            } else if self.timer_in_memory() {
                /// CNTV_CTL_EL0.ISTATUS.
                const ISTATUS: u64 = 1 << 2;
                self.vcpu.vncr.set(vncr::CNTV_CTL_EL0, self.vcpu.vncr.get(vncr::CNTV_CTL_EL0) | ISTATUS);
            }
            // SAFETY: the machine's interrupt controller, as above.
            unsafe { arch::hyp::gic_set_ppi(GICR, GUEST_TIMER_PPI, false) };
        }
        arch::sysreg::isb();
        write!("S3_0_C12_C12_1", number);
        number
    }

    /// Whether the CPU's virtual timer is not the one that the guest has: it is EL1's, whose registers FEAT_NV2 keeps in
    /// memory while EL2 runs. An nVHE EL2 has no other; to a VHE one the CPU's is its own, but for an interrupt of EL1's
    /// that it has not withdrawn.
    fn timer_in_memory(&self) -> bool {
        self.config.el2() && self.vcpu.in_el2 && (!self.config.vhe() || self.el1_timer_fired)
    }

    /// Sets the CPU's virtual timer as the guest's, where that is in memory. It counts from then on.
    pub fn load_guest_timer(&mut self) {
        if self.timer_in_memory() {
            // CNTV_CVAL_EL02, CNTV_CTL_EL02: by the names that a guest uses this hypervisor has a timer of its own.
            write!("S3_5_C14_C3_2", self.vcpu.vncr.get(vncr::CNTV_CVAL_EL0));
            write!("S3_5_C14_C3_1", self.vcpu.vncr.get(vncr::CNTV_CTL_EL0));
            arch::sysreg::isb();
        }
    }

    /// The guest's timer may send an interrupt again.
    pub fn rearm_guest_timer(&mut self) {
        if core::mem::take(&mut self.guest_timer_fired) {
            self.load_guest_timer();
            self.el1_timer_fired = false;
            // SAFETY: only an outermost hypervisor takes an interrupt; the interrupt controller is its own.
            unsafe { arch::hyp::gic_set_ppi(GICR, GUEST_TIMER_PPI, true) };
        }
    }

    /// The guest's timer as after a reset.
    pub fn reset_guest_timer(&mut self) {
        write!("S3_5_C14_C3_1", 0);
        arch::sysreg::isb();
        self.rearm_guest_timer();
    }

    /// Turns single step of the guest on or off: debug exceptions to EL2, and MDSCR_EL1.SS.
    pub fn set_stepping(&mut self, on: bool) {
        const TDE: u64 = 1 << 8;
        if self.stepping == on {
            return;
        }
        self.stepping = on;
        self.vcpu.frame.pstate &= !pstate::SS;
        // MDCR_EL2.HPMN must stay PMCR_EL0.N, or the event counters stop.
        let hpmn = (read!("pmcr_el0") >> 11) & 31;
        if on {
            // The OS lock would mask debug exceptions.
            write!("oslar_el1", 0);
            write!("mdcr_el2", hpmn | TDE);
            write!("mdscr_el1", 1);
        } else {
            write!("mdcr_el2", hpmn);
            write!("mdscr_el1", 0);
        }
        arch::sysreg::isb();
    }
}
