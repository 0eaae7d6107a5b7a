//! The bare-metal images: reading their ELF, and what of it a fresh guest needs.
//!
//! Two pairs of hands write guest memory from an image: *load* writes everything once, before the machine
//! starts; *restore* writes the data again before each case, and never text, because QEMU would throw its
//! translations away.

use object::elf;
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{LittleEndian, Object as _, ObjectSymbol as _};
use sha2::{Digest as _, Sha256};

use crate::memory::{GuestMemory, OutOfRange};

/// The images that are part of this program, as ELF files.
pub mod embedded {
    /// `object` reads structures of 8 bytes in place.
    #[repr(C, align(64))]
    struct Aligned<T: ?Sized>(T);

    include!(concat!(env!("OUT_DIR"), "/images.rs"));
}

/// An image is loaded at a multiple of this, and its data begins at one.
pub const ALIGN: u64 = 0x20_0000;

/// An ELF file that is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It does not parse.
    #[error("the image {image} is not an ELF file for AArch64")]
    Elf {
        /// The image's name.
        image: String,
        /// What the parser says.
        #[source]
        source: object::Error,
    },
    /// It parses, and is not laid out as an image.
    #[error("the image {image} {what}")]
    Layout {
        /// The image's name.
        image: String,
        /// What is wrong with it.
        what: String,
    },
    /// A symbol is missing.
    #[error("the image {image} has no symbol `{symbol}`")]
    Symbol {
        /// The image's name.
        image: String,
        /// The symbol.
        symbol: String,
    },
    /// It does not fit into guest memory.
    #[error("the image {image} does not fit")]
    Place {
        /// The image's name.
        image: String,
        /// Where it would lie.
        #[source]
        source: OutOfRange,
    },
}

/// A loadable segment: addresses count from the image's start.
#[derive(Clone, Debug)]
struct Segment {
    address: u64,
    /// Bytes in memory; those behind `bytes` are zero.
    size: u64,
    bytes: Vec<u8>,
    writable: bool,
}

