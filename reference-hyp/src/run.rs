//! The loop: program the CPU for an entry, enter, handle the exit. And what a put and a load are.

use abi::fault::Fault;
use abi::hyp::{End, Event};
use arch::hyp::ExitKind;
use arch::{read, write};

use crate::Hyp;
use crate::bits::{hcr, hcrx, vncr};
use crate::fp::{self, Owner};
use crate::stage2::{VMID_EL1, VMID_TOP, vmid};

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

/// HCR_EL2, HCRX_EL2, VTTBR_EL2 and VNCR_EL2 of a context.
#[derive(Clone, Copy, Debug, Default)]
pub struct Installation {
    hcr: u64,
    hcrx: u64,
    vttbr: u64,
    vncr: u64,
}

/// Whose registers HCR_EL2 and its like hold.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum InForce {
    /// Nobody's: the next entry writes them.
    #[default]
    None,
    /// Those of the guest's EL2, or of its only level.
    Top,
    /// Those of its EL1.
    Below,
}

/// What is in force, so that an entry writes registers only when they change, and computes them only when what
/// they follow from has changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Installed {
    in_force: InForce,
    top: Installation,
    below: Installation,
    /// What `below` follows from: HCR_EL2, HCRX_EL2 and VTTBR_EL2 of the guest. All zero, which no HCR_EL2 is, if
    /// it must be computed.
    follows_from: [u64; 3],
}

