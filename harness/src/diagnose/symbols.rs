//! From an address in an image to function, offset and lines.
//!
//! Functions and labels of assembly come from the ELF symbol table, lines and inlined frames from DWARF. The
//! images are the suite's own, but a reader of files trusts none: what cannot be read is left out.

use std::fmt;

use addr2line::Context;
use gimli::{EndianSlice, LittleEndian};
use object::elf::SHF_EXECINSTR;
use object::{File, Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SymbolKind};

use crate::events::Frame;

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// Frames that one position may have: a chain of inlined calls is never this long.
const FRAMES_MAX: usize = 32;

/// An image whose symbols cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SymbolError {
    /// It is no ELF file.
    #[error("not an ELF file")]
    Elf(#[source] object::Error),
    /// It is an ELF file of another kind.
    #[error("not a little-endian 64-bit ELF file")]
    Kind,
    /// Its DWARF makes no sense.
    #[error("unreadable DWARF")]
    Dwarf(#[source] gimli::Error),
}

/// The symbols and the DWARF of one image.
pub struct Symbols<'a> {
    /// Sorted by address.
    labels: Vec<Label>,
    /// Executable sections: start and end.
    text: Vec<(u64, u64)>,
    lines: Context<Reader<'a>>,
}

impl fmt::Debug for Symbols<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Symbols").field("labels", &self.labels.len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Label {
    address: u64,
    /// 0 for a label of assembly without `.size`: it reaches to the next label.
    size: u64,
    name: String,
}

/// Where in an image an address is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Position {
    /// The function or label.
    pub symbol: String,
    /// Bytes from its start.
    pub offset: u64,
    /// The lines, the innermost inlined frame first; none where there is no DWARF.
    pub frames: Vec<Frame>,
}

/// `scenario::run+0x1c`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.offset == 0 {
            f.write_str(&self.symbol)
        } else {
            write!(f, "{}+{:#x}", self.symbol, self.offset)
        }
    }
}

impl<'a> Symbols<'a> {
    /// Reads the symbols of an ELF file.
    ///
    /// # Errors
    ///
    /// If it is not a little-endian 64-bit ELF file with DWARF that makes sense (none at all does).
    pub fn new(elf: &'a [u8]) -> Result<Self, SymbolError> {
        let file = File::parse(elf).map_err(SymbolError::Elf)?;
        if !file.is_64() || !file.is_little_endian() {
            return Err(SymbolError::Kind);
        }
        let section = |id: gimli::SectionId| -> Result<Reader<'a>, gimli::Error> {
            let data = file.section_by_name(id.name()).and_then(|section| section.data().ok());
            Ok(EndianSlice::new(data.unwrap_or_default(), LittleEndian))
        };
        let dwarf = gimli::Dwarf::load(section).map_err(SymbolError::Dwarf)?;
        Ok(Self {
            labels: labels(&file),
            text: text(&file),
            lines: Context::from_dwarf(dwarf).map_err(SymbolError::Dwarf)?,
        })
    }

    /// Where the link-time address is; `None` if it is outside the image's code.
    #[must_use]
    pub fn position(&self, address: u64) -> Option<Position> {
        let (_, end) = *self.text.iter().find(|(start, end)| (*start..*end).contains(&address))?;
        let after = self.labels.partition_point(|label| label.address <= address);
        let label = self.labels.get(..after)?.iter().rev().find(|label| {
            let reach = if label.size == 0 { end } else { label.address.saturating_add(label.size) };
            address < reach
        })?;
        Some(Position {
            symbol: label.name.clone(),
            offset: address - label.address,
            frames: self.frames(address),
        })
    }

    /// The link-time address of a symbol, by its demangled name.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u64> {
        self.labels.iter().find(|label| label.name == name).map(|label| label.address)
    }

    fn frames(&self, address: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        let Ok(mut iter) = self.lines.find_frames(address).skip_all_loads() else { return frames };
        while frames.len() < FRAMES_MAX {
            let Ok(Some(frame)) = iter.next() else { break };
            let function = frame
                .function
                .as_ref()
                .and_then(|name| name.raw_name().ok())
                .map_or_else(String::new, |name| demangle(&name));
            let (file, line) = frame
                .location
                .map_or((String::new(), 0), |at| (tidy(at.file.unwrap_or_default()), at.line.unwrap_or(0)));
            frames.push(Frame { function, file, line });
        }
        frames
    }
}

