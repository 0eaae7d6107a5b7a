//! Images that were cut or flipped.

use harness::image::{Image, embedded};
use harness::qemu::machine::Machine;

use super::Random;

/// What may be done with an image that parses.
fn use_it(image: &Image) {
    assert!(image.text_size() <= image.size());
    let _ = image.symbol(abi::job::SYMBOL);
    let memory = Machine::new_memory().unwrap();
    for base in [0, 0x4000_0000, 0x43f0_0000, u64::MAX] {
        let _ = image.load(&memory, base);
    }
}

pub fn a_cut_image_is_refused_or_used() {
    let elf = embedded::SCENARIO;
    let mut random = Random(1);
    let headers = 0..1024.min(elf.len());
    let rest: Vec<usize> = (0..300).map(|_| random.below(elf.len())).collect();
    for end in headers.chain(rest) {
        if let Ok(image) = Image::parse("cut", &elf[..end]) {
            use_it(&image);
        }
    }
}

pub fn a_flipped_image_is_refused_or_used() {
    let mut random = Random(2);
    let mut refused = 0;
    for round in 0..64 {
        let mut elf = embedded::SCENARIO.to_vec();
        // Most of them in the headers, where they hurt.
        let end = if round % 4 == 0 { elf.len() } else { 64 + 8 * 56 };
        for _ in 0..=random.below(3) {
            random.flip(&mut elf[..end]);
        }
        // Images live as long as the program.
        match Image::parse("flipped", elf.leak()) {
            Ok(image) => use_it(&image),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 5, "only {refused} refused");
}
