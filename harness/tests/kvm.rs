//! Real KVM: a kernel of Debian's boots in QEMU, with KVM in nested mode, and cases run on it, plain guests and guests
//! with an EL2 of their own alike. One of them is made to fail, for what the kernel's trace tells of it. A host that dies
//! is replaced by a copy of it as it was saved.
//!
//! Where no kernel can be had, because nothing may be fetched or there is no network, both tests are ignored and say so.

mod machines;
#[macro_use]
mod trials;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use abi::op::Code;
use harness::events::KernelTrace;
use harness::kernel::{self, KernelError, KernelSpec};
use harness::kvm::boot::{Host, KvmMode};
use harness::options::{Options, TargetKind};
use harness::qemu::Qemu;
use harness::result::{CaseResult, Progress, State};
use harness::runner::{self, Plan, Planned, Runner, Sweeping, Work, plan};
use harness::suite::{Suite, select};
use harness::target::{Kvm, Target, TargetConfig};
use machines::{alone, machines};
use model::machine::Doorbell;
use model::scenario::Case;
use rustix::process::{Signal, kill_process};
use trials::Missing;

tests! {
    a_real_kernel_passes,
    a_killed_host_goes_on_where_it_was_saved,
}

const KERNEL: &str = "debian:7.2";
/// Cases of every kind: exits of a plain guest, of L1 and of L2, traps, lengths, disturbances, a move, a sweep.
const FILTERS: [&str; 12] = [
    "preserve::z_over_disturb",
    "preserve::moved",
    "first-use::never_used",
    "reset::state_is_gone",
    "sweep::guest",
    "fpmr::fields",
    "nested::eret_keeps_z",
    "nested::exits_to_l1*l1=vhe*",
    "nested::lengths_apart",
    "nested::moved",
    "traps::fp_closed_sve_open",
    "vl::all_lengths",
];
/// At least as many have to pass; of these, half with an EL2.
const CASES: usize = 150;

/// The case that is made to fail.
const TAMPERED: &str = "nested::eret_keeps_z[l1=vhe,vl=max,disturb=none]";

/// Lets the payload load into Z0 what the oracle does not know of.
fn tamper(jobs: &mut [Planned]) {
    let job = jobs.iter_mut().find(|planned| planned.case.name == TAMPERED).expect("the case");
    let Work::Run(job) = &mut job.work else { panic!("{TAMPERED} does not run: {:?}", job.work) };
    let program = Arc::make_mut(&mut job.program);
    let fill = program.ops.iter().find(|op| op.code == Code::Fill as u16).expect("a fill");
    let last = (fill.data + fill.data_len) as usize - 1;
    program.data[last] ^= 1;
}

/// What the kernel traced of that case leads to its failing step.
fn traced(result: &CaseResult) {
    assert_eq!(result.state, State::Fail, "{}", result.why);
    let trace = result.kernel_trace.as_ref().expect("a failure on KVM has a trace, or why not");
    assert_eq!(trace.absent, None);
    assert_eq!((trace.end.as_str(), trace.cut, &trace.missing), (KernelTrace::SAME, true, &Vec::new()));
    let names = |name| trace.events.iter().filter(|event| event.name == name).count();
    assert!(names("kvm_exit") > 0 && names("kvm_nested_eret") > 0, "{trace:#?}");
}

/// Machines that are killed.
const KILLS: usize = 3;

/// A host that waits for cases.
struct Booted {
    qemu: Qemu,
    target: Target,
    machine: Option<runner::Booted>,
}

