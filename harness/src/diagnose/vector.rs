//! How a place was reached, for people.

use abi::record::{VECTOR_BOOT, VECTOR_NONE};

/// The vector of an arrival in words.
#[must_use]
pub fn describe(vector: u64) -> String {
    match vector {
        VECTOR_NONE => "no exception".to_owned(),
        VECTOR_BOOT => "the image's entry".to_owned(),
        offset => {
            let kind = match offset & 0x180 {
                0x000 => "synchronous",
                0x080 => "IRQ",
                0x100 => "FIQ",
                _ => "SError",
            };
            let group = match offset & 0x780 {
                0x000..0x200 => "from this level with SP_EL0",
                0x200..0x400 => "from this level",
                0x400..0x600 => "from a lower level",
                _ => "from a lower level in AArch32",
            };
            format!("vector {offset:#05x} ({kind}, {group})")
        }
    }
}

/// Whether there was an exception, which sets ELR_ELx and SPSR_ELx.
#[must_use]
pub const fn is_exception(vector: u64) -> bool {
    !matches!(vector, VECTOR_NONE | VECTOR_BOOT)
}

/// Whether it was one that sets ESR_ELx.
#[must_use]
pub const fn has_syndrome(vector: u64) -> bool {
    is_exception(vector) && matches!(vector & 0x180, 0x000 | 0x180)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_in_words() {
        for (vector, words, syndrome) in [
            (0x400, "vector 0x400 (synchronous, from a lower level)", true),
            (0x000, "vector 0x000 (synchronous, from this level with SP_EL0)", true),
            (0x280, "vector 0x280 (IRQ, from this level)", false),
            (0x500, "vector 0x500 (FIQ, from a lower level)", false),
            (0x380, "vector 0x380 (SError, from this level)", true),
            (0x600, "vector 0x600 (synchronous, from a lower level in AArch32)", true),
            (VECTOR_NONE, "no exception", false),
            (VECTOR_BOOT, "the image's entry", false),
        ] {
            assert_eq!((describe(vector).as_str(), has_syndrome(vector)), (words, syndrome));
        }
    }
}
