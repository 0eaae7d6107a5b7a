//! Scenarios that are right: what they say, how they print, which cases they make.

use abi::doorbell::{Disturbance, Sweep};
use abi::op::mask;
use abi::place::Place;
use abi::sysreg::SysReg;
use model::scenario::step::{
    Call, Control, ControlReg, Cpu, EretTarget, Expect, L1Mode, Length, RegSet, SweepSpec, Verb,
};
use model::scenario::{Case, Scenario, load_embedded, parse, parse_step};

const SAMPLE: &str = include_str!("data/eret_keeps_z.toml");

#[track_caller]
fn sample() -> Scenario {
    parsed(SAMPLE)
}

#[track_caller]
fn parsed(text: &str) -> Scenario {
    match parse("nested::eret_keeps_z", "suites/nested/eret_keeps_z.toml", text) {
        Ok(scenario) => scenario,
        Err(error) => panic!("{error}"),
    }
}

/// A scenario with these tables and steps.
#[track_caller]
fn made_of(tables: &str, steps: &str) -> Scenario {
    parsed(&format!("title = \"t\"\nrules = [\"P-80\"]\n{tables}\nsteps = \"\"\"\n{steps}\n\"\"\"\n"))
}

fn names(cases: &[Case]) -> Vec<&str> {
    cases.iter().map(|case| case.name.as_str()).collect()
}

#[test]
fn the_canonical_text() {
    let expected = r#"title = "what L1 leaves in the registers is what L2 finds after an emulated ERET, and back"
rules = ["P-80", "P-81"]
why = """
A hypervisor that elides the put and load at a nested transition must recompute the vector length:
with L1's it loses "upper" bits.
"""

[matrix]
l1      = ["vhe", "nvhe"]
vl      = ["min", "mid", "max"]
disturb = ["none", "clobber"]
regs    = ["z p", "v"]

[[except]]
l1     = "nvhe"
vl     = "mid"
reason = "the same as with max: \\ is no special case"

[[except]]
vl      = "min"
regs    = "v"
disturb = ["none", "clobber"]
reason  = "V is 128 bits at every length"

[sweep]
kind    = "step-all"
disturb = "clobber"

steps = """
L1      vl $vl

# L1 leaves its mark
L1      fill $regs fpsr        # and FPSR
L1      eret L2
L2      expect all             #
L2      fill z3-5 z9 fpsr      # P is L1's
L2.el0  wfi
L2      disturb $disturb
L2      hvc #0x10
L1      expect l2.zcr_el1.len  # 3 bits of it
"""
"#;
    assert_eq!(sample().print(), expected);
    assert_eq!(parsed(expected), sample());
    assert_eq!(parsed(expected).print(), expected);
}

#[test]
fn cases_in_order_with_stable_names() {
    let cases = sample().cases();
    // 24 combinations; 4 are excepted as nvhe and mid, 4 as min and v.
    assert_eq!(cases.len(), 16);
    assert_eq!(
        names(&cases)[..5],
        [
            "nested::eret_keeps_z[l1=vhe,vl=min,disturb=none,regs=z+p]",
            "nested::eret_keeps_z[l1=vhe,vl=min,disturb=clobber,regs=z+p]",
            "nested::eret_keeps_z[l1=vhe,vl=mid,disturb=none,regs=z+p]",
            "nested::eret_keeps_z[l1=vhe,vl=mid,disturb=none,regs=v]",
            "nested::eret_keeps_z[l1=vhe,vl=mid,disturb=clobber,regs=z+p]",
        ]
    );
    assert_eq!(cases.last().unwrap().name, "nested::eret_keeps_z[l1=nvhe,vl=max,disturb=clobber,regs=v]");
    assert!(!names(&cases).iter().any(|name| name.contains("l1=nvhe,vl=mid")));
    assert!(!names(&cases).iter().any(|name| name.contains("vl=min") && name.contains("regs=v")));
}

