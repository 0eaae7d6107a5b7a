//! What the reference hypervisor does in canonical scenarios, under each strategy, pinned as goldens.
//!
//! A golden shows a change of behavior to a reader, and never decides a verdict: that is the oracle's, and a case
//! that it does not let pass has no golden. The text is that of [`trace::summary`], without addresses. Left out is
//! what follows from where things lie: the guest's boot, and the faults by which a page becomes known. Of the counters
//! there is what the program added to those of a boot.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lab;
#[macro_use]
mod trials;

use std::fmt::Write as _;
use std::sync::Arc;

use abi::hyp::{Counters, Event, Nested, Restore, TRACE_LEN, TraceEvent};
use harness::diagnose::{Space, trace};
use harness::options::Strategy;
use harness::result::{HypReport, State};
use harness::runner::Work;
use harness::suite::Suite;
use harness::target::Target;
use lab::Lab;
use model::compile::{Program, compile_steps};
use model::judge::judge;
use model::scenario::Case;
use trials::Missing;

/// Runs a case under each strategy, in one machine, and compares each trace with its golden.
#[track_caller]
fn check(name: &str, case: &str) -> Result<(), Missing> {
    let qemu = trials::qemu()?;
    let cases = Suite::embedded().unwrap().cases();
    let case = cases.iter().find(|known| known.name == case).unwrap_or_else(|| panic!("no case {case}"));
    if let Work::Settled(result) = lab::planned(case, &lab::target(&qemu, Strategy::default()))
        && matches!(result.state, State::Skip(_))
    {
        return Err(anyhow::Error::msg(result.why).into());
    }
    let mut lab = None;
    for restore in Restore::ALL {
        for nested in Nested::ALL {
            let strategy = Strategy { restore: *restore, nested: *nested, ..Strategy::default() };
            let target = lab::target(&qemu, strategy);
            let lab = lab.get_or_insert_with(|| Lab::boot(&qemu, &target, case));
            let text = render(lab, &target, case);
            golden(&format!("{name}@{}-{}", restore.name(), nested.name()), &text);
        }
    }
    Ok(())
}

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../golden/trace");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The events and counts of a case that are its program's: what the same guest does without a program, too, is
/// its boot.
fn render(lab: &mut Lab, target: &Target, case: &Arc<Case>) -> String {
    let machine = target.machine(&case.guest).unwrap();
    let mut empty = compile_steps(&case.guest, &[], &machine, None).unwrap();
    empty.link(target.hole());
    let boot = run(lab, target, case, &empty);
    let report = run(lab, target, case, &lab::program(case, target));
    let nested = case.guest.l1.is_some();
    let told = |event: &TraceEvent| trace::decode(event, nested, &Space::default()).text;
    let pairs = report.trace.iter().zip(&boot.trace);
    let common = pairs.take_while(|(event, boot)| told(event) == told(boot)).count();

    let mut text = format!("{}\n\n", case.name);
    for event in without_fills(&report.trace[common..]) {
        writeln!(text, "{}", trace::summary(event, nested)).unwrap();
    }
    text.push('\n');
    for ((name, count), (_, boot)) in counts(&report.counters).into_iter().zip(counts(&boot.counters)) {
        let added = count.checked_sub(boot).expect("a program only adds to its guest's boot");
        if added != 0 {
            writeln!(text, "{name:<17} {added}").unwrap();
        }
    }
    text
}

/// Runs a program that the oracle has to be content with, and whose trace has lost nothing.
fn run(lab: &mut Lab, target: &Target, case: &Case, program: &Program) -> HypReport {
    let (outcome, ring) = lab.run(target, &case.guest, program);
    let judgement = judge(program, &ring).unwrap();
    assert!(judgement.passed(), "{}: {:?}", case.name, judgement.findings);
    let report = *outcome.hyp.unwrap();
    assert!(report.trace.len() < TRACE_LEN, "{} is too long for the trace", case.name);
    report
}

/// The events but those of an exit that only made an entry of a stage 2, up to the entry into the guest.
fn without_fills(mut events: &[TraceEvent]) -> Vec<&TraceEvent> {
    let is = |event: &TraceEvent, kind: Event| event.event == kind as u32;
    let mut kept = Vec::new();
    while let [event, rest @ ..] = events {
        let fills = rest.iter().take_while(|event| is(event, Event::Stage2)).count();
        let enters = rest.get(fills).is_some_and(|event| is(event, Event::Traps));
        if is(event, Event::Exit) && fills > 0 && enters {
            events = &rest[fills + 1..];
        } else {
            kept.push(event);
            events = rest;
        }
    }
    kept
}

/// The counters of what a strategy is about.
fn counts(counters: &Counters) -> [(&'static str, u64); 11] {
    let exits_by = |classes: &[u8]| classes.iter().map(|class| counters.exits[usize::from(*class)]).sum();
    [
        ("FP and SVE traps", exits_by(&[arch::esr::ec::FP, arch::esr::ec::SVE])),
        ("irqs", counters.irqs),
        ("fp-saves", counters.fp_saves),
        ("fp-loads", counters.fp_loads),
        ("puts", counters.puts),
        ("loads", counters.loads),
        ("nested-erets", counters.nested_erets),
        ("nested-exceptions", counters.nested_exceptions),
        ("injected", counters.injected),
        ("sysregs", counters.sysregs),
        ("neighbors-harmed", counters.neighbors_harmed),
    ]
}

/// A test for each scenario, which is the name of its goldens.
macro_rules! goldens {
    ($($name:ident: $case:literal,)*) => {
        $(fn $name() -> Result<(), Missing> {
            check(stringify!($name), $case)
        })*
        tests! { $($name,)* }
    };
}

goldens! {
    guest_first_use: "traps::first_use_is_trapped[field=zen,touch=z]",
    guest_preempted: "first-use::fill_first[file=z0,disturb=preempt]",
    guest_el0: "el0::state_over_disturb[max_vl=512,disturb=preempt]",
    host_simd: "preserve::z_over_disturb[max_vl=512,vl=max,disturb=host-simd]",
    other_vcpu: "preserve::v_over_disturb[disturb=other-vcpu]",
    round_trip_vhe: "nested::eret_keeps_z[l1=vhe,vl=mid,disturb=none]",
    round_trip_nvhe: "nested::eret_keeps_z[l1=nvhe,vl=mid,disturb=none]",
    round_trip_preempted: "nested::eret_keeps_z[l1=vhe,vl=mid,disturb=preempt]",
    eretaa: "nested::eret_kinds[l1=vhe,auth=aa,to=L2,disturb=none]",
    l2_el0: "nested::l2_el0_exits[l1=vhe,exception=svc,disturb=none]",
    trap_by_l1_fpen: "traps::cptr_vhe[fpen=0,zen=3,access=v,disturb=none]",
    trap_by_l1_zen: "traps::cptr_vhe[fpen=3,zen=2,access=z,disturb=preempt]",
    stage2_abort_on_first_use: "faulting::first_use_stage2[l1=vhe,touch=ldr-q]",
    irq_at_eret: "irq::pending_at_eret[l1=vhe,what=irq,auth=plain,disturb=none]",
    serror_at_eret: "irq::pending_at_eret[l1=nvhe,what=serror,auth=plain,disturb=none]",
    reset_at_l2: "reset::at_l2[l1=vhe,unit=sve,disturb=none]",
    no_sve: "no-sve::nested[l1=vhe,disturb=none]",
    zcr_change: "vl::l2_changes_its_length[l1=vhe,len=1,disturb=preempt]",
    two_l2s: "nested::two_l2s[l1=vhe,touch=z,disturb=none]",
}
