//! Interrupts that the program asks for: IRQs from the doorbell, by way of a GIC where the guest has one, or from the GIC
//! alone where there is no hypervisor; IRQs of the virtual timer; SErrors from the doorbell.
//!
//! An IRQ that has arrived is withdrawn after it is recorded, so that it arrives once. An SError is not: it is over
//! when it is taken, and one that a hypervisor forgets to clear has to arrive again.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::doorbell;
use abi::job::{Status, flag, irq_source};
use abi::op::Idle;
use abi::place::Place;
use arch::payload::control;
use arch::sysreg::isb;
use arch::{read, write};

use crate::job;

/// What is pending by our doing: bit 0 IRQ, bit 1 SError.
static PENDING: AtomicU64 = AtomicU64::new(0);
const IRQ: u64 = 1;
const SERROR: u64 = 2;

/// The GICv3 of QEMU's `virt` machine, with one security state; a VMM puts that of its guests at the same addresses.
mod gic {
    pub(super) const GICD_CTLR: u64 = 0x0800_0000;
    /// ARE, EnableGrp1.
    pub(super) const CTLR_ON: u32 = 1 << 4 | 1 << 1;
    pub(super) const GICR: u64 = 0x080a_0000;
    pub(super) const GICR_WAKER: u64 = GICR + 0x14;
    pub(super) const WAKER_SLEEP: u32 = 1 << 1;
    pub(super) const WAKER_ASLEEP: u32 = 1 << 2;
    const SGI: u64 = GICR + 0x1_0000;
    pub(super) const GICR_IGROUPR0: u64 = SGI + 0x80;
    pub(super) const GICR_ISENABLER0: u64 = SGI + 0x100;
    pub(super) const GICR_ICPENDR0: u64 = SGI + 0x280;
    pub(super) const GICR_ICACTIVER0: u64 = SGI + 0x380;
    pub(super) const GICR_IPRIORITYR0: u64 = SGI + 0x400;
    /// The interrupt that is sent: SGI 0.
    pub(super) const SGI0: u32 = 1;
    /// The interrupt whose line the doorbell is.
    pub(super) const LINE: u32 = 1 << abi::job::irq_source::LINE_INTID;
    /// The virtual timer of EL1, and that of EL2: the PPIs that BSA names.
    pub(super) const TIMERS: u32 = 1 << 27 | 1 << 28;
}

/// The virtual timer, by names that mean EL1's everywhere but at a VHE EL2, which has its own, CNTHV, by them.
mod timer {
    /// CNTV_CTL_EL0.ENABLE, with IMASK clear.
    pub(super) const ENABLE: u64 = 1;
    /// CNTV_CTL_EL0.ISTATUS.
    pub(super) const FIRED: u64 = 1 << 2;
    /// The part of a second after which it fires: longer than an emulated host takes to have code and pages at hand that
    /// this guest is the first one to use, or there would be nothing to wait for.
    pub(super) const WAIT: u64 = 256;
    /// The same where nothing has to be waited for, but is not to happen before: a host that preempts the guest saves its
    /// registers.
    pub(super) const SPIN: u64 = 16384;
    /// Rounds of waiting before it is asked anew.
    pub(super) const SPINS: u64 = 200;
    /// CNTKCTL_EL1.EL0VTEN and EL0VCTEN: EL0 may use it, and the counter.
    pub(super) const EL0: u64 = 1 << 8 | 1 << 1;
}

/// The number of the place that has set the timer, 0 once it is turned off.
static TIMER: AtomicU64 = AtomicU64::new(0);

/// Whether the job's interrupts come through a GIC.
pub(crate) fn has_gic() -> bool {
    matches!(job::IRQ_SOURCE.get(), irq_source::GIC | irq_source::LINE)
}

/// Enables the interrupts that are used for this CPU. Runs with stage 1 off: the GIC is mapped nowhere.
pub(crate) fn set_up_gic(home: Place) {
    /// SRE, DFB, DIB.
    const SRE: u64 = 7;
    /// Enable: EL1 may use the interface too.
    const SRE_ENABLE: u64 = 8;
    if home == Place::L1 {
        write!("S3_4_C12_C9_5", SRE | SRE_ENABLE); // ICC_SRE_EL2
        isb();
    }
    write!("S3_0_C12_C12_5", SRE); // ICC_SRE_EL1
    isb();
    // SAFETY: stage 1 is off and the machine has this GIC; none of its registers is memory.
    let set = |register, value| unsafe { control::mmio_write32(register, value) };
    // SAFETY: as above.
    let get = |register| unsafe { control::mmio_read32(register) };
    set(gic::GICD_CTLR, gic::CTLR_ON);
    set(gic::GICR_WAKER, get(gic::GICR_WAKER) & !gic::WAKER_SLEEP);
    while get(gic::GICR_WAKER) & gic::WAKER_ASLEEP != 0 {}
    set(gic::GICR_IGROUPR0, u32::MAX);
    set(gic::GICR_IPRIORITYR0, 0x8080_8080);
    set(gic::GICR_IPRIORITYR0 + u64::from(irq_source::LINE_INTID / 4 * 4), 0x8080_8080);
    set(gic::GICR_ICPENDR0, gic::SGI0 | gic::LINE);
    set(gic::GICR_ICACTIVER0, gic::SGI0 | gic::LINE);
    set(gic::GICR_ISENABLER0, gic::SGI0 | gic::LINE | gic::TIMERS);
    write!("S3_0_C4_C6_0", 0xff); // ICC_PMR_EL1
    write!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
    isb();
}

