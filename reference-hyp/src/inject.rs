//! An exception taken as the architecture takes it, to the level whose registers the CPU holds at EL1.

use abi::hyp::Event;
use arch::{read, write};

use crate::Hyp;
use crate::bits::{hcr, pstate};

/// Which of the four vectors of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u64)]
pub enum Vector {
    /// Synchronous.
    Sync = 0,
    /// IRQ.
    Irq = 0x80,
    /// SError.
    SError = 0x180,
}

/// ESR_ELx of an undefined instruction.
pub const ESR_UNDEF: u64 = arch::esr::IL;

/// PSTATE after an exception to EL1 from `from`: as the Arm ARM's AArch64.TakeException.
#[must_use]
pub const fn taken(from: u64, span: bool) -> u64 {
    let kept = from & (pstate::NZCV | pstate::DIT | pstate::PAN);
    kept | if span { 0 } else { pstate::PAN } | pstate::DAIF | pstate::EL1H
}

/// The mode that SPSR shows to a guest whose EL2 runs at EL1: what hardware does for HCR_EL2.NV = 1.
#[must_use]
pub const fn mode_as_el2(value: u64) -> u64 {
    match value & pstate::MODE {
        pstate::EL1T => value & !pstate::MODE | pstate::EL2T,
        pstate::EL1H => value & !pstate::MODE | pstate::EL2H,
        _ => value,
    }
}

impl Hyp {
    /// Takes an exception from the level that runs to the EL1 whose registers the CPU holds: a guest's EL1, or
    /// its EL2 if that runs. `esr` is `None` for an IRQ, which leaves ESR and FAR alone.
    pub fn take_exception(&mut self, vector: Vector, esr: Option<u64>, far: u64) {
        let from = self.vcpu.frame.pstate;
        let group = match from & pstate::MODE {
            pstate::EL0T => 0x400,
            pstate::EL1T => 0x000,
            _ => 0x200,
        };
        // The EL1 that runs is somebody's EL2: the guest's own, or that of a hypervisor which is the guest's guest.
        let is_el2 = self.vcpu.in_el2 || (self.config.el2() && self.l1_hcr(hcr::NV));
        let spsr = if is_el2 { mode_as_el2(from) } else { from };
        self.enter_vector(group + vector as u64, spsr, esr, far);
        self.job.counters.injected += 1;
        self.event(Event::Inject, [esr.unwrap_or(0), self.vcpu.frame.pc]);
    }

    /// Sets SPSR, ELR, ESR, FAR and PC for an exception whose vector and SPSR are known.
    pub fn enter_vector(&mut self, offset: u64, spsr: u64, esr: Option<u64>, far: u64) {
        if let Some(esr) = esr {
            write!("S3_5_C5_C2_0", esr);
            write!("S3_5_C6_C0_0", far);
        }
        // PSTATE.SS is our own single step: the guest must not see it.
        write!("S3_5_C4_C0_0", spsr & !pstate::SS);
        write!("S3_5_C4_C0_1", self.vcpu.frame.pc);
        const SPAN: u64 = 1 << 23;
        let span = read!("S3_5_C1_C0_0") & SPAN != 0;
        self.vcpu.frame.pc = read!("S3_5_C12_C0_0").wrapping_add(offset);
        self.vcpu.frame.pstate = taken(self.vcpu.frame.pstate, span);
        self.vcpu.emulated = true;
    }

    /// The instruction is undefined where it stands.
    pub fn undefined(&mut self) {
        self.take_exception(Vector::Sync, Some(ESR_UNDEF), 0);
    }
}
