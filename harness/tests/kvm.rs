//! Real KVM: a kernel of Debian's boots in QEMU, with KVM in nested mode, and cases run on it, plain guests and guests
//! with an EL2 of their own alike. One of them is made to fail, for what the kernel's trace tells of it.
//!
//! Where no kernel can be had, because nothing may be fetched or there is no network, this says so and checks nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use abi::op::Code;
use harness::events::KernelTrace;
use harness::kernel::{self, KernelError, KernelSpec};
use harness::kvm::boot::{Host, KvmMode};
use harness::options::{Options, TargetKind};
use harness::qemu;
use harness::result::{CaseResult, Progress, State};
use harness::runner::{self, Plan, Planned, Runner, Sweeping, Work, plan};
use harness::suite::{Suite, select};
use harness::target::{Target, TargetConfig};

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

#[test]
fn a_real_kernel_passes() {
    let qemu = qemu::find(&qemu::Settings::from_env(), &mut |text| eprintln!("{text}")).expect("a QEMU");
    let spec: KernelSpec = KERNEL.parse().expect("a kernel's name");
    let kernel = match kernel::find(&spec, &kernel::Settings::from_env(), &mut |text| eprintln!("{text}")) {
        Ok(kernel) => kernel,
        Err(error @ (KernelError::Off { .. } | KernelError::Debian(_) | KernelError::NoMatch { .. })) => {
            eprintln!("SKIP: no kernel to boot: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let host = Host { spec, kernel, mode: KvmMode::Nested, cpus: 2, sve_max: 2048, cmdline: String::new() };
    let options = Options { target: TargetKind::KvmQemu, host: Some(host), ..Options::default() };
    let target = Target::new(TargetConfig::new(&options), qemu.version()).expect("a target");
    let stop = AtomicBool::new(false);
    let booted =
        runner::ask(&target, &qemu, &stop).unwrap_or_else(|error| panic!("{error}\n{}", error.console()));

    let suite = Suite::embedded().expect("the suite");
    let cases = select(&suite.cases(), &FILTERS.map(str::to_owned));
    let nested: usize = cases.iter().filter(|case| case.guest.l1.is_some()).count();
    let mut jobs =
        plan(cases.iter().map(Arc::clone).collect(), &target, Sweeping::default(), options.workers);
    tamper(&mut jobs);
    let plan = Plan { jobs, workers: options.workers, timeout_scale: 1.0 };
    let mut results: Vec<CaseResult> = Vec::new();
    Runner::new(plan, target, qemu).with(booted).run(&stop, &mut |progress| {
        if let Progress::Finished(result) = progress {
            results.push(*result);
        }
    });
    let failed = results.iter().position(|result| result.name == TAMPERED).expect("its result");
    traced(&results.swap_remove(failed));
    let bad: Vec<String> = results
        .iter()
        .filter(|result| !matches!(result.state, State::Pass | State::Skip(_)))
        .map(|result| format!("{} {}: {} {:?}", result.state, result.name, result.why, result.findings))
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    let passed = results.iter().filter(|result| result.state == State::Pass).count();
    assert!(passed >= CASES, "only {passed} cases passed");
    assert!(nested >= CASES / 2, "only {nested} cases have an EL2");
}
