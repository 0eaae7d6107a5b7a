//! The checker is checked: the judge accepts a CPU that is right, whichever way it uses its freedom, and names
//! what is wrong with one that is not.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

#[path = "oracle_perfect/cpu.rs"]
mod cpu;

use abi::pattern::{Owner, word};
use abi::place::Place;
use cpu::{Bug, Cpu, Exception, HOLE, Right, Upper};
use model::compile::{CompileError, Program, compile_steps};
use model::judge::{FailureClass, Finding, Judgement, RegisterName, judge};
use model::machine::{Machine, QemuCpu};
use model::scenario::parse_step;
use model::scenario::step::{GuestSpec, L1Mode, Step};

fn guest(l1: Option<L1Mode>) -> GuestSpec {
    GuestSpec { l1, stage2: l1.is_some(), ..GuestSpec::default() }
}

fn machine(guest: &GuestSpec) -> Machine {
    let cpu = QemuCpu { cpu: guest.cpu, sve: true, vl_max: 2048, sme: false, fpmr: true, poe: false };
    let mut machine = Machine::reference(&cpu, guest).unwrap();
    machine.hooks.smccc = true;
    machine
}

fn steps(text: &str) -> Vec<Step> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let (place, verb) = parse_step(line.trim()).unwrap_or_else(|error| panic!("{line}: {error}"));
            Step { place, verb, line: u32::try_from(index + 1).unwrap() }
        })
        .collect()
}

fn program(guest: &GuestSpec, text: &str) -> Result<Program, CompileError> {
    let mut program = compile_steps(guest, &steps(text), &machine(guest), None)?;
    program.link(HOLE);
    Ok(program)
}

