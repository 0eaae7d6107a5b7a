//! The register file: one for all levels of a vCPU, as the architecture has it.

use abi::op::{Touch, mask};
use abi::pattern::Owner;

use super::fill;
use super::value::{Kind, Slices, VQ_MAX, Value};
use crate::machine::{FpReset, Machine, Writable};

/// A control or status register of the register file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bits {
    /// The value; bits outside `known` are zero.
    pub value: u64,
    /// The bits of it that the oracle knows.
    pub known: u64,
}

impl Bits {
    /// A register known to hold `value`.
    #[must_use]
    pub const fn all(value: u64) -> Self {
        Self { value, known: u64::MAX }
    }

    /// A register that may hold anything.
    pub const UNKNOWN: Self = Self { value: 0, known: 0 };

    /// The register after `value` was written to the bits of `mask`.
    #[must_use]
    pub const fn written(self, value: u64, mask: u64) -> Self {
        Self { value: self.value & !mask | value & mask, known: self.known | mask }
    }

    /// Whether a read that gave `seen` is legal.
    #[must_use]
    pub const fn allows(self, seen: u64) -> bool {
        (seen ^ self.value) & self.known == 0
    }
}

/// Z0 to Z31, P0 to P15, FFR, FPSR, FPCR, FPMR (rules P-80, P-81: every level has the same).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegisterFile {
    /// Z registers; the low 128 bits are the V registers.
    pub z: Vec<Value>,
    /// P registers.
    pub p: Vec<Value>,
    /// FFR.
    pub ffr: Value,
    /// FPSR.
    pub fpsr: Bits,
    /// FPCR.
    pub fpcr: Bits,
    /// FPMR.
    pub fpmr: Bits,
}

/// What happens to the register file. A compiled program is, for the oracle, a list of these.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// A level runs with FP enabled and this vector length, in quadwords.
    Narrow(usize),
    /// The registers of `mask` ([`abi::op::mask`]) get the pattern of `generation`.
    Fill {
        /// Which registers.
        mask: u64,
        /// Which pattern.
        generation: u16,
        /// The vector length in quadwords.
        vq: usize,
    },
    /// One instruction that writes FP state.
    Touch(Touch, usize),
    /// A load to Z0: this many quadwords of the vector length; the rest up to it is zeroed.
    Load {
        /// What is in memory.
        data: Box<Slices>,
        /// The vector length in quadwords.
        vq: usize,
    },
    /// A first-fault load to Z0 by 64-bit elements whose element `fault` cannot be loaded.
    FirstFault {
        /// What is in memory, zero from element `fault` on.
        data: Box<Slices>,
        /// The first element that cannot be loaded.
        fault: usize,
        /// Even the first active element may be suppressed, by a quirk.
        first_may_fail: bool,
        /// The vector length in quadwords.
        vq: usize,
    },
    /// Rounds of [`abi::op::churn`], at this vector length, with P registers.
    Churn {
        /// How many rounds.
        rounds: u64,
        /// The vector length in quadwords.
        vq: usize,
        /// V registers only.
        v_only: bool,
    },
    /// A write to FPSR, FPCR or FPMR.
    Status {
        /// The mask bit of the register.
        reg: u64,
        /// The value.
        value: u64,
        /// The bits replaced.
        mask: u64,
    },
    /// A reset of the vCPU.
    Reset,
}

/// A register that an instruction reads has more than one legal value, so its result would have, too.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} may hold more than one value here, so it is no source until it is filled again")]
pub struct Ambiguous(pub String);

impl RegisterFile {
    /// The register file when a case begins, or after a reset.
    #[must_use]
    pub fn new(machine: &Machine) -> Self {
        let value = |kind| match machine.fp_reset {
            FpReset::Zero => Value::zero(kind),
            FpReset::Unknown => Value::unknown(kind),
        };
        let bits = |writable: u64| match machine.fp_reset {
            FpReset::Zero => Bits::all(0),
            // RES0 bits are zero whatever the rest is.
            FpReset::Unknown => Bits { value: 0, known: if writable == 0 { u64::MAX } else { 0 } },
        };
        Self {
            z: vec![value(Kind::Vector); 32],
            p: vec![value(Kind::Predicate); 16],
            ffr: value(Kind::Predicate),
            fpsr: bits(machine.writable.fpsr),
            fpcr: bits(machine.writable.fpcr),
            fpmr: bits(machine.writable.fpmr),
        }
    }

