//! Scenarios at random: printed and parsed again they are the same, and no text makes the parser panic.

use abi::doorbell::{Check, Disturbance, Sweep};
use abi::op::{Auth, Hole, Idle, Touch, mask};
use abi::place::Place;
use abi::sysreg::SysReg;
use model::rules;
use model::scenario::document::{Axis, Body, Document, Except, Line, Value};
use model::scenario::field;
use model::scenario::settings::Settings;
use model::scenario::step::{
    Call, Control, ControlReg, Cpu, EretTarget, Expect, Interrupt, L1Mode, Length, RegSet, SweepSpec, Unit,
    Verb,
};
use model::scenario::{VERBS, parse, parse_step};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

/// [`abi::op::churn::ROUNDS_MAX`].
const ROUNDS_MAX: u32 = 1 << 20;
const SAMPLE: &str = include_str!("data/eret_keeps_z.toml");

fn registers() -> impl Strategy<Value = RegSet> {
    let single = select(vec![0, mask::FPSR, mask::FPCR, mask::FPMR, mask::FPSR | mask::FPCR | mask::FPMR]);
    let sve = (any::<u64>(), single.clone())
        .prop_map(|(bits, single)| bits & (mask::Z | mask::P | mask::FFR) | single);
    let v = (any::<u32>(), single).prop_map(|(bits, single)| {
        let v_only = if bits == 0 { 0 } else { mask::V_ONLY };
        u64::from(bits) | v_only | single
    });
    let files = select(vec![mask::Z, mask::P, mask::Z | mask::V_ONLY, mask::Z | mask::P | mask::FFR]);
    prop_oneof![
        Just(RegSet { mask: 0, all: true }),
        prop_oneof![sve, v, files]
            .prop_filter("empty", |mask| *mask != 0)
            .prop_map(|mask| RegSet { mask, all: false }),
    ]
}

/// A control register as L1 or the given place reaches it, with or without a field, and a value that fits.
fn control(place: Place) -> impl Strategy<Value = (Control, u64)> {
    let named = select(SysReg::ALL).prop_map(ControlReg::Named);
    let of_l2 = select(vec![SysReg::CpacrEl1, SysReg::ZcrEl1, SysReg::SctlrEl1]).prop_map(ControlReg::OfL2);
    let l1 = select(vec![L1Mode::Vhe, L1Mode::Nvhe]);
    (prop_oneof![named, of_l2], l1, option::of(any::<Index>()), any::<u64>()).prop_map(
        move |(reg, l1, index, value)| {
            let fields = field::fields(reg, place, Some(l1));
            match index.filter(|_| !fields.is_empty()).map(|index| index.get(fields)) {
                Some(field) => (Control { reg, field: Some(field.name.to_owned()) }, value & field.max()),
                None => (Control { reg, field: None }, value),
            }
        },
    )
}

fn expect(place: Place) -> impl Strategy<Value = Expect> {
    // FPSR, FPCR and FPMR are read as FP registers.
    let is_fp = |control: &Control| {
        matches!(control.reg, ControlReg::Named(SysReg::Fpsr | SysReg::Fpcr | SysReg::Fpmr))
    };
    prop_oneof![
        registers().prop_map(Expect::Registers),
        control(place)
            .prop_map(|(control, _)| control)
            .prop_filter("registers", move |control| !is_fp(control))
            .prop_map(Expect::Control),
        Just(Expect::Vl),
        (0..0x40_u8).prop_map(|ec| Expect::Trap { ec }),
    ]
}

fn length() -> impl Strategy<Value = Length> {
    prop_oneof![
        select(vec![Length::Min, Length::Mid, Length::Max]),
        (1..=16_u32).prop_map(|quadwords| Length::Bits(quadwords * 128)),
    ]
}

fn eret() -> impl Strategy<Value = Verb> {
    let to = prop_oneof![
        select(Place::ALL.to_vec()).prop_map(EretTarget::Place),
        select(vec![EretTarget::L1t, EretTarget::Back, EretTarget::Skip, EretTarget::Illegal]),
    ];
    let auth = select(vec![Auth::None, Auth::Aa, Auth::Ab, Auth::AaFailing, Auth::AbFailing]);
    (to, auth).prop_map(|(to, auth)| Verb::Eret { to, auth })
}

