//! What `run`, `replay` and `mutants` share: from options to a runner, Ctrl-C, and the log's first line.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use model::scenario::Case;

use super::args::TargetArgs;
use crate::events::{self, Emulator, Environment, Image, SCHEMA_VERSION};
use crate::kernel;
use crate::kvm::boot::Host;
use crate::kvm::claims::Claims;
use crate::limits;
use crate::options::{Options, TargetKind};
use crate::qemu::{self, Qemu};
use crate::run_folder::timestamp;
use crate::runner::{self, Plan, Planned, Runner, StartError, Sweeping, Tolerance, Work, plan};
use crate::target::{Kvm, Target, TargetConfig};

/// Marks an error that makes a run void: something is missing or broken, and the command line is right.
#[derive(Debug, thiserror::Error)]
#[error("the run is void")]
pub(super) struct Void;

/// How much of the console of a host that does not come up is shown.
const LINES_SHOWN: usize = 24;

/// Says something on standard error.
pub(super) fn say(text: &str) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "holdfast: {text}");
}

/// Finds the QEMU that a run uses.
pub(super) fn find_qemu(options: &Options) -> Result<Qemu> {
    let mut settings = qemu::Settings::from_env();
    settings.provision &= options.provision;
    settings.mirror = options.mirror.clone().or(settings.mirror);
    qemu::find(&settings, &mut say).map_err(anyhow::Error::from).context(Void)
}

/// Finds the kernel of `kvm-qemu`, and makes the host that boots it.
pub(super) fn host(args: &TargetArgs, options: &Options) -> Result<Option<Host>> {
    if options.target != TargetKind::KvmQemu {
        return Ok(None);
    }
    let mut settings = kernel::Settings::from_env();
    settings.provision &= options.provision;
    settings.mirror = options.mirror.clone().or(settings.mirror);
    let kernel = kernel::find(&args.host.spec(), &settings, &mut say).map_err(|error| {
        // A name that stands for nothing, or a file that is no kernel, stays that however often it is tried.
        let is_usage = error.is_usage();
        let error = anyhow::Error::from(error);
        if is_usage { error } else { error.context(Void) }
    })?;
    Ok(Some(args.host.host(kernel)))
}

/// The target of a run.
pub(super) fn target(options: &Options, qemu: &Qemu) -> Result<Target> {
    Ok(Target::new(TargetConfig::new(options), qemu.version())?)
}

/// A runner of these cases. A target that has to be asked what it is has its host booted; one that comes to nothing by a bug
/// of its kernel is the result of the first case.
pub(super) fn ready(
    options: &Options,
    cases: &[Arc<Case>],
    target: Target,
    qemu: &Qemu,
    stop: &AtomicBool,
) -> Result<Runner, StartError> {
    let (jobs, booted) = match runner::ask(&target, qemu, stop) {
        Ok(booted) => (compile(options, cases, &target), booted),
        Err(error) if error.state().is_nonconformant() => (runner::stillborn(cases, &error), None),
        Err(error) => return Err(error),
    };
    Ok(runner(options, jobs, target, qemu).with(booted))
}

/// The same, telling of what takes long, and of a console.
pub(super) fn ready_aloud(
    options: &Options,
    cases: &[Arc<Case>],
    target: Target,
    qemu: &Qemu,
    stop: &AtomicBool,
) -> Result<Runner> {
    if options.target == TargetKind::Kvm {
        crate::doctor::native_kvm().map_err(anyhow::Error::msg).context(Void)?;
    }
    if let Some(host) = &options.host {
        say(&format!("booting {} in QEMU, KVM in mode {}", host.kernel.name, host.mode.name()));
    }
    ready(options, cases, target, qemu, stop).map_err(|error| {
        let lines: Vec<&str> = error.console().lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
            say(&format!("console: {line}"));
        }
        anyhow::Error::from(error).context(Void)
    })
}