    /// Applies one effect.
    ///
    /// # Errors
    ///
    /// A source is ambiguous; nothing has changed then.
    pub fn apply(&mut self, effect: &Effect, machine: &Machine) -> Result<(), Ambiguous> {
        match effect {
            Effect::Narrow(vq) => self.narrow(*vq),
            Effect::Fill { mask, generation, vq } => self.fill(*mask, *generation, *vq, machine.writable),
            Effect::Touch(touch, vq) => self.touch(*touch, *vq),
            Effect::Load { data, vq } => self.z[0].write(*vq, data),
            Effect::FirstFault { data, fault, first_may_fail, vq } => {
                self.first_fault(data, *fault, *first_may_fail, *vq)?;
            }
            Effect::Churn { rounds, vq, v_only } => self.churn(*rounds, *vq, *v_only)?,
            Effect::Status { reg, value, mask } => {
                let bits = match *reg {
                    mask::FPSR => &mut self.fpsr,
                    mask::FPCR => &mut self.fpcr,
                    _ => &mut self.fpmr,
                };
                *bits = bits.written(*value, *mask);
            }
            Effect::Reset => *self = Self::new(machine),
        }
        Ok(())
    }

    fn narrow(&mut self, vq: usize) {
        for value in self.z.iter_mut().chain(&mut self.p) {
            value.narrow(vq);
        }
        self.ffr.narrow(vq);
    }

    fn fill(&mut self, what: u64, generation: u16, vq: usize, writable: Writable) {
        let v_only = what & mask::V_ONLY != 0;
        for (reg, value) in (0_u8..).zip(&mut self.z) {
            if what & (1 << reg) != 0 {
                let pattern = fill::vector(Owner::Scenario, generation, reg);
                // A write to a V register zeroes the Z register up to the current length (P-56, R_WKYLB).
                value.write(vq, &if v_only { super::value::cut_at(&pattern, 1) } else { pattern });
            }
        }
        for (reg, value) in (0_u8..).zip(&mut self.p) {
            if what & (1 << (32 + reg)) != 0 {
                value.write(vq, &fill::predicate(Owner::Scenario, generation, reg));
            }
        }
        if what & mask::FFR != 0 {
            self.ffr.write(vq, &fill::ffr(generation, vq));
        }
        if what & mask::FPSR != 0 {
            self.fpsr = Bits::all(fill::fpsr(generation, writable));
        }
        if what & mask::FPCR != 0 {
            self.fpcr = Bits::all(fill::fpcr(generation, writable));
        }
        if what & mask::FPMR != 0 {
            self.fpmr = Bits::all(fill::fpmr(generation, writable));
        }
    }

    fn touch(&mut self, touch: Touch, vq: usize) {
        match touch {
            Touch::V => {
                // The low 128 bits, and zeros up to the current length (P-56).
                let source = self.z[30].clone();
                self.z[31].write(vq, &[0; VQ_MAX]);
                self.z[31].copy(1, &source);
            }
            Touch::Z => {
                let source = self.z[30].clone();
                self.z[31].copy(vq, &source);
            }
            Touch::P => {
                let source = self.p[14].clone();
                self.p[15].copy(vq, &source);
            }
            Touch::Ffr => self.p[15].copy(vq, &self.ffr),
            Touch::SetFfr => self.ffr.write(vq, &fill::ones_below(16 * vq)),
            _ => {}
        }
    }

