//! From the file that a distribution ships to the raw arm64 `Image`, and what is written in it.
//!
//! Everything here reads a stranger's bytes: it is bounded in size and depth, and never panics.

use std::io::Read;

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

/// Bytes that a file or an unpacked image may have. Debian's have 40 MB.
pub const LIMIT: u64 = 256 << 20;
/// Bytes that a kernel's configuration may have.
const CONFIG_LIMIT: u64 = 8 << 20;
/// Layers of compression: an EFI zboot image within a gzip file, and one to spare.
const LAYERS: u32 = 3;
/// Of an arm64 `Image`, at [`MAGIC_AT`] (Documentation/arch/arm64/booting.rst).
const MAGIC: &[u8] = b"ARM\x64";
const MAGIC_AT: usize = 56;
/// The bytes of an `Image`'s header.
const HEADER: usize = 64;

/// Why a file is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is nothing that is known.
    #[error("is neither an arm64 Image nor one that is packed by gzip, zstd, xz or EFI zboot")]
    Unknown,
    /// It is too large.
    #[error("has more than {} MiB, packed or unpacked", LIMIT >> 20)]
    TooLarge,
    /// It is packed too often.
    #[error("is packed more than {LAYERS} times")]
    TooDeep,
    /// An EFI zboot image says nonsense of its payload.
    #[error("is an EFI zboot image whose payload lies outside of it")]
    Payload,
    /// An EFI zboot image is packed in an unknown way.
    #[error("is an EFI zboot image that is packed by `{0}`: gzip, zstd and xz are known")]
    Method(String),
    /// It does not unpack.
    #[error("does not unpack by {method}: {why}")]
    Broken {
        /// How it is packed.
        method: &'static str,
        /// What the unpacker says.
        why: String,
    },
    /// It is an image, but not of Linux.
    #[error("is an arm64 image without the words `Linux version`")]
    NotLinux,
}

type Result<T> = std::result::Result<T, UnpackError>;

/// Unpacks a kernel file to a raw `Image`; one that is raw already stays as it is.
///
/// # Errors
///
/// If it is none.
pub fn image(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    for _ in 0..=LAYERS {
        if bytes.len() as u64 > LIMIT {
            return Err(UnpackError::TooLarge);
        }
        let (method, payload) = match Packing::of(&bytes)? {
            Packing::Raw => return Ok(bytes),
            Packing::By(method, payload) => (method, payload),
        };
        bytes = method.unpack(payload, LIMIT)?;
    }
    Err(UnpackError::TooDeep)
}

/// Unpacks a kernel's module of at most so many bytes; one that is not packed stays as it is.
///
/// # Errors
///
/// If it is packed in an unknown way, or does not unpack.
pub(super) fn module(bytes: Vec<u8>, limit: u64) -> Result<Vec<u8>> {
    if bytes.starts_with(b"\x7fELF") {
        return Ok(bytes);
    }
    Method::of(&bytes).ok_or(UnpackError::Unknown)?.unpack(&bytes, limit)
}

/// Whether this is a raw `Image`.
#[must_use]
pub fn is_raw(bytes: &[u8]) -> bool {
    matches!(Packing::of(bytes), Ok(Packing::Raw))
}

enum Packing<'a> {
    Raw,
    By(Method, &'a [u8]),
}

#[derive(Clone, Copy)]
enum Method {
    Gzip,
    Zstd,
    Xz,
}

