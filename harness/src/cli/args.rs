//! The command line.

use abi::doorbell::{Disturbance, Sweep};
use abi::fault::Fault;
use abi::hyp::{Nested, Restore};
use camino::Utf8PathBuf;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use model::scenario::Shard;

use crate::debian;
use crate::kernel::{Kernel, KernelSpec};
use crate::kvm::boot::{self, Host, KvmMode};
use crate::options::{Options, SetError, Strategy, TargetKind};

/// Does a guest's floating-point state hold fast?
///
/// Holdfast checks FP, AdvSIMD and SVE state of arm64 guests across nested ERETs, exceptions and preemption. Cases
/// are scenario files; bare-metal payloads run them on a target and a model of the architecture judges.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all required checks passed
  1  not conformant: FAIL, CRASH, TIMEOUT, XPASS or FLAKY (mutants: a fault survived or was not reached)
  2  bad usage, or a bad file
  3  void: ERROR, MISS, or the run ended early
  4  nothing ran, or what was required was skipped";

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run cases on a target
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// List cases with their needs and rules; starts nothing
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Say what a case, a rule or a fault is about
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// Run the cases of a scenario file, as a failure leaves one
    Replay(Replay),
    /// Render the event log of a run that is over
    Report(Report),
    /// The process that drives KVM for a run
    #[command(hide = true)]
    Agent(Agent),
    /// Run the suite against each fault of the reference hypervisor: which does it notice?
    #[command(after_help = MUTANTS_EXAMPLES)]
    Mutants(Mutants),
    /// Count what each strategy costs for each L1-L2-L1 round trip: exactly, by instructions
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(Bench),
    /// Say what this machine can run, and why not the rest
    Doctor(Doctor),
}

const RUN_EXAMPLES: &str = "\
Examples:
  holdfast run                                     every case on the reference hypervisor
  holdfast run nested:: --set nested=put-load      those of an area, with another strategy
  holdfast run --sweep step-all --disturb preempt  a world switch after every instruction
  holdfast run --target bare --shard 1/2           half of the cases, without a hypervisor
  holdfast run nested:: --fault nv-reload-old      with a bug injected: see what a failure looks like

A FILTER is a part of a case's name, or a pattern for all of it if it has a `*`. A filter that is the whole name
of a case chooses that case alone.";

const LIST_EXAMPLES: &str = "\
Examples:
  holdfast list nested::            cases of an area
  holdfast list --format names      names alone
  holdfast list --rules             for every rule the cases that check it
  holdfast list --windows vl::      what a sweep steps through
  holdfast list --faults            the bugs that can be injected";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  holdfast explain P-81
  holdfast explain nv-reload-old
  holdfast explain nested::eret_keeps_z";

const MUTANTS_EXAMPLES: &str = "\
Examples:
  holdfast mutants                         all faults, all cases
  holdfast mutants nv-reload-old           one fault
  holdfast mutants --filter nested::       all faults against some cases";

const BENCH_EXAMPLES: &str = "\
Examples:
  holdfast bench                        put-load against elide, by vector length and depth
  holdfast bench --depth 1 --vl 512     one depth, one length
  holdfast bench --restore eager        with eager restore";

/// `run`.
#[derive(Args, Debug)]
pub(super) struct Run {
    /// Run only cases whose names have this in them
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<String>,
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) fault: FaultArgs,
    /// Run one of N equal parts of the cases, the I-th counted from 1
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<Shard>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// `replay`.
#[derive(Args, Debug)]
pub(super) struct Replay {
    /// The scenario file
    pub(super) file: Utf8PathBuf,
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) fault: FaultArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// What the cases run on.
#[derive(Args, Debug)]
pub(super) struct TargetArgs {
    /// What runs the payload
    #[arg(long, default_value = "reference", value_parser = target())]
    pub(super) target: TargetKind,
    #[command(flatten)]
    pub(super) host: HostArgs,
    /// Set a switch of the reference hypervisor: restore=eager|lazy, nested=put-load|elide,
    /// upper=cpu|keep|zero|random
    #[arg(long = "set", value_name = "SWITCH=VALUE", value_parser = setting)]
    pub(super) settings: Vec<String>,
    /// Copies of the reference hypervisor below the payload
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) depth: u32,
    /// Sweep every case in this way, whatever its file says
    #[arg(long, value_name = "KIND", value_parser = sweep())]
    pub(super) sweep: Option<Sweep>,
    /// What a sweep commits at each point
    #[arg(long, value_name = "WHAT", value_parser = disturbance())]
    pub(super) disturb: Option<Disturbance>,
    /// Machines at the same time [default: the CPUs of this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) workers: Option<u16>,
    /// Multiply every timeout by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = scale)]
    pub(super) timeout_scale: f64,
    #[command(flatten)]
    pub(super) provision: ProvisionArgs,
    /// Tell on standard error what is being done, with START and END of every case
    #[arg(long, short)]
    pub(super) verbose: bool,
}

