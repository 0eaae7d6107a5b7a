//! How fast the suite is: cases and sweep points a second, and what a machine takes to start.
//!
//! ```console
//! $ cargo bench -p harness                     # a table
//! $ cargo bench -p harness -- --json           # JSON lines
//! $ cargo bench -p harness -- step-all timer   # only these measurements
//! ```
//!
//! Wall time under an emulator says something about one machine on one day, and nothing here is asserted. Each number
//! is the median of several runs, with the smallest and the largest beside it; every run starts its machines anew.
#![expect(clippy::expect_used, reason = "a benchmark that cannot run has nothing else to say")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use abi::doorbell::Sweep;
use harness::kernel::{self, KernelSpec};
use harness::kvm::boot::Host;
use harness::options::{Options, Strategy, TargetKind};
use harness::qemu::{self, Qemu, Settings};
use harness::result::{CaseResult, Progress, State};
use harness::runner::{Plan, Planned, Ran, Runner, Sweeping, ask, plan};
use harness::suite::Suite;
use harness::target::{Target, TargetConfig};
use model::scenario::{Case, parse};
use rustix::process::{Pid, Signal, kill_process};

/// What can be asked for by name.
const NAMES: [&str; 5] = ["start", "suite", "step-all", "timer", "host"];
/// Runs of which the median is told.
const RUNS: usize = 5;
/// Machines that run at the same time.
const MACHINES: usize = 2;
/// Cases of a sweep's measurement: enough that the start of the machines hardly counts.
const SWEPT_CASES: usize = 48;
/// The same with the timer, where each point is a pass of its own.
const TIMED_CASES: usize = 4;
/// Round trips between L1 and L2 in each of them.
const ROUND_TRIPS: usize = 16;

/// Cases on a host that is killed after the first.
const RESTARTED: usize = 30;

/// One measured number.
struct Row {
    what: String,
    unit: &'static str,
    /// Of each run, in ascending order.
    values: Vec<f64>,
    /// What is to be reached, in words; empty if nothing is.
    goal: &'static str,
}

impl Row {
    fn new(what: impl Into<String>, unit: &'static str, goal: &'static str, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { what: what.into(), unit, values, goal }
    }

    fn median(&self) -> f64 {
        self.values[self.values.len() / 2]
    }

    fn extremes(&self) -> (f64, f64) {
        (self.values[0], self.values[self.values.len() - 1])
    }

    fn print(&self, json: bool) {
        let (Self { what, unit, goal, .. }, median, (low, high)) = (self, self.median(), self.extremes());
        if json {
            let line = serde_json::json!({
                "type": "speed", "what": what, "unit": unit,
                "median": median, "min": low, "max": high, "runs": self.values.len(),
            });
            println!("{line}");
        } else {
            let digits = usize::from(median < 100.0) * 2;
            println!(
                "{what:<44} {median:>10.digits$} {unit:<10} {low:>10.digits$} .. {high:<10.digits$} {goal}"
            );
        }
    }
}

fn main() {
    let mut json = false;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            // What cargo adds.
            "--bench" => {}
            name if NAMES.contains(&name) => wanted.push(argument),
            other => {
                eprintln!("speed: no measurement is called {other}: there are {}", NAMES.join(", "));
                std::process::exit(2);
            }
        }
    }
    let asked_for = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let qemu = match qemu::find(&Settings::from_env(), &mut |line| eprintln!("{line}")) {
        Ok(qemu) => qemu,
        Err(error) => {
            eprintln!("speed: {error}");
            std::process::exit(3);
        }
    };
    if !json {
        println!("{}; median, smallest and largest of {RUNS} runs, {MACHINES} machines", qemu.banner());
    }
    for name in NAMES.into_iter().filter(|name| asked_for(name)) {
        let rows = match name {
            "start" => starting(&qemu),
            "suite" => suite(&qemu),
            "host" => host(&qemu),
            "step-all" => [128, 256, 512].map(|vl| stepping(&qemu, vl)).into(),
            _ => vec![timing(&qemu)],
        };
        rows.iter().for_each(|row| row.print(json));
    }
    if json {
        println!("{}", serde_json::json!({"type": "summary", "qemu": qemu.banner(), "machines": MACHINES}));
    }
}

