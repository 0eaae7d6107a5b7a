//! The entry of both bare-metal images, and where the parts of an image lie.
//!
//! The image defines `extern "C" fn main(x0: u64) -> !` under the unmangled name `main`. It is called with
//! stage 1 as the loader left it (off), DAIF masked, `.data` relocated, `.bss` zeroed, a stack of 32 KiB, and
//! the X0 of the entry. Jumping to [`entry`] again is a fresh start with whatever `.data` then holds.

use core::arch::global_asm;

/// R_AARCH64_RELATIVE, the only relocation of a static PIE.
const RELATIVE: u64 = 1027;

global_asm!(include_str!("boot.S"), RELATIVE = const RELATIVE);

macro_rules! symbols {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name() -> u64 {
                unsafe extern "C" {
                    static $symbol: u8;
                }
                (&raw const $symbol).expose_provenance() as u64
            }
        )*
    };
}

symbols! {
    /// The image's first instruction, at its load address.
    entry = __image_start;
    /// The end of text and read-only data.
    text_end = __text_end;
    /// The start of what is written: 2 MiB above [`entry`].
    data_start = __data_start;
    /// Two pages set aside: the second one can be unmapped to make an access fault.
    hole = __hole;
    /// The start of the job area.
    job_start = __job_start;
    /// The end of the job area.
    job_end = __job_end;
    /// The end of the image's memory.
    image_end = __image_end;
}