/// Any verb that a line can say, whether or not it makes sense at the place.
fn verb(place: Place) -> impl Strategy<Value = Verb> {
    let touches = || vec(select(Touch::ALL), 1..4);
    let unit = || select(vec![Unit::Fp, Unit::Sve]);
    let hole = || select(vec![Hole::Stage1, Hole::Stage2]);
    let imm = || prop_oneof![Just(0), any::<u16>()];
    prop_oneof![
        registers().prop_map(Verb::Fill),
        expect(place).prop_map(Verb::Expect),
        control(place).prop_map(|(reg, value)| Verb::Set { reg, value }),
        length().prop_map(Verb::Vl),
        unit().prop_map(Verb::Trap),
        unit().prop_map(Verb::Untrap),
        touches().prop_map(Verb::Touch),
        touches().prop_map(Verb::Try),
        (1..=ROUNDS_MAX).prop_map(Verb::Churn),
        eret(),
        imm().prop_map(Verb::Hvc),
        imm().prop_map(Verb::Svc),
        prop_oneof![imm().prop_map(Call::Version), Just(Call::CpuSuspend)].prop_map(Verb::Smc),
        imm().prop_map(Verb::Brk),
        hole().prop_map(Verb::Abort),
        (hole(), any::<bool>()).prop_map(|(hole, on)| Verb::Map { hole, on }),
        select(vec![Verb::Undef, Verb::Wfi, Verb::Wfe, Verb::Actlr, Verb::Unmask, Verb::Reset]),
        select(vec![Interrupt::Irq, Interrupt::SError, Interrupt::VirtualIrq, Interrupt::VirtualSError])
            .prop_map(Verb::Pend),
        option::of(select(Disturbance::ALL.to_vec())).prop_map(Verb::Disturb),
        option::of(select(Disturbance::ALL.to_vec())).prop_map(Verb::WfiTimer),
        select(vec![Idle::Spin, Idle::Wfi]).prop_map(Verb::Timer),
        select(Check::ALL).prop_map(Verb::Vmm),
        any::<bool>().prop_map(Verb::Window),
    ]
}

fn step() -> impl Strategy<Value = (Place, Verb)> {
    select(Place::ALL.to_vec()).prop_flat_map(|place| (Just(place), verb(place)))
}

proptest! {
    #[test]
    fn a_step_prints_as_it_parses((place, verb) in step()) {
        let text = format!("{} {verb}", place.name());
        let parsed = parse_step(&text);
        prop_assert_eq!(parsed.as_ref(), Ok(&(place, verb)), "{}", text);
        prop_assert!(VERBS.contains(&text.split(' ').nth(1).unwrap()));
    }
}

/// Steps that make sense under any settings: L1 and L2 of either mode, nothing that depends on other steps.
fn sensible_step() -> impl Strategy<Value = Body> {
    let verb = prop_oneof![
        registers().prop_map(Verb::Fill),
        registers().prop_map(|set| Verb::Expect(Expect::Registers(set))),
        vec(select(Touch::ALL), 1..4).prop_map(Verb::Try),
        any::<u16>().prop_map(Verb::Hvc),
        option::of(select(Disturbance::ALL.to_vec())).prop_map(Verb::Disturb),
    ];
    (select(vec![Place::L1, Place::L2, Place::L2El0, Place::L2b]), verb)
        .prop_map(|(place, verb)| Body::Fixed { place, verb })
}

fn comment() -> impl Strategy<Value = String> {
    let text = prop_oneof!["[ -\\[\\]-~äöü€\u{a0}]{0,30}", Just("1".to_owned()), Just("# #$x".to_owned())];
    text.prop_map(|text| text.trim().to_owned())
        .prop_filter("ends the string", |text| !text.contains("\"\"\""))
}

/// Lines without neighboring blank ones, of which the first is a step at L1.
fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = (option::weighted(0.8, sensible_step()), option::weighted(0.3, comment()))
        .prop_map(|(body, comment)| Line { number: 0, body, comment });
    let first = Body::Fixed { place: Place::L1, verb: Verb::Wfi };
    vec(line, 0..12).prop_map(move |rest| {
        let first = Line { number: 0, body: Some(first.clone()), comment: None };
        let mut lines: Vec<_> = std::iter::once(first).chain(rest).collect();
        let blank = |line: &Line| line.body.is_none() && line.comment.is_none();
        lines.dedup_by(|b, a| blank(a) && blank(b));
        if lines.last().is_some_and(blank) {
            lines.pop();
        }
        lines
    })
}

fn words() -> impl Strategy<Value = String> {
    "[ -~äöü\"\\\\]{1,40}"
        .prop_map(|text| text.trim().to_owned())
        .prop_filter("empty", |text| !text.is_empty())
}

fn prose() -> impl Strategy<Value = String> {
    let text = vec("[ -~ä\"\\\\]{0,20}", 1..5).prop_map(|lines| {
        lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n").trim().to_owned()
    });
    text.prop_filter("empty", |text| !text.is_empty())
}

fn settings() -> impl Strategy<Value = Settings> {
    let flag = || option::of(any::<bool>());
    let l1 = option::of(select(vec![L1Mode::Vhe, L1Mode::Nvhe]));
    let max_vl = option::of(select(vec![128, 256, 512, 2048]));
    let cpu = option::of(select(vec![Cpu::Max, Cpu::AllLengths]));
    (l1, cpu, max_vl, flag(), flag(), flag(), flag()).prop_map(
        |(l1, cpu, max_vl, fpmr, mmu, stage2, cold)| Settings {
            l1,
            cpu,
            sve: Some(true),
            max_vl,
            fpmr,
            mmu,
            stage2,
            cold,
        },
    )
}