impl<'a> Packing<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self> {
        if bytes.get(MAGIC_AT..HEADER).is_some_and(|end| end.starts_with(MAGIC)) {
            return Ok(Self::Raw);
        }
        if bytes.starts_with(b"MZ") && bytes.get(4..8) == Some(b"zimg") {
            return Self::zboot(bytes);
        }
        let method = Method::of(bytes).ok_or(UnpackError::Unknown)?;
        Ok(Self::By(method, bytes))
    }

    /// `drivers/firmware/efi/libstub/zboot-header.S` of Linux: at 8 the payload's offset and size, at 24 its packing.
    fn zboot(bytes: &'a [u8]) -> Result<Self> {
        let word = |at: usize| {
            let word = bytes.get(at..)?.first_chunk().map(|&word| u32::from_le_bytes(word))?;
            usize::try_from(word).ok()
        };
        let payload = || {
            let (offset, size) = (word(8)?, word(12)?);
            bytes.get(offset..offset.checked_add(size)?)
        };
        let payload = payload().ok_or(UnpackError::Payload)?;
        let name = bytes.get(24..MAGIC_AT).ok_or(UnpackError::Payload)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let method = match name {
            b"gzip" => Method::Gzip,
            // The kernel's build names the variant that appends the size.
            b"zstd" | b"zstd22" => Method::Zstd,
            b"xz" | b"xzkern" => Method::Xz,
            other => return Err(UnpackError::Method(other.escape_ascii().to_string())),
        };
        Ok(Self::By(method, payload))
    }
}

impl Method {
    fn of(bytes: &[u8]) -> Option<Self> {
        [Self::Gzip, Self::Zstd, Self::Xz].into_iter().find(|method| bytes.starts_with(method.magic()))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
        }
    }

    const fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => b"\x1f\x8b\x08",
            Self::Zstd => b"\x28\xb5\x2f\xfd",
            Self::Xz => b"\xfd7zXZ\0",
        }
    }

    /// Unpacks the first member; what comes after it, as the size that the kernel's build appends, does not count.
    fn unpack(self, bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
        let broken = |why: String| UnpackError::Broken { method: self.name(), why };
        let mut out = Vec::new();
        let read = match self {
            Self::Gzip => GzDecoder::new(bytes).take(limit + 1).read_to_end(&mut out),
            Self::Zstd => StreamingDecoder::new_with_max_window_size(bytes, limit)
                .map_err(|error| broken(error.to_string()))?
                .take(limit + 1)
                .read_to_end(&mut out),
            Self::Xz => {
                let kib = u32::try_from(limit >> 10).unwrap_or(u32::MAX - 1);
                XzReader::new_mem_limit(bytes, false, kib).take(limit + 1).read_to_end(&mut out)
            }
        };
        read.map_err(|error| broken(error.to_string()))?;
        if out.len() as u64 > limit { Err(UnpackError::TooLarge) } else { Ok(out) }
    }
}

/// The line in which an image tells its version: `Linux version 7.2.12+deb13-cloud-arm64 (…) #1 SMP Debian 7.2.12-1`.
#[must_use]
pub fn banner(image: &[u8]) -> Option<String> {
    const BEGIN: &[u8] = b"Linux version ";
    const LONGEST: usize = 1024;
    let mut best: Option<String> = None;
    for at in find_all(image, BEGIN) {
        let line = &image[at..image.len().min(at + LONGEST)];
        let end = line.iter().position(|byte| !(b' '..=b'~').contains(byte)).unwrap_or(line.len());
        let line = String::from_utf8_lossy(&line[..end]);
        // Others are formats, and one has no number of the build yet.
        if release(&line).is_some()
            && best.as_ref().is_none_or(|best| !is_numbered(best) && is_numbered(&line))
        {
            best = Some(line.trim_end().to_owned());
        }
    }
    best
}

