//! Steps in their one canonical form: what the parser reads back as the same step.

use std::fmt::{self, Display, Formatter};

use abi::op::{Auth, mask};

use super::grammar::ERET_TARGETS;
use super::names::{AUTHS, CALLS, CHECKS, DISTURBANCES, HOLES, IDLES, INTERRUPTS, SWITCH, UNITS, name_of};
use super::step::{Call, Control, ControlReg, EretTarget, Expect, Length, RegSet, Step, Verb};

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place.name(), self.verb)
    }
}

impl Display for Verb {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fill(set) => write!(f, "fill {set}"),
            Self::Expect(what) => write!(f, "expect {what}"),
            Self::Set { reg, value } => write!(f, "set {reg} {}", Number(*value)),
            Self::Vl(length) => write!(f, "vl {length}"),
            Self::Trap(unit) => write!(f, "trap {}", name_of(UNITS, unit)),
            Self::Untrap(unit) => write!(f, "untrap {}", name_of(UNITS, unit)),
            Self::Touch(touches) => list(f, "touch", touches.iter().map(|touch| touch.name())),
            Self::Try(touches) => list(f, "try", touches.iter().map(|touch| touch.name())),
            Self::Churn(rounds) => write!(f, "churn {rounds}"),
            Self::Eret { to, auth: Auth::None } => write!(f, "eret {to}"),
            Self::Eret { to, auth } => write!(f, "eret {to} {}", name_of(AUTHS, auth)),
            Self::Hvc(imm) => immediate(f, "hvc", *imm),
            Self::Svc(imm) => immediate(f, "svc", *imm),
            Self::Smc(Call::Version(imm)) => immediate(f, "smc", *imm),
            Self::Smc(call) => write!(f, "smc {}", name_of(CALLS, call)),
            Self::Undef => f.write_str("undef"),
            Self::Brk(imm) => immediate(f, "brk", *imm),
            Self::Abort(hole) => write!(f, "abort {}", name_of(HOLES, hole)),
            Self::Map { hole, on: true } => write!(f, "map {}", name_of(HOLES, hole)),
            Self::Map { hole, on: false } => write!(f, "unmap {}", name_of(HOLES, hole)),
            Self::Wfi => f.write_str("wfi"),
            Self::WfiTimer(None) => f.write_str("wfi timer"),
            Self::WfiTimer(disturbance) => write!(f, "wfi timer {}", name_of(DISTURBANCES, disturbance)),
            Self::Timer(idle) => write!(f, "timer {}", name_of(IDLES, idle)),
            Self::Wfe => f.write_str("wfe"),
            Self::Actlr => f.write_str("actlr"),
            Self::Pend(interrupt) => write!(f, "pend {}", name_of(INTERRUPTS, interrupt)),
            Self::Unmask => f.write_str("unmask"),
            Self::Disturb(disturbance) => write!(f, "disturb {}", name_of(DISTURBANCES, disturbance)),
            Self::Vmm(check) => write!(f, "vmm {}", name_of(CHECKS, check)),
            Self::Reset => f.write_str("reset"),
            Self::Window(on) => write!(f, "sweep {}", name_of(SWITCH, on)),
        }
    }
}

impl Display for RegSet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.all {
            return f.write_str("all");
        }
        let file = if self.mask & mask::V_ONLY == 0 { "z" } else { "v" };
        let mut words = Vec::new();
        runs(&mut words, file, self.mask & mask::Z, 32);
        runs(&mut words, "p", (self.mask & mask::P) >> 32, 16);
        let single = [(mask::FFR, "ffr"), (mask::FPSR, "fpsr"), (mask::FPCR, "fpcr"), (mask::FPMR, "fpmr")];
        words.extend(
            single.iter().filter(|(bit, _)| self.mask & bit != 0).map(|(_, name)| (*name).to_owned()),
        );
        f.write_str(&words.join(" "))
    }
}

/// The registers of one file, as one word for each run of neighbors, or the file's name for all.
fn runs(words: &mut Vec<String>, file: &str, bits: u64, count: u32) {
    if bits == (1 << count) - 1 {
        words.push(file.to_owned());
        return;
    }
    let mut first = 0;
    while first < count {
        let len = (bits >> first).trailing_ones();
        match len {
            0 => {}
            1 => words.push(format!("{file}{first}")),
            _ => words.push(format!("{file}{first}-{}", first + len - 1)),
        }
        first += len.max(1);
    }
}

impl Display for Expect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registers(set) => set.fmt(f),
            Self::Control(control) => control.fmt(f),
            Self::Vl => f.write_str("vl"),
            Self::Trap { ec } => write!(f, "trap ec={ec:#04x}"),
        }
    }
}

impl Display for Control {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.reg {
            ControlReg::Named(reg) => f.write_str(reg.name())?,
            ControlReg::OfL2(reg) => write!(f, "l2.{}", reg.name())?,
        }
        self.field.iter().try_for_each(|field| write!(f, ".{field}"))
    }
}

impl Display for Length {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min => f.write_str("min"),
            Self::Mid => f.write_str("mid"),
            Self::Max => f.write_str("max"),
            Self::Bits(bits) => bits.fmt(f),
        }
    }
}

impl Display for EretTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => f.write_str(place.name()),
            other => f.write_str(name_of(ERET_TARGETS, other)),
        }
    }
}

/// A value: one digit is the same in both notations, the rest is hexadecimal.
struct Number(u64);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..=9 => self.0.fmt(f),
            value => write!(f, "{value:#x}"),
        }
    }
}

fn immediate(f: &mut Formatter<'_>, verb: &str, imm: u16) -> fmt::Result {
    match imm {
        0 => f.write_str(verb),
        imm => write!(f, "{verb} #{}", Number(imm.into())),
    }
}

fn list<'a>(f: &mut Formatter<'_>, verb: &str, words: impl Iterator<Item = &'a str>) -> fmt::Result {
    f.write_str(verb)?;
    words.into_iter().try_for_each(|word| write!(f, " {word}"))
}