#[track_caller]
fn accepts(guest: &GuestSpec, text: &str) {
    let program = program(guest, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for upper in [Upper::Keep, Upper::Zero, Upper::Mixed] {
        let judgement = judge(&program, &Cpu::run(&program, upper, &mut Right)).unwrap();
        let findings: Vec<String> = judgement.findings.iter().map(Finding::to_string).collect();
        assert!(judgement.passed(), "{upper:?} {:?}\n{}\n{text}", judgement.crash, findings.join("\n"));
    }
}

const VHE: Option<L1Mode> = Some(L1Mode::Vhe);
const NVHE: Option<L1Mode> = Some(L1Mode::Nvhe);

/// Scenarios that use every step, for both kinds of L1.
const NESTED: &[&str] = &[
    "L1 fill all
     L1 eret L2
     L2 expect all
     L2 fill all
     L2 hvc #7
     L1 expect all
     L1 churn 3
     L1 expect all
     L1 eret back
     L2 expect all
     L2 vl min
     L2 hvc
     L1 expect all",
    // Lengths: what is passed through may be lost, and what was seen lost stays lost.
    "L1 fill all
     L1 eret L2
     L2 vl min
     L2 expect all
     L2 vl max
     L2 expect all
     L2 fill z1 p2
     L2 vl mid
     L2 expect all
     L2 expect vl
     L2 hvc
     L1 expect all
     L1 vl mid
     L1 eret back
     L2 expect vl
     L2 vl max
     L2 expect vl
     L2 expect zcr_el1
     L2 hvc
     L1 expect zcr_el2.len
     L1 expect l2.zcr_el1",
    // Each instruction that leaves L2.
    "L1 fill all
     L1 eret L2
     L2 svc #3
     L2 expect all
     L2 brk #9
     L2 undef
     L2 hvc #1
     L1 set hcr_el2.tsc 1
     L1 set hcr_el2.tacr 1
     L1 set hcr_el2.twi 1
     L1 eret back
     L2 smc #5
     L1 eret skip
     L2 actlr
     L1 expect trap ec=0x18
     L1 eret skip
     L2 wfi
     L1 eret skip
     L2 expect all",
    // A standby state, which an interrupt ends that nobody takes yet; the second call is trapped first.
    "L1 fill all
     L1 pend irq
     L1 smc cpu-suspend
     L1 expect all
     L1 unmask
     L1 wfi timer preempt
     L1 expect all
     L1 unmask
     L1 set hcr_el2.imo 0
     L1 set hcr_el2.tsc 1
     L1 pend irq
     L1 eret L2
     L2 fill all
     L2 smc cpu-suspend
     L1 expect trap ec=0x17
     L1 set hcr_el2.tsc 0
     L1 eret back
     L2 expect all
     L2 unmask
     L2 expect all",
    // EL0 and its traps.
    "L1 fill all
     L1 eret L2
     L2 trap fp
     L2 eret L2.el0
     L2.el0 try v fpsr z
     L2.el0 svc
     L2 untrap fp
     L2 trap sve
     L2 eret L2.el0
     L2.el0 try z v
     L2.el0 expect v fpsr
     L2.el0 svc
     L2 expect all
     L2 untrap sve
     L2 expect all
     L2 fill all
     L2 eret L2.el0
     L2.el0 touch v z p ffr fpsr fpcr rdvl fpmr v-read setffr
     L2.el0 expect all",
    // L1's traps, skipped, and opened and retried.
    "L1 fill all
     L1 trap fp
     L1 eret L2
     L2 try v fpsr z
     L2 hvc
     L1 untrap fp
     L1 trap sve
     L1 eret back
     L2 try z zcr_el1 zcr_el1-write v
     L2 touch z
     L1 expect trap ec=0x19
     L1 untrap sve
     L1 eret back
     L2 expect all
     L2 try zcr_el2 zcr_el12 smcr_el1 cpacr_el1
     L2 hvc
     L1 set cptr_el2.tcpac 1
     L1 eret back
     L2 try cpacr_el1 cpacr_el1-write
     L2 expect all
     L2 hvc
     L1 set hcrx_el2.enfpm 0
     L1 eret back
     L2 try fpmr",
    // Interrupts that are pending when L2 is entered, and virtual ones.
    "L1 fill all
     L1 pend irq
     L1 eret L2
     L1 expect all
     L1 eret back
     L2 expect all
     L2 hvc
     L1 pend serror
     L1 eret back
     L1 expect all
     L1 eret L2
     L2 hvc
     L1 pend virq
     L1 eret back
     L2 unmask
     L2 expect all
     L2 hvc
     L1 set hcr_el2.vi 0
     L1 pend vserror
     L1 expect hcr_el2.vse
     L1 eret back
     L2 unmask
     L2 expect all
     L2 hvc
     L1 expect hcr_el2.vse
     L1 pend irq
     L1 unmask
     L1 expect all
     L1 pend irq
     L1 pend serror
     L1 set hcr_el2.amo 0
     L1 eret L2
     L1 set hcr_el2.amo 1
     L1 eret L2
     L1 eret L2
     L2 expect all",
    // Illegal returns, authenticated ones, EL2 to itself.
    "L1 fill all
     L1 eret illegal
     L1 expect trap ec=0x0e
     L1 expect all
     L1 eret L2 aa
     L2 expect all
     L2 hvc
     L1 eret back ab
     L2 hvc
     L1 eret L2 aa-bad
     L1 expect trap ec=0x1c
     L1 eret L2 ab-bad
     L1 expect all
     L1 eret L1
     L1 svc
     L1 hvc #4
     L1 try zcr_el2 v z
     L1 eret L1t
     L1 expect all
     L1 touch v-read
     L1 svc #6
     L1 eret back
     L1 eret L2
     L2 expect all
     L2 hvc
     L1 eret L1t
     L1 eret illegal
     L1 eret L1t
     L1 eret L2 ab-bad
     L1 expect all",
    // Aborts of both stages, first-fault loads, memory.
    "L1 fill all
     L1 unmap stage2
     L1 eret L2
     L2 abort stage2
     L1 eret skip
     L2 try ldr-q ldr-z str-q
     L2 expect all
     L2 touch setffr
     L2 expect all
     L2 try ldff1
     L2 fill p0
     L2 fill p0
     L2 fill p0
     L2 fill p0
     L2 touch ldff1
     L2 expect all
     L2 fill z0
     L2 touch ldr-q
     L1 expect trap ec=0x24
     L1 map stage2
     L1 eret back
     L2 expect z0
     L2 touch str-q ldr-z
     L2 expect all
     L2 unmap stage1
     L2 abort stage1
     L2 expect all
     L2 map stage1
     L2 hvc",
    // A second L2.
    "L1 fill all
     L1 eret L2
     L2 vl min
     L2 set cpacr_el1.zen 1
     L2 hvc
     L1 eret L2b
     L2b expect vl
     L2b expect cpacr_el1
     L2b vl mid
     L2b fill all
     L2b hvc
     L1 expect all
     L1 eret L2
     L2 expect vl
     L2 expect zcr_el1
     L2 expect cpacr_el1.zen
     L2 expect all",
    "L1 fill all
     L1 eret L2
     L2 fill all
     L2 reset
     L1 expect all
     L1 fill all
     L1 eret L2.el0
     L2.el0 expect all
     L2.el0 hvc
     L2 eret skip
     L2.el0 expect all",
];

const PLAIN: &[&str] = &[
    "G fill all
     G eret G.el0
     G.el0 expect all
     G.el0 fill all
     G.el0 svc
     G expect all
     G vl mid
     G expect vl
     G smc
     G expect all
     G trap fp
     G eret back
     G.el0 try v z fpsr rdvl
     G.el0 svc
     G expect all",
    "G fill all
     G set fpsr 0x1f
     G expect fpsr
     G set fpcr 0x00c00000
     G expect all
     G wfi timer
     G wfi
     G smc cpu-suspend
     G unmask
     G expect all
     G eret G.el0
     G.el0 brk #1
     G try zcr_el2 smcr_el1 zcr_el1 zcr_el1-write
     G expect zcr_el1
     G expect id_aa64pfr0_el1
     G expect all
     G disturb clobber
     G churn 2
     G expect all",
];

#[test]
fn a_right_cpu_passes_with_a_vhe_l1() {
    for text in NESTED {
        accepts(&guest(VHE), text);
    }
}

#[test]
fn a_right_cpu_passes_with_an_nvhe_l1() {
    for text in NESTED {
        accepts(&guest(NVHE), text);
    }
}

#[test]
fn a_right_cpu_passes_without_el2() {
    for text in PLAIN {
        accepts(&guest(None), text);
    }
}

#[test]
fn a_task_of_l1() {
    let text = "L1 fill all
        L1 eret L1.el0
        L1.el0 expect all
        L1.el0 fill all
        L1.el0 svc #2
        L1 expect all
        L1 set cptr_el2.fpen 1
        L1 eret back
        L1.el0 try v fpsr z zcr_el1
        L1.el0 undef
        L1 set cptr_el2.fpen 3
        L1 set cptr_el2.zen 1
        L1 expect all
        L1 eret skip
        L1.el0 try z v
        L1.el0 svc
        L1 eret L2
        L2 expect all";
    accepts(&guest(VHE), text);
}

#[test]
fn a_cold_start_and_a_guest_without_sve() {
    let cold = GuestSpec { cold: true, ..guest(VHE) };
    accepts(&cold, "L1 eret L2\nL2 touch zcr_el1-write\nL2 expect zcr_el1\nL2 expect vl\nL2 expect all");
    let plain = GuestSpec { sve: false, vl_max: 128, ..guest(None) };
    accepts(&plain, "G fill all\nG try z zcr_el1 rdvl v\nG expect all\nG churn 5\nG expect all");
}

#[test]
fn all_of_fpen_and_zen_and_every_first_access() {
    for fpen in 0..4 {
        for zen in 0..4 {
            for touch in ["v", "z", "zcr_el1", "zcr_el1-write", "fpsr", "ffr", "rdvl", "ldr-q"] {
                let text = format!(
                    "L1 fill all
                     L1 set cptr_el2.fpen {fpen}
                     L1 set cptr_el2.zen {zen}
                     L1 eret L2
                     L2 try {touch}
                     L2 hvc
                     L1 set cptr_el2.fpen 3
                     L1 set cptr_el2.zen 3
                     L1 expect all"
                );
                accepts(&guest(VHE), &text);
            }
        }
    }
}

// ---- What must not pass -------------------------------------------------------------------------------------

/// Something done to the CPU at one arrival.
struct At<F>(usize, F);

impl<F: FnMut(&mut Cpu)> Bug for At<F> {
    fn at_arrival(&mut self, n: usize, cpu: &mut Cpu) {
        if n == self.0 {
            (self.1)(cpu);
        }
    }
}

/// Something done to one word of the record of one arrival.
struct Word(usize, usize, fn(u64) -> u64);

impl Bug for Word {
    fn in_record(&mut self, n: usize, words: &mut [u64; 42]) {
        if n == self.0 {
            words[self.1] = (self.2)(words[self.1]);
        }
    }
}

/// Something done to exceptions.
struct On<F>(F);

impl<F: FnMut(Exception) -> Option<Exception>> Bug for On<F> {
    fn exception(&mut self, exception: Exception) -> Option<Exception> {
        (self.0)(exception)
    }
}

/// L1 fills twice, so that there is an older generation; arrival 0 is at L2, arrival 1 at L1 again.
const ROUND_TRIP: &str = "L1 fill all
    L1 fill all
    L1 eret L2
    L2 expect all
    L2 hvc
    L1 expect all
    L1 expect zcr_el2
    L1 expect vl
    L1 expect cptr_el2";

#[track_caller]
fn judged(text: &str, bug: &mut dyn Bug) -> Judgement {
    let program = program(&guest(VHE), text).unwrap();
    judge(&program, &Cpu::run(&program, Upper::Keep, bug)).unwrap()
}

#[track_caller]
fn finds(text: &str, bug: &mut dyn Bug, what: RegisterName, class: FailureClass) -> Finding {
    let judgement = judged(text, bug);
    let all: Vec<String> = judgement.findings.iter().map(Finding::to_string).collect();
    let all = all.join("\n");
    assert!(!judgement.passed());
    let finding = judgement.findings.into_iter().find(|finding| finding.what == what);
    let finding = finding.unwrap_or_else(|| panic!("nothing on {what}:\n{all}"));
    assert_eq!(finding.class, class, "{all}");
    assert!(!finding.rules.is_empty() && finding.line > 0, "{all}");
    finding
}

fn pattern(owner: Owner, generation: u16, reg: u8) -> [u8; 256] {
    let words = (0..32).map(|lane| word(owner, generation, reg, lane).to_le_bytes());
    words.collect::<Vec<_>>().concat().try_into().unwrap()
}

#[test]
fn a_dropped_register() {
    let mut bug = At(0, |cpu: &mut Cpu| cpu.z[16].fill(0));
    let finding = finds(ROUND_TRIP, &mut bug, RegisterName::Z(16), FailureClass::Zeroed);
    assert_eq!((finding.place, finding.line, finding.lanes.len()), (Place::L2, 4, 8));
    assert_eq!(finding.transition.as_deref(), Some("eret L1 -> L2"));
    assert_eq!(finding.rules[0], "P-81");
}

#[test]
fn one_error_is_told_once() {
    let judgement = judged(ROUND_TRIP, &mut At(0, |cpu: &mut Cpu| cpu.z[16].fill(0)));
    assert_eq!(judgement.findings.len(), 1);
}

#[test]
fn swapped_registers() {
    let mut bug = At(1, |cpu: &mut Cpu| cpu.z.swap(4, 5));
    let finding =
        finds(ROUND_TRIP, &mut bug, RegisterName::Z(4), FailureClass::Swapped { with: RegisterName::Z(5) });
    assert_eq!((finding.place, finding.rules[0]), (Place::L1, "P-80"));
    let mut bug = At(1, |cpu: &mut Cpu| cpu.p.swap(1, 2));
    let with = RegisterName::P(2);
    finds(ROUND_TRIP, &mut bug, RegisterName::P(1), FailureClass::Swapped { with });
}

#[test]
fn a_stale_register() {
    let mut bug =
        At(0, |cpu: &mut Cpu| cpu.z[9][..64].copy_from_slice(&pattern(Owner::Scenario, 1, 9)[..64]));
    let finding = finds(ROUND_TRIP, &mut bug, RegisterName::Z(9), FailureClass::Stale);
    assert_eq!(finding.origin.unwrap().generation, 1);
}

#[test]
fn a_leaked_register() {
    let mut bug = At(0, |cpu: &mut Cpu| cpu.z[9] = pattern(Owner::HostTask, 4, 9));
    let class = FailureClass::Leaked { owner: Owner::HostTask };
    let finding = finds(ROUND_TRIP, &mut bug, RegisterName::Z(9), class);
    assert_eq!(finding.rules[0], "P-12");
    assert_eq!(finding.origin.unwrap().generation, 4);
    let mut bug = At(0, |cpu: &mut Cpu| {
        let words: Vec<u8> = (0..4)
            .flat_map(|lane| abi::pattern::predicate(Owner::Poison, 3, 7, lane).to_le_bytes())
            .collect();
        cpu.p[7].copy_from_slice(&words);
    });
    finds(ROUND_TRIP, &mut bug, RegisterName::P(7), FailureClass::Leaked { owner: Owner::Poison });
}

#[test]
fn lost_upper_bits() {
    let mut bug = At(0, |cpu: &mut Cpu| cpu.z.iter_mut().for_each(|z| z[16..].fill(0)));
    finds(ROUND_TRIP, &mut bug, RegisterName::Z(31), FailureClass::Truncated { vl: 128 });
    let mut bug = At(0, |cpu: &mut Cpu| cpu.p.iter_mut().for_each(|p| p[4..].fill(0)));
    finds(ROUND_TRIP, &mut bug, RegisterName::P(0), FailureClass::Truncated { vl: 256 });
}

#[test]
fn upper_bits_that_come_back() {
    let text = "L1 fill all
        L1 eret L2
        L2 vl min
        L2 vl max
        L2 expect all
        L2 hvc
        L1 expect all";
    // Zero at L2, as it may be; the old value at L1, as if from an image that was saved before.
    struct ComesBack;
    impl Bug for ComesBack {
        fn at_arrival(&mut self, n: usize, cpu: &mut Cpu) {
            if n == 1 {
                cpu.z[3][..64].copy_from_slice(&pattern(Owner::Scenario, 1, 3)[..64]);
            }
        }
    }
    let program = program(&guest(VHE), text).unwrap();
    let judgement = judge(&program, &Cpu::run(&program, Upper::Zero, &mut ComesBack)).unwrap();
    let finding = &judgement.findings[0];
    assert_eq!((finding.what, finding.class), (RegisterName::Z(3), FailureClass::Stale));
    assert_eq!(finding.place, Place::L1);
}

#[test]
fn flags_and_predicates() {
    finds(ROUND_TRIP, &mut At(0, |cpu: &mut Cpu| cpu.fpsr ^= 1), RegisterName::Fpsr, FailureClass::Bits);
    finds(
        ROUND_TRIP,
        &mut At(0, |cpu: &mut Cpu| cpu.fpcr ^= 1 << 24),
        RegisterName::Fpcr,
        FailureClass::Bits,
    );
    finds(ROUND_TRIP, &mut At(0, |cpu: &mut Cpu| cpu.fpmr = 0), RegisterName::Fpmr, FailureClass::Zeroed);
    finds(ROUND_TRIP, &mut At(1, |cpu: &mut Cpu| cpu.ffr.fill(0)), RegisterName::Ffr, FailureClass::Zeroed);
    finds(
        ROUND_TRIP,
        &mut At(1, |cpu: &mut Cpu| cpu.p[3][0] ^= 4),
        RegisterName::P(3),
        FailureClass::Garbage,
    );
    let text = "L1 fill fpsr\nL1 fill fpsr\nL1 eret L2\nL2 expect fpsr";
    let mut old = 0;
    let _ = judged(text, &mut At(0, |cpu: &mut Cpu| old = cpu.fpsr));
    let first = program(&guest(VHE), text).unwrap();
    let stale = u64::from_le_bytes(first.data[..8].try_into().unwrap());
    assert_ne!(stale, old);
    let mut bug = At(0, move |cpu: &mut Cpu| cpu.fpsr = stale);
    let finding = finds(text, &mut bug, RegisterName::Fpsr, FailureClass::Stale);
    assert_eq!(finding.origin.unwrap().generation, 1);
}

#[test]
fn one_flipped_bit_of_any_register() {
    for reg in 0..32_u8 {
        for bit in [0, 63, 127, 128, 511] {
            let mut bug = At(1, move |cpu: &mut Cpu| cpu.z[usize::from(reg)][bit / 8] ^= 1 << (bit % 8));
            finds(ROUND_TRIP, &mut bug, RegisterName::Z(reg), FailureClass::Garbage);
        }
    }
    for reg in 0..16_u8 {
        for bit in [0, 15, 63] {
            let mut bug = At(1, move |cpu: &mut Cpu| cpu.p[usize::from(reg)][bit / 8] ^= 1 << (bit % 8));
            let judgement = judged(ROUND_TRIP, &mut bug);
            assert_eq!(judgement.findings.len(), 1);
            assert_eq!(judgement.findings[0].what, RegisterName::P(reg));
        }
    }
}

#[test]
fn every_word_of_an_arrival_by_exception_counts() {
    // All but FAR and HPFAR, which HVC does not write, and sp_left, left_pc and target_pc, which are notes.
    for index in (0..32).chain([33, 34, 35, 40, 41]) {
        let judgement = judged(ROUND_TRIP, &mut Word(1, index, |word| word ^ (1 << 28 | 1 << 7)));
        assert!(!judgement.findings.is_empty(), "word {index}");
    }
    let class = FailureClass::WrongReturn;
    finds(ROUND_TRIP, &mut Word(1, 34, |elr| elr - 4), RegisterName::Elr, class);
    let class = FailureClass::WrongSyndrome;
    finds(ROUND_TRIP, &mut Word(1, 33, |esr| esr ^ 1 << 26), RegisterName::Esr, class);
    finds(ROUND_TRIP, &mut Word(1, 35, |spsr| spsr ^ 1 << 31), RegisterName::Spsr, FailureClass::Bits);
    finds(ROUND_TRIP, &mut Word(1, 31, |sp| sp + 16), RegisterName::Sp, FailureClass::Garbage);
    finds(ROUND_TRIP, &mut Word(0, 7, |_| 0), RegisterName::X(7), FailureClass::Zeroed);
    finds(ROUND_TRIP, &mut Word(0, 40, |pstate| pstate ^ 1 << 7), RegisterName::Pstate, FailureClass::Bits);
    let mut bug = At(0, |cpu: &mut Cpu| cpu.x.swap(19, 20));
    let with = RegisterName::X(20);
    finds(ROUND_TRIP, &mut bug, RegisterName::X(19), FailureClass::Swapped { with });
}

#[test]
fn controls_and_lengths() {
    use abi::sysreg::SysReg;
    let name = RegisterName::Control(SysReg::CptrEl2);
    finds(ROUND_TRIP, &mut At(1, |cpu: &mut Cpu| cpu.cptr ^= 1 << 31), name, FailureClass::WrongControl);
    let name = RegisterName::Control(SysReg::ZcrEl2);
    let mut bug = At(1, |cpu: &mut Cpu| cpu.zcr2 = 7);
    finds(ROUND_TRIP, &mut bug, name, FailureClass::WrongControl);
    let mut bug = At(1, |cpu: &mut Cpu| cpu.zcr2 = 1);
    let finding = finds(ROUND_TRIP, &mut bug, RegisterName::Vl, FailureClass::WrongLength);
    assert_eq!(finding.line, 6);
}

const TRAPPED: &str = "L1 fill all
    L1 trap sve
    L1 eret L2
    L2 try z
    L2 hvc
    L1 untrap sve
    L1 expect all";

#[test]
fn a_trap_that_is_not_taken() {
    let mut bug = On(|exception: Exception| (exception.esr != Some(0x6600_0000)).then_some(exception));
    let judgement = judged(TRAPPED, &mut bug);
    let finding = &judgement.findings[0];
    assert_eq!((finding.what, finding.class), (RegisterName::Vector, FailureClass::NotTrapped));
    assert_eq!(finding.rules[0], "P-84");
    assert_eq!(judgement.crash.unwrap().place, Place::L2);
}

#[test]
fn a_trap_that_nobody_asked_for() {
    let text = "L1 fill all\nL1 eret L2\nL2 expect all\nL2 touch v\nL2 expect all";
    struct Spurious;
    impl Bug for Spurious {
        fn at_arrival(&mut self, n: usize, cpu: &mut Cpu) {
            // L2's own FP is closed behind its back.
            if n == 0 {
                cpu.cpacr = 3 << 16;
            }
        }
    }
    let judgement = judged(text, &mut Spurious);
    let finding = judgement.findings.iter().find(|finding| finding.what == RegisterName::Vector).unwrap();
    assert_eq!((finding.class, finding.place), (FailureClass::Trapped, Place::L2));
}

#[test]
fn a_wrong_class_and_a_wrong_level() {
    let esr = |exception: Exception| {
        Some(Exception {
            esr: exception.esr.map(|esr| if esr == 0x6600_0000 { 0x1fe0_0000 } else { esr }),
            ..exception
        })
    };
    finds(TRAPPED, &mut On(esr), RegisterName::Esr, FailureClass::WrongSyndrome);
    let level = |exception: Exception| {
        let el = if exception.esr == Some(0x6600_0000) { 1 } else { exception.el };
        Some(Exception { el, ..exception })
    };
    finds(TRAPPED, &mut On(level), RegisterName::Vector, FailureClass::Misrouted);
    let skipped = |exception: Exception| {
        Some(Exception { after: exception.after || exception.esr == Some(0x6600_0000), ..exception })
    };
    finds(TRAPPED, &mut On(skipped), RegisterName::Elr, FailureClass::WrongReturn);
}

#[test]
fn a_ring_that_ends_early_or_goes_on() {
    let program = program(&guest(VHE), ROUND_TRIP).unwrap();
    let ring = Cpu::run(&program, Upper::Keep, &mut Right);
    let first = 16 + 336;
    let judgement = judge(&program, &ring[..first]).unwrap();
    assert!(!judgement.passed() && judgement.findings.is_empty());
    assert_eq!((judgement.checked, judgement.expected), (1, program.checks().count()));
    assert!(judge(&program, &ring[..first - 1]).is_err());
    let mut long = ring.clone();
    let mut extra = ring[..first].to_vec();
    extra[12..16].copy_from_slice(&u32::try_from(program.checks().count()).unwrap().to_le_bytes());
    long.extend(extra);
    assert!(judge(&program, &long).is_err());
}

// ---- What must not compile ----------------------------------------------------------------------------------

#[track_caller]
fn refused(text: &str, line: u32, part: &str) {
    match program(&guest(VHE), text) {
        Err(CompileError::Scenario { line: found, message }) => {
            assert_eq!(found, line, "{message}");
            assert!(message.contains(part), "{message}");
        }
        other => panic!("{:?}", other.map(|program| program.ops.len())),
    }
}

#[test]
fn scenarios_that_make_no_sense() {
    refused("L1 fill z\nL2 expect z", 2, "the cursor is at L1");
    refused("L1 trap fp\nL1 fill z", 2, "would trap");
    refused("L1 trap sve\nL1 eret L2\nL2 expect z1", 3, "EC 0x19");
    refused("L1 trap fp\nL1 eret L2\nL2 touch v", 3, "`try` skips it");
    refused("L1 trap fp\nL1 eret L2\nL2 touch v\nL1 expect trap ec=0x19", 4, "EC 0x07");
    refused("L1 fill all\nL1 vl min\nL1 vl max\nL1 churn 1", 4, "no source");
    refused("L1 eret back", 1, "no exception");
    refused("L1 eret L2\nL2 abort stage1", 2, "mapped");
    refused("L1 wfi", 1, "WFI would wait");
    // Nothing may depend on when the timer fires.
    refused("L1 pend irq\nL1 wfi timer", 2, "something is pending");
    refused("L1 set hcr_el2.imo 0\nL1 wfi timer", 2, "not routed");
    refused("L1 eret L2\nL2 wfi timer", 2, "would be taken at whatever");
    let trapped = "L1 set hcr_el2.imo 0\nL1 set hcr_el2.twi 1\nL1 eret L2\nL2 wfi timer";
    refused(trapped, 4, "whether WFI is trapped");
    let elsewhere = "L1 wfi timer\nL1 set hcr_el2.imo 0\nL1 eret L2\nL2 unmask";
    refused(elsewhere, 4, "L1 set the timer");
    refused("L1 smc cpu-suspend", 1, "CPU_SUSPEND would wait");
    // Firmware need not see a virtual interrupt, and what is not routed to L1 waits for a lower level.
    refused("L1 pend virq\nL1 eret L2\nL2 smc cpu-suspend", 3, "CPU_SUSPEND would wait");
    refused("L1 set hcr_el2.imo 0\nL1 pend irq\nL1 smc cpu-suspend", 3, "CPU_SUSPEND would wait");
    refused("L1 expect trap ec=7", 1, "no exception");
    refused("L1 eret L2\nL2 pend irq", 2, "inside this very step");
}

#[test]
fn cases_that_a_machine_cannot_run() {
    let guest = guest(VHE);
    let mut machine = machine(&guest);
    machine.hooks.doorbell = false;
    let skipped = |text: &str, machine: &Machine| match compile_steps(&guest, &steps(text), machine, None) {
        Err(CompileError::Skip { code, .. }) => code,
        other => panic!("{:?}", other.map(|program| program.ops.len())),
    };
    assert_eq!(skipped("L1 disturb clobber", &machine), abi::skip::NO_DOORBELL);
    assert_eq!(skipped("L1 vl 384", &machine), abi::skip::NO_VECTOR_LENGTH);
    // The GIC is L1's, and a language belongs to no target.
    let below = "L1 set hcr_el2.imo 0\nL1 eret L2\nL2 pend irq";
    machine.hooks.irq = model::machine::IrqSource::Gic;
    assert_eq!(skipped(below, &machine), abi::skip::NO_HOOK);
    machine.hooks.smccc = false;
    assert_eq!(skipped("L1 smc", &machine), abi::skip::FEATURE_ABSENT);
    assert_eq!(skipped("L1 pend irq\nL1 smc cpu-suspend", &machine), abi::skip::FEATURE_ABSENT);
    machine.hooks.irq = model::machine::IrqSource::None;
    assert_eq!(skipped("L1 pend irq", &machine), abi::skip::NO_HOOK);
    assert_eq!(skipped("L1 wfi timer", &machine), abi::skip::NO_HOOK);
    machine.features.fpmr = false;
    for text in ["L1 fill fpmr", "L1 touch fpmr", "L1 set fpmr 0", "L1 eret L2\nL2 touch fpmr"] {
        assert_eq!(skipped(text, &machine), abi::skip::FEATURE_ABSENT, "{text}");
    }
}