/// Whether it has the `#1` of the build.
fn is_numbered(banner: &str) -> bool {
    banner.split(" #").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The release in a [`banner`]: `7.2.12+deb13-cloud-arm64`.
#[must_use]
pub fn release(banner: &str) -> Option<&str> {
    let release = banner.strip_prefix("Linux version ")?.split(' ').next()?;
    release.starts_with(|c: char| c.is_ascii_digit()).then_some(release)
}

/// The configuration that an image was built with, if it carries it (`CONFIG_IKCONFIG`).
#[must_use]
pub fn config(image: &[u8]) -> Option<Vec<u8>> {
    const BEGIN: &[u8] = b"IKCFG_ST";
    find_all(image, BEGIN)
        .find_map(|at| Method::Gzip.unpack(image.get(at + BEGIN.len()..)?, CONFIG_LIMIT).ok())
}

/// Every place of a few bytes in many.
fn find_all(hay: &[u8], needle: &'static [u8]) -> impl Iterator<Item = usize> {
    let first = needle[0];
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let at = from + hay.get(from..)?.iter().position(|&byte| byte == first)?;
            from = at + 1;
            if hay[at..].starts_with(needle) {
                return Some(at);
            }
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    pub(in crate::kernel) const RELEASE: &str = "7.2.12+deb13-cloud-arm64";
    const LINE: &str =
        "Linux version 7.2.12+deb13-cloud-arm64 (a@b) (gcc) #1 SMP Debian 7.2.12-1 (2026-11-04)";

    /// An image that says what a kernel says of itself.
    pub(in crate::kernel) fn raw() -> Vec<u8> {
        let mut image = vec![0; HEADER];
        image[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
        image.extend(b"\0Linux version %s\0");
        image.extend(LINE.replace("#1", "#").bytes());
        image.push(b'\n');
        image.extend(LINE.bytes());
        image.extend(b"\n\0IKCFG_ST");
        image.extend(gzip(b"CONFIG_KVM=y\n"));
        image.extend(b"IKCFG_ED");
        image
    }

    pub(in crate::kernel) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// As `xz --check=crc32` packs a few bytes: one block with one LZMA2 chunk that is not compressed.
    fn xz(bytes: &[u8]) -> Vec<u8> {
        let crc = |bytes: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            crc.sum().to_le_bytes()
        };
        let mut out = Method::Xz.magic().to_vec();
        let flags = [0, 1];
        out.extend(flags);
        out.extend(crc(&flags));
        // The block's header: 12 bytes with CRC; one filter, LZMA2, with a dictionary of 4 KiB.
        let block = [2, 0, 0x21, 1, 0, 0, 0, 0];
        out.extend(block);
        out.extend(crc(&block));
        let last = u16::try_from(bytes.len() - 1).unwrap().to_be_bytes();
        out.extend([1, last[0], last[1]]);
        out.extend(bytes);
        out.push(0);
        let unpadded = 12 + 3 + bytes.len() + 1 + 4;
        while !out.len().is_multiple_of(4) {
            out.push(0);
        }
        out.extend(crc(bytes));
        let number = |mut value: usize| {
            let mut bytes = Vec::new();
            while value >= 0x80 {
                bytes.push(0x80 | (value & 0x7f) as u8);
                value >>= 7;
            }
            bytes.push(value as u8);
            bytes
        };
        let mut index = vec![0, 1];
        index.extend(number(unpadded));
        index.extend(number(bytes.len()));
        while !index.len().is_multiple_of(4) {
            index.push(0);
        }
        out.extend(&index);
        out.extend(crc(&index));
        let mut footer = u32::try_from(index.len() / 4).unwrap().to_le_bytes().to_vec();
        footer.extend(flags);
        out.extend(crc(&footer));
        out.extend(footer);
        out.extend(b"YZ");
        out
    }

    fn zboot(method: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; HEADER];
        image[..2].copy_from_slice(b"MZ");
        image[4..8].copy_from_slice(b"zimg");
        image[8..12].copy_from_slice(&64u32.to_le_bytes());
        image[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image[24..24 + method.len()].copy_from_slice(method);
        image.extend(payload);
        image.extend(b"end");
        image
    }

    #[test]
    fn every_packing_unpacks() {
        let raw = raw();
        let sized = |mut bytes: Vec<u8>| {
            bytes.extend(u32::try_from(raw.len()).unwrap().to_le_bytes());
            bytes
        };
        for packed in [
            raw.clone(),
            gzip(&raw),
            zstd(&raw),
            xz(&raw),
            zboot(b"gzip", &gzip(&raw)),
            zboot(b"zstd22", &sized(zstd(&raw))),
            zboot(b"xzkern", &sized(xz(&raw))),
            gzip(&zboot(b"gzip", &gzip(&raw))),
        ] {
            assert_eq!(image(packed).unwrap(), raw);
        }
        assert!(is_raw(&raw));
        assert!(!is_raw(&gzip(&raw)));
    }

    #[track_caller]
    fn refused(bytes: Vec<u8>, expected: &str) {
        let message = image(bytes).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn what_is_no_kernel_is_told_why() {
        refused(Vec::new(), "neither");
        refused(b"\x7fELF".to_vec(), "neither");
        refused(raw()[..59].to_vec(), "neither");
        refused(gzip(b"hello"), "neither");
        refused(gzip(&raw())[..40].to_vec(), "gzip");
        refused(zboot(b"lz4", b""), "by `lz4`");
        refused(zboot(b"gzip", &zstd(&raw())), "does not unpack by gzip");
        let mut outside = zboot(b"gzip", &gzip(&raw()));
        outside[8..16].fill(0xff);
        refused(outside, "lies outside");
        refused(zboot(b"gzip", b"")[..40].to_vec(), "lies outside");
        let mut deep = raw();
        for _ in 0..=LAYERS {
            deep = gzip(&deep);
        }
        refused(deep, "more than 3 times");
    }

    #[test]
    fn a_bomb_is_cut_off() {
        let bomb = gzip(&vec![0; 1 << 20]);
        let error = Method::Gzip.unpack(&bomb, 1 << 10).unwrap_err();
        assert!(matches!(error, UnpackError::TooLarge), "{error}");
        assert_eq!(Method::Gzip.unpack(&bomb, 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn an_xz_dictionary_is_bounded() {
        let mut greedy = xz(&raw());
        greedy[16] = 40;
        let mut crc = flate2::Crc::new();
        crc.update(&greedy[12..20]);
        greedy[20..24].copy_from_slice(&crc.sum().to_le_bytes());
        refused(greedy, "does not unpack by xz: needed memory");
    }

    #[test]
    fn an_image_tells_its_release_and_configuration() {
        let raw = raw();
        assert_eq!(banner(&raw).as_deref(), Some(LINE));
        assert_eq!(release(LINE), Some(RELEASE));
        assert_eq!(config(&raw).unwrap(), b"CONFIG_KVM=y\n");
        assert_eq!(banner(b"Linux version %s"), None);
        assert_eq!(banner(b"xLinux version 6"), Some("Linux version 6".to_owned()));
        assert_eq!(config(b"IKCFG_ST\x1f\x8b"), None);
        assert_eq!(release("Linux version "), None);
    }

    proptest! {
        #[test]
        fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = image(bytes.clone());
            let _ = (banner(&bytes), config(&bytes));
        }

        #[test]
        fn garbage_behind_a_magic_is_refused(
            kind in 0usize..6,
            bytes in prop::collection::vec(any::<u8>(), 0..512),
        ) {
            let begin: [&[u8]; 3] = [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"];
            let packed = match begin.get(kind) {
                Some(begin) => [begin, &bytes[..]].concat(),
                None => zboot([&b"gzip"[..], b"zstd22", b"xzkern"][kind - 3], &bytes),
            };
            let _ = image(packed);
        }

        #[test]
        fn a_damaged_image_does_no_harm(
            kind in 0usize..6,
            at in any::<prop::sample::Index>(),
            value in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let raw = raw();
            let mut packed = match kind {
                0 => gzip(&raw),
                1 => zstd(&raw),
                2 => xz(&raw),
                3 => zboot(b"gzip", &gzip(&raw)),
                4 => zboot(b"zstd22", &zstd(&raw)),
                _ => zboot(b"xzkern", &xz(&raw)),
            };
            let at = at.index(packed.len());
            packed[at] = value;
            let _ = image(packed.clone());
            packed.truncate(cut.index(packed.len()));
            let _ = image(packed);
        }
    }
}
