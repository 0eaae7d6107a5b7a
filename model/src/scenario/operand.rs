//! Operands: registers, controls, lengths, immediates.

use abi::op::{Touch, mask};
use abi::place::Place;
use abi::sysreg::SysReg;

use super::field;
use super::names::{self, CALLS, DISTURBANCES, TIMER};
use super::step::{Call, Control, ControlReg, Length, RegSet, Verb};
use super::suggest;
use super::words::{StepError, Word, Words, number};

/// The largest vector length of the architecture in bits.
pub(super) const VL_MAX: u64 = 2048;
/// Vector lengths are multiples of this, in bits.
pub(super) const VL_STEP: u64 = 128;

/// Registers of EL1 that L1 can reach as those of L2, whatever its own E2H is.
const OF_L2: [SysReg; 3] = [SysReg::CpacrEl1, SysReg::ZcrEl1, SysReg::SctlrEl1];
/// What may stand in a register list, for messages.
const REGISTERS: [&str; 8] = ["all", "z", "v", "p", "ffr", "fpsr", "fpcr", "fpmr"];

/// A list of FP registers, to the end of the line.
pub(super) fn registers(words: &mut Words<'_>) -> Result<RegSet, StepError> {
    let first = words.need("registers: all, z, v, p, ffr, fpsr, fpcr, fpmr, z3, v0-7, …")?;
    let mut set = RegSet { mask: 0, all: first.text == "all" };
    if set.all {
        return Ok(set);
    }
    for word in std::iter::once(first).chain(words) {
        let bits = register_bits(&word)?;
        let sve = mask::P | mask::FFR;
        let v_before = set.mask & mask::V_ONLY != 0;
        let z_before = set.mask & mask::Z != 0 && !v_before;
        let v_now = bits & mask::V_ONLY != 0;
        let sve_now = bits & sve != 0 || (bits & mask::Z != 0 && !v_now);
        if (v_now && (z_before || set.mask & sve != 0)) || (v_before && sve_now) {
            return Err(word.error("V registers and SVE state in one step: choose v, or z with p and ffr"));
        }
        if bits & set.mask & !mask::V_ONLY != 0 {
            return Err(word.error(format!("{} is in the list already", suggest::quote(word.text))));
        }
        set.mask |= bits;
    }
    Ok(set)
}

/// The mask bits of `z`, `z3`, `z0-7`, `ffr`, ….
fn register_bits(word: &Word<'_>) -> Result<u64, StepError> {
    match word.text {
        "ffr" => return Ok(mask::FFR),
        "fpsr" => return Ok(mask::FPSR),
        "fpcr" => return Ok(mask::FPCR),
        "fpmr" => return Ok(mask::FPMR),
        "all" => return Err(word.error("`all` stands alone")),
        _ => {}
    }
    let unknown = || word.unknown("a register", REGISTERS);
    let (file, numbers) = word.text.split_at_checked(1).ok_or_else(unknown)?;
    let (extra, shift, count) = match file {
        "z" => (0, 0, 32),
        "v" => (mask::V_ONLY, 0, 32),
        "p" => (0, 32, 16),
        _ => return Err(unknown()),
    };
    if numbers.is_empty() {
        return Ok(extra | run(0, count - 1) << shift);
    }
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let index = |text: &str| if text.starts_with("0x") { None } else { number(text) };
    let (Some(first), Some(last)) = (index(first), index(last)) else {
        return Err(unknown());
    };
    if last >= count {
        return Err(word.error(format!("there is no register {file}{last}, the last is {file}{}", count - 1)));
    }
    if first > last {
        return Err(word.error(format!("{file}{first} comes after {file}{last}")));
    }
    Ok(extra | run(first, last) << shift)
}

/// Bits `first` to `last`; both are below 32.
const fn run(first: u64, last: u64) -> u64 {
    ((1 << (last + 1 - first)) - 1) << first
}

/// A control register at `place`, with its field if it has one.
pub(super) fn control(word: &Word<'_>, place: Place) -> Result<Control, StepError> {
    let (of_l2, name) = word.text.strip_prefix("l2.").map_or((false, word.text), |name| (true, name));
    let (name, field_name) =
        name.split_once('.').map_or((name, None), |(name, field_name)| (name, Some(field_name)));
    let reg =
        if of_l2 {
            let reg = OF_L2.into_iter().find(|reg| reg.name() == name);
            ControlReg::OfL2(reg.ok_or_else(|| {
                word.error(suggest::unknown(name, "a register of L2", OF_L2.map(SysReg::name)))
            })?)
        } else {
            ControlReg::Named(named(name).ok_or_else(|| {
                let what = "a system register";
                let found = suggest::quote(name);
                word.error(match suggest::nearest(name, SysReg::ALL.iter().map(|reg| reg.name())) {
                    Some(near) => format!("found {found}, expected {what}; did you mean `{near}`?"),
                    None => format!("found {found}, expected {what} as the Arm ARM names it, in lower case"),
                })
            })?)
        };
    if let Some(field_name) = field_name {
        let known = field::fields_of_any_layout(reg, place);
        if known.clone().all(|field| field.name != field_name) {
            let names: Vec<_> = known.map(|field| field.name).collect();
            let what = if names.is_empty() { "no field: the whole register" } else { "a field" };
            return Err(word.error(suggest::unknown(field_name, what, names)));
        }
    }
    Ok(Control { reg, field: field_name.map(str::to_owned) })
}

