//! No compiled code of an image touches the FP registers.
//!
//! They are the state under test, and live in the hardware registers between steps. The target is softfloat, so
//! the compiler has no reason to touch them; this check finds it out if it does, or if assembly does so
//! outside of the routines that are there for it. FPCR, FPSR, SVCR and the like are not looked for: only assembly
//! that asks for them by name can access them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use super::Complaint;

/// An image, and its routines that touch the FP registers.
#[derive(Debug)]
pub(crate) struct Image {
    /// The file that the build script of `harness` leaves.
    pub(crate) file: &'static str,
    /// Symbols of assembly in `arch/`.
    routines: &'static [&'static str],
}

/// Every image that Holdfast embeds.
pub(crate) const IMAGES: [Image; 3] = [
    Image { file: "scenario.elf", routines: PAYLOAD },
    Image { file: "reference_hyp.elf", routines: HYPERVISOR },
    Image { file: "reference_hyp_faults.elf", routines: HYPERVISOR },
];

/// `arch/src/payload/fp.S`; of `stubs.S` the slots that hold the instructions of `touch`, and the departures, which read a
/// register where it is to be live.
const PAYLOAD: &[&str] = &[
    "payload_churn",
    "payload_churn_v",
    "payload_depart_el0",
    "payload_depart_el1",
    "payload_depart_el2",
    "payload_dump",
    "payload_dump_v",
    "payload_fill",
    "payload_fill_v",
    "payload_bench_guest",
    "payload_bench_loop",
    "payload_rdvl",
    "payload_slots_el0",
    "payload_slots_el1",
    "payload_slots_el2",
    "payload_zero",
    "payload_flip",
    "payload_flip_v",
    "payload_touch",
];

/// `arch/src/hyp/fp.S`.
const HYPERVISOR: &[&str] = &[
    "hyp_clobber_q0_to_q3",
    "hyp_load_p_ffr",
    "hyp_load_v",
    "hyp_load_z",
    "hyp_other_guest",
    "hyp_rdvl",
    "hyp_save_p_ffr",
    "hyp_save_v",
    "hyp_save_z",
];

/// Complains of every symbol that has FP instructions and is not on the image's list, and of every one on the
/// list that has none.
///
/// # Errors
///
/// If `elf` is no ELF file with a symbol table.
pub(crate) fn check(image: &Image, elf: &[u8]) -> anyhow::Result<Vec<Complaint>> {
    let found = routines(elf).with_context(|| format!("cannot read {}", image.file))?;
    let allowed: BTreeSet<&str> = image.routines.iter().copied().collect();
    let strangers =
        found.iter().filter(|(symbol, _)| !allowed.contains(symbol.as_str())).map(|(symbol, first)| {
            let Instruction { address, word, class } = first;
            let what = format!("{class} instruction {word:#010x} at {address:#x}, in `{symbol}`");
            Complaint::file(image.file, what)
        });
    let idle = allowed.iter().filter(|routine| !found.contains_key(**routine)).map(|routine| {
        Complaint::file(image.file, format!("`{routine}` has no FP instruction: take it from the list"))
    });
    Ok(strangers.chain(idle).collect())
}

/// An instruction that was looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Instruction {
    address: u64,
    word: u32,
    class: &'static str,
}

/// The symbols of an image that have FP instructions, each with its first.
fn routines(elf: &[u8]) -> anyhow::Result<BTreeMap<String, Instruction>> {
    let file = object::File::parse(elf)?;
    let mut found = BTreeMap::new();
    let mut instructions = 0_u64;
    for section in file.sections().filter(|section| section.kind() == object::SectionKind::Text) {
        let mut labels = Vec::new();
        for symbol in file.symbols().filter(|symbol| symbol.section_index() == Some(section.index())) {
            labels.push((symbol.address(), symbol.name()?));
        }
        for instruction in code(section.address(), section.data()?, &labels) {
            instructions += 1;
            let (address, word) = instruction;
            if let Some(class) = class(word) {
                let symbol = symbol_at(&labels, address).unwrap_or("no symbol").to_owned();
                found.entry(symbol).or_insert(Instruction { address, word, class });
            }
        }
    }
    anyhow::ensure!(instructions > 0, "it has no code, or no symbols");
    Ok(found)
}

/// The words of a section that are instructions, with their addresses. What is code and what is data tell the
/// mapping symbols `$x` and `$d` of the AAELF64.
fn code(start: u64, bytes: &[u8], labels: &[(u64, &str)]) -> Vec<(u64, u32)> {
    let mut marks: Vec<(u64, bool)> = labels
        .iter()
        .filter_map(|&(address, name)| match mapping(name)? {
            'x' => Some((address, true)),
            'd' => Some((address, false)),
            _ => None,
        })
        .collect();
    marks.sort_unstable();
    let mut marks = marks.into_iter().peekable();
    let mut is_code = false;
    let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()));
    let mut code = Vec::new();
    for (address, word) in (start..).step_by(4).zip(words) {
        while let Some((_, now)) = marks.next_if(|(at, _)| *at <= address) {
            is_code = now;
        }
        if is_code {
            code.push((address, word));
        }
    }
    code
}

