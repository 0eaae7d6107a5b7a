//! The sizes of page that a stage can have, and what follows from each.

use arch::read;

/// A granule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Granule {
    /// 4 KiB.
    Small = 12,
    /// 16 KiB.
    Medium = 14,
    /// 64 KiB.
    Large = 16,
}

impl Granule {
    /// The smallest that stage 2 can have: ID_AA64MMFR0_EL1.TGRANx_2, which may refer to TGRANx, the same field of stage 1.
    pub(crate) fn of_stage2() -> Option<Self> {
        /// TGRANx_2: as stage 1 has it; not implemented.
        const AS_STAGE1: u64 = 0;
        const NOT: u64 = 1;
        /// TGRAN4 and TGRAN64, not implemented. Of TGRAN16 this is 0.
        const NOT_AT_STAGE1: u64 = 15;
        let register = read!("ID_AA64MMFR0_EL1");
        let field = |low: u32| register >> low & 15;
        let has = |low, low_at_stage1, not_at_stage1| match field(low) {
            AS_STAGE1 => field(low_at_stage1) != not_at_stage1,
            value => value != NOT,
        };
        [
            (Self::Small, has(40, 28, NOT_AT_STAGE1)),
            (Self::Medium, has(32, 20, 0)),
            (Self::Large, has(36, 24, NOT_AT_STAGE1)),
        ]
        .into_iter()
        .find_map(|(granule, is_there)| is_there.then_some(granule))
    }

    /// VTCR_EL2.{TG0, SL0, T0SZ}. SL0 is 1 in each case: level 1 of 4 KiB, level 2 of the others, whose level 1 takes more than
    /// 40 bits of physical address.
    pub(crate) const fn vtcr(self) -> u64 {
        let tg0: u64 = match self {
            Self::Small => 0,
            Self::Medium => 2,
            Self::Large => 1,
        };
        tg0 << 14 | 1 << 6 | (64 - self.address_bits() as u64)
    }

    /// Bits of an address that are translated.
    pub(crate) const fn address_bits(self) -> u32 {
        match self {
            Self::Small => 39,
            Self::Medium | Self::Large => 36,
        }
    }

    /// The level at which a walk starts.
    pub(crate) const fn first_level(self) -> u32 {
        match self {
            Self::Small => 1,
            Self::Medium | Self::Large => 2,
        }
    }

    /// Bytes of a page, and of a table.
    pub(crate) const fn page(self) -> u64 {
        1 << self as u32
    }

    /// Entries of a table.
    pub(crate) const fn entries(self) -> usize {
        self.page() as usize / size_of::<u64>()
    }

    /// The entry of an address in a table of this level.
    pub(crate) const fn index(self, mapped: u64, level: u32) -> usize {
        let shift = self as u32 + (3 - level) * (self as u32 - 3);
        (mapped >> shift) as usize % self.entries()
    }
}