fn target(qemu: &Qemu, kind: TargetKind) -> Target {
    let options = Options { target: kind, strategy: Strategy::default(), ..Options::default() };
    Target::new(TargetConfig::new(&options), qemu.version()).expect("the images make a target")
}

/// Runs a plan to its end; every case has to pass or to be skipped.
fn run(qemu: &Qemu, target: Target, jobs: Vec<Planned>, workers: usize) -> (Ran, Vec<CaseResult>) {
    let mut results = Vec::new();
    let runner = Runner::new(Plan { jobs, workers, timeout_scale: 1.0 }, target, qemu.clone());
    let ran = runner.run(&AtomicBool::new(false), &mut |progress| {
        if let Progress::Finished(result) = progress {
            results.push(*result);
        }
    });
    for result in &results {
        let fine = matches!(result.state, State::Pass | State::Skip(_));
        assert!(fine, "{}: {} {}", result.name, result.state, result.why);
    }
    (ran, results)
}

/// From nothing to the end of the first case, in a new machine each.
fn starting(qemu: &Qemu) -> Vec<Row> {
    let cases = made(1, "L1  fill all\nL1  expect all\n", 512);
    let mut rows = Vec::new();
    for kind in [TargetKind::Bare, TargetKind::Reference] {
        let times = (0..RUNS).map(|_| {
            let target = target(qemu, kind);
            let jobs = plan(cases.clone(), &target, unswept(), 1);
            milliseconds(run(qemu, target, jobs, 1).0.wall)
        });
        rows.push(Row::new(
            format!("start of a machine, first case, {}", kind.name()),
            "ms",
            "",
            times.collect(),
        ));
    }
    rows
}

/// An emulated host that boots, and the one that takes its place when it dies.
fn host(qemu: &Qemu) -> Vec<Row> {
    let spec = KernelSpec::default();
    let kernel = match kernel::find(&spec, &kernel::Settings::from_env(), &mut |line| eprintln!("{line}")) {
        Ok(kernel) => kernel,
        Err(error) => {
            eprintln!("speed: no kernel: {error}");
            return Vec::new();
        }
    };
    let host = Host::usual(spec, kernel);
    let options = Options { target: TargetKind::KvmQemu, host: Some(host), ..Options::default() };
    let (mut boots, mut restarts) = (vec![], vec![]);
    for _ in 0..RUNS {
        let target = Target::new(TargetConfig::new(&options), qemu.version()).expect("a target");
        let begun = Instant::now();
        let booted = ask(&target, qemu, &AtomicBool::new(false)).expect("a host that boots");
        boots.push(milliseconds(begun.elapsed()));
        let steps =
            "title = \"a case\"\nrules = [\"P-01\"]\nsteps = \"\"\"\nG  fill all\nG  expect all\n\"\"\"\n";
        let case = parse("speed::host", "speed/host.toml", steps).expect("it is right").cases().remove(0);
        let named = |number| Arc::new(Case { name: format!("{}[n={number}]", case.name), ..case.clone() });
        let jobs = plan((0..RESTARTED).map(named).collect(), &target, unswept(), 1);
        let runner =
            Runner::new(Plan { jobs, workers: 1, timeout_scale: 1.0 }, target, qemu.clone()).with(booted);
        let (mut killed, mut died) = (false, None);
        runner.run(&AtomicBool::new(false), &mut |progress| {
            let Progress::Finished(result) = progress else { return };
            match result.state {
                State::Pass => {
                    restarts.extend(died.take().map(|died: Instant| milliseconds(died.elapsed())));
                    if !std::mem::replace(&mut killed, true) {
                        children()
                            .for_each(|pid| kill_process(pid, Signal::KILL).expect("a process of ours"));
                    }
                }
                _ => died = Some(Instant::now()),
            }
        });
    }
    assert_eq!(restarts.len(), RUNS, "each host was killed, and one more came");
    vec![
        Row::new("host: boot, greeting and snapshot", "ms", "", boots),
        Row::new("host: from its death to the end of the next case", "ms", "(goal: 500)", restarts),
    ]
}

