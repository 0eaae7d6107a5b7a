//! What comes before the first step: controls that are known, and open.

use abi::job::flag;
use abi::place::Place;
use abi::sysreg::SysReg;

use super::program::Needs;
use super::{CompileError, Compiler};
use crate::machine::Machine;
use crate::oracle::controls::{self, hcr};
use crate::oracle::file::Bits;
use crate::scenario::step::{GuestSpec, L1Mode};

/// The payload's flags for this guest.
pub(super) fn job_flags(guest: &GuestSpec, machine: &Machine, needs: Needs) -> u32 {
    let when = |on: bool, bit: u32| if on { bit } else { 0 };
    when(guest.l1 == Some(L1Mode::Vhe), flag::VHE)
        | when(!guest.mmu, flag::MMU_OFF)
        | when(machine.features.sve, flag::SVE)
        | when(machine.features.fpmr, flag::FPMR)
        | when(guest.cold, flag::COLD)
        | when(needs.other_vcpu, flag::OTHER_VCPU)
}

impl Compiler<'_> {
    /// Opens FP and SVE everywhere and asks for the longest vectors.
    ///
    /// A cold program leaves ZCR_ELx alone, since a write of it is a use of SVE; a write of CPTR_EL2 or CPACR_EL1
    /// is none.
    pub(super) fn prologue(&mut self) -> Result<(), CompileError> {
        match self.home {
            Place::L1 => self.prologue_l1(),
            _ => self.prologue_g(),
        }?;
        self.settle()
    }

    fn prologue_l1(&mut self) -> Result<(), CompileError> {
        // Only the bits that the oracle follows: RW, E2H and the rest are the payload's own business.
        let followed = hcr::TGE
            | hcr::VM
            | hcr::FMO
            | hcr::IMO
            | hcr::AMO
            | hcr::VF
            | hcr::VI
            | hcr::VSE
            | hcr::TWI
            | hcr::TWE
            | hcr::TSC
            | hcr::TACR;
        let vm = if self.guest.stage2 { hcr::VM } else { 0 };
        self.sys_write(SysReg::HcrEl2, hcr::FMO | hcr::IMO | hcr::AMO | vm, followed)?;
        let zen = self.when_sve(controls::ZEN);
        if self.controls.e2h() {
            let open = controls::FPEN | zen;
            self.sys_write(SysReg::CptrEl2, open, open | controls::TCPAC)?;
        } else {
            let traps = controls::TFP | controls::TCPAC | self.when_sve(controls::TZ);
            self.sys_write(SysReg::CptrEl2, 0, traps)?;
        }
        if self.machine.features.fpmr {
            self.sys_write(SysReg::HcrxEl2, controls::HCRX_ENFPM, controls::HCRX_ENFPM)?;
            if self.controls.e2h() {
                self.sys_write(SysReg::SctlrEl2, controls::SCTLR_ENFPM, controls::SCTLR_ENFPM)?;
            }
        }
        if self.machine.features.sve && !self.guest.cold {
            self.sys_write(SysReg::ZcrEl2, controls::LEN, u64::MAX)?;
        }
        let vhe = self.controls.e2h();
        let name = |el12, el1| if vhe { el12 } else { el1 };
        self.prologue_el1(
            name(SysReg::CpacrEl12, SysReg::CpacrEl1),
            name(SysReg::SctlrEl12, SysReg::SctlrEl1),
            name(SysReg::ZcrEl12, SysReg::ZcrEl1),
        )?;
        // L2b gets its own when it is installed.
        self.controls.l2b = self.controls.l2;
        Ok(())
    }

    fn prologue_g(&mut self) -> Result<(), CompileError> {
        self.prologue_el1(SysReg::CpacrEl1, SysReg::SctlrEl1, SysReg::ZcrEl1)
    }

    fn prologue_el1(&mut self, cpacr: SysReg, sctlr: SysReg, zcr: SysReg) -> Result<(), CompileError> {
        let open = controls::FPEN | self.when_sve(controls::ZEN);
        self.sys_write(cpacr, open, open)?;
        if self.machine.features.fpmr {
            self.sys_write(sctlr, controls::SCTLR_ENFPM, controls::SCTLR_ENFPM)?;
        }
        if self.machine.features.sve && !self.guest.cold {
            self.sys_write(zcr, controls::LEN, u64::MAX)?;
        }
        Ok(())
    }

    fn when_sve(&self, bits: u64) -> u64 {
        if self.machine.features.sve { bits } else { 0 }
    }

    /// Puts the EL1 context of L2 or L2b into the registers.
    pub(super) fn install(&mut self, wanted: Place) -> Result<(), CompileError> {
        if self.controls.installed == wanted {
            return Ok(());
        }
        let vmid = if wanted == Place::L2b { 2 } else { 1 };
        self.emit(abi::op::Code::Bank, [vmid, 0, 0, 0, 0]);
        self.resume[super::arrive::level_index(Place::L2)] = None;
        self.resume[super::arrive::level_index(Place::L2b)] = None;
        self.controls.installed = wanted;
        let bank = *self.controls.el1(wanted);
        let vhe = self.controls.e2h();
        let name = |el12, el1| if vhe { el12 } else { el1 };
        let known = |bits: Bits, mask: u64| (bits.value, bits.known & mask);
        let open = controls::FPEN | self.when_sve(controls::ZEN);
        let (value, mask) = known(bank.cpacr, open);
        self.sys_write(name(SysReg::CpacrEl12, SysReg::CpacrEl1), value, mask)?;
        if self.machine.features.fpmr {
            let (value, mask) = known(bank.sctlr, controls::SCTLR_ENFPM);
            self.sys_write(name(SysReg::SctlrEl12, SysReg::SctlrEl1), value, mask)?;
        }
        if self.machine.features.sve {
            self.sys_write(name(SysReg::ZcrEl12, SysReg::ZcrEl1), bank.zcr.value, u64::MAX)?;
        }
        Ok(())
    }
}
