//! A compiled case.

use std::fmt::{self, Display, Formatter};

use abi::op::{Op, mask};
use abi::place::Place;
use abi::sysreg::SysReg;

use crate::machine::Machine;
use crate::oracle::file::{Bits, Effect};
use crate::oracle::syndrome::Syndrome;

/// What the harness hands to the payload, and what it checks of what comes back.
#[derive(Clone, Debug)]
pub struct Program {
    /// The operations.
    pub ops: Vec<Op>,
    /// Fill images and GPR images. Addresses in it are filled in by [`Program::link`].
    pub data: Vec<u8>,
    /// Where it starts and ends.
    pub home: Place,
    /// Bits of [`abi::job::flag`]; the harness adds those of the target.
    pub flags: u32,
    /// The value of [`abi::job::JobHeader::irq_source`].
    pub irq_source: u64,
    /// What happens to the register file and which records come, in order.
    pub script: Vec<Item>,
    /// Where addresses go.
    pub relocations: Vec<Relocation>,
    /// What it needs of the target.
    pub needs: Needs,
    /// How many sweep windows it opens.
    pub windows: usize,
    /// The scenario's steps, by [`Op::step`].
    pub steps: Vec<StepNote>,
    /// The machine that it was compiled for.
    pub machine: Machine,
    /// The address of the two hole pages, once linked.
    pub hole: Option<u64>,
}

impl Program {
    /// Fills in the address of the two hole pages (the payload's symbol `__hole`), where
    /// [`super::hole_image`] must lie when the case begins.
    pub fn link(&mut self, hole: u64) {
        for relocation in &self.relocations {
            let at = relocation.offset;
            if let Some(word) = self.data.get_mut(at..at + 8) {
                word.copy_from_slice(&hole.wrapping_add(relocation.addend).to_le_bytes());
            }
        }
        self.hole = Some(hole);
    }

    /// The checks, one for each record that a right run writes.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.script.iter().filter_map(|item| match item {
            Item::Check(check) => Some(check.as_ref()),
            Item::Effect(_) => None,
        })
    }
}

/// An address to be filled in: that of the hole pages plus an offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Relocation {
    /// Where in the data, in bytes.
    pub offset: usize,
    /// What is added to the address of the hole pages.
    pub addend: u64,
}

/// What a program needs of the target while it runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Needs {
    /// The doorbell.
    pub doorbell: bool,
    /// How many disturbances it asks for.
    pub disturbances: usize,
    /// Another vCPU.
    pub other_vcpu: bool,
    /// An IRQ source.
    pub irq: bool,
    /// An SError source.
    pub serror: bool,
    /// A reset of the vCPU.
    pub reset: bool,
    /// A sweep.
    pub sweep: bool,
}

/// A step of the scenario.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StepNote {
    /// Its line, counted from 1.
    pub line: u32,
    /// Its place.
    pub place: Place,
}

/// One thing in the life of the register file.
#[derive(Clone, Debug)]
pub enum Item {
    /// It changes.
    Effect(Effect),
    /// A record is written.
    Check(Box<Check>),
}

/// What one record must say.
#[derive(Clone, Debug)]
pub struct Check {
    /// The operation that writes it.
    pub op: usize,
    /// The step that it belongs to.
    pub step: usize,
    /// That step's line.
    pub line: u32,
    /// Where it is written.
    pub place: Place,
    /// The last transition before it; for an arrival, the one that it is about.
    pub transition: Option<Transition>,
    /// What it must hold.
    pub expected: Expected,
}

/// How the cursor got from one place to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transition {
    /// The instruction or the exception.
    pub what: &'static str,
    /// The place that was left.
    pub from: Place,
    /// The place that is reached.
    pub to: Place,
    /// The vCPU was stopped before the first instruction there.
    pub stopped: bool,
}

/// What a record must hold.
#[derive(Clone, Debug)]
pub enum Expected {
    /// An arrival.
    Arrival(Box<Arrival>),
    /// A dump.
    Dump(DumpCheck),
    /// A control register.
    Register {
        /// The accessor.
        reg: SysReg,
        /// What it reads as.
        bits: Bits,
    },
    /// FPSR, FPCR or FPMR: what the register file holds, by the bit of [`abi::op::mask`].
    Status {
        /// The accessor.
        reg: SysReg,
        /// The bit of the register.
        mask: u64,
        /// The bits that are compared.
        compared: u64,
    },
    /// The vector length in quadwords, as RDVL gives it.
    Length(usize),
}

