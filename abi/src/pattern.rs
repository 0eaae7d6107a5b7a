//! Lanes that know where they come from.
//!
//! A fill writes into every 64-bit lane of a Z register a word that encodes who wrote it, into which
//! register and lane, and the how-manieth fill it was. A wrong lane is then not a mismatch but *stale*,
//! *swapped* or *leaked*. No word is zero or all ones (bits 63:56 are the owner, 1 to 0x7f).
//!
//! ```text
//! 63    56 55      44 43   38 37   33 32            0
//! [ owner ][generation][  reg ][ lane ][    check    ]
//! ```

/// Who wrote a lane. Values 1 to 0x7f.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Owner {
    /// A `fill` step of the scenario.
    Scenario = 0x51,
    /// The hypervisor's poison of registers marked free.
    Poison = 0x2d,
    /// The host task of the `preempt` disturbance.
    HostTask = 0x3b,
    /// The hypervisor's own use of SIMD (`host-simd`).
    HostSimd = 0x4e,
    /// The second guest of the `other-vcpu` disturbance.
    OtherVcpu = 0x67,
    /// The clobber of a sweep point or of the `clobber` disturbance.
    Clobber = 0x19,
    /// The bits above the vector length that `upper=random` invents.
    Upper = 0x75,
    /// What an earlier case left in its guest's memory image.
    OtherCase = 0x36,
}

impl Owner {
    /// Every owner.
    pub const ALL: [Self; 8] = [
        Self::Scenario,
        Self::Poison,
        Self::HostTask,
        Self::HostSimd,
        Self::OtherVcpu,
        Self::Clobber,
        Self::Upper,
        Self::OtherCase,
    ];

    /// The name in diagnostics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scenario => "this vCPU",
            Self::Poison => "poison of freed registers",
            Self::HostTask => "the host task",
            Self::HostSimd => "the hypervisor's own SIMD",
            Self::OtherVcpu => "the other guest",
            Self::Clobber => "the sweep's clobber",
            Self::Upper => "invented upper bits",
            Self::OtherCase => "an earlier case",
        }
    }
}

/// The word that owner `owner` writes into 64-bit lane `lane` of Z register `reg` with its fill number
/// `generation` (taken modulo 4096).
#[must_use]
pub const fn word(owner: Owner, generation: u16, reg: u8, lane: u8) -> u64 {
    let tag = ((owner as u64) << 56)
        | ((generation as u64 & 0xfff) << 44)
        | ((reg as u64 & 0x3f) << 38)
        | ((lane as u64 & 0x1f) << 33);
    tag | check(tag)
}

/// What [`word`] encoded, if `value` is such a word: owner, generation, register, lane.
#[must_use]
pub const fn decode(value: u64) -> Option<(Owner, u16, u8, u8)> {
    let tag = value & !0x1_ffff_ffff;
    if tag | check(tag) != value {
        return None;
    }
    let mut i = 0;
    while i < Owner::ALL.len() {
        if Owner::ALL[i] as u64 == value >> 56 {
            return Some((
                Owner::ALL[i],
                ((value >> 44) & 0xfff) as u16,
                ((value >> 38) & 0x3f) as u8,
                ((value >> 33) & 0x1f) as u8,
            ));
        }
        i += 1;
    }
    None
}

/// 64 bits for predicate register `reg` (FFR is 16), 64-bit group `lane` (0 to 3), as [`word`] is for Z.
///
/// A predicate at VL 128 has 16 bits: too few to carry a tag. These are only mixed; a reader finds the
/// origin by comparing with every pattern that the case can have met.
#[must_use]
pub const fn predicate(owner: Owner, generation: u16, reg: u8, lane: u8) -> u64 {
    mix(((owner as u64) << 40)
        | ((generation as u64 & 0xfff) << 24)
        | ((reg as u64) << 8)
        | lane as u64
        | 1 << 60)
}

const fn check(tag: u64) -> u64 {
    (mix(tag) >> 31) & 0x1_ffff_ffff
}

/// A bijective mixer of 64 bits (the finalizer of MurmurHash3).
#[must_use]
pub const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