/// The letter of a mapping symbol: `$x`, or `$x.` and anything.
fn mapping(name: &str) -> Option<char> {
    let mut rest = name.strip_prefix('$')?.chars();
    let letter = rest.next()?;
    matches!(rest.next(), None | Some('.')).then_some(letter)
}

/// The last symbol at or below an address.
fn symbol_at<'a>(labels: &[(u64, &'a str)], address: u64) -> Option<&'a str> {
    let named = labels.iter().filter(|(at, name)| *at <= address && mapping(name).is_none());
    named.max_by_key(|(at, _)| *at).map(|(_, name)| *name)
}

/// What an encoding is, if it touches the FP registers (Arm ARM, "A64 instruction set encoding").
fn class(word: u32) -> Option<&'static str> {
    // Memory copy and set lie among the loads and stores and use the bit that says FP otherwise.
    if word & 0x3b20_0c00 == 0x1900_0400 {
        return None;
    }
    // op0 = x111 is scalar FP and Advanced SIMD; op0 = x1x0 with bit 26 set are their loads and stores.
    if word & 0x0c00_0000 == 0x0c00_0000 {
        return Some("FP or Advanced SIMD");
    }
    if word & 0x1e00_0000 == 0x0400_0000 {
        return Some("SVE");
    }
    (word & 0x9e00_0000 == 0x8000_0000).then_some("SME")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_apart() {
        const FP: Option<&str> = Some("FP or Advanced SIMD");
        const SVE: Option<&str> = Some("SVE");
        const SME: Option<&str> = Some("SME");
        for (word, expected, instruction) in [
            (0x3dc0_0000, FP, "ldr q0, [x0]"),
            (0xad40_0400, FP, "ldp q0, q1, [x0]"),
            (0x4c00_7000, FP, "st1 {v0.16b}, [x0]"),
            (0x5c00_0000, FP, "ldr d0, ."),
            (0x1e61_2800, FP, "fadd d0, d0, d1"),
            (0x9e66_0000, FP, "fmov x0, d0"),
            (0x4ee1_8400, FP, "add v0.2d, v0.2d, v1.2d"),
            (0x8580_4000, SVE, "ldr z0, [x0]"),
            (0x04e1_0000, SVE, "add z0.d, z0.d, z1.d"),
            (0x04bf_5020, SVE, "rdvl x0, #1"),
            (0x2519_f000, SVE, "rdffr p0.b"),
            (0xe100_0000, SME, "ldr za[w12, 0], [x0]"),
            (0xc008_00ff, SME, "zero {za}"),
            (0x8081_2000, SME, "fmopa za0.s, p0/m, p1/m, z0.s, z1.s"),
            (0xf940_0020, None, "ldr x0, [x1]"),
            (0xd940_0020, None, "ldapur x0, [x1]"),
            (0xa940_0440, None, "ldp x0, x1, [x2]"),
            (0x4820_7c82, None, "casp x0, x1, x2, x3, [x4]"),
            (0xf980_0000, None, "prfm pldl1keep, [x0]"),
            (0x8b02_0020, None, "add x0, x1, x2"),
            (0xd53b_4400, None, "mrs x0, fpcr"),
            (0xd65f_03c0, None, "ret"),
            (0x0000_0000, None, "udf #0"),
            (0x1901_0440, None, "cpyfp [x0]!, [x1]!, x2!"),
            (0x1d01_0440, None, "cpyp [x0]!, [x1]!, x2!"),
            (0x1941_0440, None, "cpyfm [x0]!, [x1]!, x2!"),
            (0x19c2_0420, None, "setp [x0]!, x1!, x2"),
        ] {
            assert_eq!(class(word), expected, "{instruction}");
        }
    }

    #[test]
    fn data_in_text_is_no_code() {
        let bytes: Vec<u8> = (0..6_u32).flat_map(u32::to_le_bytes).collect();
        let labels = [(0x10c, "$x"), (0x100, "$x.7"), (0x104, "$d"), (0x104, "table"), (0x100, "$xyz")];
        let expected = [(0x100, 0), (0x10c, 3), (0x110, 4), (0x114, 5)];
        assert_eq!(code(0x100, &bytes, &labels), expected);
        assert_eq!(code(0x100, &bytes, &[(0x100, "main")]), [], "nothing says that it is code");
    }

    #[test]
    fn an_instruction_belongs_to_the_symbol_before_it() {
        let labels = [(0x100, "$x"), (0x100, "a"), (0x110, "b"), (0x110, "$d")];
        assert_eq!(symbol_at(&labels, 0x10c), Some("a"));
        assert_eq!(symbol_at(&labels, 0x110), Some("b"));
        assert_eq!(symbol_at(&labels, 0xfc), None);
    }

    #[test]
    fn a_file_that_is_no_image_is_an_error() {
        assert!(check(&IMAGES[0], b"\x7fELF").is_err());
    }
}