/// A static PIE, linked at 0.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    elf: &'static [u8],
    segments: Vec<Segment>,
    symbols: Vec<(String, u64)>,
    sha256: String,
}

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    ///
    /// If `elf` is no ELF file for AArch64, or not an image: a static PIE linked at 0, whose writable
    /// segments begin behind all others and at a multiple of [`ALIGN`].
    pub fn parse(name: &str, elf: &'static [u8]) -> Result<Self, ImageError> {
        let error = |source| ImageError::Elf { image: name.to_owned(), source };
        let layout = |what: &str| ImageError::Layout { image: name.to_owned(), what: what.to_owned() };

        let file = ElfFile64::<LittleEndian>::parse(elf).map_err(error)?;
        let header = file.elf_header();
        if header.e_machine(LittleEndian) != elf::EM_AARCH64 {
            return Err(layout("is for another architecture"));
        }
        if header.e_type(LittleEndian) != elf::ET_DYN || header.e_entry(LittleEndian) != 0 {
            return Err(layout("is not a static PIE that starts at 0"));
        }
        let mut segments = Vec::new();
        for program_header in file.elf_program_headers() {
            if program_header.p_type(LittleEndian) != elf::PT_LOAD {
                continue;
            }
            let bytes = program_header
                .data(LittleEndian, elf)
                .map_err(|()| layout("has a segment outside its file"))?;
            let segment = Segment {
                address: program_header.p_vaddr(LittleEndian),
                size: program_header.p_memsz(LittleEndian),
                bytes: bytes.to_vec(),
                writable: program_header.p_flags(LittleEndian).0 & elf::PF_W.0 != 0,
            };
            if (segment.bytes.len() as u64) > segment.size
                || segment.address.checked_add(segment.size).is_none()
            {
                return Err(layout("has a segment that is larger in the file than in memory, or wraps"));
            }
            if segment.size != 0 {
                segments.push(segment);
            }
        }
        let data = segments.iter().filter(|segment| segment.writable).map(|segment| segment.address).min();
        let Some(data) = data else { return Err(layout("has no data")) };
        if data % ALIGN != 0 {
            return Err(layout("has data that does not begin at a multiple of 2 MiB"));
        }
        if segments.iter().any(|segment| !segment.writable && segment.address + segment.size > data) {
            return Err(layout("has text behind its data"));
        }
        let symbols = file
            .symbols()
            .filter(object::ObjectSymbol::is_definition)
            .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())))
            .collect();
        Ok(Self { name: name.to_owned(), elf, segments, symbols, sha256: sha256(elf) })
    }

    /// The image's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ELF file, with its DWARF.
    #[must_use]
    pub fn elf(&self) -> &'static [u8] {
        self.elf
    }

    /// The SHA-256 of the ELF file, in lower-case hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The offset of a symbol from the image's start.
    ///
    /// # Errors
    ///
    /// If the image does not define it.
    pub fn symbol(&self, name: &str) -> Result<u64, ImageError> {
        self.symbols
            .iter()
            .find(|(symbol, _)| symbol == name)
            .map(|&(_, address)| address)
            .ok_or_else(|| ImageError::Symbol { image: self.name.clone(), symbol: name.to_owned() })
    }

    /// Bytes at the image's start that it may execute and never writes: everything before its data.
    #[must_use]
    pub fn text_size(&self) -> u64 {
        self.segments
            .iter()
            .filter(|segment| segment.writable)
            .map(|segment| segment.address)
            .min()
            .expect("`parse` refuses an image without data")
    }

    /// Bytes from the image's start to its last one in memory.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.address + segment.size)
            .max()
            .expect("`parse` refuses an image without data")
    }

    /// What of it is loaded: the offset and the length of each segment's bytes, the data last.
    pub fn parts(&self) -> impl Iterator<Item = (u64, u64)> {
        let of = |writable| self.segments.iter().filter(move |segment| segment.writable == writable);
        of(false).chain(of(true)).map(|segment| (segment.address, segment.bytes.len() as u64))
    }

    /// Writes all of the image into guest memory that still is zero, at `base`.
    ///
    /// # Errors
    ///
    /// If it does not fit.
    pub fn load(&self, memory: &GuestMemory, base: u64) -> Result<(), ImageError> {
        for segment in &self.segments {
            self.write(memory, base, segment)?;
        }
        Ok(())
    }

    /// Writes the image's data anew, as it is before its first instruction.
    ///
    /// What it does not load (`.bss`, stacks, the job area) is left alone: the boot code zeroes the first, and
    /// nothing reads of the others what it has not written.
    ///
    /// # Errors
    ///
    /// If it does not fit.
    pub fn restore(&self, memory: &GuestMemory, base: u64) -> Result<(), ImageError> {
        for segment in self.segments.iter().filter(|segment| segment.writable) {
            self.write(memory, base, segment)?;
        }
        Ok(())
    }

    fn write(&self, memory: &GuestMemory, base: u64, segment: &Segment) -> Result<(), ImageError> {
        let address = base.saturating_add(segment.address);
        memory
            .write(address, &segment.bytes)
            .map_err(|source| ImageError::Place { image: self.name.clone(), source })
    }
}