/// Whether a word means a system register rather than FP registers: FPSR, FPCR and FPMR are both, and FP
/// registers where both could stand. A misspelled name shows what it means by its punctuation.
pub(super) fn is_control(word: &str) -> bool {
    word.contains(['.', '_']) || (named(word).is_some() && !REGISTERS.contains(&word))
}

fn named(name: &str) -> Option<SysReg> {
    SysReg::ALL.iter().copied().find(|reg| reg.name() == name)
}

/// A value for a control: decimal or hexadecimal, and not wider than its field.
pub(super) fn value(word: &Word<'_>, control: &Control, place: Place) -> Result<u64, StepError> {
    let width = control
        .field
        .as_ref()
        .and_then(|name| field::fields_of_any_layout(control.reg, place).find(|field| field.name == name));
    match width {
        Some(field) => word.number(&format!("a value of {}", field.name), 0..=field.max()),
        None => word.number("a value", 0..=u64::MAX),
    }
}

/// A vector length.
pub(super) fn length(word: &Word<'_>) -> Result<Length, StepError> {
    match word.text {
        "min" => Ok(Length::Min),
        "mid" => Ok(Length::Mid),
        "max" => Ok(Length::Max),
        text => {
            let bits = number(text).filter(|bits| is_length(*bits)).and_then(|bits| u32::try_from(bits).ok());
            let what = "min, mid, max or a multiple of 128 bits up to 2048";
            bits.map(Length::Bits)
                .ok_or_else(|| word.error(format!("found {}, expected {what}", suggest::quote(text))))
        }
    }
}

/// Whether a number of bits can be a vector length at all.
pub(super) const fn is_length(bits: u64) -> bool {
    bits != 0 && bits <= VL_MAX && bits.is_multiple_of(VL_STEP)
}

/// An immediate of 16 bits after `#`, 0 if there is none.
pub(super) fn immediate(words: &mut Words<'_>) -> Result<u16, StepError> {
    let Some(word) = words.next() else { return Ok(0) };
    let value = word.text.strip_prefix('#').and_then(number).and_then(|value| u16::try_from(value).ok());
    value.ok_or_else(|| {
        word.error(format!("found {}, expected an immediate, #0 to #0xffff", suggest::quote(word.text)))
    })
}

/// What an SMC calls: a function by its name, else PSCI_VERSION with an immediate.
pub(super) fn call(words: &mut Words<'_>) -> Result<Call, StepError> {
    match words.clone().next() {
        Some(word) if !word.text.starts_with('#') => {
            words.next();
            names::find(CALLS, word.text).ok_or_else(|| {
                let names = std::iter::once("#imm").chain(names::all(CALLS));
                word.unknown("an immediate or a call of firmware", names)
            })
        }
        _ => immediate(words).map(Call::Version),
    }
}

/// What a WFI waits for, if it waits, and what happens meanwhile.
pub(super) fn wait(words: &mut Words<'_>) -> Result<Verb, StepError> {
    let Some(wake_up) = words.next() else { return Ok(Verb::Wfi) };
    if wake_up.text != TIMER {
        return Err(wake_up.unknown("what ends the wait", [TIMER]));
    }
    let disturbance = words.next().map(|word| word.value("a disturbance", DISTURBANCES)).transpose()?;
    Ok(Verb::WfiTimer(disturbance.flatten()))
}

/// Touches, to the end of the line.
pub(super) fn touches(words: &mut Words<'_>) -> Result<Vec<Touch>, StepError> {
    let first = words.need("an instruction: v, z, p, ffr, …")?;
    std::iter::once(first).chain(words).map(|word| touch(&word)).collect()
}

fn touch(word: &Word<'_>) -> Result<Touch, StepError> {
    let names = Touch::ALL.iter().map(|touch| touch.name());
    let touch = Touch::ALL.iter().copied().find(|touch| touch.name() == word.text);
    touch.ok_or_else(|| word.unknown("an instruction", names))
}
