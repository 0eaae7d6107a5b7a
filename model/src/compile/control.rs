//! Steps that write and read control registers.

use abi::op::Code;
use abi::place::Place;
use abi::sysreg::SysReg;

use super::program::Expected;
use super::{CompileError, Compiler, skip};
use crate::oracle::controls::{self, El, el_of};
use crate::oracle::file::{Bits, Effect};
use crate::oracle::length::vector_length;
use crate::oracle::sysreg::{Storage, reach};
use crate::oracle::traps::{Access, trap};
use crate::scenario::field;
use crate::scenario::step::{Control, ControlReg, Length, Unit};

impl Compiler<'_> {
    /// Writes the bits of `mask`. It must not trap.
    pub(super) fn sys_write(&mut self, reg: SysReg, value: u64, mask: u64) -> Result<(), CompileError> {
        let storage = self.reachable(reg, true)?;
        self.emit(Code::SysWrite, [reg as u64, value, mask, 0, 0]);
        match storage {
            Storage::Status(bit) => self.effect(Effect::Status { reg: bit, value, mask }),
            Storage::Constant(_) | Storage::Actlr => {
                Err(self.wrong(format!("{} cannot be written", reg.name())))
            }
            storage => {
                storage.write(value, mask, &mut self.controls, self.machine);
                self.settle()
            }
        }
    }

    /// What the accessor reaches at the current place, where it must neither trap nor be UNDEFINED.
    fn reachable(&self, reg: SysReg, write: bool) -> Result<Storage, CompileError> {
        let access = Access::SysReg { reg, write };
        if let Some(trap) = trap(access, self.place, &self.controls, self.machine) {
            return Err(self.wrong(format!(
                "{} traps at {} to {} with EC {:#04x}",
                reg.name(),
                self.place.name(),
                trap.to.name(),
                trap.syndrome.ec()
            )));
        }
        reach(reg, self.place, &self.controls, self.machine)
            .ok_or_else(|| self.wrong(format!("{} is undefined at {}", reg.name(), self.place.name())))
    }

    /// Writes bits of HCR_EL2.
    pub(super) fn write_hcr(&mut self, value: u64, mask: u64) -> Result<(), CompileError> {
        self.sys_write(SysReg::HcrEl2, value, mask)
    }

    pub(super) fn set(&mut self, control: &Control, value: u64) -> Result<(), CompileError> {
        let reg = self.accessor(control.reg)?;
        let storage = self.reachable(reg, true)?;
        let followed = storage.followed(&self.controls, self.machine);
        let Some(name) = &control.field else {
            // A whole register: but of those that hold more than the oracle knows, only what it follows.
            let whole = matches!(storage, Storage::Zcr(_) | Storage::Zcr2 | Storage::Status(_));
            return self.sys_write(reg, value, if whole { u64::MAX } else { followed });
        };
        let field = self.field(control.reg, name)?;
        // Nothing keeps a guest from writing the field of a feature that it has not got, and a hypervisor may only hide it.
        let reserved = match name.as_str() {
            "zen" | "tz" => !self.machine.features.sve,
            "smen" => self.machine.quirks.sme_is_hidden,
            _ => false,
        };
        if field.mask() & followed == 0 && !reserved {
            return Err(skip(skip::FEATURE_ABSENT, format!("{}.{name} is not there", reg.name())));
        }
        if value > field.max() {
            return Err(self.wrong(format!("{}.{name} has {} bits", reg.name(), field.width)));
        }
        self.sys_write(reg, value << field.lsb, field.mask())
    }

    pub(super) fn expect_control(&mut self, control: &Control) -> Result<(), CompileError> {
        let reg = self.accessor(control.reg)?;
        let storage = self.reachable(reg, false)?;
        let compared = match &control.field {
            Some(name) => self.field(control.reg, name)?.mask(),
            None => u64::MAX,
        };
        let bits = storage.read(&self.controls, &self.file);
        let known = bits.known & compared;
        if known == 0 {
            return Err(self.wrong(format!("what {} holds is not known here", reg.name())));
        }
        let op = self.emit(Code::SysRead, [reg as u64, 0, 0, 0, 0]);
        let expected = match storage {
            Storage::Status(mask) => Expected::Status { reg, mask, compared },
            _ => Expected::Register { reg, bits: Bits { value: bits.value & known, known } },
        };
        self.check(op, expected);
        Ok(())
    }

    fn field(&self, reg: ControlReg, name: &str) -> Result<field::Field, CompileError> {
        field::field(reg, self.place, self.guest.l1, name)
            .ok_or_else(|| self.wrong(format!("the register has no field `{name}` here")))
    }

    /// The accessor that a scenario's name stands for at this place.
    fn accessor(&self, reg: ControlReg) -> Result<SysReg, CompileError> {
        match reg {
            ControlReg::Named(reg) => Ok(reg),
            ControlReg::OfL2(_) if self.place != Place::L1 => {
                Err(self.wrong("the registers of L2 are reached from L1 only"))
            }
            ControlReg::OfL2(reg) if !self.controls.e2h() => Ok(reg),
            ControlReg::OfL2(SysReg::CpacrEl1) => Ok(SysReg::CpacrEl12),
            ControlReg::OfL2(SysReg::ZcrEl1) => Ok(SysReg::ZcrEl12),
            ControlReg::OfL2(SysReg::SctlrEl1) => Ok(SysReg::SctlrEl12),
            ControlReg::OfL2(reg) => Err(self.wrong(format!("L1 has no accessor for L2's {}", reg.name()))),
        }
    }

    /// Asks for a vector length at this level. Higher levels may allow less (rule P-86).
    pub(super) fn set_length(&mut self, length: Length) -> Result<(), CompileError> {
        let lengths = self.machine.lengths;
        let vq = match length {
            _ if !self.machine.features.sve => {
                return Err(skip(skip::FEATURE_ABSENT, "the guest has no SVE"));
            }
            Length::Min => Some(1),
            Length::Mid => lengths.mid(),
            Length::Max => lengths.max(),
            Length::Bits(bits) => {
                u8::try_from(bits / 128).ok().filter(|vq| bits % 128 == 0 && lengths.contains(*vq))
            }
        };
        let Some(vq) = vq else {
            return Err(skip(skip::NO_VECTOR_LENGTH, format!("the guest does not have {length:?}")));
        };
        let reg = match el_of(self.place) {
            El::El2 => SysReg::ZcrEl2,
            El::El1 => SysReg::ZcrEl1,
            El::El0 => return Err(self.wrong("EL0 has no ZCR")),
        };
        self.sys_write(reg, u64::from(vq) - 1, u64::MAX)
    }

    pub(super) fn trap_unit(&mut self, unit: Unit, on: bool) -> Result<(), CompileError> {
        let sve = unit == Unit::Sve;
        if sve && !self.machine.features.sve {
            return Err(skip(skip::FEATURE_ABSENT, "the guest has no SVE"));
        }
        let field = if sve { controls::ZEN } else { controls::FPEN };
        match (self.place, self.controls.e2h()) {
            (Place::L1, true) => self.sys_write(SysReg::CptrEl2, if on { 0 } else { field }, field),
            (Place::L1, false) => {
                let bit = if sve { controls::TZ } else { controls::TFP };
                self.sys_write(SysReg::CptrEl2, if on { bit } else { 0 }, bit)
            }
            (Place::L2 | Place::L2b | Place::G, _) => {
                // 0b01: EL0 is trapped, this level is not (P-68).
                let el0_only = field & (field >> 1);
                self.sys_write(SysReg::CpacrEl1, if on { el0_only } else { field }, field)
            }
            _ => Err(self.wrong("EL0 has no level below")),
        }
    }

    pub(super) fn expect_length(&mut self) -> Result<(), CompileError> {
        self.must_not_trap(Access::Sve, "RDVL")?;
        let vq = vector_length(self.place, &self.controls, self.machine);
        let op = self.emit(Code::ReadVl, [0; 5]);
        self.check(op, Expected::Length(vq));
        Ok(())
    }

    pub(super) fn expect_trap(&self, ec: u8) -> Result<(), CompileError> {
        match self.last_exception {
            Some(Some(was)) if was == ec => Ok(()),
            Some(Some(was)) => {
                Err(self.wrong(format!("the last exception has EC {was:#04x}, not {ec:#04x}")))
            }
            Some(None) => Err(self.wrong("the last exception was an IRQ, which has no syndrome")),
            None => Err(self.wrong("there was no exception before this step")),
        }
    }

    /// Refuses a step whose instructions would trap.
    pub(super) fn must_not_trap(&self, access: Access, what: &str) -> Result<(), CompileError> {
        match trap(access, self.place, &self.controls, self.machine) {
            None => Ok(()),
            Some(trap) => Err(self.wrong(format!(
                "{what} would trap at {} to {} with EC {:#04x}; `try` and `touch` are for that",
                self.place.name(),
                trap.to.name(),
                trap.syndrome.ec()
            ))),
        }
    }
}