/// Axes `a`, `b`, … with immediates, places or register lists as values, steps that use them, and excepts that
/// leave at least the last combination.
fn matrix() -> impl Strategy<Value = (Vec<Axis>, Vec<Except>, Vec<Line>)> {
    let text = |text: &str| Value::Text(text.to_owned());
    let kinds = vec![
        ("L1 hvc #$", (0..4).map(Value::Number).collect::<Vec<_>>()),
        ("$ disturb none", ["L1", "L2", "L2b"].map(text).to_vec()),
        ("L2 expect $ fpsr", ["z", "p0-3 ffr", "v", "z1-2"].map(text).to_vec()),
        ("L2 fill z$-9", ["0", "5"].map(text).to_vec()),
        ("L1 sweep o$", ["n"].map(text).to_vec()),
        ("L1 $", ["wfi", "try z ffr", "abort stage1"].map(text).to_vec()),
    ];
    let axis = (select(kinds), any::<Index>(), any::<bool>());
    (vec(axis, 0..4), words()).prop_map(|(axes, reason)| {
        let mut matrix = Vec::new();
        let mut except = Vec::new();
        let mut lines = Vec::new();
        for (name, ((template, values), keep, leave_out)) in ["a", "b", "c", "d"].into_iter().zip(axes) {
            let values = values[..=keep.index(values.len())].to_vec();
            if leave_out && values.len() > 1 {
                let when = vec![(name.to_owned(), values[..values.len() - 1].to_vec())];
                except.push(Except { when, reason: reason.clone() });
            }
            let words = template.replace('$', &format!("${name}"));
            let words = words.split(' ').map(str::to_owned).collect();
            lines.push(Line { number: 0, body: Some(Body::Template(words)), comment: None });
            if template.contains("sweep") {
                let verb = Verb::Window(false);
                lines.push(Line {
                    number: 0,
                    body: Some(Body::Fixed { place: Place::L1, verb }),
                    comment: None,
                });
            }
            matrix.push(Axis { name: name.to_owned(), values });
        }
        (matrix, except, lines)
    })
}

fn document() -> impl Strategy<Value = Document> {
    let ids: Vec<_> = rules::all().iter().map(|rule| rule.id.to_owned()).collect();
    let sweep =
        (select(vec![Sweep::StepAll, Sweep::StepEach, Sweep::Timer]), select(Disturbance::ALL.to_vec()))
            .prop_map(|(kind, disturbance)| SweepSpec { kind, disturbance });
    let head = (words(), subsequence(ids, 1..5), option::of(prose()), settings(), option::of(sweep));
    (head, matrix(), lines()).prop_map(
        |((title, rules, why, mut machine, sweep), (matrix, except, more), mut lines)| {
            // A guest without stage 1 has no page to unmap there.
            machine.mmu = machine.mmu.filter(|mmu| *mmu);
            lines.extend(more);
            Document { title, rules, why, machine, matrix, except, sweep, lines }
        },
    )
}

proptest! {
    #[test]
    fn a_document_prints_as_it_parses(document in document()) {
        let text = document.print();
        let scenario = match parse("a::b", "suites/a/b.toml", &text) {
            Ok(scenario) => scenario,
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{text}"))),
        };
        prop_assert_eq!(&scenario.document, &document, "{}", text);
        prop_assert_eq!(scenario.print(), text);
        let cases = scenario.cases();
        let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), cases.len());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        let _ = parse("a::b", "x", &text).map_err(|error| error.to_string());
        let _ = parse_step(&text);
    }

    #[test]
    fn no_steps_make_the_parser_panic(text in "[L12bGel0. $#=x\\-\nzvpfilltryvseta-c'äß\t\u{a0}]{0,200}") {
        let text = format!("title = \"t\"\nrules = [\"P-80\"]\nmatrix.a = [1, \"v z\"]\nsteps = '''\n{text}'''\n");
        let _ = parse("a::b", "x", &text).map_err(|error| error.to_string());
    }

    /// Files that are nearly right: pieces are cut out, doubled, swapped and overwritten.
    #[test]
    fn no_damage_makes_the_parser_panic(
        damage in vec((any::<Index>(), any::<Index>(), 0..4_u8, any::<char>()), 1..6),
    ) {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        for (first, second, kind, c) in damage {
            if text.is_empty() {
                break;
            }
            let (first, second) = (first.index(text.len()), second.index(text.len()));
            match kind {
                0 => text[first] = c,
                1 => {
                    text.drain(first..(first + second % 20).min(text.len()));
                }
                2 => {
                    let piece = text[first..(first + 20).min(text.len())].to_vec();
                    text.splice(second..second, piece);
                }
                _ => text.swap(first, second),
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = parse("a::b", "x", &text) {
            let lines = text.split('\n').count();
            prop_assert!((1..=lines).contains(&(error.line as usize)), "{}", error);
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
