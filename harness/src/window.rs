//! How many instructions a sweep's windows have.
//!
//! A window that the compiler opens reaches from a departure stub to the end of an arrival stub. Both are straight
//! lines, so the image itself says how long it can be. One that a scenario opens by `sweep on` can hold anything: it
//! is counted by each run.

use abi::doorbell;
use abi::op::{Code, Op};
use model::compile::Program;

use crate::image::{Image, ImageError};
use crate::limits;

/// Bytes of an instruction.
const INSTRUCTION: u64 = 4;
/// Instructions of the longest slot, which loads two registers and runs the instruction under test.
const SLOT: u64 = 8;

/// The most instructions that a window from one stub to the next can have in this payload.
///
/// # Errors
///
/// If the image has not got the payload's stubs.
pub fn bound(payload: &Image) -> Result<u64, ImageError> {
    let mut longest = [0; 3];
    for [departure, entry, slots, arrival, after] in [
        [
            "payload_depart_el2",
            "payload_enter_el2",
            "payload_slots_el2",
            "payload_arrive_el2",
            "payload_arrive_el1",
        ],
        [
            "payload_depart_el1",
            "payload_enter_el1",
            "payload_slots_el1",
            "payload_arrive_el1",
            "payload_arrive_el0",
        ],
    ] {
        // The stubs of EL0 are those of EL1 without what EL0 cannot access.
        for (longest, [from, to]) in
            longest.iter_mut().zip([[departure, entry], [entry, slots], [arrival, after]])
        {
            let bytes = payload.symbol(to)?.saturating_sub(payload.symbol(from)?);
            *longest = bytes.div_ceil(INSTRUCTION).max(*longest);
        }
    }
    let [departure, entry, arrival] = longest;
    // An interrupt that is pending at an ERET may be taken within the entry: then there is a second one.
    Ok(departure + SLOT + 2 * entry + arrival)
}

/// Whether the scenario opens its windows itself.
#[must_use]
pub fn is_explicit(program: &Program) -> bool {
    let opens = |op: &Op| op.code == Code::Doorbell as u16 && op.arg[0] == doorbell::WINDOW;
    program.ops.iter().any(opens)
}

/// Why a pass with so many points in its windows is too long to be swept, if it is.
#[must_use]
pub fn excess(program: &Program, points: u64) -> Option<String> {
    let windows = program.windows as u64;
    (points > windows.saturating_mul(limits::WINDOW)).then(|| {
        format!(
            "{points} instructions in {windows} sweep windows: at most {} in each are for the default run",
            limits::WINDOW
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::embedded;

    #[test]
    fn stubs_are_short_enough() {
        let payload = Image::parse("scenario", embedded::SCENARIO).unwrap();
        let bound = bound(&payload).unwrap();
        assert!((50..=limits::WINDOW).contains(&bound), "{bound}");
    }
}
