//! Saves and loads of the vCPU's registers as published bugs had them.

use abi::fault::Fault;

use crate::Hyp;
use crate::bits::cptr;
use crate::fp::{self, Context};

impl Hyp {
    /// A faulty save of the vCPU's registers. False if the case commits no such fault: nothing is saved then.
    pub fn save_guest_wrongly(&mut self) -> bool {
        let (cpu, vq) = (self.cpu, self.config.vq_max);
        let l2 = self.config.el2() && !self.vcpu.in_el2;
        if (l2 && self.fault(Fault::NvSaveSmallVl))
            || (self.in_host_simd && self.fault(Fault::LzIrqSimdGuestVl))
        {
            save_at_length_in_force(&mut self.fp.guest);
            cpu.save_scalars(&mut self.fp.guest);
        } else if l2 && self.vcpu.l1_cptr() & cptr::ZEN0 == 0 && self.fault(Fault::HkFormatFromTrapBit) {
            cpu.save(&mut self.fp.guest, 0);
        } else if self.fault(Fault::SpFpsrFpcrMissed) {
            let (fpsr, fpcr) = (self.fp.guest.fpsr, self.fp.guest.fpcr);
            cpu.save(&mut self.fp.guest, vq);
            (self.fp.guest.fpsr, self.fp.guest.fpcr) = (fpsr, fpcr);
        } else if self.fault(Fault::HkPartialFpmr) {
            let fpmr = self.fp.guest.fpmr;
            cpu.save(&mut self.fp.guest, vq);
            self.fp.guest.fpmr = fpmr;
        } else if self.fault(Fault::XhOneRegPair) {
            self.save_all_but(16, 2);
        } else if self.fault(Fault::LzIrqWindowInSave) {
            cpu.save(&mut self.fp.guest, vq);
            let vl = length(vq);
            let (poisoned, half) = (&self.fp.poison.vectors.z, 16 * vl);
            let image = &mut self.fp.guest.vectors.z;
            image[half..2 * half].copy_from_slice(&poisoned[half..2 * half]);
        } else if self.fault(Fault::SpSaveBaseOff) {
            cpu.save(&mut self.fp.guest, vq);
            let end = self.fp.guest.vectors.z.len();
            self.fp.guest.vectors.z.copy_within(..end - 512, 512);
        } else if self.fault(Fault::LzSaveIntoCurrent) {
            cpu.save(self.neighbors.task_image(), vq);
        } else if self.fault(Fault::XhNoSwitch) {
            // Nothing is saved.
        } else {
            return false;
        }
        true
    }

    /// A faulty load of the vCPU's registers. False if the case commits no such fault: nothing is loaded then.
    pub fn load_guest_wrongly(&mut self) -> bool {
        let (cpu, vq) = (self.cpu, self.config.vq_max);
        if vq != 0 && self.fault(Fault::RmPFfrLeak) {
            fp::open();
            fp::limit(vq - 1);
            self.fp.guest.vectors.load_z();
            cpu.load_scalars(&self.fp.guest);
        } else if self.fault(Fault::SpRestoreOneStored) {
            let fpcr = arch::read!("S3_3_C4_C4_0");
            self.fp.guest.fpcr = fpcr;
            cpu.load(&self.fp.guest, vq);
        } else if self.job.counters.fp_loads > 0 && self.fault(Fault::HkReinitOnTrap) {
            self.fp.guest.reset();
            cpu.load(&self.fp.guest, vq);
        } else if self.faults.latch.is_some() && self.fault(Fault::HkElideAfterHypSimd) {
            self.faults.latch = None;
        } else if self.fault(Fault::XhNoSwitch) {
            // Nothing is loaded.
        } else {
            return false;
        }
        true
    }

    fn save_all_but(&mut self, first: usize, count: usize) {
        let vl = length(self.config.vq_max);
        let lost = first * vl..(first + count) * vl;
        let mut kept = [0; 512];
        let kept = &mut kept[..lost.len()];
        kept.copy_from_slice(&self.fp.guest.vectors.z[lost.clone()]);
        self.cpu.save(&mut self.fp.guest, self.config.vq_max);
        self.fp.guest.vectors.z[lost].copy_from_slice(kept);
    }
}

/// Saves Z, P and FFR without raising ZCR_EL2 to the vCPU's maximum first.
fn save_at_length_in_force(to: &mut Context) {
    arch::write!("S3_0_C1_C0_2", cptr::FPEN | cptr::ZEN);
    arch::sysreg::isb();
    to.vectors.save_sve();
}

fn length(vq: u64) -> usize {
    usize::try_from(vq.max(1)).unwrap_or(1) * 16
}
