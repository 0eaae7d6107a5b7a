//! The vector length at a place.

use abi::place::Place;

use super::controls::{Controls, LEN, el1_of, under_el2};
use crate::machine::Machine;

/// The vector length at `place` in quadwords, where SVE is enabled: the largest supported one that is not above
/// what ZCR_ELx of this level and all higher ones ask for (rules P-50, P-86; CurrentNSVL of the manual).
#[must_use]
pub fn vector_length(place: Place, controls: &Controls, machine: &Machine) -> usize {
    let asked = |zcr: u64| u8::try_from(zcr & LEN).unwrap_or(0) + 1;
    let mut vq = 16;
    if let Some(el1) = el1_of(place) {
        vq = vq.min(asked(controls.el1(el1).zcr.value));
    }
    if under_el2(place) {
        vq = vq.min(asked(controls.el2.zcr.value));
    }
    usize::from(machine.lengths.round_down(vq))
}

/// The length that counts at `place` for what happens to the register file, in quadwords: that of SVE, 1 where SVE
/// is disabled or trapped (P-59), and none where FP as a whole is (P-60).
#[must_use]
pub fn effective_length(place: Place, controls: &Controls, machine: &Machine) -> Option<usize> {
    if !controls.fp_enabled(place) {
        return None;
    }
    Some(if controls.sve_enabled(place, machine) { vector_length(place, controls, machine) } else { 1 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::machine::{Lengths, QemuCpu};
    use crate::oracle::file::Bits;
    use crate::scenario::step::{Cpu, GuestSpec, L1Mode};

    fn machine(lengths: Lengths) -> Machine {
        let cpu = QemuCpu { cpu: Cpu::Max, sve: true, vl_max: 2048, sme: false, fpmr: true, poe: false };
        let guest = GuestSpec { l1: Some(L1Mode::Vhe), vl_max: 2048, ..GuestSpec::default() };
        Machine { lengths, ..Machine::reference(&cpu, &guest).unwrap() }
    }

    /// In bits, downwards from the longest: the first length that the CPU has and that no level forbids.
    fn naive(supported: &[u32], limits: &[u64]) -> u32 {
        let mut bits = 2048;
        while bits > 128 {
            let allowed = limits.iter().all(|len| u64::from(bits) <= (len + 1) * 128);
            if allowed && supported.contains(&bits) {
                return bits;
            }
            bits -= 128;
        }
        128
    }

    proptest! {
        #[test]
        fn is_the_minimum_rounded_down(
            set in prop::collection::btree_set(2..=16_u8, 0..16),
            el1 in 0..16_u64,
            el2 in 0..16_u64,
        ) {
            let vqs: Vec<u8> = std::iter::once(1).chain(set).collect();
            let supported: Vec<u32> = vqs.iter().map(|vq| u32::from(*vq) * 128).collect();
            let machine = machine(Lengths::new(vqs));
            let mut controls = Controls::new(&machine);
            controls.l2.zcr = Bits::all(el1);
            controls.g.zcr = Bits::all(el1);
            controls.el2.zcr = Bits::all(el2);
            for (place, limits) in [
                (Place::L1, vec![el2]),
                (Place::L1El0, vec![el2]),
                (Place::L2, vec![el1, el2]),
                (Place::L2El0, vec![el1, el2]),
                (Place::G, vec![el1]),
                (Place::GEl0, vec![el1]),
            ] {
                let bits = vector_length(place, &controls, &machine) * 128;
                prop_assert_eq!(u32::try_from(bits).unwrap(), naive(&supported, &limits));
            }
        }
    }
}