/// Boots the kernel, if one can be had.
fn boot(mode: KvmMode, doorbell: Doorbell) -> Result<Booted, Missing> {
    let qemu = trials::qemu()?;
    let spec: KernelSpec = KERNEL.parse().expect("a kernel's name");
    let kernel = match kernel::find(&spec, &kernel::Settings::from_env(), &mut |text| eprintln!("{text}")) {
        Ok(kernel) => kernel,
        Err(error @ (KernelError::Off { .. } | KernelError::Debian(_) | KernelError::NoMatch { .. })) => {
            return Err(anyhow::Error::new(error).context("no kernel to boot").into());
        }
        Err(error) => panic!("{error}"),
    };
    let host = Host { mode, ..Host::usual(spec, kernel) };
    let options = Options { target: TargetKind::KvmQemu, host: Some(host), doorbell, ..Options::default() };
    let target = Target::new(TargetConfig::new(&options), qemu.version()).expect("a target");
    let machine = runner::ask(&target, &qemu, &AtomicBool::new(false))
        .unwrap_or_else(|error| panic!("{error}\n{}", error.console()));
    Ok(Booted { qemu, target, machine })
}

/// Runs cases, prepared by `prepare`, with `during` called after each. What did not pass and was not skipped comes with its
/// reason.
fn run(
    booted: Booted,
    cases: &[Arc<Case>],
    workers: usize,
    prepare: impl FnOnce(&mut [Planned]),
    mut during: impl FnMut(&CaseResult),
) -> (Runner, Vec<CaseResult>, Vec<String>) {
    let Booted { qemu, target, machine } = booted;
    let mut jobs = plan(cases.to_vec(), &target, Sweeping::default(), workers);
    prepare(&mut jobs);
    let plan = Plan { jobs, workers, timeout_scale: 1.0 };
    let mut results: Vec<CaseResult> = Vec::new();
    let runner = Runner::new(plan, target, qemu).with(machine);
    runner.run(&AtomicBool::new(false), &mut |progress| {
        if let Progress::Finished(result) = progress {
            during(&result);
            results.push(*result);
        }
    });
    let bad = results
        .iter()
        .filter(|result| !matches!(result.state, State::Pass | State::Skip(_)))
        .map(|result| format!("{} {}: {} {:?}", result.state, result.name, result.why, result.findings))
        .collect();
    (runner, results, bad)
}

fn cases(filters: &[&str]) -> Vec<Arc<Case>> {
    let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
    select(&Suite::embedded().expect("the suite").cases(), &filters)
}

fn a_real_kernel_passes() -> Result<(), Missing> {
    let _alone = alone();
    let booted = boot(KvmMode::Nested, Doorbell::Mmio)?;
    let cases = cases(&FILTERS);
    let nested: usize = cases.iter().filter(|case| case.guest.l1.is_some()).count();
    let (_, results, bad) = run(booted, &cases, Options::default().workers, tamper, |_| ());
    traced(results.iter().find(|result| result.name == TAMPERED).expect("its result"));
    assert!(bad.len() == 1, "{}", bad.join("\n"));
    let passed = results.iter().filter(|result| result.state == State::Pass).count();
    assert!(passed >= CASES, "only {passed} cases passed");
    assert!(nested >= CASES / 2, "only {nested} cases have an EL2");
    Ok(())
}

/// In VHE mode, where the host's clock has to be brought back. The guest rings by calls.
fn a_killed_host_goes_on_where_it_was_saved() -> Result<(), Missing> {
    let _alone = alone();
    let booted = boot(KvmMode::Vhe, Doorbell::Smc)?;
    let cases = cases(&["preserve::v_over_disturb", "preserve::moved", "reset::state_is_gone"]);
    let mut killed = 0;
    let (runner, results, bad) = run(
        booted,
        &cases,
        1,
        |_| (),
        |result| {
            if killed < KILLS && result.state == State::Pass {
                killed += 1;
                for pid in machines() {
                    kill_process(pid, Signal::KILL).expect("a process of ours");
                }
            }
        },
    );
    let why = "QEMU was killed from outside by signal 9 while the case ran";
    assert!(bad.len() == KILLS && bad.iter().all(|bad| bad.contains(why)), "{}", bad.join("\n"));
    assert_eq!(results.len(), cases.len());
    assert_eq!(runner.target().kvm().and_then(Kvm::no_snapshots), None, "no machine had to boot");
    Ok(())
}
