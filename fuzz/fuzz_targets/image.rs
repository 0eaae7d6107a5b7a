//! An ELF image: bytes as they come, or one of ours with some bytes changed and its end cut off.
//!
//! What parses is loaded into guest memory, and positions are looked up in its DWARF.
#![no_main]

use harness::diagnose::Symbols;
use harness::image::{Image, embedded};
use harness::memory::GuestMemory;
use libfuzzer_sys::fuzz_target;

/// Where guest memory begins.
const BASE: u64 = 0x4000_0000;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    let elf = match kind % 3 {
        0 => rest.to_vec(),
        1 => changed(embedded::SCENARIO, rest),
        _ => changed(embedded::REFERENCE_HYP, rest),
    };
    if let Ok(symbols) = Symbols::new(&elf) {
        for address in (0..0x2_0000).step_by(0x1fc) {
            let _ = symbols.position(address);
        }
        let _ = symbols.position(u64::MAX);
    }
    load(elf);
});

/// A copy in which each six bytes of `changes`, an offset and a 16-bit value, overwrite something; a last
/// piece of three or more is the length to cut it to. Half of the offsets lie in the first 4 KiB, where the
/// headers are, the others anywhere.
fn changed(elf: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut elf = elf.to_vec();
    let chunks = changes.chunks_exact(6);
    let cut = chunks.remainder();
    for change in chunks {
        let offset = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as usize;
        let reach = if offset.is_multiple_of(2) { elf.len().min(0x1000) } else { elf.len() };
        let offset = (offset / 2) % (reach - 1);
        elf[offset..offset + 2].copy_from_slice(&change[4..]);
    }
    if let [low, middle, high, ..] = *cut {
        elf.truncate(u32::from_le_bytes([low, middle, high, 0]) as usize);
    }
    elf
}

fn load(elf: Vec<u8>) {
    let elf: *mut [u8] = Box::into_raw(elf.into_boxed_slice());
    // SAFETY: the allocation is whole and nobody else has it; it is freed below, after the last use.
    let bytes: &'static [u8] = unsafe { &*elf };
    if let Ok(image) = Image::parse("fuzz", bytes) {
        let _ = (image.size(), image.text_size(), image.symbol(abi::job::SYMBOL));
        let memory = GuestMemory::new(BASE, 0x100_0000).expect("memory for a guest");
        let _ = image.load(&memory, BASE);
    }
    // SAFETY: from `Box::into_raw` above; `image`, the only one that had `bytes`, is gone.
    drop(unsafe { Box::from_raw(elf) });
}
