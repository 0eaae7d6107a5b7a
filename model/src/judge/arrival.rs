//! Comparing an arrival: place and vector first, then what the exception wrote, then the general registers.

use abi::place::Place;
use abi::record::VECTOR_NONE;

use super::Judge;
use super::finding::{FailureClass, RegisterName};
use super::ring::{ArrivalRecord, Record};
use crate::compile::{Address, Arrival, Check, ExceptionCheck, Expected};
use crate::oracle::file::Bits;

impl Judge<'_> {
    /// Compares an arrival. `false` if it came to another place.
    pub(super) fn arrival(
        &mut self,
        check: &Check,
        expected: &Arrival,
        place: Place,
        seen: &ArrivalRecord<'_>,
    ) -> bool {
        if place != check.place || seen.vector() != expected.vector {
            self.routed(check, expected, place, seen);
            return place == check.place
                && (seen.vector() == VECTOR_NONE) == (expected.vector == VECTOR_NONE);
        }
        if let Some(exception) = &expected.exception {
            self.exception(check, exception, seen);
        }
        for reg in 0..31_u8 {
            self.general(check, expected, usize::from(reg), seen);
        }
        if expected.sp && seen.sp_left() != 0 && seen.sp() != seen.sp_left() {
            let class = if seen.sp() == 0 { FailureClass::Zeroed } else { FailureClass::Garbage };
            self.find(check, RegisterName::Sp, class, vec![seen.sp_left()], seen.sp());
        }
        self.bits(check, RegisterName::Pstate, FailureClass::Bits, expected.pstate, seen.pstate());
        true
    }

    /// The payload reached a place that the program did not send it to.
    pub(super) fn unexpected(&mut self, check: &Check, record: &Record<'_>, seen: &ArrivalRecord<'_>) {
        match &check.expected {
            Expected::Arrival(expected)
                if record.place != check.place || seen.vector() != expected.vector =>
            {
                self.routed(check, expected, record.place, seen);
            }
            // Where it was to arrive, but the payload says that it had not asked for it: the crash tells that.
            Expected::Arrival(_) => {}
            // An operation that must not trap did.
            _ => self.find(
                check,
                RegisterName::Vector,
                FailureClass::Trapped,
                vec![with_place(check.place, VECTOR_NONE)],
                with_place(record.place, seen.vector()),
            ),
        }
    }

    fn routed(&mut self, check: &Check, expected: &Arrival, place: Place, seen: &ArrivalRecord<'_>) {
        let class = match (expected.vector == VECTOR_NONE, seen.vector() == VECTOR_NONE) {
            (false, true) => FailureClass::NotTrapped,
            (true, false) => FailureClass::Trapped,
            _ => FailureClass::Misrouted,
        };
        let wanted = with_place(check.place, expected.vector);
        let got = with_place(place, seen.vector());
        self.find(check, RegisterName::Vector, class, vec![wanted], got);
    }

    fn exception(&mut self, check: &Check, expected: &ExceptionCheck, seen: &ArrivalRecord<'_>) {
        if let Some(esr) = expected.esr {
            let bits = Bits { value: esr.value, known: esr.mask };
            let accepted = expected.esr_accepted.iter().flatten().any(|other| other.allows(seen.esr()));
            let bits = if accepted { Bits::UNKNOWN } else { bits };
            self.bits(check, RegisterName::Esr, FailureClass::WrongSyndrome, bits, seen.esr());
        }
        let base = if expected.elr_from_target { seen.target_pc() } else { seen.left_pc() };
        let legal: Vec<u64> = expected.elr.iter().map(|add| base.wrapping_add(*add)).collect();
        if !legal.contains(&seen.elr()) {
            self.find(check, RegisterName::Elr, FailureClass::WrongReturn, legal, seen.elr());
        }
        self.bits(check, RegisterName::Spsr, FailureClass::Bits, expected.spsr, seen.spsr());
        if let Some(far) = expected.far {
            let bits = self.address(far);
            self.bits(check, RegisterName::Far, FailureClass::WrongSyndrome, bits, seen.far());
        }
        if let Some(ipa) = expected.hpfar {
            // HPFAR_EL2.FIPA, bits 47:4, is bits 55:12 of the address.
            const FIPA: u64 = 0x0000_ffff_ffff_fff0;
            let bits = self.address(ipa);
            let bits = Bits { value: bits.value >> 8 & FIPA, known: bits.known >> 8 & FIPA };
            self.bits(check, RegisterName::Hpfar, FailureClass::WrongSyndrome, bits, seen.hpfar());
        }
    }

    fn general(&mut self, check: &Check, expected: &Arrival, reg: usize, seen: &ArrivalRecord<'_>) {
        let bits = self.address(expected.x[reg]);
        let value = seen.x(reg);
        if bits.allows(value) {
            return;
        }
        let holder = (0..31_u8).find(|other| {
            let bits = self.address(expected.x[usize::from(*other)]);
            usize::from(*other) != reg && bits.known == u64::MAX && bits.value == value
        });
        let class = match holder {
            Some(other) => FailureClass::Swapped { with: RegisterName::X(other) },
            None if value == 0 => FailureClass::Zeroed,
            None => FailureClass::Garbage,
        };
        let name = RegisterName::X(u8::try_from(reg).unwrap_or(u8::MAX));
        self.find(check, name, class, vec![bits.value], value);
    }

    fn address(&self, address: Address) -> Bits {
        match address {
            Address::Bits(bits) => bits,
            // Judging begins only with a linked program if there is any such address.
            Address::Hole(offset) => Bits::all(self.program.hole.unwrap_or(0).wrapping_add(offset)),
        }
    }
}

/// The vector says which exception; the place is told beside it, in bits 63:32, since it may be all that differs.
const fn with_place(place: Place, vector: u64) -> u64 {
    (place as u64) << 32 | vector
}
