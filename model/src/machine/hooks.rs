//! What a target can be asked for, and how.

use abi::doorbell::{Check, Disturbance};

/// What a target can be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hooks {
    /// How it is rung for, if it answers the doorbell.
    pub doorbell: Option<Doorbell>,
    /// What it can be asked to do to the vCPU.
    pub disturbances: &'static [Disturbance],
    /// What its virtual machine monitor can be asked for.
    pub checks: &'static [Check],
    /// Where an IRQ can come from.
    pub irq: IrqSource,
    /// It can make an SError pending.
    pub serror: bool,
    /// It can reset a vCPU.
    pub reset: bool,
    /// SMC from the payload's highest level reaches an SMCCC implementation with PSCI.
    pub smccc: bool,
    /// That implementation has CPU_SUSPEND, by SMC.
    pub suspend: bool,
    /// HCR_EL2.TSC traps SMC. Without EL3 the manual leaves that open.
    pub tsc: bool,
}

/// How the payload rings for a disturbance or a check.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Doorbell {
    /// By an access to a page where there is no memory.
    #[default]
    Mmio,
    /// By a call ([`abi::doorbell::CALL`]) from where an SMC gets through, else by an access.
    Smc,
}

impl Doorbell {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Mmio, Self::Smc];

    /// The name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mmio => "mmio",
            Self::Smc => "smc",
        }
    }

    /// The way with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }
}

/// Where the payload's interrupts come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IrqSource {
    /// Nowhere.
    None,
    /// The doorbell.
    Doorbell,
    /// An SGI through the GICv3 system registers.
    Gic,
    /// The doorbell, which raises an interrupt of the GIC.
    Line,
}

impl IrqSource {
    /// The value of [`abi::job::JobHeader::irq_source`].
    #[must_use]
    pub const fn abi(self) -> u64 {
        match self {
            Self::None => abi::job::irq_source::NONE,
            Self::Doorbell => abi::job::irq_source::DOORBELL,
            Self::Gic => abi::job::irq_source::GIC,
            Self::Line => abi::job::irq_source::LINE,
        }
    }
}
