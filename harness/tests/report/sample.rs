//! A log made by hand: every state, and findings of every shape.

use abi::pattern::Owner;
use abi::place::Place;
use abi::sysreg::SysReg;
use harness::events::{
    Arrival, Case, Counter, Emulator, Environment, Expectation, Frame, Hex, Host, Hypervisor, Image, Kernel,
    KernelEvent, KernelTrace, Log, Position, Rule, SCHEMA_VERSION, Scenario, Step, Summary, Sweep, Trace,
    Witness, convert,
};
use harness::kvm::complaint::{self, Changed, Complaint};
use harness::result::{CaseResult, State};
use model::judge::{FailureClass, Finding as Found, LaneDiff, Origin, RegisterName};

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
    Log { environment: environment(cases.len()), cases, witnesses: Vec::new(), summary: Some(summary) }
}

/// A log of a run on KVM: one kind of failure, traced at the first of its two cases, and two QEMUs that were asked.
pub(crate) fn kvm_log() -> Log {
    let (one, other) = ("nested::eret_keeps_z[l1=vhe,vl=max]", "nested::eret_keeps_z[l1=nvhe,vl=max]");
    let traced = Case { hypervisor: None, kernel_trace: Some(kernel_trace()), ..stale(one) };
    let fingerprint = traced.fingerprint.clone().unwrap();
    let cases = vec![traced, Case { hypervisor: None, ..stale(other) }, case("preserve::v", &State::Pass)];
    let witness = |on: &str, with: &str, answer: &str| Witness {
        fingerprint: fingerprint.clone(),
        case: one.into(),
        on: on.into(),
        with: with.into(),
        answer: answer.into(),
        why: String::new(),
    };
    let emulator = "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)";
    let kernel = Kernel {
        name: "Debian 7.2.13-1 (linux-binary-7.2.13+deb14-cloud-arm64)".into(),
        release: "7.2.13+deb14-cloud-arm64".into(),
        config_sha256: Some("67bd2b100f8b".repeat(5)),
        kvm: "VHE+NV2 mode initialized successfully".into(),
        options: vec![("kernel".into(), "debian:7.2".into()), ("kvm-mode".into(), "nested".into())],
        command: Some(
            "bin/qemu-system-aarch64 -M virt,virtualization=on,gic-version=3,acpi=off -cpu max,pauth-impdef=on,lpa2=off,\
             sve128=on,sve256=on,sve384=off,sve512=on,sve1024=on,sve2048=on -accel tcg,thread=multi,tb-size=256 -smp 2 -m \
             1024 -nodefaults -kernel /cache/debian/Image -append 'console=ttyAMA0 panic=-1 oops=panic loglevel=4 \
             cryptomgr.notests=1 mitigations=off nokaslr audit=0 apparmor=0 security=none init_on_alloc=0 \
             rcupdate.rcu_cpu_stall_suppress=1 nowatchdog \
             initcall_blacklist=load_system_certificate_list,scx_init,inet6_init kvm-arm.mode=nested' -initrd INITRD"
                .into(),
        ),
        ..Kernel::default()
    };
    let environment = Environment {
        target: "kvm-qemu".into(),
        strategy: Vec::new(),
        doorbell: None,
        depth: 0,
        fault: None,
        kernel: Some(kernel),
        emulator: Some(Emulator { version: emulator.into(), sha256: "ab".repeat(32) }),
        ..environment(cases.len())
    };
    let summary = Summary { fail: 2, pass: 1, wall_s: 3.5, ..Summary::default() };
    let witnesses = vec![
        witness("bare", emulator, "no"),
        witness("other-qemu", "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", "yes"),
    ];
    Log { environment, cases, witnesses, summary: Some(summary) }
}