/// The emulated host of `kvm-qemu`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of --target kvm-qemu")]
pub(super) struct HostArgs {
    /// The arm64 Linux kernel to boot: an image, or one of Debian's, as debian:7.2, debian:6.12.43, debian:6.12/oldest
    #[arg(long, value_name = "KERNEL", default_value = boot::DEFAULT_KERNEL)]
    pub(super) kernel: KernelSpec,
    /// The mode of its KVM
    #[arg(long, value_name = "MODE", default_value = "vhe", value_parser = kvm_mode())]
    pub(super) kvm_mode: KvmMode,
    /// Its CPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(super) cpus: u32,
    /// The largest vector length of its CPUs in bits, 0 for CPUs without SVE and SME
    #[arg(long, value_name = "BITS", default_value_t = 2048, value_parser = sve_max)]
    pub(super) sve_max: u32,
    /// More parameters for the kernel
    #[arg(long, value_name = "PARAMETERS", default_value = "", hide_default_value = true)]
    pub(super) cmdline: String,
}

impl HostArgs {
    /// The host, with this kernel.
    pub(super) fn host(&self, kernel: Kernel) -> Host {
        let Self { kernel: spec, kvm_mode: mode, cpus, sve_max, cmdline } = self;
        Host {
            spec: spec.clone(),
            kernel,
            mode: *mode,
            cpus: *cpus,
            sve_max: *sve_max,
            cmdline: cmdline.clone(),
        }
    }
}

fn kvm_mode() -> impl clap::builder::TypedValueParser<Value = KvmMode> {
    PossibleValuesParser::new(KvmMode::ALL.map(KvmMode::name))
        .try_map(|name| KvmMode::ALL.into_iter().find(|mode| mode.name() == name).ok_or("no such mode"))
}

fn sve_max(text: &str) -> Result<u32, String> {
    if text == "0" { Ok(0) } else { vector_length(text) }
}

/// Where QEMU may come from.
#[derive(Args, Debug)]
pub(super) struct ProvisionArgs {
    /// Do not fetch a private QEMU if this machine has none that will do
    #[arg(long)]
    pub(super) no_provision: bool,
    /// Fetch the private QEMU from this Debian mirror [default: HOLDFAST_DEBIAN_MIRROR, else this machine's own]
    #[arg(long, value_name = "URL", value_parser = mirror)]
    pub(super) debian_mirror: Option<String>,
}

/// Refuses at once what cannot be a mirror, whether or not anything will be fetched.
fn mirror(text: &str) -> Result<String, String> {
    if debian::is_address(text) {
        Ok(text.to_owned())
    } else {
        Err("give the address of a Debian mirror, like http://HOST/debian".to_owned())
    }
}

/// `--fault`.
#[derive(Args, Debug)]
pub(super) struct FaultArgs {
    /// Let the reference hypervisor commit this bug (`holdfast explain FAULT` tells of it)
    #[arg(long, value_name = "FAULT", value_parser = fault(), hide_possible_values = true)]
    pub(super) fault: Option<Fault>,
}

/// How a run goes and what it leaves.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Run every case this often; mixed results are FLAKY
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) repeat: u32,
    /// Stop at the first case that does not pass
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Exit with 4 if any case is skipped
    #[arg(long)]
    pub(super) require_all: bool,
    /// What to print
    #[arg(long, default_value = "human")]
    pub(super) format: Format,
    /// Show every failure in full, alike or not
    #[arg(long)]
    pub(super) all: bool,
    /// Write JUnit XML as well
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<Utf8PathBuf>,
    /// Copy the event log to here when the run is over
    #[arg(long, value_name = "FILE")]
    pub(super) events: Option<Utf8PathBuf>,
    /// On KVM, try the cases that fail in this QEMU as well [default: one of another version, on PATH or the private copy]
    #[arg(long, value_name = "PROGRAM")]
    pub(super) other_qemu: Option<Utf8PathBuf>,
    /// On KVM, ask this event log of a run with --target kvm, on a board, about the cases that fail
    #[arg(long, value_name = "FILE")]
    pub(super) board: Option<Utf8PathBuf>,
    /// The folder for event log, consoles and dumps [default: target/holdfast/runs/<time>-<target>]
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: Option<Utf8PathBuf>,
}

