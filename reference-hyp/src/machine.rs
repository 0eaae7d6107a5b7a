//! The machine: stage 1 of the hypervisor itself, the interrupt controller, the timer, single step.

use arch::{read, write};

use crate::Hyp;
use crate::bits::pstate;
use crate::stage2::Table;

/// PPI of the EL2 physical timer on QEMU's `virt`, as on every BSA machine.
const TIMER_PPI: u64 = 26;
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
    unsafe { arch::hyp::gic_enable_ppi(GICD, GICR, TIMER_PPI) };
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

    /// Takes the interrupt that exited, and gives its number. The timer is off until it is armed again.
    pub fn acknowledge_interrupt(&mut self) -> u64 {
        // ICC_IAR1_EL1, ICC_EOIR1_EL1.
        let number = read!("S3_0_C12_C12_0");
        write!("S3_4_C14_C2_1", 0);
        arch::sysreg::isb();
        write!("S3_0_C12_C12_1", number);
        number
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
