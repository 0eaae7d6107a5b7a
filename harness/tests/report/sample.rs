//! A log made by hand: every state, and findings of every shape.

use harness::events::{
    Arrival, Case, Counter, Emulator, Environment, Expectation, Finding, Frame, Hex, Host, Hypervisor, Image,
    Lane, Log, Position, Rule, SCHEMA_VERSION, Scenario, Step, Summary, Sweep, Trace,
};
use harness::result::State;

/// The whole log.
pub(crate) fn log() -> Log {
    let cases = vec![
        case("nested::eret_keeps_z[l1=vhe,vl=max]", &State::Pass),
        case("nested::eret_keeps_z[l1=nvhe,vl=max]", &State::Pass),
        stale("nested::eret_keeps_z[l1=vhe,vl=mid]"),
        stale("nested::eret_keeps_z[l1=nvhe,vl=mid]"),
        control(),
        swept(),
        skip("switch::reset_zeroes", abi::skip::NO_HOOK, "the target cannot reset a vCPU"),
        skip("switch::serror_keeps_z", abi::skip::NO_DOORBELL, "the target answers no doorbell"),
        expected("traps::zcr_needs_fpen", &State::Xfail),
        expected("traps::svc_keeps_z", &State::Xpass),
        why("switch::wfi_keeps_z", &State::Timeout, "still running after 2.0 s (hypervisor: no end)"),
        crash(),
        why("switch::bad_ring", &State::Error, "record 3: length 17 is no multiple of 16"),
        why("switch::never", &State::Miss, "no machine could be started"),
        flaky(),
    ];
    let mut summary = Summary { wall_s: 2.75, ..Summary::default() };
    for case in &cases {
        summary.count(&case.verdict().unwrap());
        summary.sweep_points += case.sweep.as_ref().map_or(0, |sweep| sweep.points);
    }
    Log { environment: environment(cases.len()), cases, summary: Some(summary) }
}

fn environment(planned: usize) -> Environment {
    Environment {
        schema_version: SCHEMA_VERSION,
        suite_version: "0.1.0".into(),
        suite_commit: Some("v0.1.0-3-g250f375".into()),
        target: "reference".into(),
        strategy: vec!["restore=lazy".into(), "nested=elide".into(), "upper=cpu".into()],
        depth: 1,
        sweep: None,
        disturbance: None,
        fault: Some("nv-reload-old".into()),
        emulator: Some(Emulator { version: "QEMU emulator version 11.1.3".into(), sha256: "ab".repeat(32) }),
        images: vec![Image { name: "scenario".into(), sha256: "cd".repeat(32) }],
        host: Host { os: "linux 6.12".into(), arch: "x86_64".into(), cpus: 2 },
        command: vec!["holdfast".into(), "run".into()],
        repeat: 1,
        started: "2026-01-02T03:04:05Z".into(),
        planned: planned as u64,
    }
}

fn case(name: &str, state: &State) -> Case {
    let mut case = Case { name: name.into(), duration_us: 1500, ..Case::default() };
    case.set_verdict(state);
    case
}

fn skip(name: &str, code: &str, why: &str) -> Case {
    Case { why: why.into(), duration_us: 0, ..case(name, &State::Skip(code.into())) }
}

fn why(name: &str, state: &State, why: &str) -> Case {
    Case { why: why.into(), fingerprint: Some("0a1b2c3d".into()), ..case(name, state) }
}

fn expected(name: &str, state: &State) -> Case {
    let expectation = Expectation {
        reason: "QEMU checks FPEN on ZCR accesses".into(),
        url: Some("https://example.org/issues/1".into()),
    };
    Case { expectation: Some(expectation), ..case(name, state) }
}

fn rule(id: &str, words: &str) -> Rule {
    Rule { id: id.into(), words: words.into() }
}

fn scenario() -> Scenario {
    let steps = [
        (14, "L1 fill z p ffr fpsr fpcr"),
        (15, "L1 eret L2"),
        (16, "L2 expect all"),
        (17, "L2 hvc"),
        (18, "L1 expect all"),
    ];
    Scenario {
        file: "suites/nested/eret_keeps_z.toml".into(),
        title: "what L1 leaves in the registers is what L2 finds after an emulated ERET, and back".into(),
        steps: steps.into_iter().map(|(line, text)| Step { line, text: text.into() }).collect(),
    }
}

