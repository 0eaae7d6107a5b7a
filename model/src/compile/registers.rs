//! Steps that fill, compute with and dump the FP registers.

use abi::op::{Code, churn, mask};
use abi::pattern::Owner;
use abi::record::FpImage;
use abi::sysreg::SysReg;

use super::program::{DumpCheck, Expected};
use super::{CompileError, Compiler};
use crate::machine::Writable;
use crate::oracle::file::Effect;
use crate::oracle::fill;
use crate::oracle::length::{effective_length, vector_length};
use crate::oracle::traps::{Access, trap};
use crate::oracle::value::{Kind, to_bytes};
use crate::scenario::step::RegSet;

/// The registers that only SVE has.
const SVE_ONLY: u64 = mask::P | mask::FFR;

impl Compiler<'_> {
    pub(super) fn fill(&mut self, set: RegSet) -> Result<(), CompileError> {
        let mask = self.resolve(set);
        self.accessible(mask, "the fill")?;
        self.generation = self.generation.wrapping_add(1) & 0xfff;
        let vq = effective_length(self.place, &self.controls, self.machine).unwrap_or(1);
        let stride = if mask & mask::V_ONLY != 0 { 1 } else { vq };
        let image = fill_image(mask, self.generation, stride, vq, self.machine.writable);
        let (data, len) = self.add_data(&image)?;
        self.emit_with_data(Code::Fill, [mask, 0, 0, 0, 0], 0, data, len);
        self.effect(Effect::Fill { mask, generation: self.generation, vq })
    }

    pub(super) fn dump(&mut self, set: RegSet) -> Result<(), CompileError> {
        let mut mask = self.resolve(set);
        self.accessible(mask, "the comparison")?;
        if mask & (mask::Z | SVE_ONLY) == 0 {
            // Status registers alone: the dump of V registers is the smaller one.
            mask |= mask::V_ONLY;
        }
        if self.machine.features.fpmr {
            // A dump stores FPMR whatever is compared.
            self.must_not_trap(Access::SysReg { reg: SysReg::Fpmr, write: false }, "FPMR in the dump")?;
        }
        let vq = if mask & mask::V_ONLY != 0 {
            1
        } else {
            vector_length(self.place, &self.controls, self.machine)
        };
        let op = self.emit(Code::Dump, [mask, 0, 0, 0, 0]);
        self.check(op, Expected::Dump(DumpCheck { mask, vq }));
        Ok(())
    }

    pub(super) fn churn(&mut self, rounds: u32) -> Result<(), CompileError> {
        if rounds == 0 || u64::from(rounds) > churn::ROUNDS_MAX {
            return Err(self.wrong(format!("churn takes 1 to {} rounds", churn::ROUNDS_MAX)));
        }
        let v_only = trap(Access::Sve, self.place, &self.controls, self.machine).is_some();
        self.must_not_trap(if v_only { Access::Fp } else { Access::Sve }, "churn")?;
        let vq = effective_length(self.place, &self.controls, self.machine).unwrap_or(1);
        let mode = if v_only { mask::V_ONLY } else { 0 };
        self.emit(Code::Churn, [u64::from(rounds), mode, 0, 0, 0]);
        self.effect(Effect::Churn { rounds: u64::from(rounds), vq, v_only })
    }

    /// Fills every register of the vCPU from outside, whatever this place can reach. Returns the offset of the image.
    pub(super) fn image_from_outside(&mut self) -> Result<u32, CompileError> {
        self.generation = self.generation.wrapping_add(1) & 0xfff;
        let (mask, vq) = self.whole_file();
        let image = fill_image(mask, self.generation, vq, vq, self.machine.writable);
        let (data, _) = self.add_data(&image)?;
        self.effect(Effect::Fill { mask, generation: self.generation, vq })?;
        self.settle()?;
        Ok(data)
    }

    /// The image of what every register of the vCPU is known to hold. Returns its offset.
    pub(super) fn known_image(&mut self) -> Result<u32, CompileError> {
        let (mask, vq) = self.whole_file();
        let mut filled = self.file.clone();
        let fill = Effect::Fill { mask, generation: self.generation, vq };
        filled.apply(&fill, self.machine).map_err(|ambiguous| self.wrong(ambiguous.to_string()))?;
        if filled != self.file {
            return Err(self
                .wrong("`vmm values` comes after `fill all` at the largest vector length, or `vmm write`"));
        }
        let image = fill_image(mask, self.generation, vq, vq, self.machine.writable);
        Ok(self.add_data(&image)?.0)
    }

    /// Every register of the vCPU, as bits of [`mask`], and its largest vector length.
    fn whole_file(&self) -> (u64, usize) {
        let status = mask::FPSR | mask::FPCR | if self.machine.features.fpmr { mask::FPMR } else { 0 };
        let sve = if self.machine.features.sve { SVE_ONLY } else { mask::V_ONLY };
        (mask::Z | sve | status, self.machine.lengths.max().map_or(1, usize::from))
    }

    /// `all` stands for what the place has. Where SVE is out of reach, the V registers are all of Z.
    fn resolve(&self, set: RegSet) -> u64 {
        if !set.all {
            return set.mask;
        }
        let reaches = |access| trap(access, self.place, &self.controls, self.machine).is_none();
        let fpmr = self.machine.features.fpmr && reaches(Access::SysReg { reg: SysReg::Fpmr, write: false });
        let status = mask::FPSR | mask::FPCR | if fpmr { mask::FPMR } else { 0 };
        status | mask::Z | if reaches(Access::Sve) { SVE_ONLY } else { mask::V_ONLY }
    }

    fn accessible(&self, mask: u64, what: &str) -> Result<(), CompileError> {
        let v_only = mask & mask::V_ONLY != 0;
        if v_only && mask & SVE_ONLY != 0 {
            return Err(self.wrong("P and FFR do not go with V registers: write z for them"));
        }
        if mask & mask::FPMR != 0 {
            if !self.machine.features.fpmr {
                return Err(super::skip(abi::skip::FEATURE_ABSENT, "the CPU has no FPMR"));
            }
            self.must_not_trap(Access::SysReg { reg: SysReg::Fpmr, write: true }, what)?;
        }
        let sve = mask & SVE_ONLY != 0 || (mask & mask::Z != 0 && !v_only);
        if sve && !self.machine.features.sve {
            return Err(super::skip(abi::skip::FEATURE_ABSENT, "the guest has no SVE"));
        }
        self.must_not_trap(if sve { Access::Sve } else { Access::Fp }, what)
    }
}

