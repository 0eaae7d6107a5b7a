//! PSTATE and SPSR_ELx for people.

/// Fields by name, lowest bit and width, highest first; M comes after them.
const FIELDS: [(&str, u32, u32); 15] = [
    ("NZCV", 28, 4),
    ("TCO", 25, 1),
    ("DIT", 24, 1),
    ("UAO", 23, 1),
    ("PAN", 22, 1),
    ("SS", 21, 1),
    ("IL", 20, 1),
    ("ALLINT", 13, 1),
    ("SSBS", 12, 1),
    ("BTYPE", 10, 2),
    ("D", 9, 1),
    ("A", 8, 1),
    ("I", 7, 1),
    ("F", 6, 1),
    ("nRW", 4, 1),
];

/// The fields of `value` in which it differs from `other`, and the mode if that differs.
#[must_use]
pub fn difference(value: u64, other: u64) -> String {
    let field = |word: u64, low: u32, width: u32| word >> low & ((1 << width) - 1);
    let mut words: Vec<String> = FIELDS
        .iter()
        .filter(|(_, low, width)| field(value, *low, *width) != field(other, *low, *width))
        .map(|(name, low, width)| {
            format!("{name}={:0width$b}", field(value, *low, *width), width = *width as usize)
        })
        .collect();
    if value & 0xf != other & 0xf {
        words.push(mode(value));
    }
    words.join(" ")
}

/// `M[3:0]`; CurrentEL and SPSel of a recorded PSTATE are the same bits.
fn mode(value: u64) -> String {
    match value & 0xf {
        0b0000 => "EL0t".to_owned(),
        0b0100 => "EL1t".to_owned(),
        0b0101 => "EL1h".to_owned(),
        0b1000 => "EL2t".to_owned(),
        0b1001 => "EL2h".to_owned(),
        0b1100 => "EL3t".to_owned(),
        0b1101 => "EL3h".to_owned(),
        other => format!("M={other:04b}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        assert_eq!(difference(0x6000_03c9, 0x6000_03c5), "EL2h");
        assert_eq!(difference(0x6000_03c5, 0x0000_03c5), "NZCV=0110");
        assert_eq!(difference(0x0000_03c5, 0x0010_0345), "IL=0 I=1");
        assert_eq!(difference(0x0040_0000, 0x0000_0001), "PAN=1 EL0t");
        assert_eq!(difference(0x1, 0x0), "M=0001");
        assert_eq!(difference(0x3c5, 0x3c5), "");
    }
}
