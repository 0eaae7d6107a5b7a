//! What must not pass: a CPU with a bug, and what the judge has to say of it.

use abi::pattern::{Owner, word};
use abi::place::Place;
use model::judge::{FailureClass, Finding, Judgement, RegisterName, judge};

use super::cpu::{Bug, Cpu, Exception, Right, Upper};
use super::{VHE, guest, program};

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