/// A log of the same kernel with what no guest recorded: an answer to a VMM, a register of a VMM's thread, a warning, a dead
/// host, and a guest that did not come to an end, which came first.
pub(crate) fn vmm_log() -> Log {
    let log = kvm_log();
    let source = || Scenario {
        file: "suites/host/state.toml".into(),
        title: "the thread of the VMM keeps its registers".into(),
        rules: ["P-21", "P-22", "P-24"].map(rule).to_vec(),
        cpu: Some(Scenario::ALL_LENGTHS.into()),
        steps: vec![
            Step { line: 15, text: "G fill all".into() },
            Step { line: 16, text: "G vmm host-preempted".into() },
            Step { line: 17, text: "G expect all".into() },
        ],
    };
    let told = |name: &str, state: State, why: &str, complaints: Vec<Complaint>| {
        let complaints = complaints.into_iter().map(|told| Complaint { line: Some(16), ..told }).collect();
        let result = CaseResult { complaints, ..CaseResult::without_findings(name, state, why) };
        Case { scenario: Some(source()), ..convert::case(&result, None, || Box::leak(Box::default())) }
    };
    let refused = |what: &str, id: &str| {
        let complaint = Complaint::new("P-97", what).by(format!("KVM_GET_ONE_REG of {id}"));
        complaint.wanted("EINVAL or ENOENT", complaint::answer(Ok(())))
    };
    let words = |reg| (0..16).flat_map(move |lane| word(pattern(Owner::HostTask, 3, reg, lane).0)).collect();
    let (wanted, mut found): (Vec<u8>, Vec<u8>) = (words(0), words(0));
    found[16..].fill(0);
    let preempted =
        Complaint::new("P-21", "Z, P, FFR that the thread set after KVM_RUN changed when it was preempted");
    let changed = Changed { owner: Owner::HostTask as u8, register: abi::op::mask::Z, wanted, found };
    let splat = "WARNING: arch/arm64/kvm/fpsimd.c:131 at kvm_arch_vcpu_put_fp+0xd4/0x21c, CPU#0: init/1";
    let dead = "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000";
    let calls: String = (0..20).map(|n| format!(" some_function_of_kvm_{n}+0x40/0x148\n")).collect();
    let console = |splat: &str| {
        format!(
            "{splat}\npc : kvm_arch_vcpu_put_fp+0xd4/0x21c\nx29: 0 x28: 0\nCall trace:\n{calls}---[ end trace ]---\n"
        )
    };
    let cases = vec![
        Case {
            kernel_trace: Some(KernelTrace::absent("only the first 16 kinds of failure are traced")),
            ..told(
                "irq::wfi[vl=max]",
                State::Timeout,
                "the guest ran beyond its budget: PC 0x41000040",
                Vec::new(),
            )
        },
        told(
            "register-abi::list[check=bad-ids,sve=true]",
            State::Fail,
            "",
            vec![
                refused("x0 as 4 bytes can be read", "0x6020000000100000"),
                refused("x30 as 16 bytes can be read", "0x604000000010003c"),
            ],
        ),
        told(
            "host::state[check=host-preempted,max_vl=512]",
            State::Fail,
            "",
            vec![preempted.changed(changed)],
        ),
        Case {
            console: console(splat),
            ..told("call::smc_of_guest[max_vl=128]", State::Fail, "", vec![Complaint::of_kernel(splat)])
        },
        Case {
            console: console(dead),
            kernel_trace: Some(KernelTrace::absent("the host is gone")),
            ..told(
                "host::state[check=host-za,max_vl=128]",
                State::Crash,
                &format!("the host kernel died: {dead}; QEMU ended while the case ran (exit status: 0)"),
                vec![Complaint::of_kernel(dead)],
            )
        },
    ];
    Log { cases, summary: Some(Summary { fail: 3, crash: 1, timeout: 1, ..Summary::default() }), ..log }
}

fn kernel_trace() -> KernelTrace {
    let event = |time: &str, name: &str, text: &str| KernelEvent {
        cpu: 0,
        time: time.into(),
        name: name.into(),
        text: text.into(),
        other: false,
    };
    let events = vec![
        event("3.420100", "kvm_exit", "TRAP: HSR_EC: 0x0020 (IABT_LOW), PC: 0x0000000041002c00"),
        event("3.420150", "kvm_entry", "PC: 0x0000000041002c00"),
        event("3.420160", "kvm_exit", "TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x0000000041001838"),
        event("3.420208", "kvm_exit", "TRAP: HSR_EC: 0x001a (ERET), PC: 0x00000000410038c4"),
        event(
            "3.420338",
            "kvm_nested_eret",
            "elr_el2: 0x41007d80 spsr_el2: 0xb00003c5 (M: EL1h) hcr_el2: 30480000039",
        ),
        event("3.420547", "kvm_entry", "PC: 0x0000000041007d80"),
        event("3.420638", "kvm_exit", "IRQ: HSR_EC: 0x0000 (UNKNOWN), PC: 0x0000000041013dd8"),
        event("3.420700", "kvm_userspace_exit", "reason restart (4)"),
    ];
    let missing = vec!["kvm_inject_nested_exception".to_owned()];
    KernelTrace { absent: None, end: KernelTrace::SAME.into(), cut: true, missing, events }
}