/// The image of a fill: an [`FpImage`], then Z0 to Z31 at `stride` quadwords each. FFR is for a vector length of
/// `vq` quadwords.
fn fill_image(mask: u64, generation: u16, stride: usize, vq: usize, writable: Writable) -> Vec<u8> {
    let owner = Owner::Scenario;
    let predicate_len = 2 * stride;
    let mut image = Vec::with_capacity(FpImage::LEN + 32 * 16 * stride);
    let status = |bit: u64, value: u64| if mask & bit != 0 { value } else { 0 };
    for word in [
        status(mask::FPSR, fill::fpsr(generation, writable)),
        status(mask::FPCR, fill::fpcr(generation, writable)),
        status(mask::FPMR, fill::fpmr(generation, writable)),
        16 * stride as u64,
    ] {
        image.extend_from_slice(&word.to_le_bytes());
    }
    image.extend(to_bytes(Kind::Predicate, &fill::ffr(generation, vq), stride));
    image.resize(4 * 8 + 32, 0);
    for reg in 0..16 {
        let value = fill::predicate(owner, generation, reg);
        image.extend(to_bytes(Kind::Predicate, &value, stride));
    }
    debug_assert_eq!(image.len(), 64 + 16 * predicate_len);
    image.resize(FpImage::LEN, 0);
    for reg in 0..32 {
        image.extend(to_bytes(Kind::Vector, &fill::vector(owner, generation, reg), stride));
    }
    image
}
