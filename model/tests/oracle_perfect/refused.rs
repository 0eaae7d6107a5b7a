//! What must not compile: scenarios that make no sense, and cases that a machine cannot run.

use model::compile::{CompileError, compile_steps};
use model::machine::Machine;

use super::{NVHE, VHE, guest, machine, program, steps};

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
    // The timer's interrupt ends such a wait, and no other, and it is known where it arrives.
    refused("L1 pend irq\nL1 timer spin", 2, "something else is pending");
    refused("L1 set hcr_el2.imo 0\nL1 timer spin", 2, "would never be taken");
    refused("L1 eret L1.el0\nL1.el0 timer spin", 2, "would never be taken");
    refused("L1 eret L2.el0\nL2.el0 timer spin", 2, "CNTKCTL_EL1");
    refused("L1 set hcr_el2.twi 1\nL1 eret L2\nL2 timer wfi", 3, "whether WFI is trapped");
    refused("L1 eret L2\nL2 timer spin\nL1 eret back", 3, "no exception");
    let in_memory = compile_steps(&guest(NVHE), &steps("L1 timer spin"), &machine(&guest(NVHE)), None);
    assert!(in_memory.unwrap_err().to_string().contains("may be in memory"));
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
    machine.hooks.doorbell = None;
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
    assert_eq!(skipped("L1 timer spin", &machine), abi::skip::NO_HOOK);
    machine.features.fpmr = false;
    for text in ["L1 fill fpmr", "L1 touch fpmr", "L1 set fpmr 0", "L1 eret L2\nL2 touch fpmr"] {
        assert_eq!(skipped(text, &machine), abi::skip::FEATURE_ABSENT, "{text}");
    }
}
