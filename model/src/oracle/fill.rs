//! What a `fill` writes: a pure function of register and generation.

use abi::pattern::{self, Owner};

use super::value::{Slices, VQ_MAX};
use crate::machine::Writable;

/// The number that predicate patterns use for FFR.
const FFR: u8 = 16;

/// The pattern of a Z register (its low 128 bits: of a V register).
#[must_use]
pub fn vector(owner: Owner, generation: u16, reg: u8) -> Slices {
    std::array::from_fn(|slice| {
        let lane = |half: usize| {
            let lane = u8::try_from(2 * slice + half).unwrap_or(u8::MAX);
            u128::from(pattern::word(owner, generation, reg, lane))
        };
        lane(0) | lane(1) << 64
    })
}

/// The pattern of a P register.
#[must_use]
pub fn predicate(owner: Owner, generation: u16, reg: u8) -> Slices {
    std::array::from_fn(|slice| {
        let group = u8::try_from(slice / 4).unwrap_or(u8::MAX);
        let word = pattern::predicate(owner, generation, reg, group);
        u128::from(word >> (16 * (slice % 4)) & 0xffff)
    })
}

/// The pattern of FFR at a vector length of `vq` quadwords: ones up to some bit in the upper half, then zeros.
///
/// Any other shape makes the result of WRFFR UNPREDICTABLE (DDI0487, WRFFR).
#[must_use]
pub fn ffr(generation: u16, vq: usize) -> Slices {
    let bits = 16 * vq;
    let spread = pattern::predicate(Owner::Scenario, generation, FFR, 0);
    // Consecutive generations never have the same length: the parity of the low part follows the generation.
    let steps = (bits / 4) as u64;
    let ones = bits / 2 + 2 * usize::try_from(spread % steps).unwrap_or(0) + usize::from(generation & 1);
    ones_below(ones.min(bits))
}

/// A predicate whose lowest `ones` bits are set.
#[must_use]
pub fn ones_below(ones: usize) -> Slices {
    std::array::from_fn(|slice| {
        let below = ones.saturating_sub(16 * slice).min(16);
        (1_u128 << below) - 1
    })
}

/// FPSR: a combination of its flags that differs in any 127 fills in a row and is neither zero nor all ones.
#[must_use]
pub const fn fpsr(generation: u16, writable: Writable) -> u64 {
    let combination = (generation as u64 * 37) % 126 + 1;
    scatter(combination, writable.fpsr)
}

/// FPCR: a combination of writable bits that is never zero. None of them changes what an integer instruction does.
#[must_use]
pub const fn fpcr(generation: u16, writable: Writable) -> u64 {
    let bits = writable.fpcr.count_ones();
    let combinations = (1_u64 << bits) - 2;
    let combination = (generation as u64 * 23) % combinations + 1;
    scatter(combination, writable.fpcr)
}

/// FPMR: scales from the generation; the three formats are only those that exist (0 and 1: E5M2, E4M3).
#[must_use]
pub const fn fpmr(generation: u16, writable: Writable) -> u64 {
    const FORMATS_RESERVED: u64 = 0x1b6;
    let mixed = pattern::mix(generation as u64 + 1);
    let unique = (generation as u64 & 0x7f) << 16 | 1 << 24;
    (mixed & !0x7f_0000 | unique) & writable.fpmr & !FORMATS_RESERVED
}

/// Puts the low bits of `value` into the set bits of `mask`, lowest first.
const fn scatter(value: u64, mask: u64) -> u64 {
    let (mut out, mut left, mut rest) = (0, mask, value);
    while left != 0 {
        let bit = left & left.wrapping_neg();
        if rest & 1 != 0 {
            out |= bit;
        }
        left &= !bit;
        rest >>= 1;
    }
    out
}

const _: () = assert!(VQ_MAX * 2 == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{FPCR_WRITABLE, FPMR_WRITABLE, FPSR_WRITABLE};

    const WRITABLE: Writable = Writable { fpcr: FPCR_WRITABLE, fpsr: FPSR_WRITABLE, fpmr: FPMR_WRITABLE };

    #[test]
    fn ffr_is_monotonic_and_changes_with_each_generation() {
        for vq in 1..=VQ_MAX {
            for generation in 0..200 {
                let value = ffr(generation, vq);
                let ones: u32 = value.iter().map(|slice| slice.count_ones()).sum();
                assert_eq!(value, ones_below(ones as usize));
                assert!(ones as usize >= 8 * vq && ones as usize <= 16 * vq, "{ones} of {}", 16 * vq);
                assert_ne!(value, ffr(generation + 1, vq));
            }
        }
    }

    #[test]
    fn flags_are_legal_and_change_with_each_generation() {
        for generation in 0..500 {
            for (value, mask) in [
                (fpsr(generation, WRITABLE), FPSR_WRITABLE),
                (fpcr(generation, WRITABLE), FPCR_WRITABLE),
                (fpmr(generation, WRITABLE), FPMR_WRITABLE),
            ] {
                assert!(value != 0 && value & !mask == 0, "{value:#x}");
            }
            assert_ne!(fpsr(generation, WRITABLE), fpsr(generation + 1, WRITABLE));
            assert_ne!(fpcr(generation, WRITABLE), fpcr(generation + 1, WRITABLE));
            assert_ne!(fpmr(generation, WRITABLE), fpmr(generation + 1, WRITABLE));
        }
    }

    #[test]
    fn a_vector_slice_holds_two_words() {
        let value = vector(Owner::Scenario, 3, 5);
        let lane = u64::try_from(value[1] >> 64).unwrap();
        assert_eq!(pattern::decode(lane), Some((Owner::Scenario, 3, 5, 3)));
    }
}