    /// LDFF1D, from its pseudocode: the elements that P0 selects are loaded one after another. From the first one
    /// whose access is suppressed, FFR is cleared; an access but the first active one may be suppressed for any
    /// reason, so any later element may be the one, and `fault` is one at the latest. From the first FALSE element of
    /// FFR on, an element of the result is what was loaded, or zero, or what was there before.
    fn first_fault(
        &mut self,
        data: &Slices,
        fault: usize,
        first_may_fail: bool,
        vq: usize,
    ) -> Result<(), Ambiguous> {
        let governing = source("p0", &self.p[0], vq)?;
        let old = source("z0", &self.z[0], vq)?;
        let ffr = source("ffr", &self.ffr, vq)?;
        let elements = 2 * vq;
        let active = |element: usize| governing[element / 2] >> (8 * (element % 2)) & 1 != 0;
        let in_ffr = |element: usize| ffr[element / 2] >> (8 * (element % 2)) & 1 != 0;
        let Some(first) = (0..elements).find(|element| active(*element)) else {
            self.z[0].write(vq, &[0; VQ_MAX]);
            return Ok(());
        };
        // With no active element at or above `fault`, no access has to fail.
        let last = (fault..elements).find(|element| active(*element)).unwrap_or(elements);
        let mut cleared: Vec<Slices> = Vec::new();
        let earliest = if first_may_fail { first } else { first + 1 };
        for at in (earliest..=last).filter(|at| *at == elements || active(*at)) {
            let mut value = ffr;
            for element in at..elements {
                value[element / 2] &= !(0xff << (8 * (element % 2)));
            }
            if !cleared.contains(&value) {
                cleared.push(value);
            }
        }
        // The element from which the result is open: FALSE in FFR already, or suppressed at the earliest.
        let open = (0..elements).find(|element| !in_ffr(*element)).unwrap_or(elements);
        let open = open.min((earliest..elements).find(|element| active(*element)).unwrap_or(elements));
        let element_of = |value: &Slices, element: usize| {
            value[element / 2] >> (64 * (element % 2)) & u128::from(u64::MAX)
        };
        let loaded = |element: usize| if active(element) { element_of(data, element) } else { 0 };
        let mut result = [0; VQ_MAX];
        for element in 0..open {
            result[element / 2] |= loaded(element) << (64 * (element % 2));
        }
        self.z[0].write(vq, &result);
        let options = |element: usize| {
            if element < open {
                return vec![loaded(element)];
            }
            let mut options = vec![0, element_of(&old, element)];
            if element < last {
                options.insert(0, loaded(element));
            }
            options.dedup();
            options
        };
        for slice in open / 2..vq {
            let high = options(2 * slice + 1);
            let both =
                options(2 * slice).into_iter().flat_map(|low| high.iter().map(move |high| low | high << 64));
            self.z[0].loosen(slice, both.collect());
        }
        if !cleared.is_empty() {
            self.ffr.write_any(vq, &cleared);
        }
        Ok(())
    }

    fn churn(&mut self, rounds: u64, vq: usize, v_only: bool) -> Result<(), Ambiguous> {
        let width = if v_only { 1 } else { vq };
        let mut z = Vec::with_capacity(32);
        for (reg, value) in self.z.iter().enumerate() {
            z.push(source(&format!("z{reg}"), value, width)?);
        }
        let mut p = Vec::with_capacity(16);
        for (reg, value) in self.p.iter().enumerate().filter(|_| !v_only) {
            p.push(source(&format!("p{reg}"), value, vq)?);
        }
        for _ in 0..rounds {
            for reg in 0..32 {
                let (one, seven) = (z[(reg + 1) % 32], z[(reg + 7) % 32]);
                for (slice, word) in z[reg].iter_mut().enumerate().take(width) {
                    *word = add_lanes(*word, one[slice]) ^ seven[slice];
                }
            }
            for reg in 0..p.len() {
                let one = p[(reg + 1) % 16];
                for (slice, word) in p[reg].iter_mut().enumerate().take(width) {
                    *word ^= one[slice];
                }
            }
        }
        for (value, new) in self.z.iter_mut().zip(&z) {
            value.write(vq, new);
        }
        for (value, new) in self.p.iter_mut().zip(&p) {
            value.write(vq, new);
        }
        Ok(())
    }
}

/// The value of a register as an operand.
fn source(name: &str, value: &Value, vq: usize) -> Result<Slices, Ambiguous> {
    value.single(vq).ok_or_else(|| Ambiguous(name.to_owned()))
}