fn environment(planned: usize) -> Environment {
    Environment {
        schema_version: SCHEMA_VERSION,
        suite_version: "0.1.0".into(),
        suite_commit: Some("v0.1.0-3-g250f375".into()),
        target: "reference".into(),
        strategy: vec!["restore=lazy".into(), "nested=elide".into(), "upper=cpu".into()],
        depth: 1,
        doorbell: None,
        sweep: None,
        disturbance: None,
        fault: Some("nv-reload-old".into()),
        emulator: Some(Emulator { version: "QEMU emulator version 11.1.3".into(), sha256: "ab".repeat(32) }),
        kernel: None,
        images: vec![Image { name: "scenario".into(), sha256: "cd".repeat(32) }],
        host: Host { os: "linux 6.12".into(), arch: "x86_64".into(), cpus: 2 },
        replayed: None,
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
        reason: "QEMU checks FPEN\non ZCR accesses".into(),
        url: Some("https://example.org/issues/1".into()),
    };
    Case { expectation: Some(expectation), ..case(name, state) }
}

fn rule(id: &str) -> Rule {
    Rule { id: id.into(), words: model::rules::get(id).unwrap().text.into() }
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
        rules: vec![rule("P-81")],
        cpu: None,
        steps: steps.into_iter().map(|(line, text)| Step { line, text: text.into() }).collect(),
    }
}