impl Installed {
    /// Something else has written these registers.
    pub const fn forget(&mut self) {
        self.in_force = InForce::None;
    }
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
        #[cfg(feature = "faults")]
        self.arm_traps_too_early();
        let virtual_interrupts = self.deliver_pending();
        #[cfg(feature = "faults")]
        {
            self.vcpu.arrived_by_eret = false;
        }
        self.install(virtual_interrupts);
        self.arm_step();
        if !self.traps_stay() {
            self.arm_traps();
        }
        // SAFETY: stage 2 maps this guest's memory only, and the EL1 registers are the guest's.
        let kind = unsafe { arch::hyp::enter(&mut self.vcpu.frame) };
        if self.vse_given {
            self.serror_taken();
        }
        match kind {
            ExitKind::SYNC => self.synchronous_exit(),
            ExitKind::IRQ => self.interrupt(),
            ExitKind(other) => self.end(End::UnknownExit, other),
        }
        self.account_emulated();
    }

    /// What a case's contexts have in common: computed once.
    pub fn prepare_installation(&mut self) {
        let own = self.stage2.base() | vmid(VMID_TOP);
        let fpmr = self.config.fpmr() || self.fault(Fault::TrFpmrOpen);
        let hcrx = hcrx::MSCEN | if fpmr { hcrx::ENFPM } else { 0 };
        let top = match (self.config.el2(), self.config.vhe()) {
            (false, _) => Installation { hcr: HCR_GUEST, hcrx, vttbr: own, vncr: 0 },
            (true, vhe) => {
                let nv1 = if vhe { 0 } else { hcr::NV1 };
                Installation { hcr: HCR_EL2_GUEST | nv1, hcrx, vttbr: own, vncr: self.vcpu.vncr.address() }
            }
        };
        self.installed = Installed { top, ..Installed::default() };
    }

    /// Puts HCR_EL2 and its like in force for the context that is about to run.
    fn install(&mut self, virtual_interrupts: u64) {
        let wanted = if self.vcpu.in_el2 || !self.config.el2() {
            InForce::Top
        } else {
            self.refresh_below();
            InForce::Below
        };
        if self.installed.in_force == wanted && virtual_interrupts == 0 {
            return;
        }
        let Installation { hcr, hcrx, vttbr, vncr } =
            if wanted == InForce::Top { self.installed.top } else { self.installed.below };
        write!("vttbr_el2", vttbr);
        if self.config.el2() {
            write!("S3_4_C2_C2_0", vncr);
        }
        if self.cpu.hcx {
            write!("S3_4_C1_C2_2", hcrx);
        }
        let hcr = hcr | virtual_interrupts;
        write!("hcr_el2", hcr);
        self.vse_given = hcr & hcr::VSE != 0;
        // With a virtual interrupt pending the next entry looks again.
        let pending = hcr & (hcr::VSE | hcr::VI | hcr::VF) != 0;
        self.installed.in_force = if pending { InForce::None } else { wanted };
    }

    /// Computes the registers of the guest of a guest hypervisor, if what they follow from has changed.
    fn refresh_below(&mut self) {
        let l1 = self.vcpu.hcr_el2();
        let l1_hcrx = self.vcpu.vncr.get(vncr::HCRX_EL2);
        let l1_vttbr = if l1 & hcr::VM != 0 { self.vcpu.vncr.get(vncr::VTTBR_EL2) } else { 0 };
        let [hcr, hcrx, vttbr] = self.installed.follows_from;
        if (hcr ^ l1) | (hcrx ^ l1_hcrx) | (vttbr ^ l1_vttbr) == 0 {
            return;
        }
        self.installed.forget();
        self.installed.below = self.installation_below(l1, l1_hcrx, l1_vttbr);
        // VNCR_EL2 of a guest hypervisor may change, and so may its VSESR_EL2: neither is looked at here.
        let lasting = l1 & (hcr::NV | hcr::VSE) == 0;
        self.installed.follows_from = if lasting { [l1, l1_hcrx, l1_vttbr] } else { [0; 3] };
    }

    fn installation_below(&mut self, l1: u64, l1_hcrx: u64, l1_vttbr: u64) -> Installation {
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
        let own = self.installed.top;
        let mut page = own.vncr;
        if l1 & hcr::NV != 0 {
            hcr |= hcr::NV | hcr::NV2 | hcr::AT | hcr::TTLB | (l1 & hcr::NV1);
            page = self.l2_vncr;
        }
        let vttbr = if l1 & hcr::VM != 0 {
            let (vttbr, evicted) = self.shadow.select(l1_vttbr);
            if evicted {
                arch::hyp::invalidate_guest_tlb();
            }
            vttbr
        } else {
            self.stage2.base() | vmid(VMID_EL1)
        };
        let mut hcrx = own.hcrx & l1_hcrx;
        if hcrx != own.hcrx && self.fault(Fault::TrFpmrNotForwarded) {
            hcrx |= own.hcrx & hcrx::ENFPM;
        }
        Installation { hcr, hcrx, vttbr, vncr: page }
    }

    /// The CPU clears HCR_EL2.VSE when the guest takes the SError: it is pending no more, for whomever it was.
    fn serror_taken(&mut self) {
        if read!("hcr_el2") & hcr::VSE != 0 {
            return;
        }
        self.vse_given = false;
        self.installed.forget();
        if self.vcpu.in_el2 || !self.config.el2() || self.vcpu.pending.serror {
            self.vcpu.pending.serror = false;
        } else {
            let l1 = self.vcpu.vncr.get(vncr::HCR_EL2);
            self.vcpu.vncr.set(vncr::HCR_EL2, l1 & !hcr::VSE);
        }
    }

    /// An IRQ: of the hypervisor's own timer, or of the guest's.
    pub fn interrupt(&mut self) {
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
        self.installed.forget();
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
        self.reset_guest_timer();
        self.reset_fp();
        self.upper.forget();
        if self.fault(Fault::HkXcrRmw) {
            self.vcpu.zcr_el1 = old_zcr;
        }
        #[cfg(feature = "faults")]
        if self.fault(Fault::TrResetLayout) {
            self.faults.latch = Some(crate::traps_faults::WAS_RESET);
        }
        self.shadow.clear();
        arch::hyp::invalidate_guest_tlb();
        self.vcpu_load();
    }
}
