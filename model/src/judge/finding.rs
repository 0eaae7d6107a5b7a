//! What is wrong, in words and in numbers.

use std::fmt::{self, Display, Formatter};

use abi::pattern::Owner;
use abi::place::Place;
use abi::sysreg::SysReg;

/// The most lanes that a finding keeps.
pub const LANES_MAX: usize = 32;

/// Something that the architecture does not allow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Index of the scenario's step.
    pub step: usize,
    /// Index of the operation.
    pub op: usize,
    /// The step's line.
    pub line: u32,
    /// Where it was seen.
    pub place: Place,
    /// The rules that are broken, the closest one first. None if those that the scenario names tell it best.
    pub rules: Vec<&'static str>,
    /// Which register.
    pub what: RegisterName,
    /// Whose register it is: the vCPU's ([`Owner::Scenario`]), or that of a neighbor who found it changed.
    pub holder: Owner,
    /// What kind of wrong it is.
    pub class: FailureClass,
    /// Whose value was found, if it could be told.
    pub origin: Option<Origin>,
    /// The legal values, the expected one first.
    pub expected: Vec<Vec<u8>>,
    /// What was found.
    pub actual: Vec<u8>,
    /// The lanes that differ from the closest legal value, at most [`LANES_MAX`].
    pub lanes: Vec<LaneDiff>,
    /// The last transition before.
    pub transition: Option<String>,
}

/// A register, as people call it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RegisterName {
    /// A Z register.
    Z(u8),
    /// The low 128 bits of a Z register.
    V(u8),
    /// A P register.
    P(u8),
    /// FFR.
    Ffr,
    /// FPSR.
    Fpsr,
    /// FPCR.
    Fpcr,
    /// FPMR.
    Fpmr,
    /// The vector length.
    Vl,
    /// A general-purpose register.
    X(u8),
    /// SP.
    Sp,
    /// ESR_ELx.
    Esr,
    /// ELR_ELx.
    Elr,
    /// SPSR_ELx.
    Spsr,
    /// FAR_ELx.
    Far,
    /// HPFAR_EL2.
    Hpfar,
    /// PSTATE.
    Pstate,
    /// The vector, and with it whether there was an exception; bits 63:32 are the place.
    Vector,
    /// A control register.
    Control(SysReg),
}

impl RegisterName {
    /// The class that it belongs to: the name without a number.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Z(_) => "z",
            Self::V(_) => "v",
            Self::P(_) => "p",
            Self::Ffr => "ffr",
            Self::Fpsr => "fpsr",
            Self::Fpcr => "fpcr",
            Self::Fpmr => "fpmr",
            Self::Vl => "vl",
            Self::X(_) => "x",
            Self::Sp => "sp",
            Self::Esr => "esr",
            Self::Elr => "elr",
            Self::Spsr => "spsr",
            Self::Far => "far",
            Self::Hpfar => "hpfar",
            Self::Pstate => "pstate",
            Self::Vector => "vector",
            Self::Control(reg) => reg.name(),
        }
    }
}

impl Display for RegisterName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Z(reg) | Self::V(reg) | Self::P(reg) | Self::X(reg) => write!(f, "{}{reg}", self.class()),
            _ => f.write_str(self.class()),
        }
    }
}

/// What kind of wrong a value is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureClass {
    /// An older value of the same register.
    Stale,
    /// Zero.
    Zeroed,
    /// Right up to this many bits and zero above, though nothing allows that cut.
    Truncated {
        /// The vector length in bits.
        vl: u32,
    },
    /// The value of another register.
    Swapped {
        /// Which one.
        with: RegisterName,
    },
    /// The value of somebody else.
    Leaked {
        /// Who wrote it.
        owner: Owner,
    },
    /// Another vector length.
    WrongLength,
    /// No exception where there must be one.
    NotTrapped,
    /// An exception where there must be none.
    Trapped,
    /// An exception that arrived at another place or vector.
    Misrouted,
    /// The exception is described wrongly.
    WrongSyndrome,
    /// The address to return to.
    WrongReturn,
    /// A control register.
    WrongControl,
    /// Single bits of a register of flags.
    Bits,
    /// None of the above.
    Garbage,
}

impl FailureClass {
    /// The class without its particulars.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Zeroed => "zeroed",
            Self::Truncated { .. } => "truncated",
            Self::Swapped { .. } => "swapped",
            Self::Leaked { .. } => "leaked",
            Self::WrongLength => "wrong length",
            Self::NotTrapped => "not trapped",
            Self::Trapped => "trapped",
            Self::Misrouted => "misrouted",
            Self::WrongSyndrome => "wrong syndrome",
            Self::WrongReturn => "wrong return",
            Self::WrongControl => "wrong control",
            Self::Bits => "bits",
            Self::Garbage => "garbage",
        }
    }
}

impl Display for FailureClass {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { vl } => write!(f, "truncated to {vl} bits"),
            Self::Swapped { with } => write!(f, "swapped with {with}"),
            Self::Leaked { owner } => write!(f, "leaked from {}", owner.name()),
            class => f.write_str(class.name()),
        }
    }
}

/// Whose value something is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Who wrote it.
    pub owner: Owner,
    /// By which fill.
    pub generation: u16,
    /// Into which register.
    pub reg: RegisterName,
    /// Into which 64-bit lane, if the value says so.
    pub lane: Option<u8>,
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}, generation {}", self.reg, self.owner.name(), self.generation)?;
        match self.lane {
            Some(lane) => write!(f, ", lane {lane}"),
            None => Ok(()),
        }
    }
}

/// A 64-bit lane that differs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LaneDiff {
    /// Its number; lane 0 holds bits 63:0.
    pub lane: usize,
    /// The closest legal value.
    pub expected: u64,
    /// What was found.
    pub actual: u64,
    /// Whose that is, if the value says so.
    pub origin: Option<Origin>,
}

impl Display for Finding {
    /// One block of lines: what, where and after what; the rules; then the values.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, line {}: {}", self.what, self.place.name(), self.line, self.class)?;
        if let Some(transition) = &self.transition {
            write!(f, " (after {transition})")?;
        }
        write!(f, "\n  rules     {}", self.rules.join(" "))?;
        if let Some(origin) = self.origin {
            write!(f, "\n  found     {origin}")?;
        }
        const SHOWN: usize = 8;
        for diff in self.lanes.iter().take(SHOWN) {
            write!(
                f,
                "\n  lane {:<3}  expected {:#018x}  found {:#018x}",
                diff.lane, diff.expected, diff.actual
            )?;
            if let Some(origin) = diff.origin {
                write!(f, "  {origin}")?;
            }
        }
        if self.lanes.len() > SHOWN {
            write!(f, "\n  and {} lanes more", self.lanes.len() - SHOWN)?;
        }
        if self.lanes.is_empty() {
            let texts: Vec<String> = self.expected.iter().map(|bytes| number(bytes)).collect();
            write!(f, "\n  expected  {}\n  found     {}", texts.join(" or "), number(&self.actual))?;
        } else if self.expected.len() > 1 {
            write!(f, "\n  {} values are legal; this is the difference to the closest", self.expected.len())?;
        }
        Ok(())
    }
}

/// Bytes as a number; of text that was put there instead of bytes, the text.
fn number(bytes: &[u8]) -> String {
    let mut text = String::from("0x");
    let significant = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    for byte in bytes.iter().take(significant.max(1)).rev() {
        text.push_str(&format!("{byte:02x}"));
    }
    if bytes.is_empty() { "-".to_owned() } else { text }
}