/// Lane by lane, every origin that a lane can have, and a set of legal values.
fn stale(name: &str) -> Case {
    let lane = |lane: u32, actual: u64, class: &str, origin: &str| Lane {
        lane,
        expected: vec![Hex(0x5100_20c0_1234_5678 + (u64::from(lane) << 33))],
        actual: Hex(actual),
        class: class.into(),
        origin: origin.into(),
    };
    let mut upper = lane(2, 0x7500_0000_0000_0001, "leaked", "invented upper bits");
    upper.expected.push(Hex(0));
    let finding = Finding {
        step: 2,
        op: 7,
        line: 16,
        place: "L2".into(),
        rules: vec![rule("P-81", "L2 sees exactly what L1 left in the registers at its ERET.")],
        what: "z3".into(),
        class: "stale".into(),
        origin: "this vCPU's fill 1 of z3".into(),
        transition: "eret from L1 to L2".into(),
        lanes: vec![
            lane(0, 0x5100_10c0_0000_0001, "stale", "this vCPU's fill 1 of z3, lane 0"),
            lane(1, 0, "zeroed", ""),
            upper,
            lane(3, 0x5100_2148_0000_0002, "swapped", "z5, lane 3"),
        ],
        ..Finding::default()
    };
    let second = Finding {
        what: "fpsr".into(),
        class: "leaked".into(),
        origin: "the host task".into(),
        lanes: Vec::new(),
        expected: vec!["0x8".into(), "0x0".into()],
        actual: "0x800009f".into(),
        ..finding.clone()
    };
    let frame =
        |function: &str, file: &str, line| Frame { function: function.into(), file: file.into(), line };
    Case {
        fingerprint: Some("6f1c2a9b".into()),
        findings: vec![finding, second],
        scenario: Some(scenario()),
        positions: vec![
            Position {
                what: "left L1".into(),
                image: "scenario".into(),
                address: Hex(0x4100_2340),
                symbol: "stub_eret+0x40".into(),
                frames: vec![
                    frame("arch::payload::stub::load", "arch/src/payload/stub.rs", 41),
                    frame("scenario::go", "guest-payloads/src/bin/scenario.rs", 120),
                ],
            },
            Position {
                what: "the hypervisor, nested-eret".into(),
                image: "reference-hyp".into(),
                address: Hex(0x4040_1000),
                symbol: "reference_hyp::nested::eret+0x8".into(),
                frames: vec![frame("reference_hyp::nested::eret", "reference-hyp/src/nested.rs", 88)],
            },
        ],
        hypervisor: Some(Hypervisor {
            end: Some("payload".into()),
            end_arg: Hex(0x600d_0001),
            end_at: vec![Hex(0); 4],
            fault_reached: 1,
            disturbed: 0,
            counters: vec![Counter { name: "nested_erets".into(), count: 1 }],
            trace: vec![
                Trace {
                    event: 1,
                    context: 0x95,
                    pc: Hex(0x4100_2340),
                    arg: vec![Hex(0x6a00_0000), Hex(0)],
                    text: "exit             EC 0x1a ERET  L1 fp-live  pc stub_eret+0x40".into(),
                    site: Some(frame("reference_hyp::exit::eret", "reference-hyp/src/exit.rs", 61)),
                },
                Trace {
                    event: 3,
                    text: "nested-eret      to entry_l2 SPSR 0x3c5  L1 fp-live  pc stub_eret+0x40".into(),
                    ..Trace::default()
                },
            ],
        }),
        artefacts: Some("nested.eret_keeps_z".into()),
        console: "payload: hello\n\u{1b}[31mnot red\n".into(),
        ..case(name, &State::Fail)
    }
}

/// A value without lanes.
fn control() -> Case {
    let finding = Finding {
        step: 4,
        line: 18,
        place: "L1".into(),
        rules: vec![
            rule("P-58", "With E2H=1 at EL2 the name ZCR_EL1 reaches ZCR_EL2."),
            rule("P-87", "ZCR_EL2 and ZCR_EL1 of L2 are separate."),
        ],
        what: "zcr_el2".into(),
        class: "wrong value".into(),
        expected: vec!["0x3 (LEN=3)".into()],
        actual: "0x1 (LEN=1)".into(),
        ..Finding::default()
    };
    Case {
        fingerprint: Some("11223344".into()),
        findings: vec![finding],
        scenario: Some(scenario()),
        ..case("control::zcr_is_separate[l1=vhe]", &State::Fail)
    }
}

/// Shown by a sweep only.
fn swept() -> Case {
    let finding = Finding {
        line: 16,
        place: "L2".into(),
        rules: vec![rule("P-83", "P-80 and P-81 hold if a preemption falls inside the transition.")],
        what: "p7".into(),
        class: "leaked".into(),
        origin: "the sweep's clobber".into(),
        transition: "eret from L1 to L2".into(),
        expected: vec!["0x1111".into()],
        actual: "0x2222".into(),
        point: Some(17),
        ..Finding::default()
    };
    Case {
        fingerprint: Some("55667788".into()),
        findings: vec![finding],
        sweep: Some(Sweep {
            kind: "step-each".into(),
            points: 140,
            points_live: 96,
            failing_point: Some(17),
        }),
        scenario: Some(scenario()),
        ..case("nested::preempted_eret", &State::Fail)
    }
}

fn crash() -> Case {
    Case {
        why: "an arrival that the program did not ask for".into(),
        fingerprint: Some("99aabbcc".into()),
        unexpected: Some(Arrival {
            vector: Hex(0x200),
            esr: Hex(0x9600_0046),
            elr: Hex(0x4100_3000),
            spsr: Hex(0x3c5),
            far: Hex(0xdead_0000),
            x: vec![Hex(0); 31],
            ..Arrival::default()
        }),
        ..case("switch::wild", &State::Crash)
    }
}

fn flaky() -> Case {
    Case {
        repeats: vec!["pass".into(), "fail".into(), "pass".into()],
        why: "2 of 3 runs passed".into(),
        fingerprint: Some("ddeeff00".into()),
        ..case("nested::sometimes", &State::Flaky)
    }
}
