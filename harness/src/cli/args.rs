//! The command line: the commands, with what belongs to one of them alone.

mod target;
mod values;

use abi::fault::Fault;
use abi::hyp::{Nested, Restore};
use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use model::scenario::Shard;

pub(super) use self::target::{FaultArgs, ProvisionArgs, TargetArgs};

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
  holdfast run --target kvm-qemu                   those of a plain guest, on KVM of Debian's 7.2 kernel in QEMU
  holdfast run --target kvm-qemu --kernel arch/arm64/boot/Image --kvm-mode nested
                                                   all, on KVM of one's own
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
    /// On KVM, ask nobody else about the cases that fail: that may take 90 s for each who is asked
    #[arg(long, conflicts_with_all = ["other_qemu", "board"])]
    pub(super) no_witness: bool,
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
    #[arg(value_name = "FAULT", value_parser = values::fault(), hide_possible_values = true)]
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
    #[arg(long, value_name = "BITS", value_parser = values::vector_length)]
    pub(super) vl: Vec<u32>,
    /// When FP state is restored [default: lazy]
    #[arg(long, value_name = "WHEN", value_parser = values::restore())]
    pub(super) restore: Vec<Restore>,
    /// What nested transitions do to it [default: put-load and elide]
    #[arg(long, value_name = "WHAT", value_parser = values::nested())]
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
        refused(&["holdfast", "run", "--cmdline", &"a ".repeat(800)], "room for 1500");
        refused(&["holdfast", "run", "--no-witness", "--board", "a"], "cannot be used with");
    }

    /// A run that ignored `--kernel` would certify something else.
    #[test]
    fn options_of_another_target_are_refused() {
        let error = |args: &[&str]| {
            let args = ["holdfast", "run"].iter().chain(args);
            let Command::Run(run) = Cli::try_parse_from(args).unwrap().command else { panic!("not run") };
            run.target.options(None).err().map(|error| error.to_string())
        };
        assert_eq!(
            error(&["--kernel", "Image"]).as_deref(),
            Some("--kernel is of --target kvm-qemu, and the target is reference")
        );
        assert!(error(&["--target", "kvm", "--kvm-mode", "nested"]).is_some());
        assert!(error(&["--target", "kvm-qemu", "--set", "nested=elide"]).is_some());
        assert!(error(&["--target", "bare", "--depth", "2"]).is_some());
        assert_eq!(error(&["--target", "kvm-qemu", "--kernel", "Image", "--cmdline", ""]), None);
        assert_eq!(error(&["--set", "nested=elide", "--depth", "2"]), None);
    }

    /// One that a structure gives to its options goes on behind them.
    #[test]
    fn the_heading_of_the_host_is_over_its_options_alone() {
        let cli = Cli::command();
        let run = cli.find_subcommand("run").unwrap();
        let under = |name: &str| {
            let option = run.get_arguments().find(|option| option.get_long() == Some(name));
            option.unwrap().get_help_heading().is_some()
        };
        assert!(under("kernel") && under("cmdline"));
        assert!(!under("set") && !under("format") && !under("fault"));
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
