//! The loop: program the CPU for an entry, enter, handle the exit. And what a put and a load are.

use abi::fault::Fault;
use abi::hyp::{End, Event};
use arch::hyp::ExitKind;
use arch::{read, write};

use crate::Hyp;
use crate::bits::{hcr, hcrx, vncr};
use crate::fp::{self, Owner};
use crate::stage2::{VMID_EL1, VMID_SHADOW, VMID_TOP, vmid};

/// What every guest runs with: interrupts to EL2, ID registers, SMC and waiting trapped, pointer
/// authentication free.
const HCR_GUEST: u64 = hcr::RW
    | hcr::E2H
    | hcr::VM
    | hcr::FMO
    | hcr::IMO
    | hcr::AMO
    | hcr::TWI
    | hcr::TWE
    | hcr::TID3
    | hcr::TSC
    | hcr::API
    | hcr::APK;

/// What a guest with an EL2 runs that EL2 with.
const HCR_EL2_GUEST: u64 = HCR_GUEST | hcr::NV | hcr::NV2 | hcr::AT | hcr::TTLB;

/// Bits of the guest's HCR_EL2 that never reach the CPU while its EL1 runs: they are emulated, or L0's alone.
const HCR_EXCLUDED: u64 = hcr::TGE
    | hcr::API
    | hcr::APK
    | hcr::FIEN
    | hcr::VM
    | hcr::DC
    | hcr::PTW
    | hcr::VF
    | hcr::VI
    | hcr::VSE
    | hcr::NV
    | hcr::NV1
    | hcr::NV2
    | hcr::AT
    | hcr::E2H;

/// What stands in HCR_EL2, HCRX_EL2, VTTBR_EL2 and VNCR_EL2, so that an entry writes them only when they change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Installed {
    hcr: u64,
    hcrx: u64,
    vttbr: u64,
    vncr: u64,
}

impl Hyp {
    /// Runs the guest until the case ends.
    pub fn run(&mut self) {
        self.vcpu_load();
        while self.job.end == 0 {
            self.enter();
        }
    }

    fn enter(&mut self) {
        let before = self.vcpu.in_el2;
        let stale_traps = self.vcpu.pending.irq && !before && self.faults.may(Fault::NvSwitchAfterLoad);
        if stale_traps {
            self.arm_traps();
        }
        let virtual_interrupts = self.deliver_pending();
        self.vcpu.arrived_by_eret = false;
        self.install(virtual_interrupts);
        self.arm_step();
        let stale_traps = stale_traps && self.vcpu.in_el2 != before;
        if !stale_traps || !self.fault(Fault::NvSwitchAfterLoad) {
            self.arm_traps();
        }
        // SAFETY: stage 2 maps this guest's memory only, and the EL1 registers are the guest's.
        let kind = unsafe { arch::hyp::enter(&mut self.vcpu.frame) };
        if virtual_interrupts & hcr::VSE != 0 {
            self.serror_taken();
        }
        match kind {
            ExitKind::Sync => self.synchronous_exit(),
            ExitKind::Irq => self.interrupt(),
            ExitKind::Fiq | ExitKind::SError => self.end(End::UnknownExit, kind as u64),
        }
        self.account_emulated();
    }

    /// Puts the registers of [`Installed`] in force for the context that is about to run.
    fn install(&mut self, virtual_interrupts: u64) {
        let own = self.stage2.base();
        let fpmr = self.config.fpmr() || self.fault(Fault::TrFpmrOpen);
        let hcrx = hcrx::MSCEN | if fpmr { hcrx::ENFPM } else { 0 };
        let top = self.vcpu.vncr.address();
        let wanted = if !self.config.el2() {
            Installed { hcr: HCR_GUEST | virtual_interrupts, hcrx, vttbr: own | vmid(VMID_TOP), vncr: 0 }
        } else if self.vcpu.in_el2 {
            let nv1 = if self.config.vhe() { 0 } else { hcr::NV1 };
            let hcr = HCR_EL2_GUEST | nv1 | virtual_interrupts;
            Installed { hcr, hcrx, vttbr: own | vmid(VMID_TOP), vncr: top }
        } else {
            self.l2_installation(own, hcrx)
        };
        if self.installed != Some(wanted) {
            write!("vttbr_el2", wanted.vttbr);
            if self.config.el2() {
                write!("S3_4_C2_C2_0", wanted.vncr);
            }
            if self.cpu.hcx {
                write!("S3_4_C1_C2_2", wanted.hcrx);
            }
            write!("hcr_el2", wanted.hcr);
            self.installed = Some(wanted);
        }
    }