/// A finding at the third step, without values.
fn found(rules: &[&'static str], what: RegisterName, class: FailureClass) -> Found {
    Found {
        step: 2,
        op: 7,
        line: 16,
        place: Place::L2,
        rules: rules.to_vec(),
        what,
        holder: Owner::Scenario,
        class,
        origin: None,
        expected: Vec::new(),
        actual: Vec::new(),
        lanes: Vec::new(),
        transition: Some("eret L1 -> L2".into()),
    }
}

fn word(value: u64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

/// The word that a fill left in a lane of Z3, and whose it is.
fn pattern(owner: Owner, generation: u16, reg: u8, lane: u8) -> (u64, Option<Origin>) {
    let origin = Origin { owner, generation, reg: RegisterName::Z(reg), lane: Some(lane) };
    (abi::pattern::word(owner, generation, reg, lane), Some(origin))
}

/// A difference of Z3 in some lanes, each with what was found there.
fn in_z3(class: FailureClass, lanes: &[(u64, Option<Origin>)]) -> Found {
    let expected = |lane: usize| pattern(Owner::Scenario, 2, 3, lane as u8).0;
    let diff = |(lane, (actual, origin)): (usize, &(u64, Option<Origin>))| LaneDiff {
        lane,
        expected: expected(lane),
        actual: *actual,
        origin: *origin,
    };
    Found {
        origin: lanes.first().and_then(|(_, origin)| *origin),
        expected: vec![(0..lanes.len()).flat_map(|lane| word(expected(lane))).collect()],
        actual: lanes.iter().flat_map(|(actual, _)| word(*actual)).collect(),
        lanes: lanes.iter().enumerate().map(diff).collect(),
        ..found(&["P-81", "P-02"], RegisterName::Z(3), class)
    }
}

/// A difference of a register without lanes.
fn in_word(
    rule: &'static str,
    what: RegisterName,
    class: FailureClass,
    expected: &[u64],
    actual: u64,
) -> Found {
    Found {
        expected: expected.iter().copied().map(word).collect(),
        actual: word(actual),
        ..found(&[rule], what, class)
    }
}

/// Findings of each failure class.
pub(crate) fn of_each_class() -> Vec<Found> {
    let lanes = |owner, generation, reg| [0, 1, 2, 3].map(|lane| pattern(owner, generation, reg, lane));
    let cut = [pattern(Owner::Scenario, 2, 3, 0), pattern(Owner::Scenario, 2, 3, 1), (0, None), (0, None)];
    let mut truncated = in_z3(FailureClass::Truncated { vl: 128 }, &cut);
    truncated.lanes.retain(|diff| diff.actual == 0);
    truncated.origin = None;
    vec![
        in_z3(FailureClass::Stale, &lanes(Owner::Scenario, 1, 3)),
        in_z3(FailureClass::Zeroed, &[(0, None); 4]),
        truncated,
        in_z3(FailureClass::Swapped { with: RegisterName::Z(5) }, &lanes(Owner::Scenario, 2, 5)),
        in_z3(FailureClass::Leaked { owner: Owner::HostTask }, &lanes(Owner::HostTask, 1, 3)),
        in_word("P-86", RegisterName::Vl, FailureClass::WrongLength, &[32], 64),
        in_word("P-66", RegisterName::Vector, FailureClass::NotTrapped, &[0x1_0000_0400], 0x3_0000_1000),
        in_word("P-65", RegisterName::Vector, FailureClass::Trapped, &[0x3_0000_1000], 0x1_0000_0400),
        in_word("P-85", RegisterName::Vector, FailureClass::Misrouted, &[0x1_0000_0400], 0x3_0000_0200),
        in_word("P-85", RegisterName::Esr, FailureClass::WrongSyndrome, &[0x1fe0_0000], 0x6600_0000),
        in_word("P-85", RegisterName::Esr, FailureClass::WrongSyndrome, &[0x6600_0000], 0x6400_0000),
        in_word("P-82", RegisterName::Spsr, FailureClass::Bits, &[0x6000_03c5], 0x0010_03c9),
        in_word("P-71", RegisterName::Elr, FailureClass::WrongReturn, &[0x4100_2340], 0x4100_2344),
        in_word("P-87", RegisterName::Control(SysReg::ZcrEl2), FailureClass::WrongControl, &[3], 1),
        in_word("P-01", RegisterName::Fpsr, FailureClass::Bits, &[0x8, 0], 0x0800_009f),
        in_z3(FailureClass::Garbage, &[(0xdead_beef, None), (0x1234_5678, None)]),
    ]
}

/// A case with this finding alone.
pub(crate) fn failed(name: &str, found: &Found) -> Case {
    let finding = convert::finding(found, None, &[]);
    Case {
        fingerprint: Some(finding.fingerprint.clone()),
        findings: vec![finding],
        scenario: Some(scenario()),
        ..case(name, &State::Fail)
    }
}

/// Everything that a failure can have.
fn stale(name: &str) -> Case {
    let mixed = [
        pattern(Owner::Scenario, 1, 3, 0),
        (0, None),
        pattern(Owner::Upper, 0, 3, 2),
        pattern(Owner::Scenario, 2, 5, 3),
    ];
    let mut first = in_z3(FailureClass::Stale, &mixed);
    first.expected.push(vec![0; 32]);
    let second = in_word("P-01", RegisterName::Fpsr, FailureClass::Bits, &[0x8, 0], 0x0800_009f);
    let findings = vec![convert::finding(&first, None, &[]), convert::finding(&second, None, &[])];
    let frame =
        |function: &str, file: &str, line| Frame { function: function.into(), file: file.into(), line };
    Case {
        fingerprint: findings.first().map(|finding| finding.fingerprint.clone()),
        findings,
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
    let what = RegisterName::Control(SysReg::ZcrEl2);
    failed("control::zcr_is_separate[l1=vhe]", &in_word("P-87", what, FailureClass::WrongControl, &[3], 1))
}

/// Shown by a sweep only.
fn swept() -> Case {
    let class = FailureClass::Leaked { owner: Owner::Clobber };
    let found = in_word("P-83", RegisterName::P(7), class, &[0x1111], 0x2222);
    let sweep = Sweep { kind: "step-each".into(), points: 140, points_live: 96, failing_point: Some(17) };
    Case {
        findings: vec![convert::finding(&found, Some(17), &[])],
        sweep: Some(sweep),
        ..failed("nested::preempted_eret", &found)
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
