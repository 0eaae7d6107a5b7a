//! One step: `<place> <verb> [operands]`.

use abi::op::churn;
use abi::place::Place;

use super::names::{self, AUTHS, CHECKS, DISTURBANCES, HOLES, IDLES, INTERRUPTS, SWITCH, UNITS};
use super::operand;
use super::step::{EretTarget, Expect, Verb};
use super::words::{StepError, Word, Words};

/// Every verb of the language.
pub const VERBS: [&str; 28] = [
    "fill", "expect", "set", "vl", "trap", "untrap", "touch", "try", "churn", "eret", "hvc", "svc", "smc",
    "undef", "brk", "abort", "unmap", "map", "wfi", "timer", "wfe", "actlr", "pend", "unmask", "disturb",
    "reset", "sweep", "vmm",
];

/// Targets of an ERET that are no places.
pub(super) const ERET_TARGETS: &names::Table<EretTarget> = &[
    ("L1t", EretTarget::L1t),
    ("back", EretTarget::Back),
    ("skip", EretTarget::Skip),
    ("illegal", EretTarget::Illegal),
];

/// What one line says, with every `$name` replaced and without its comment.
///
/// # Errors
///
/// Returns the first thing that is not as the grammar has it. What depends on more than the line is not
/// checked: that takes the whole scenario, see [`super::parse`].
pub fn parse_step(line: &str) -> Result<(Place, Verb), StepError> {
    let mut words = Words::new(line);
    let place = place(&words.need("a place")?)?;
    let verb = words.need("a verb")?;
    let verb = operands(&verb, place, &mut words)?;
    words.end((place, verb))
}

fn place(word: &Word<'_>) -> Result<Place, StepError> {
    let found = Place::ALL.into_iter().find(|place| place.name() == word.text);
    found.ok_or_else(|| word.unknown("a place", Place::ALL.map(Place::name)))
}

fn operands(verb: &Word<'_>, place: Place, words: &mut Words<'_>) -> Result<Verb, StepError> {
    Ok(match verb.text {
        "fill" => Verb::Fill(operand::registers(words)?),
        "expect" => Verb::Expect(expect(place, words)?),
        "set" => {
            let reg = operand::control(&words.need("a control register")?, place)?;
            let value = operand::value(&words.need("a value")?, &reg, place)?;
            Verb::Set { reg, value }
        }
        "vl" => Verb::Vl(operand::length(&words.need("min, mid, max or a number of bits")?)?),
        "trap" => Verb::Trap(words.need("fp or sve")?.value("a unit", UNITS)?),
        "untrap" => Verb::Untrap(words.need("fp or sve")?.value("a unit", UNITS)?),
        "touch" => Verb::Touch(operand::touches(words)?),
        "try" => Verb::Try(operand::touches(words)?),
        "churn" => {
            let rounds = words.need("a number of rounds")?.number("rounds", 1..=churn::ROUNDS_MAX)?;
            Verb::Churn(u32::try_from(rounds).unwrap_or(u32::MAX))
        }
        "eret" => {
            let to = eret_target(&words.need("a place, L1t, back, skip or illegal")?)?;
            let auth =
                words.next().map_or(Ok(abi::op::Auth::None), |word| word.value("authentication", AUTHS))?;
            Verb::Eret { to, auth }
        }
        "hvc" => Verb::Hvc(operand::immediate(words)?),
        "svc" => Verb::Svc(operand::immediate(words)?),
        "smc" => Verb::Smc(operand::call(words)?),
        "brk" => Verb::Brk(operand::immediate(words)?),
        "undef" => Verb::Undef,
        "abort" => Verb::Abort(words.need("stage1 or stage2")?.value("a stage", HOLES)?),
        "unmap" => Verb::Map { hole: words.need("stage1 or stage2")?.value("a stage", HOLES)?, on: false },
        "map" => Verb::Map { hole: words.need("stage1 or stage2")?.value("a stage", HOLES)?, on: true },
        "wfi" => operand::wait(words)?,
        "timer" => Verb::Timer(words.need("spin or wfi")?.value("a way to wait", IDLES)?),
        "wfe" => Verb::Wfe,
        "actlr" => Verb::Actlr,
        "pend" => Verb::Pend(words.need("irq, serror, virq or vserror")?.value("an interrupt", INTERRUPTS)?),
        "unmask" => Verb::Unmask,
        "disturb" => {
            Verb::Disturb(words.need("a disturbance or none")?.value("a disturbance", DISTURBANCES)?)
        }
        "vmm" => Verb::Vmm(words.need("a check")?.value("a check", CHECKS)?),
        "reset" => Verb::Reset,
        "sweep" => Verb::Window(words.need("on or off")?.value("on or off", SWITCH)?),
        _ => return Err(verb.unknown("a verb", VERBS)),
    })
}

fn expect(place: Place, words: &mut Words<'_>) -> Result<Expect, StepError> {
    let mut ahead = words.clone();
    let first = ahead.need("registers, a control register, vl or trap")?;
    let expect = match first.text {
        "vl" => Expect::Vl,
        "trap" => Expect::Trap { ec: exception_class(&ahead.need("ec=0x19")?)? },
        word if operand::is_control(word) => Expect::Control(operand::control(&first, place)?),
        _ => return Ok(Expect::Registers(operand::registers(words)?)),
    };
    *words = ahead;
    Ok(expect)
}

/// `ec=0x19`: a value of ESR_ELx.EC.
fn exception_class(word: &Word<'_>) -> Result<u8, StepError> {
    let digits = word.text.strip_prefix("ec=").and_then(super::words::number);
    let class = digits.filter(|class| *class <= 0x3f).and_then(|class| u8::try_from(class).ok());
    class.ok_or_else(|| {
        let found = super::suggest::quote(word.text);
        word.error(format!("found {found}, expected an exception class, ec=0x00 to ec=0x3f"))
    })
}

fn eret_target(word: &Word<'_>) -> Result<EretTarget, StepError> {
    if let Some(place) = Place::ALL.into_iter().find(|place| place.name() == word.text) {
        return Ok(EretTarget::Place(place));
    }
    names::find(ERET_TARGETS, word.text).ok_or_else(|| {
        let names: Vec<_> = Place::ALL.map(Place::name).into_iter().chain(names::all(ERET_TARGETS)).collect();
        word.unknown("where to", names)
    })
}
