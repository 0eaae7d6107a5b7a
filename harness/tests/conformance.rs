//! The suite as a libtest: `cargo test -p harness --test conformance`, and the same under `cargo nextest`.
//!
//! Trials are the cases, by their names. Those that a process is asked for run together, in as few machines as
//! `holdfast run` would start, before the first trial reports. `HOLDFAST_TARGET` chooses the target, `HOLDFAST_SET`
//! the reference hypervisor's switches (`restore=eager,nested=put-load`).
//!
//! A case that the target cannot run is ignored, with its reason; nextest lists it as ignored, too.

use std::collections::HashMap;
use std::env;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};
use harness::diagnose::Space;
use harness::events::{Case as Line, Environment, convert};
use harness::options::{Options, TargetKind};
use harness::qemu::{self, Version};
use harness::report::failure_text;
use harness::result::{CaseResult, Progress, State};
use harness::runner::{Plan, Planned, Runner, Sweeping, Work, plan};
use harness::suite::Suite;
use harness::target::{Target, TargetConfig};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use model::scenario::Case;

fn main() -> ExitCode {
    match trials(&Arguments::from_args()) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn trials(args: &Arguments) -> Result<ExitCode> {
    let options = options()?;
    let suite = Suite::embedded()?;
    // `--ignored` asks for those with the flag, which only listing finds out: then every case has it.
    let trial = |case: &Case| empty(&case.name).with_ignored_flag(args.ignored);
    let names: Vec<Arc<Case>> =
        suite.cases().into_iter().filter(|case| !args.is_filtered_out(&trial(case))).collect();
    if args.list {
        // Nothing is started: what a run would skip is told by the best machine that there can be.
        let target = Target::new(TargetConfig::new(&options), Version::FULL)?;
        let planned = plan(names, &target, Sweeping::default(), options.workers);
        let trials = planned.iter().map(|planned| {
            let skipped =
                matches!(&planned.work, Work::Settled(result) if matches!(result.state, State::Skip(_)));
            empty(&planned.case.name).with_ignored_flag(skipped)
        });
        return Ok(libtest_mimic::run(args, trials.collect()).exit_code());
    }
    let verdicts = Arc::new(Mutex::new(run(&options, &suite, names.clone())?));
    let trials = names.into_iter().map(|case| {
        let verdicts = Arc::clone(&verdicts);
        let ignored = args.ignored;
        Trial::ignorable_test(case.name.clone(), move || verdict(&verdicts, &case.name))
            .with_ignored_flag(ignored)
    });
    Ok(libtest_mimic::run(args, trials.collect()).exit_code())
}

/// A trial for its name alone.
fn empty(name: &str) -> Trial {
    Trial::test(name, || Ok(()))
}

fn options() -> Result<Options> {
    let mut options = Options::default();
    if let Ok(name) = env::var("HOLDFAST_TARGET") {
        let Some(target) = TargetKind::from_name(&name) else { bail!("HOLDFAST_TARGET: no target `{name}`") };
        options.target = target;
    }
    for setting in
        env::var("HOLDFAST_SET").unwrap_or_default().split(',').filter(|setting| !setting.is_empty())
    {
        options.strategy.set(setting).context("HOLDFAST_SET")?;
    }
    Ok(options)
}

/// What a trial reports: the verdict, and what it prints if that is no pass.
type Verdicts = HashMap<String, (State, String)>;

/// Runs the cases.
fn run(options: &Options, suite: &Suite, cases: Vec<Arc<Case>>) -> Result<Verdicts> {
    if cases.is_empty() {
        return Ok(Verdicts::new());
    }
    let qemu = qemu::find(&qemu::Settings::from_env(), &mut |text| eprintln!("{text}"))?;
    let target = Target::new(TargetConfig::new(options), qemu.version())?;
    let jobs: Vec<Planned> = plan(cases.clone(), &target, Sweeping::default(), options.workers);
    let plan = Plan { jobs, workers: options.workers, timeout_scale: options.timeout_scale };
    let runner = Runner::new(plan, target, qemu);
    let mut results: Vec<CaseResult> = Vec::new();
    runner.run(&AtomicBool::new(false), &mut |progress| {
        if let Progress::Finished(result) = progress {
            results.push(*result);
        }
    });
    let environment = Environment {
        target: options.target.name().to_owned(),
        strategy: options.strategy.settings().map(|(switch, value)| format!("{switch}={value}")).to_vec(),
        ..Environment::default()
    };
    let space = Space::of(runner.target());
    let sources: HashMap<&str, &Case> =
        cases.iter().map(|case| (case.name.as_str(), case.as_ref())).collect();
    let verdicts = results.into_iter().map(|result| {
        let source = sources.get(result.name.as_str()).copied();
        let mut line: Line = convert::case(&result, source, || &space);
        suite.expectations.apply(&environment, &mut line);
        let state = line.verdict().unwrap_or(State::Error);
        let text = match &state {
            State::Pass => String::new(),
            State::Skip(code) => format!("{code}: {}", line.why),
            _ => failure_text(&environment, &line),
        };
        (result.name, (state, text))
    });
    Ok(verdicts.collect())
}

fn verdict(verdicts: &Mutex<Verdicts>, name: &str) -> Result<Completion, Failed> {
    // Each trial takes its own verdict; one that panicked has taken nothing of another's.
    let mut verdicts = verdicts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match verdicts.remove(name) {
        Some((State::Pass | State::Xfail, _)) => Ok(Completion::Completed),
        // Under nextest each trial is a process, and one that ends well has passed: a case that only turned out
        // to check nothing when it ran must not.
        Some((State::Skip(_), why)) if env::var_os("NEXTEST").is_none() => Ok(Completion::ignored_with(why)),
        Some((_, text)) => Err(text.into()),
        None => Err("the runner gave no result for this case".into()),
    }
}