/// Which registers of a dump are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DumpCheck {
    /// Bits of [`abi::op::mask`].
    pub mask: u64,
    /// The vector length of the place in quadwords; 1 in a dump of V registers.
    pub vq: usize,
}

/// A value that may be an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Address {
    /// Known bits of a plain value.
    Bits(Bits),
    /// The hole pages, plus this.
    Hole(u64),
}

impl Address {
    /// Anything.
    pub const ANY: Self = Self::Bits(Bits::UNKNOWN);
}

/// What an arrival must find.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The vector, or [`abi::record::VECTOR_NONE`] or [`abi::record::VECTOR_BOOT`].
    pub vector: u64,
    /// X0 to X30.
    pub x: [Address; 31],
    /// SP is what this place had when it was last left.
    pub sp: bool,
    /// NZCV, DAIF, CurrentEL and SPSel, as far as the place can read them.
    pub pstate: Bits,
    /// What an exception wrote.
    pub exception: Option<ExceptionCheck>,
}

/// What the exception registers of the level reached must hold.
#[derive(Clone, Debug)]
pub struct ExceptionCheck {
    /// ESR_ELx, if the exception writes it.
    pub esr: Option<Syndrome>,
    /// Other values of ESR_ELx that a quirk of the machine accepts.
    pub esr_accepted: [Option<Syndrome>; 2],
    /// ELR_ELx counts from `target_pc` instead of `left_pc`.
    pub elr_from_target: bool,
    /// What may be added to that.
    pub elr: Vec<u64>,
    /// SPSR_ELx.
    pub spsr: Bits,
    /// FAR_ELx.
    pub far: Option<Address>,
    /// HPFAR_EL2: that of this address. The payload's stages are identity maps.
    pub hpfar: Option<Address>,
}

impl Display for Transition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.what, self.from.name(), self.to.name())
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let place = self.place.name();
        match &self.expected {
            Expected::Arrival(arrival) => {
                match self.transition {
                    Some(transition) => write!(f, "{transition}: ")?,
                    None => write!(f, "arrival at {place}: ")?,
                }
                let Some(exception) = &arrival.exception else {
                    return write!(f, "x0-x30, pstate{}", if arrival.sp { ", sp" } else { "" });
                };
                write!(f, "vector {:#05x}", arrival.vector)?;
                if let Some(esr) = exception.esr {
                    write!(f, ", esr {:#010x}", esr.value)?;
                }
                let base = if exception.elr_from_target { "target" } else { "left" };
                let offsets: Vec<String> = exception.elr.iter().map(|add| format!("{base}+{add}")).collect();
                write!(f, ", elr {}, spsr {:#x}", offsets.join(" or "), exception.spsr.value)?;
                write!(f, ", x0-x30{}", if arrival.sp { ", sp" } else { "" })
            }
            Expected::Dump(dump) => write!(f, "{} at {place}", registers(dump)),
            Expected::Register { reg, bits } => {
                write!(f, "{} = {:#x} under {:#x} at {place}", reg.name(), bits.value, bits.known)
            }
            Expected::Status { reg, .. } => write!(f, "{} at {place}", reg.name()),
            Expected::Length(vq) => write!(f, "vl = {} bits at {place}", vq * 128),
        }
    }
}

fn registers(dump: &DumpCheck) -> String {
    let mut names = Vec::new();
    let mut group = |prefix: &str, bits: u64, count: u32| match bits.count_ones() {
        0 => {}
        all if all == count => names.push(format!("{prefix}0-{}", count - 1)),
        _ => names.extend((0..count).filter(|bit| bits >> bit & 1 != 0).map(|bit| format!("{prefix}{bit}"))),
    };
    let v_only = dump.mask & mask::V_ONLY != 0;
    group(if v_only { "v" } else { "z" }, dump.mask & mask::Z, 32);
    group("p", (dump.mask & mask::P) >> 32, 16);
    for (bit, name) in [(mask::FFR, "ffr"), (mask::FPSR, "fpsr"), (mask::FPCR, "fpcr"), (mask::FPMR, "fpmr")]
    {
        if dump.mask & bit != 0 {
            names.push(name.to_owned());
        }
    }
    format!("{} with {} bits", names.join(" "), dump.vq * 128)
}