/// Compiles the cases for a target. Starts nothing.
pub(super) fn compile(options: &Options, cases: &[Arc<Case>], target: &Target) -> Vec<Planned> {
    let sweeping = Sweeping { kind: options.sweep, disturbance: options.disturbance };
    let mut jobs = plan(cases.to_vec(), target, sweeping, options.workers);
    let mut tolerances: HashMap<String, Arc<Tolerance>> = HashMap::new();
    for planned in &mut jobs {
        if let Work::Run(job) = &mut planned.work {
            job.fault = options.fault;
            let scenario = tolerances.entry(planned.case.path.clone());
            let tolerance = scenario.or_insert_with(|| Arc::new(Tolerance::new(u32::MAX, limits::HANGS)));
            job.tolerance = Some(Arc::clone(tolerance));
        }
    }
    jobs
}

/// A runner of these jobs.
pub(super) fn runner(options: &Options, jobs: Vec<Planned>, target: Target, qemu: &Qemu) -> Runner {
    let plan = Plan { jobs, workers: options.workers, timeout_scale: options.timeout_scale };
    Runner::new(plan, target, qemu.clone())
}

/// A flag that SIGINT and SIGTERM set; a second signal ends the process at once, with exit code 130.
pub(super) fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal must find the flag unset.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .context("cannot catch signals")?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot catch signals")?;
    }
    Ok(stop)
}

/// The first line of the log.
pub(super) fn environment(
    options: &Options,
    target: &Target,
    qemu: &Qemu,
    planned: usize,
    repeat: u32,
) -> Environment {
    let has_hypervisor = options.target == TargetKind::Reference;
    let mut images: Vec<Image> = Vec::new();
    for layer in target.layers() {
        let image = Image { name: layer.image.name().to_owned(), sha256: layer.image.sha256().to_owned() };
        if !images.contains(&image) {
            images.push(image);
        }
    }
    Environment {
        schema_version: SCHEMA_VERSION,
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
        suite_commit: option_env!("HOLDFAST_COMMIT").map(str::to_owned),
        target: options.target.name().to_owned(),
        strategy: if has_hypervisor {
            options.strategy.settings().map(|(switch, value)| format!("{switch}={value}")).to_vec()
        } else {
            Vec::new()
        },
        depth: if has_hypervisor { options.depth } else { 0 },
        doorbell: (options.doorbell != model::machine::Doorbell::default())
            .then(|| options.doorbell.name().to_owned()),
        sweep: options.sweep.map(|sweep| sweep.name().to_owned()),
        disturbance: options.disturbance.map(|what| what.name().to_owned()),
        fault: options.fault.map(|fault| fault.name().to_owned()),
        emulator: Some(Emulator {
            version: qemu.banner().to_owned(),
            sha256: qemu.sha256().unwrap_or_else(|error| format!("unreadable: {error}")),
        }),
        images,
        host: machine(),
        kernel: target.kvm().map(|kvm| kernel_under_test(kvm, qemu)),
        replayed: None,
        command: std::env::args().collect(),
        repeat,
        started: timestamp(SystemTime::now()),
        planned: planned as u64,
    }
}

fn kernel_under_test(kvm: &Kvm, qemu: &Qemu) -> events::Kernel {
    let host = kvm.host();
    let kernel = host.map(|host| &host.kernel);
    let claims = kvm.claims().cloned().unwrap_or_else(|| Claims {
        // A host that never answered has told nothing of itself: its image does.
        release: kernel.map(|kernel| kernel.release.clone()).unwrap_or_default(),
        version: kernel
            .and_then(|kernel| kernel.banner.split_once(" #"))
            .map_or_else(String::new, |(_, version)| format!("#{version}")),
        ..Claims::default()
    });
    events::Kernel {
        name: kernel.map_or_else(|| "the kernel of this machine".to_owned(), |kernel| kernel.name.clone()),
        release: claims.release,
        version: claims.version,
        sha256: kernel.map(|kernel| kernel.sha256.clone()),
        config_sha256: kernel.and_then(|kernel| kernel.config_sha256.clone()),
        kvm: claims.mode,
        options: host.map(Host::options).unwrap_or_default(),
        command: host.map(|host| host.command_line(qemu)),
    }
}

fn machine() -> events::Host {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    events::Host {
        os: format!("{} {}", std::env::consts::OS, release.trim()).trim().to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        cpus: std::thread::available_parallelism()
            .map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
    }
}