#[test]
fn a_case_has_its_values_in_place() {
    let cases = sample().cases();
    let case =
        cases.iter().find(|case| case.name.ends_with("[l1=nvhe,vl=max,disturb=clobber,regs=v]")).unwrap();
    assert_eq!(case.scenario_name, "nested::eret_keeps_z");
    assert_eq!(case.rules, ["P-80", "P-81"]);
    assert_eq!(case.guest.l1, Some(L1Mode::Nvhe));
    assert_eq!(case.sweep, Some(SweepSpec { kind: Sweep::StepAll, disturbance: Disturbance::Clobber }));
    assert_eq!(case.bindings[3], ("regs".to_owned(), "v".to_owned()));
    let steps: Vec<_> = case.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps,
        [
            "L1 vl max",
            "L1 fill v fpsr",
            "L1 eret L2",
            "L2 expect all",
            "L2 fill z3-5 z9 fpsr",
            "L2.el0 wfi",
            "L2 disturb clobber",
            "L2 hvc #0x10",
            "L1 expect l2.zcr_el1.len",
        ]
    );
    // The line numbers count in the author's file.
    for step in &case.steps {
        let line = case.source.lines().nth(step.line as usize - 1).unwrap();
        assert!(line.starts_with(step.place.name()), "{step}: {line}");
    }
}

#[test]
fn a_case_is_a_scenario_too() {
    for case in sample().cases() {
        let alone = parsed(&case.print());
        let again = alone.cases();
        assert_eq!(names(&again), ["nested::eret_keeps_z"]);
        assert_eq!(again[0].guest, case.guest);
        assert_eq!(again[0].sweep, case.sweep);
        let steps = |case: &Case| case.steps.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(steps(&again[0]), steps(&case));
        assert_eq!(alone.print(), case.print());
    }
}

#[test]
fn guests_come_from_settings_and_axes() {
    let scenario = made_of(
        "[machine]\ncpu = \"all-lengths\"\nmmu = false\ncold = true\n[matrix]\nmax_vl = [384, 2048]\nsve = [true]\n",
        "L1 vl $max_vl",
    );
    let cases = scenario.cases();
    assert_eq!(names(&cases)[1], "nested::eret_keeps_z[max_vl=2048,sve=true]");
    let guest = &cases[0].guest;
    assert_eq!((guest.cpu, guest.mmu, guest.cold, guest.vl_max), (Cpu::AllLengths, false, true, 384));
    assert_eq!(cases[0].steps[0].verb, Verb::Vl(Length::Bits(384)));
    assert_eq!(made_of("", "G wfi").cases()[0].guest.l1, None);
}

#[test]
fn steps_may_stand_before_the_tables_or_in_the_last() {
    let steps = "steps = \"\"\"\nL1 vl $vl\n\"\"\"\n";
    let head = "title = \"t\"\nrules = [\"P-80\"]\n";
    let before = parsed(&format!("{head}{steps}[matrix]\nvl = [\"min\"]\n"));
    let after = parsed(&format!("{head}[matrix]\nvl = [\"min\"]\n{steps}"));
    let dotted = parsed(&format!("{head}matrix.vl = [\"min\"]\n{steps}"));
    let literal = parsed(&format!("{head}[matrix]\nvl = [\"min\"]\n{}", steps.replace("\"\"\"", "'''")));
    let windows = parsed(&format!("{head}[matrix]\nvl = [\"min\"]\n{steps}").replace('\n', "\r\n"));
    for other in [after, dotted, literal, windows] {
        assert_eq!(before, other);
    }
}