/// Formats of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Human,
    /// KTAP, version 1
    Ktap,
    /// The event log: JSON lines that end with a summary
    Json,
    /// JUnit XML
    Junit,
    /// One failure of each kind as a mail to a kernel's maintainers
    Mail,
}

/// `list`.
#[derive(Args, Debug)]
pub(super) struct List {
    /// List only cases whose names have this in them
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<String>,
    /// For every rule the cases that check it, or why there is none
    #[arg(long)]
    pub(super) rules: bool,
    /// The windows that a sweep of the case has, by the lines of their steps
    #[arg(long, conflicts_with_all = ["rules", "faults"])]
    pub(super) windows: bool,
    /// The faults that `--fault` and `mutants` know
    #[arg(long, conflicts_with = "rules")]
    pub(super) faults: bool,
    /// What to print
    #[arg(long, default_value = "human")]
    pub(super) format: ListFormat,
}

/// Formats of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ListFormat {
    /// For people
    Human,
    /// JSON lines that end with a summary
    Json,
    /// Names alone, one a line
    Names,
}

/// `explain`.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// What to print
    #[arg(long, default_value = "human")]
    pub(super) format: PlainFormat,
    /// A case, a scenario, a rule (P-81) or a fault (nv-reload-old)
    #[arg(value_name = "CASE|RULE|FAULT")]
    pub(super) what: String,
}

/// `agent`.
#[derive(Args, Debug)]
pub(super) struct Agent {
    /// The file that it shares with the harness
    pub(super) mail: String,
}

/// `report`.
#[derive(Args, Debug)]
pub(super) struct Report {
    /// The event log, or the run folder that has it
    pub(super) file: Utf8PathBuf,
    /// What to print
    #[arg(long, default_value = "human")]
    pub(super) format: Format,
    /// Show every failure in full, alike or not
    #[arg(long)]
    pub(super) all: bool,
}

/// `mutants`.
#[derive(Args, Debug)]
pub(super) struct Mutants {
    /// Only these faults
    #[arg(value_name = "FAULT", value_parser = fault(), hide_possible_values = true)]
    pub(super) faults: Vec<Fault>,
    /// Run only cases whose names have this in them
    #[arg(long = "filter", value_name = "FILTER")]
    pub(super) filters: Vec<String>,
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Name every case that noticed a fault, not their scenarios
    #[arg(long)]
    pub(super) all: bool,
    /// What to print
    #[arg(long, default_value = "human")]
    pub(super) format: PlainFormat,
}

/// Formats of commands that measure or tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum PlainFormat {
    /// For people
    Human,
    /// JSON lines that end with a summary
    Json,
}

/// `bench`.
#[derive(Args, Debug)]
pub(super) struct Bench {
    /// Copies of the reference hypervisor below L1 [default: 1 2 3 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4))]
    pub(super) depth: Vec<u32>,
    /// Vector lengths in bits [default: 128 256 512 2048]
    #[arg(long, value_name = "BITS", value_parser = vector_length)]
    pub(super) vl: Vec<u32>,
    /// When FP state is restored [default: lazy]
    #[arg(long, value_name = "WHEN", value_parser = restore())]
    pub(super) restore: Vec<Restore>,
    /// What nested transitions do to it [default: put-load and elide]
    #[arg(long, value_name = "WHAT", value_parser = nested())]
    pub(super) nested: Vec<Nested>,
    #[command(flatten)]
    pub(super) provision: ProvisionArgs,
    /// What to print
    #[arg(long, default_value = "human")]
    pub(super) format: PlainFormat,
}

/// `doctor`.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// What to print
    #[arg(long, default_value = "human")]
    pub(super) format: PlainFormat,
    #[command(flatten)]
    pub(super) provision: ProvisionArgs,
}

impl TargetArgs {
    /// The options of a run.
    pub(super) fn options(&self, fault: Option<Fault>) -> Result<Options, SetError> {
        let mut strategy = Strategy::default();
        for setting in &self.settings {
            strategy.set(setting)?;
        }
        let usual = Options::default();
        Ok(Options {
            target: self.target,
            strategy,
            host: None,
            depth: self.depth,
            sweep: self.sweep,
            disturbance: self.disturb,
            fault,
            workers: self.workers.map_or(usual.workers, usize::from),
            timeout_scale: self.timeout_scale,
            provision: !self.provision.no_provision,
            mirror: self.provision.debian_mirror.clone(),
            verbose: self.verbose,
        })
    }
}

