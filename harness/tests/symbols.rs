//! The symbols and the DWARF of the images that are part of this program.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

use harness::diagnose::{Position, Symbols};
use harness::image::{Image, embedded};
use proptest::prelude::*;

/// Every position in the text of an image.
fn positions<'a>(
    name: &str,
    elf: &'static [u8],
    symbols: &'a Symbols<'_>,
) -> impl Iterator<Item = Position> + 'a {
    let end = Image::parse(name, elf).unwrap().text_size();
    (0..end).step_by(4).filter_map(|address| symbols.position(address))
}

#[track_caller]
fn check(name: &str, elf: &'static [u8], source: &str) {
    let symbols = Symbols::new(elf).unwrap();
    let all: Vec<Position> = positions(name, elf, &symbols).collect();
    assert!(all.len() > 1000, "{name} has {} instructions with a name", all.len());
    let has_file = |position: &Position, path: &str| {
        position.frames.iter().any(|frame| frame.file.starts_with(path) && frame.line > 0)
    };
    assert!(all.iter().any(|position| has_file(position, source)), "no line of {source}");
    assert!(all.iter().any(|position| position.frames.len() > 1), "no inlined frame");
    assert!(
        all.iter().any(|position| position.frames.iter().all(|frame| frame.function.is_empty())),
        "no label of assembly"
    );
    for position in &all {
        for frame in &position.frames {
            assert!(!frame.file.starts_with('/'), "{position} names the building machine: {frame:?}");
        }
    }
}

#[test]
fn the_payload_is_explained() {
    check("scenario", embedded::SCENARIO, "guest-payloads/src/");
}

#[test]
fn the_hypervisor_is_explained() {
    check("reference-hyp", embedded::REFERENCE_HYP, "reference-hyp/src/");
}

#[test]
fn the_first_instruction_has_a_name() {
    let symbols = Symbols::new(embedded::SCENARIO).unwrap();
    assert_eq!(symbols.position(0).unwrap().offset, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_image_never_panics(
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..64),
        address in 0_u64..0x20_0000,
    ) {
        let mut elf = embedded::SCENARIO.to_vec();
        for (index, byte) in flips {
            let index = index.index(elf.len());
            elf[index] = byte;
        }
        // Half of the time whole, else cut: what is cut loses its section headers.
        let cut = cut.index(2 * elf.len());
        elf.truncate(cut.max(1));
        if let Ok(symbols) = Symbols::new(&elf) {
            let _ = symbols.position(address);
        }
    }
}