/// Makes interrupts pending: bit 0 IRQ, bit 1 SError.
pub(crate) fn pend(wanted: u64) -> Result<(), Status> {
    match job::IRQ_SOURCE.get() {
        irq_source::DOORBELL | irq_source::LINE => ring_doorbell(wanted)?,
        irq_source::GIC => {
            if wanted & SERROR != 0 {
                ring_doorbell(SERROR)?;
            }
            if wanted & IRQ != 0 {
                write!("S3_0_C12_C11_5", 1); // ICC_SGI1R_EL1: SGI 0 to the CPU with affinity 0.0.0.0
                isb();
            }
        }
        _ => return Err(Status::BadJob),
    }
    PENDING.store(wanted, Ordering::Relaxed);
    Ok(())
}

/// Sets the timer of this place to a moment from now, as that place waits for it, without turning it on.
pub(crate) fn set_timer(place: Place, idle: Idle) {
    let part = match idle {
        Idle::Spin => timer::SPIN,
        Idle::Wfi => timer::WAIT,
    };
    TIMER.store(place as u64, Ordering::Relaxed);
    PENDING.store(PENDING.load(Ordering::Relaxed) | IRQ, Ordering::Relaxed);
    // Not CNTV_TVAL_EL0: FEAT_NV2 keeps the other two of an nVHE guest's EL2 in memory, and not this one.
    isb();
    write!("cntv_cval_el0", read!("cntvct_el0") + read!("cntfrq_el0") / part);
}

/// Sets the timer of this place to a moment from now, for a WFI.
pub(crate) fn start_timer(place: Place) {
    set_timer(place, Idle::Wfi);
    write!("cntv_ctl_el0", timer::ENABLE);
    isb();
}

/// Lets EL0 below this EL1 use its timer.
pub(crate) fn lend_timer() {
    write!("cntkctl_el1", timer::EL0);
    isb();
}

/// Waits until it has fired.
pub(crate) fn await_timer() {
    while read!("cntv_ctl_el0") & timer::FIRED == 0 {
        control::spin(timer::SPINS);
    }
}

/// Turns it off at `place`, whoever set it.
fn stop_timer(place: Place, set_at: u64) {
    if place == Place::L1 && set_at != Place::L1 as u64 && job::has(flag::VHE) {
        // By the other name this would be a timer of its own.
        write!("S3_5_C14_C3_1", 0); // CNTV_CTL_EL02
    } else {
        write!("cntv_ctl_el0", 0);
    }
    isb();
}

/// Turns off whatever the job before has left set. At real EL2.
pub(crate) fn stop_timers(vhe: bool) {
    write!("cntv_ctl_el0", 0);
    write!("S3_4_C14_C3_1", 0); // CNTHV_CTL_EL2
    if vhe {
        write!("S3_5_C14_C3_1", 0); // CNTV_CTL_EL02
    }
    isb();
}

/// Withdraws what the vector of `place` at this offset has taken, if it was ours.
pub(crate) fn withdraw(place: Place, vector: u64) -> Result<(), Status> {
    let taken = match vector & 0x180 {
        0x080 => IRQ,
        0x180 => SERROR,
        _ => 0,
    };
    let pending = PENDING.load(Ordering::Relaxed);
    if pending & taken == 0 {
        return Ok(());
    }
    PENDING.store(pending & !taken, Ordering::Relaxed);
    if taken == SERROR {
        return Ok(());
    }
    match TIMER.swap(0, Ordering::Relaxed) {
        0 => {}
        set_at => stop_timer(place, set_at),
    }
    if job::IRQ_SOURCE.get() != irq_source::GIC {
        return ring_doorbell(pending & !taken);
    }
    acknowledge();
    Ok(())
}

fn ring_doorbell(pending: u64) -> Result<(), Status> {
    let page = job::doorbell().ok_or(Status::BadJob)?;
    // SAFETY: the doorbell is mapped at every place and is not memory.
    unsafe { control::mmio_write(page + doorbell::IRQ, pending) };
    Ok(())
}

/// Takes the interrupt from pending to active and from active to inactive.
fn acknowledge() {
    /// INTIDs from here on are special: there was none.
    const SPECIAL: u64 = 1020;
    let intid = read!("S3_0_C12_C12_0"); // ICC_IAR1_EL1
    if intid & 0xff_ffff < SPECIAL {
        write!("S3_0_C12_C12_1", intid); // ICC_EOIR1_EL1
    }
    isb();
}

/// Leaves no interrupt of this job to the next one, at home.
pub(crate) fn quiesce() {
    if has_gic() {
        write!("S3_0_C12_C12_7", 0); // ICC_IGRPEN1_EL1
        isb();
    }
}