#[test]
fn every_form_of_step() {
    let reg = |reg, field: &str| Control {
        reg,
        field: Some(field).filter(|field| !field.is_empty()).map(str::to_owned),
    };
    let set = |mask| RegSet { mask, all: false };
    for (text, canonical, expected) in [
        ("L1 fill all", "", Verb::Fill(RegSet { mask: 0, all: true })),
        ("L1 fill z p ffr fpsr fpcr fpmr", "", Verb::Fill(set((1 << 52) - 1))),
        (
            "L1 fill fpsr v31 v0-7",
            "L1 fill v0-7 v31 fpsr",
            Verb::Fill(set(0x8000_00ff | mask::FPSR | mask::V_ONLY)),
        ),
        ("L1 fill p0 p1 p3 z0-31", "L1 fill z p0-1 p3", Verb::Fill(set(0xb_ffff_ffff))),
        ("G expect ffr", "", Verb::Expect(Expect::Registers(set(mask::FFR)))),
        ("G expect fpcr", "", Verb::Expect(Expect::Registers(set(mask::FPCR)))),
        (
            "L1 expect cptr_el2.fpen",
            "",
            Verb::Expect(Expect::Control(reg(ControlReg::Named(SysReg::CptrEl2), "fpen"))),
        ),
        (
            "L1 expect currentel",
            "",
            Verb::Expect(Expect::Control(reg(ControlReg::Named(SysReg::CurrentEl), ""))),
        ),
        ("L1 expect vl", "", Verb::Expect(Expect::Vl)),
        ("L1 expect trap ec=0x07", "", Verb::Expect(Expect::Trap { ec: 7 })),
        ("L1 expect trap ec=25", "L1 expect trap ec=0x19", Verb::Expect(Expect::Trap { ec: 25 })),
        (
            "L1 set fpcr 0x0300000",
            "L1 set fpcr 0x300000",
            Verb::Set { reg: reg(ControlReg::Named(SysReg::Fpcr), ""), value: 0x30_0000 },
        ),
        (
            "L1 set l2.zcr_el1.len 0x0",
            "L1 set l2.zcr_el1.len 0",
            Verb::Set { reg: reg(ControlReg::OfL2(SysReg::ZcrEl1), "len"), value: 0 },
        ),
        (
            "L1 eret L2.el0 aa-bad",
            "",
            Verb::Eret { to: EretTarget::Place(Place::L2El0), auth: abi::op::Auth::AaFailing },
        ),
        ("L1 eret L1t plain", "L1 eret L1t", Verb::Eret { to: EretTarget::L1t, auth: abi::op::Auth::None }),
        ("L1 hvc #0", "L1 hvc", Verb::Hvc(0)),
        ("L1 smc", "", Verb::Smc(Call::Version(0))),
        ("L1 smc #5", "", Verb::Smc(Call::Version(5))),
        ("G  smc  cpu-suspend", "G smc cpu-suspend", Verb::Smc(Call::CpuSuspend)),
        ("L1 brk #65535", "L1 brk #0xffff", Verb::Brk(0xffff)),
        ("L1 disturb none", "", Verb::Disturb(None)),
        ("L1 churn 0x10", "L1 churn 16", Verb::Churn(16)),
        ("L1\t sweep   off ", "L1 sweep off", Verb::Window(false)),
    ] {
        let (place, verb) = parse_step(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(verb, expected, "{text}");
        let canonical = if canonical.is_empty() { text } else { canonical };
        assert_eq!(format!("{} {verb}", place.name()), canonical);
    }
}

#[test]
fn needs_follow_from_the_steps() {
    let needs = |tables: &str, steps: &str| made_of(tables, steps).cases()[0].needs().to_string();
    for (tables, steps, expected) in [
        ("", "G fill v fpsr", ""),
        ("", "G fill all", ""),
        ("", "G fill z3", "sve"),
        ("", "G expect p3 fpmr", "sve fpmr"),
        ("", "G vl min", "sve"),
        ("", "G try z", "sve"),
        ("", "G try fpmr", ""),
        ("", "G touch fpmr", "fpmr"),
        ("[machine]\nsve = false\n", "G try z rdvl", ""),
        ("[machine]\ncpu = \"all-lengths\"\n", "G wfi", "all-lengths"),
        ("", "G disturb none", ""),
        ("", "G disturb preempt", "doorbell"),
        ("", "G reset", "doorbell reset"),
        ("", "G pend irq", "irq"),
        ("", "G wfi timer", "irq"),
        ("", "G wfi timer none", "irq"),
        ("", "G wfi timer preempt", "doorbell irq"),
        ("", "G timer spin", "irq"),
        ("", "G pend serror", "serror"),
        ("", "L1 pend virq", "el2 vhe"),
        ("", "L1 eret L2 aa", "el2 vhe pauth"),
        ("[machine]\nl1 = \"nvhe\"\n", "L1 eret L2b ab", "el2 nvhe second-l2 pauth"),
        ("", "L1 wfi\nL2b fill v", "el2 vhe second-l2"),
        ("", "L1 set hcrx_el2.enfpm 1", "el2 vhe fpmr"),
        ("", "L1 set cptr_el2.fpen 1", "el2 vhe"),
        ("", "L1 expect l2.zcr_el1", "el2 vhe sve"),
        ("", "L1 trap fp", "el2 vhe"),
    ] {
        assert_eq!(needs(tables, steps), expected, "{steps}");
    }
}

#[test]
fn loading_many() {
    let good = "title = \"t\"\nrules = [\"P-80\"]\nsteps = \"\"\"\nL1 wfi\n\"\"\"\n";
    let scenarios = load_embedded(&[("suites/b/x.toml", good), ("suites/a/y.toml", SAMPLE)]).unwrap();
    let found: Vec<_> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(found, ["a::y", "b::x"]);
    let errors =
        load_embedded(&[("suites/a.toml", "x"), ("suites/b.toml", good), ("suites/c.toml", "")]).unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(found, ["suites/a.toml", "suites/c.toml"]);
}
