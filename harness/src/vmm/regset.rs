//! Sets of a thread's registers as the kernel gives them to a debugger and takes them (`PTRACE_GETREGSET`).
//!
//! Their layouts are those of `arch/arm64/include/uapi/asm/ptrace.h`, their names those of `include/uapi/linux/elf.h`.

use arch::host::part::{FFR, FPCR, FPMR, FPSR, P};
use arch::host::{self, HEADER, Image, SmeImage};

use super::task::Unit;

/// NT_PRFPREG: V0 to V31, FPSR, FPCR.
const NT_PRFPREG: i32 = 2;
/// NT_ARM_TLS: TPIDR_EL0 and TPIDR2_EL0.
const NT_ARM_TLS: i32 = 0x401;
/// NT_ARM_SVE: a header, and what NT_PRFPREG has, or Z, P and FFR. The header alone in streaming mode.
const NT_ARM_SVE: i32 = 0x405;
/// NT_ARM_SSVE: a header, and the same at the streaming vector length. The header alone outside of streaming mode.
const NT_ARM_SSVE: i32 = 0x40b;
/// NT_ARM_ZA: a header, and ZA if it is enabled.
const NT_ARM_ZA: i32 = 0x40c;
/// NT_ARM_ZT: ZT0.
const NT_ARM_ZT: i32 = 0x40d;
/// NT_ARM_FPMR: FPMR.
const NT_ARM_FPMR: i32 = 0x40e;
/// Bytes of `struct user_sve_header` and of `struct user_za_header`, which have the same members: size, max_size, vl, max_vl,
/// flags.
const SIZED: usize = 16;
/// SVE_PT_REGS_SVE: the registers after the header are those of SVE.
const REGS_SVE: u16 = 1;
/// The largest vector length in bytes.
const VL_MAX: usize = 256;

/// A set of registers, or room for one.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) kind: i32,
    pub(super) bytes: Vec<u8>,
}

impl Set {
    const fn new(kind: i32, bytes: Vec<u8>) -> Self {
        Self { kind, bytes }
    }

    fn room(kind: i32, len: usize) -> Self {
        Self::new(kind, vec![0; len])
    }

    /// V, or Z, P and FFR; FPSR and FPCR.
    pub(super) fn simd(image: &Image, unit: Unit) -> Self {
        let kind = if unit.vl > 0 { NT_ARM_SVE } else { NT_PRFPREG };
        Self::new(kind, bytes_of(image, unit))
    }

    /// The same in streaming mode, which it enters: `unit` has the streaming vector length.
    pub(super) fn streaming(image: &Image, unit: Unit) -> Self {
        Self::new(NT_ARM_SSVE, bytes_of(image, unit))
    }

    pub(super) fn fpmr(image: &Image) -> Self {
        Self::new(NT_ARM_FPMR, image.0[FPMR..FPMR + 8].to_vec())
    }

    /// ZA at a streaming vector length in bytes, enabled.
    pub(super) fn za(image: &SmeImage, svl: usize) -> Self {
        let mut bytes = vec![0; SIZED];
        put_header(&mut bytes, SIZED + svl * svl, svl, 0);
        bytes.extend_from_slice(&image.za[..svl * svl]);
        Self::new(NT_ARM_ZA, bytes)
    }

    /// ZT0; ZA is enabled by it.
    pub(super) fn zt0(image: &SmeImage) -> Self {
        Self::new(NT_ARM_ZT, image.zt0.to_vec())
    }

    /// TPIDR2_EL0, beside TPIDR_EL0 as the calling thread has it.
    pub(super) fn tpidr2(image: &SmeImage) -> Self {
        Self::new(NT_ARM_TLS, [host::thread_pointer(), image.tpidr2].map(u64::to_le_bytes).concat())
    }

    /// Room for [`Self::simd`] and, if it is there, [`Self::fpmr`].
    pub(super) fn simd_rooms(unit: Unit) -> Vec<Self> {
        let simd = if unit.vl > 0 { NT_ARM_SVE } else { NT_PRFPREG };
        let simd = Self::room(simd, Layout::sve(VL_MAX).len);
        [simd].into_iter().chain(unit.fpmr.then(|| Self::room(NT_ARM_FPMR, 8))).collect()
    }

    /// Room for [`Self::streaming`], [`Self::za`], [`Self::tpidr2`] and, if it is there, [`Self::zt0`].
    pub(super) fn sme_rooms(zt0: bool) -> Vec<Self> {
        let streaming = Self::room(NT_ARM_SSVE, Layout::sve(VL_MAX).len);
        let za = Self::room(NT_ARM_ZA, SIZED + VL_MAX * VL_MAX);
        let sets = [streaming, za, Self::room(NT_ARM_TLS, 16)];
        sets.into_iter().chain(zt0.then(|| Self::room(NT_ARM_ZT, 64))).collect()
    }
}

/// What was read into [`Set::simd_rooms`].
pub(super) fn simd_image(sets: &[Set], unit: Unit) -> Box<Image> {
    let mut image = Box::new(Image::ZERO);
    for set in sets {
        match set.kind {
            NT_ARM_FPMR => image.0[FPMR..FPMR + 8].copy_from_slice(&set.bytes),
            _ => take(&mut image, set, unit),
        }
    }
    image
}