fn target() -> impl clap::builder::TypedValueParser<Value = TargetKind> {
    PossibleValuesParser::new(TargetKind::ALL.map(TargetKind::name))
        .try_map(|name| TargetKind::from_name(&name).ok_or("no such target"))
}

const SWEEPS: [Sweep; 4] = [Sweep::Off, Sweep::StepAll, Sweep::StepEach, Sweep::Timer];

fn sweep() -> impl clap::builder::TypedValueParser<Value = Sweep> {
    PossibleValuesParser::new(SWEEPS.map(Sweep::name))
        .try_map(|name| SWEEPS.into_iter().find(|sweep| sweep.name() == name).ok_or("no such sweep"))
}

fn disturbance() -> impl clap::builder::TypedValueParser<Value = Disturbance> {
    PossibleValuesParser::new(Disturbance::ALL.map(Disturbance::name)).try_map(|name| {
        Disturbance::ALL.into_iter().find(|what| what.name() == name).ok_or("no such disturbance")
    })
}

fn fault() -> impl clap::builder::TypedValueParser<Value = Fault> {
    PossibleValuesParser::new(Fault::ALL.iter().map(|fault| fault.name()))
        .try_map(|name| Fault::ALL.iter().copied().find(|fault| fault.name() == name).ok_or("no such fault"))
}

fn restore() -> impl clap::builder::TypedValueParser<Value = Restore> {
    PossibleValuesParser::new(Restore::ALL.iter().map(|value| value.name())).try_map(|name| {
        Restore::ALL.iter().copied().find(|value| value.name() == name).ok_or("no such value")
    })
}

fn nested() -> impl clap::builder::TypedValueParser<Value = Nested> {
    PossibleValuesParser::new(Nested::ALL.iter().map(|value| value.name()))
        .try_map(|name| Nested::ALL.iter().copied().find(|value| value.name() == name).ok_or("no such value"))
}

fn vector_length(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bits) if bits.is_power_of_two() && (128..=2048).contains(&bits) => Ok(bits),
        _ => Err("expected 128, 256, 512, 1024 or 2048".to_owned()),
    }
}

fn setting(text: &str) -> Result<String, SetError> {
    Strategy::default().set(text).map(|()| text.to_owned())
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(factor),
        _ => Err("expected a number greater than 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_makes_sense() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn refused(args: &[&str], expected: &str) {
        let error = Cli::try_parse_from(args).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn nonsense_is_refused_with_what_there_is() {
        refused(&["holdfast", "run", "--target", "xen"], "reference, bare, kvm, kvm-qemu");
        refused(&["holdfast", "run", "--set", "nested=no"], "there are put-load, elide");
        refused(&["holdfast", "run", "--fault", "nv-reload-odd"], "nv-reload-old");
        refused(&["holdfast", "run", "--shard", "3/2"], "i from 1 to n");
        refused(&["holdfast", "run", "--timeout-scale", "0"], "greater than 0");
        refused(&["holdfast", "run", "--depth", "0"], "1..");
    }

    #[test]
    fn several_settings_add_up() {
        let args = ["holdfast", "run", "--set", "nested=put-load", "--set", "restore=eager", "a", "b"];
        let Command::Run(run) = Cli::try_parse_from(args).unwrap().command else { panic!("not run") };
        let options = run.target.options(None).unwrap();
        assert_eq!(options.strategy.to_string(), "restore=eager nested=put-load upper=cpu");
        assert_eq!(run.filters, ["a", "b"]);
    }

    #[test]
    fn every_command_that_may_fetch_takes_a_mirror() {
        let mirror = ["--debian-mirror", "http://mirror.example/debian", "--no-provision"];
        for command in [&["run"][..], &["replay", "a.toml"], &["mutants"], &["bench"], &["doctor"]] {
            let args = ["holdfast"].iter().chain(command).chain(&mirror);
            let provision = match Cli::try_parse_from(args).unwrap().command {
                Command::Run(run) => run.target.provision,
                Command::Replay(replay) => replay.target.provision,
                Command::Mutants(mutants) => mutants.target.provision,
                Command::Bench(bench) => bench.provision,
                Command::Doctor(doctor) => doctor.provision,
                other => panic!("{other:?}"),
            };
            assert_eq!(provision.debian_mirror.as_deref(), Some(mirror[1]));
            assert!(provision.no_provision);
        }
    }
}
