//! Where a step runs.

/// A place: one of the levels that the payload owns.
///
/// L1 and L2 are always the payload's own levels, whatever lies below it. The values are those of
/// [`crate::op::Op::place`] and [`crate::record::RecordHeader::place`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Place {
    /// The payload as a guest hypervisor, at EL2 or virtual EL2.
    L1 = 1,
    /// A task of a VHE L1: EL0 with HCR_EL2.{E2H,TGE} = {1,1}.
    L1El0 = 2,
    /// The guest of L1, at EL1.
    L2 = 3,
    /// A task of L2, at EL0.
    L2El0 = 4,
    /// A second guest of the same L1, at EL1, with EL1 registers and a VMID of its own.
    L2b = 5,
    /// The payload as a plain guest, at EL1 without EL2.
    G = 6,
    /// A task of G, at EL0.
    GEl0 = 7,
}

impl Place {
    /// Every place, in the order of its value.
    pub const ALL: [Self; 7] = [Self::L1, Self::L1El0, Self::L2, Self::L2El0, Self::L2b, Self::G, Self::GEl0];

    /// The place with this value, if there is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::L1),
            2 => Some(Self::L1El0),
            3 => Some(Self::L2),
            4 => Some(Self::L2El0),
            5 => Some(Self::L2b),
            6 => Some(Self::G),
            7 => Some(Self::GEl0),
            _ => None,
        }
    }

    /// The name in scenarios and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L1 => "L1",
            Self::L1El0 => "L1.el0",
            Self::L2 => "L2",
            Self::L2El0 => "L2.el0",
            Self::L2b => "L2b",
            Self::G => "G",
            Self::GEl0 => "G.el0",
        }
    }
}