/// The processes that this one runs.
fn children() -> impl Iterator<Item = Pid> {
    let mut pids = String::new();
    for thread in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        pids.push(' ');
        pids.push_str(&std::fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    }
    let pids: Vec<Pid> = pids.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
    pids.into_iter()
}

/// The whole suite as a user runs it, without sweeps.
fn suite(qemu: &Qemu) -> Vec<Row> {
    let suite = Suite::embedded().expect("the suite has no errors");
    let (mut walls, mut rates, mut costs, mut compiling) = (vec![], vec![], vec![], vec![]);
    let mut count = 0;
    for _ in 0..RUNS {
        let begun = Instant::now();
        let target = target(qemu, TargetKind::Reference);
        let jobs = plan(suite.cases(), &target, unswept(), MACHINES);
        compiling.push(milliseconds(begun.elapsed()));
        let (_, results) = run(qemu, target, jobs, MACHINES);
        let wall = begun.elapsed().as_secs_f64();
        let mut times: Vec<f64> = results
            .iter()
            .filter(|result| result.state == State::Pass)
            .map(|result| milliseconds(result.duration))
            .collect();
        times.sort_by(f64::total_cmp);
        count = times.len();
        walls.push(wall);
        rates.push(count as f64 / wall);
        costs.push(times[count / 2]);
    }
    vec![
        Row::new("suite: compiling the cases", "ms", "", compiling),
        Row::new(format!("suite: {count} cases without sweeps"), "s", "(goal: 2000 in under 6 s)", walls),
        Row::new("suite: cases", "cases/s", "", rates),
        Row::new("suite: a case's own cost, median", "ms", "(goal: 1.5)", costs),
    ]
}

/// A world switch after every instruction of round trips between L1 and L2.
fn stepping(qemu: &Qemu, vl: u32) -> Row {
    let rates = (0..RUNS).map(|_| points_a_second(qemu, Sweep::StepAll, SWEPT_CASES, ROUND_TRIPS, vl));
    Row::new(format!("step-all, VL {vl}"), "points/s", "(goal: 100000)", rates.collect())
}

/// One interrupt at each tick of a round trip, with a whole pass and comparison for each.
fn timing(qemu: &Qemu) -> Row {
    let rates = (0..RUNS).map(|_| points_a_second(qemu, Sweep::Timer, TIMED_CASES, 1, 256));
    Row::new("timer, VL 256", "points/s", "(goal: 2500)", rates.collect())
}

fn points_a_second(qemu: &Qemu, kind: Sweep, cases: usize, round_trips: usize, vl: u32) -> f64 {
    let mut steps = String::from("L1  fill all\n");
    for _ in 0..round_trips {
        steps.push_str("L1  eret L2\nL2  hvc\n");
    }
    steps.push_str("L1  expect all\n");
    let target = target(qemu, TargetKind::Reference);
    let sweeping = Sweeping { kind: Some(kind), disturbance: None };
    let jobs = plan(made(cases, &steps, vl), &target, sweeping, MACHINES);
    let (ran, results) = run(qemu, target, jobs, MACHINES);
    let points: u64 = results.iter().filter_map(|result| Some(result.sweep.as_ref()?.points)).sum();
    assert!(points > 0, "the sweep had points");
    points as f64 / ran.wall.as_secs_f64()
}

const fn unswept() -> Sweeping {
    Sweeping { kind: Some(Sweep::Off), disturbance: None }
}

/// So many equal cases with these steps.
fn made(count: usize, steps: &str, vl: u32) -> Vec<Arc<Case>> {
    let text = format!(
        "title = \"a measurement\"\nrules = [\"P-80\"]\nsteps = \"\"\"\n{steps}\"\"\"\n\
         [machine]\nl1 = \"vhe\"\nmax_vl = {vl}\n"
    );
    let case =
        parse("speed::case", "speed/case.toml", &text).expect("the scenario is right").cases().remove(0);
    let named = |number| Arc::new(Case { name: format!("{}[n={number}]", case.name), ..case.clone() });
    (0..count).map(named).collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