    /// The same for the guest of a guest hypervisor.
    fn l2_installation(&mut self, own: u64, hcrx: u64) -> Installed {
        let l1 = self.vcpu.hcr_el2();
        let mut hcr = HCR_GUEST | (l1 & !HCR_EXCLUDED);
        // Virtual interrupts that L1 makes pending for its guest, where it routes the physical ones to itself.
        if l1 & hcr::IMO != 0 {
            hcr |= l1 & hcr::VI;
        }
        if l1 & hcr::FMO != 0 {
            hcr |= l1 & hcr::VF;
        }
        if l1 & hcr::AMO != 0 && l1 & hcr::VSE != 0 {
            hcr |= hcr::VSE;
            write!("S3_4_C5_C2_3", self.vcpu.vncr.get(vncr::VSESR_EL2));
        }
        let mut page = self.vcpu.vncr.address();
        if l1 & hcr::NV != 0 {
            hcr |= hcr::NV | hcr::NV2 | hcr::AT | hcr::TTLB | (l1 & hcr::NV1);
            page = self.l2_vncr;
        }
        let vttbr =
            if l1 & hcr::VM != 0 { self.shadow.base() | vmid(VMID_SHADOW) } else { own | vmid(VMID_EL1) };
        let mut merged = hcrx & self.vcpu.vncr.get(vncr::HCRX_EL2);
        if merged & hcrx::ENFPM != hcrx & hcrx::ENFPM && self.fault(Fault::TrFpmrNotForwarded) {
            merged |= hcrx::ENFPM;
        }
        Installed { hcr, hcrx: merged, vttbr, vncr: page }
    }

    /// The CPU clears HCR_EL2.VSE when the guest takes the SError.
    fn serror_taken(&mut self) {
        if read!("hcr_el2") & hcr::VSE == 0 {
            self.vcpu.pending.serror = false;
            self.installed = None;
        }
    }

    /// An IRQ: the hypervisor's own timer, which is the only source.
    fn interrupt(&mut self) {
        self.job.counters.irqs += 1;
        let number = self.acknowledge_interrupt();
        self.event(Event::Irq, [number, 0]);
        if self.fp.owner == Owner::Guest && self.fault(Fault::SpIrqRestoreNoSave) {
            self.fp.owner = Owner::Free;
            self.cpu.load(&self.fp.poison, self.cpu.vq);
        }
        let now = self.ticks();
        if self.sweep.deadline().is_some_and(|deadline| now >= deadline) {
            self.timer_point();
        }
        if self.preempt_at.is_some_and(|at| now >= at) {
            self.job.counters.preemptions += 1;
            self.preempt_at = Some(now + self.config.preempt_ticks);
            self.disturb(self.config.sweep_disturbance);
        }
        if now >= self.budget_end {
            self.end(End::Budget, 0);
        }
        self.arm_timer();
    }

    /// The vCPU leaves the CPU: its registers go to memory.
    pub fn vcpu_put(&mut self) {
        self.job.counters.puts += 1;
        self.event(Event::Put, [0, 0]);
        if self.config.sve() {
            // ZCR_EL1 first: saving the FP state raises the length that is in force.
            fp::open();
            self.vcpu.zcr_el1 = read!("S3_5_C1_C2_0");
        }
        self.fp_put();
        if self.config.sve() && self.fault(Fault::LzZcrSavedLate) {
            self.vcpu.zcr_el1 = self.config.len_max();
        }
        self.vcpu.el1.save();
        self.installed = None;
    }

    /// The vCPU gets the CPU.
    pub fn vcpu_load(&mut self) {
        self.job.counters.loads += 1;
        self.event(Event::Load, [0, 0]);
        self.vcpu.el1.load();
        if self.config.sve() {
            fp::open();
            write!("S3_5_C1_C2_0", self.vcpu.zcr_el1);
        }
        self.fp_load();
        if self.fault(Fault::SpEntryCptr) {
            write!("S3_5_C1_C0_2", 0);
        }
    }

    /// The vCPU after power-on: nothing of the old one survives, least of all in the registers.
    pub fn reset_vcpu(&mut self) {
        self.event(Event::Reset, [0, 0]);
        if !self.fault(Fault::LzDanglingOwner) {
            self.vcpu_put();
        }
        let old_zcr = self.vcpu.zcr_el1;
        self.vcpu.reset(&self.config);
        self.reset_fp();
        if self.fault(Fault::HkXcrRmw) {
            self.vcpu.zcr_el1 = old_zcr;
        }
        if self.config.el2() && self.fault(Fault::TrResetLayout) {
            self.vcpu.el1.cpacr = crate::bits::cptr::RES1_NVHE;
        }
        self.shadow.clear();
        arch::hyp::invalidate_guest_tlb();
        self.vcpu_load();
    }
}