/// The SHA-256 of some bytes, in lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: u64 = 0x4040_0000;

    fn parse(bytes: &[u8]) -> Result<Image, ImageError> {
        // The images of a program live as long as it does; those of a test are few and small.
        Image::parse("test", Vec::leak(bytes.to_vec()))
    }

    fn payload() -> Image {
        Image::parse("scenario", embedded::SCENARIO).unwrap()
    }

    /// An ELF file with two segments, one of text and one of data.
    fn elf() -> Vec<u8> {
        let mut file = vec![0; 64 + 2 * 56];
        let header: [(usize, &[u8]); 9] = [
            (0, b"\x7fELF\x02\x01\x01"),
            (16, &3u16.to_le_bytes()),
            (18, &183u16.to_le_bytes()),
            (20, &1u32.to_le_bytes()),
            (32, &64u64.to_le_bytes()),
            (52, &64u16.to_le_bytes()),
            (54, &56u16.to_le_bytes()),
            (56, &2u16.to_le_bytes()),
            (58, &64u16.to_le_bytes()),
        ];
        for (offset, bytes) in header {
            file[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        segment(&mut file, 0, 5, 0, b"text", 8);
        segment(&mut file, 1, 6, ALIGN, b"data", 0x1000);
        file
    }

    fn segment(file: &mut Vec<u8>, number: usize, flags: u32, address: u64, bytes: &[u8], size: u64) {
        let offset = file.len() as u64;
        file.extend_from_slice(bytes);
        let header = 64 + number * 56;
        file[header..header + 4].copy_from_slice(&1u32.to_le_bytes());
        file[header + 4..header + 8].copy_from_slice(&flags.to_le_bytes());
        for (i, word) in [offset, address, address, bytes.len() as u64, size, 1].into_iter().enumerate() {
            let at = header + 8 + i * 8;
            file[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
    }

    #[test]
    fn data_is_restored_and_text_is_not() {
        let image = parse(&elf()).unwrap();
        assert_eq!((image.text_size(), image.size()), (ALIGN, ALIGN + 0x1000));
        let memory = GuestMemory::new(BASE, 0x40_0000).unwrap();
        image.load(&memory, BASE).unwrap();
        let read = |address| memory.read_value::<[u8; 4]>(address).unwrap();
        assert_eq!((&read(BASE), &read(BASE + ALIGN)), (b"text", b"data"));
        memory.write(BASE, b"TEXT").unwrap();
        memory.write(BASE + ALIGN, b"DATAmore").unwrap();
        image.restore(&memory, BASE).unwrap();
        assert_eq!((&read(BASE), &read(BASE + ALIGN), &read(BASE + ALIGN + 4)), (b"TEXT", b"data", b"more"));
    }

    #[test]
    fn an_image_that_does_not_fit_is_refused() {
        let image = parse(&elf()).unwrap();
        let memory = GuestMemory::new(BASE, 0x20_0000).unwrap();
        assert!(matches!(image.load(&memory, BASE), Err(ImageError::Place { .. })));
        assert!(matches!(image.load(&memory, u64::MAX - 2), Err(ImageError::Place { .. })));
    }

    #[test]
    fn other_files_are_refused() {
        let change = |offset: usize, bytes: &[u8]| {
            let mut file = elf();
            file[offset..offset + bytes.len()].copy_from_slice(bytes);
            parse(&file).unwrap_err().to_string()
        };
        assert_eq!(change(0, b"MZ"), "the image test is not an ELF file for AArch64");
        assert_eq!(change(18, &62u16.to_le_bytes()), "the image test is for another architecture");
        assert_eq!(change(16, &2u16.to_le_bytes()), "the image test is not a static PIE that starts at 0");
        let data = 64 + 56;
        assert_eq!(change(data + 4, &[4]), "the image test has no data");
        assert_eq!(
            change(data + 16, &0x1000u64.to_le_bytes()),
            "the image test has data that does not begin at a multiple of 2 MiB"
        );
        assert_eq!(change(64 + 40, &u64::MAX.to_le_bytes()), "the image test has text behind its data");
        assert!(change(data + 40, &1u64.to_le_bytes()).contains("larger in the file"));
        assert!(change(data + 32, &u64::MAX.to_le_bytes()).contains("outside its file"));
        assert!(parse(b"").is_err());
        assert!(matches!(parse(&elf()).unwrap().symbol("main"), Err(ImageError::Symbol { .. })));
    }

    #[test]
    fn the_payload_is_an_image() {
        let image = payload();
        assert_eq!(image.symbol("__image_start").unwrap(), 0);
        assert!(image.symbol(abi::job::SYMBOL).unwrap() > image.text_size());
        assert_eq!(image.sha256().len(), 64);
    }

    proptest! {
        #[test]
        fn broken_files_give_errors(cut in 0usize..200, flips in prop::collection::vec((0usize..200, any::<u8>()), 0..8)) {
            let mut file = elf();
            file.truncate(file.len().saturating_sub(cut));
            for (at, bits) in flips {
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= bits;
                }
            }
            if let Ok(image) = parse(&file) {
                let memory = GuestMemory::new(BASE, 0x1000).unwrap();
                // Either is fine; what counts is that nothing panics.
                let _ = (image.load(&memory, BASE), image.text_size(), image.size());
            }
        }
    }
}