/// What was read into [`Set::sme_rooms`], and Z, P, FFR, FPSR and FPCR if it was in streaming mode; `unit` has the streaming
/// vector length.
pub(super) fn sme_images(sets: &[Set], unit: Unit) -> (Box<Image>, Box<SmeImage>) {
    let (mut image, mut sme) = (Box::new(Image::ZERO), Box::new(SmeImage::ZERO));
    for set in sets {
        match set.kind {
            NT_ARM_SSVE if half(set, 12) & REGS_SVE != 0 => {
                sme.svcr |= host::SVCR_SM;
                take(&mut image, set, unit);
            }
            NT_ARM_ZA => {
                sme.svl = half(set, 8).into();
                // Of the whole set. The kernel does not tell how much of the room it has used.
                let len = u32::from_le_bytes(std::array::from_fn(|n| set.bytes[n])) as usize;
                if len > SIZED {
                    sme.svcr |= host::SVCR_ZA;
                    sme.za[..len - SIZED].copy_from_slice(&set.bytes[SIZED..len]);
                }
            }
            NT_ARM_ZT => sme.zt0.copy_from_slice(&set.bytes),
            NT_ARM_TLS => sme.tpidr2 = u64::from_le_bytes(std::array::from_fn(|n| set.bytes[8 + n])),
            _ => {}
        }
    }
    (image, sme)
}

/// Where the parts of a set lie.
#[derive(Clone, Copy, Debug)]
struct Layout {
    z: usize,
    vl: usize,
    /// P0; FFR is the one after P15. Nothing without SVE.
    p: usize,
    fpsr: usize,
    len: usize,
}

impl Layout {
    /// SVE_PT_REGS_SVE of NT_ARM_SVE.
    const fn sve(vl: usize) -> Self {
        let p = SIZED + 32 * vl;
        let fpsr = (p + 17 * (vl / 8)).next_multiple_of(16);
        Self { z: SIZED, vl, p, fpsr, len: fpsr + 16 }
    }

    /// `struct user_fpsimd_state` behind so many bytes.
    const fn fpsimd(header: usize) -> Self {
        let fpsr = header + 32 * 16;
        Self { z: header, vl: 16, p: fpsr, fpsr, len: fpsr + 16 }
    }

    /// That of a set that was read.
    fn of(set: &Set, unit: Unit) -> Self {
        match unit.vl {
            0 => Self::fpsimd(0),
            vl if half(set, 12) & REGS_SVE != 0 => Self::sve(vl),
            _ => Self::fpsimd(SIZED),
        }
    }
}

/// An image as the kernel wants it.
fn bytes_of(image: &Image, unit: Unit) -> Vec<u8> {
    let layout = if unit.vl > 0 { Layout::sve(unit.vl) } else { Layout::fpsimd(0) };
    let mut set = vec![0; layout.len];
    let mut put = |at: usize, bytes: &[u8]| set[at..at + bytes.len()].copy_from_slice(bytes);
    put(layout.z, &image.0[HEADER..HEADER + 32 * layout.vl]);
    put(layout.fpsr, &image.0[FPSR..FPSR + 4]);
    put(layout.fpsr + 4, &image.0[FPCR..FPCR + 4]);
    if unit.vl > 0 {
        let pl = unit.vl / 8;
        put(layout.p, &image.0[P..P + 16 * pl]);
        put(layout.p + 16 * pl, &image.0[FFR..FFR + pl]);
        put_header(&mut set, layout.len, unit.vl, REGS_SVE);
    }
    set
}

fn put_header(set: &mut [u8], len: usize, vl: usize, flags: u16) {
    for (at, size) in [(0, len), (4, len)] {
        set[at..at + 4].copy_from_slice(&(size as u32).to_le_bytes());
    }
    for (at, value) in [(8, vl as u16), (10, vl as u16), (12, flags)] {
        set[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
}

/// Two bytes of a header.
fn half(set: &Set, at: usize) -> u16 {
    u16::from_le_bytes([set.bytes[at], set.bytes[at + 1]])
}

/// What the kernel gave, into an image.
fn take(image: &mut Image, set: &Set, unit: Unit) {
    let layout = Layout::of(set, unit);
    let vl = unit.vl.max(16);
    for n in 0..32 {
        let from = layout.z + n * layout.vl;
        image.0[HEADER + n * vl..][..layout.vl].copy_from_slice(&set.bytes[from..from + layout.vl]);
    }
    if layout.p != layout.fpsr {
        let pl = unit.vl / 8;
        image.0[P..P + 16 * pl].copy_from_slice(&set.bytes[layout.p..layout.p + 16 * pl]);
        image.0[FFR..FFR + pl].copy_from_slice(&set.bytes[layout.p + 16 * pl..layout.p + 17 * pl]);
    }
    image.0[FPSR..FPSR + 4].copy_from_slice(&set.bytes[layout.fpsr..layout.fpsr + 4]);
    image.0[FPCR..FPCR + 4].copy_from_slice(&set.bytes[layout.fpsr + 4..layout.fpsr + 8]);
}