fn add_lanes(a: u128, b: u128) -> u128 {
    let low = u128::from((a as u64).wrapping_add(b as u64));
    let high = u128::from(((a >> 64) as u64).wrapping_add((b >> 64) as u64));
    low | high << 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::machine::{Machine, QemuCpu};
    use crate::oracle::value::to_bytes;
    use crate::scenario::step::{Cpu, GuestSpec};

    fn machine() -> Machine {
        let cpu = QemuCpu { cpu: Cpu::Max, sve: true, vl_max: 2048, sme: false, fpmr: true, poe: false };
        let guest = GuestSpec { vl_max: 2048, ..GuestSpec::default() };
        Machine::reference(&cpu, &guest).unwrap()
    }

    fn filled(vq: usize) -> RegisterFile {
        let machine = machine();
        let mut file = RegisterFile::new(&machine);
        let all = mask::Z | mask::P | mask::FFR | mask::FPSR | mask::FPCR | mask::FPMR;
        file.apply(&Effect::Fill { mask: all, generation: 1, vq }, &machine).unwrap();
        file
    }

    /// The prose of `abi::op::churn`, byte by byte.
    fn churn_naive(z: &mut [Vec<u8>], p: &mut [Vec<u8>], rounds: u64) {
        for _ in 0..rounds {
            for i in 0..32 {
                for lane in 0..z[i].len() / 8 {
                    let at = |reg: &[u8]| u64::from_le_bytes(reg[8 * lane..8 * lane + 8].try_into().unwrap());
                    let sum = at(&z[i]).wrapping_add(at(&z[(i + 1) % 32]));
                    z[i][8 * lane..8 * lane + 8].copy_from_slice(&sum.to_le_bytes());
                }
                for byte in 0..z[i].len() {
                    z[i][byte] ^= z[(i + 7) % 32][byte];
                }
            }
            for i in 0..p.len() {
                for byte in 0..p[i].len() {
                    p[i][byte] ^= p[(i + 1) % 16][byte];
                }
            }
        }
    }

    proptest! {
        #[test]
        fn churn_is_what_its_prose_says(rounds in 0..20_u64, vq in 1..=16_usize) {
            let mut file = filled(16);
            let bytes = |values: &[Value]| -> Vec<Vec<u8>> {
                values.iter().map(|value| to_bytes(value.kind(), &value.single(vq).unwrap(), vq)).collect()
            };
            let (mut z, mut p) = (bytes(&file.z), bytes(&file.p));
            churn_naive(&mut z, &mut p, rounds);
            file.apply(&Effect::Churn { rounds, vq, v_only: false }, &machine()).unwrap();
            prop_assert_eq!(bytes(&file.z), z);
            prop_assert_eq!(bytes(&file.p), p);
        }
    }

    #[test]
    fn a_v_write_zeroes_the_rest_of_the_vector() {
        let mut file = filled(4);
        file.apply(&Effect::Touch(Touch::V, 4), &machine()).unwrap();
        let value = file.z[31].single(4).unwrap();
        assert_eq!(value[0], file.z[30].single(1).unwrap()[0]);
        assert_eq!(value[1..4], [0; 3]);
    }

    #[test]
    fn an_ambiguous_register_is_no_source() {
        let mut file = filled(4);
        file.apply(&Effect::Narrow(1), &machine()).unwrap();
        assert!(file.apply(&Effect::Churn { rounds: 1, vq: 4, v_only: false }, &machine()).is_err());
        assert!(file.apply(&Effect::Churn { rounds: 1, vq: 1, v_only: true }, &machine()).is_ok());
    }

    #[test]
    fn a_first_fault_load_leaves_a_set() {
        let machine = machine();
        let mut file = filled(2);
        file.p[0].write(2, &fill::ones_below(32));
        file.ffr.write(2, &fill::ones_below(32));
        let old = file.z[0].single(2).unwrap();
        let mut data = [0; VQ_MAX];
        data[0] = 0x1111 | 0x2222 << 64;
        file.apply(
            &Effect::FirstFault { data: Box::new(data), fault: 2, first_may_fail: false, vq: 2 },
            &machine,
        )
        .unwrap();
        // Elements 2 and 3 fault; FFR is cleared from element 1 or 2 on.
        assert_eq!(file.ffr.alternatives(2, 9).len(), 2);
        assert!(file.ffr.clone().observe(2, &fill::ones_below(8)));
        assert!(file.ffr.clone().observe(2, &fill::ones_below(16)));
        assert!(!file.ffr.clone().observe(2, &fill::ones_below(32)));
        let mut seen = old;
        seen[0] = 0x1111 | 0x2222 << 64;
        assert!(file.z[0].clone().observe(2, &seen));
        seen[1] = 0;
        assert!(file.z[0].clone().observe(2, &seen));
        seen[0] = 0x2222 << 64;
        assert!(!file.z[0].clone().observe(2, &seen));
    }

    #[test]
    fn without_an_active_element_nothing_is_loaded() {
        let machine = machine();
        let mut file = filled(2);
        file.p[0].write(2, &[0; VQ_MAX]);
        let ffr = file.ffr.clone();
        file.apply(
            &Effect::FirstFault { data: Box::new([7; VQ_MAX]), fault: 2, first_may_fail: false, vq: 2 },
            &machine,
        )
        .unwrap();
        assert_eq!(file.z[0].single(2).unwrap(), [0; VQ_MAX]);
        assert_eq!(file.ffr, ffr);
    }
}