fn labels(file: &File<'_>) -> Vec<Label> {
    let mut labels: Vec<Label> = file
        .symbols()
        .filter(|symbol| matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown))
        .filter(|symbol| symbol.section_index().is_some())
        .filter_map(|symbol| {
            let name = symbol.name().ok()?;
            // `$x` and `$d` are mapping symbols, `.L…` local labels: neither is a place with a name.
            if name.is_empty() || name.starts_with('$') || name.starts_with(".L") {
                return None;
            }
            Some(Label { address: symbol.address(), size: symbol.size(), name: demangle(name) })
        })
        .collect();
    // Of several labels at one address the one with a size is the function: it comes last and is found first.
    labels.sort_by(|a, b| (a.address, a.size, &a.name).cmp(&(b.address, b.size, &b.name)));
    labels
}

fn text(file: &File<'_>) -> Vec<(u64, u64)> {
    file.sections()
        .filter(|section| {
            matches!(section.flags(), SectionFlags::Elf { sh_flags, .. } if sh_flags.contains(SHF_EXECINSTR))
        })
        .map(|section| (section.address(), section.address().saturating_add(section.size())))
        .collect()
}

/// The name without hash and mangling.
fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// A path as DWARF gives it, without what only the building machine knows.
fn tidy(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    // The library's sources lie at `/rustc/<commit>/library/…`.
    if let Some((_, library)) = path.strip_prefix("/rustc/").and_then(|rest| rest.split_once('/')) {
        return library.to_owned();
    }
    path.replace("/./", "/").trim_start_matches("./").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function to be found in this very program.
    #[inline(never)]
    fn marker(x: u64) -> u64 {
        inlined(x)
    }

    #[inline(always)]
    fn inlined(x: u64) -> u64 {
        std::hint::black_box(x).wrapping_mul(3)
    }

    fn own_elf() -> Vec<u8> {
        assert_eq!(marker(2), 6);
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn finds_function_line_and_inlined_frame() {
        let elf = own_elf();
        let symbols = Symbols::new(&elf).unwrap();
        let name = concat!(module_path!(), "::marker");
        let start = symbols.address(name).unwrap();
        let at_start = symbols.position(start).unwrap();
        assert_eq!(at_start.to_string(), name);
        let outer = at_start.frames.last().unwrap();
        assert!(outer.file.ends_with("diagnose/symbols.rs"), "{outer:?}");
        assert_eq!(outer.function, name);
        let deeper = (start..start + 128)
            .filter_map(|address| symbols.position(address))
            .find(|position| position.frames.first().is_some_and(|frame| frame.function.ends_with("inlined")))
            .expect("the inlined call has instructions of its own");
        assert_eq!(deeper.symbol, name);
        assert_eq!(deeper.frames.len(), 2, "{deeper:?}");
    }

    #[test]
    fn an_address_outside_the_code_is_nowhere() {
        let elf = own_elf();
        assert_eq!(Symbols::new(&elf).unwrap().position(u64::MAX), None);
    }

    #[test]
    fn paths_lose_the_building_machine() {
        assert_eq!(tidy("/rustc/59807616e1fa/library/core/src/ptr/mod.rs"), "library/core/src/ptr/mod.rs");
        assert_eq!(tidy("././arch/src/payload.rs"), "arch/src/payload.rs");
    }

    #[test]
    fn what_is_no_elf_is_an_error() {
        assert!(matches!(Symbols::new(b"not an ELF"), Err(SymbolError::Elf(_))));
    }
}
