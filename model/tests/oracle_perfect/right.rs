//! What has to pass: scenarios that use every step, on a CPU that does everything right.

use model::judge::{Finding, judge};
use model::scenario::step::GuestSpec;

use super::cpu::{Cpu, Right, Upper};
use super::{NVHE, VHE, guest, program};

#[track_caller]
fn accepts(guest: &GuestSpec, text: &str) {
    let program = program(guest, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for upper in [Upper::Keep, Upper::Zero, Upper::Mixed] {
        let judgement = judge(&program, &Cpu::run(&program, upper, &mut Right)).unwrap();
        let findings: Vec<String> = judgement.findings.iter().map(Finding::to_string).collect();
        assert!(judgement.passed(), "{upper:?} {:?}\n{}\n{text}", judgement.crash, findings.join("\n"));
    }
}

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
    // Interrupts that come while a level runs: to L1 from L2 and from its task, and to L2 itself.
    "L1 fill all
     L1 eret L2
     L2 fill all
     L2 timer spin
     L1 expect all
     L1 fill all
     L1 eret L2
     L2 vl min
     L2 timer wfi
     L1 expect all
     L1 eret L2
     L2 eret L2.el0
     L2.el0 fill all
     L2.el0 timer spin
     L1 expect all
     L1 set hcr_el2.imo 0
     L1 eret L2
     L2 fill all
     L2 timer wfi
     L2 expect all
     L2 timer spin
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
     G timer spin
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
