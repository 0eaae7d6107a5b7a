//! A kernel's file: bytes as they come, or an image packed in one of the known ways with some bytes changed. What unpacks
//! is searched for what a kernel says of itself.
#![no_main]

use std::io::Write as _;
use std::sync::LazyLock;

use flate2::{Compression, write::GzEncoder};
use harness::kernel::unpack::{banner, config, image, is_raw, release};
use libfuzzer_sys::fuzz_target;
use lzma_rust2::{CheckType, XzOptions, XzWriter};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// By gzip, zstd, xz, and each of these once more within an EFI zboot image.
static PACKED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let raw = raw();
    let packed =
        [("gzip", gzip(&raw)), ("zstd", compress_to_vec(&*raw, CompressionLevel::Fastest)), ("xz", xz(&raw))];
    let zboots = packed.iter().map(|(name, bytes)| zboot(name, bytes)).collect::<Vec<_>>();
    packed.into_iter().map(|(_, bytes)| bytes).chain(zboots).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    let bytes = match PACKED.get(usize::from(kind % 8)) {
        Some(packed) => changed(packed, rest),
        None => rest.to_vec(),
    };
    let Ok(image) = image(bytes) else { return };
    assert!(is_raw(&image));
    if let Some(banner) = banner(&image) {
        assert!(release(&banner).is_some_and(|release| !release.contains(' ')));
    }
    let _ = config(&image);
});

/// An image of Linux with its configuration in it, and something for each way of packing to look back at.
fn raw() -> Vec<u8> {
    let mut image = vec![0; 56];
    image.extend(b"ARM\x64\0\0\0\0");
    for line in 0..200 {
        image.extend(format!("\x016 a message of kernel {}\n\0", line * line).bytes());
    }
    image.extend(b"Linux version 7.2.12+deb13-cloud-arm64 (a@b) (gcc) #1 SMP Debian 7.2.12-1\n\0IKCFG_ST");
    image.extend(gzip(b"CONFIG_KVM=y\n"));
    image
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut options = XzOptions::with_preset(0);
    options.set_check_sum_type(CheckType::None);
    let mut encoder = XzWriter::new(Vec::new(), options).expect("the usual options");
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn zboot(method: &str, payload: &[u8]) -> Vec<u8> {
    let mut image = b"MZ\0\0zimg".to_vec();
    image.extend(64_u32.to_le_bytes());
    image.extend(u32::try_from(payload.len()).expect("a small one").to_le_bytes());
    image.resize(24, 0);
    image.extend(method.bytes());
    image.resize(64, 0);
    image.extend(payload);
    image
}

/// A copy in which each three bytes of `changes`, an offset and a value, overwrite a byte; two that are left over are the
/// length to cut it to.
fn changed(bytes: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let chunks = changes.chunks_exact(3);
    let cut = chunks.remainder();
    for change in chunks {
        let offset = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[offset] = change[2];
    }
    if let [low, high] = *cut {
        bytes.truncate(usize::from(u16::from_le_bytes([low, high])));
    }
    bytes
}
