//! `holdfast run` and `holdfast replay`.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use abi::fault::Fault;
use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use model::scenario::{Case, name_of_path, parse};

use super::args::{Format, Replay, Run, RunArgs, TargetArgs};
use super::exit::Exit;
use super::report::reporter;
use super::session::{self, Void, say};
use super::witness::Witnesses;
use crate::options::Options;
use crate::progress::Live;
use crate::qemu::Qemu;
use crate::recorder::{RecordError, Recorder};
use crate::report::{Junit, Reporter};
use crate::result::{Progress, State};
use crate::run_folder::RunFolder;
use crate::runner::{Planned, Runner, Work};
use crate::suite::{Suite, select};
use crate::target::Kvm;

/// Where runs are kept unless `--out` says otherwise.
const RUNS: &str = "target/holdfast/runs";
/// Bytes read of a scenario file: more than it may have.
const READ_MAX: u64 = 1 << 20;

/// Runs the command `run`.
pub(super) fn run(args: &Run) -> Result<Exit> {
    let suite = Suite::embedded()?;
    let mut cases = select(&suite.cases(), &args.filters);
    if let Some(shard) = args.shard {
        cases.retain(|case| shard.contains(&case.name));
    }
    execute(&args.target, args.fault.fault, &args.run, &suite, cases, None)
}

/// Runs the command `replay`.
pub(super) fn replay(args: &Replay) -> Result<Exit> {
    let text = scenario_text(&args.file)?;
    let scenario = parse(&name_of_path(args.file.as_str()), args.file.as_str(), &text)?;
    let cases = scenario.cases().into_iter().map(Arc::new).collect();
    execute(&args.target, args.fault.fault, &args.run, &Suite::embedded()?, cases, Some(&args.file))
}

/// A scenario file. No more is read of an endless one than the parser needs to refuse it.
fn scenario_text(path: &Utf8Path) -> Result<String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(READ_MAX).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {path}"))?;
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
    let last = good.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let column = 1 + String::from_utf8_lossy(last).chars().count();
    anyhow::bail!("{path}:{line}:{column}: found a byte that is no UTF-8, expected text")
}

fn execute(
    target: &TargetArgs,
    fault: Option<Fault>,
    args: &RunArgs,
    suite: &Suite,
    cases: Vec<Arc<Case>>,
    replayed: Option<&Utf8Path>,
) -> Result<Exit> {
    let mut options = target.options(fault)?;
    if cases.is_empty() {
        say("no case has such a name: `holdfast list` names them all");
        return Ok(Exit::NothingRan);
    }
    options.host = session::host(target, &options)?;
    let stop = session::stop_on_signal()?;
    let qemu = session::find_qemu(&options)?;
    let witnesses = Witnesses::find(&options, args, &qemu)?;
    let target = session::target(&options, &qemu)?;
    let runner = session::ready_aloud(&options, &cases, target, &qemu, &stop)?;
    if replayed.is_some() {
        refuse_errors(&runner.plan().jobs)?;
    }
    let ran = Execution {
        options: &options,
        args,
        suite,
        cases: &cases,
        qemu: &qemu,
        runner: &runner,
        stop: &stop,
        witnesses,
        replayed,
        reached: Cell::new(0),
        failed_fast: Cell::new(false),
    };
    ran.run()
}

/// A scenario that asks for something that makes no sense is an error of the file, as one that does not parse.
fn refuse_errors(jobs: &[Planned]) -> Result<()> {
    let mut errors: Vec<&str> = Vec::new();
    for planned in jobs {
        if let Work::Settled(result) = &planned.work
            && result.state == State::Error
            && !errors.contains(&result.why.as_str())
        {
            errors.push(&result.why);
        }
    }
    if errors.is_empty() { Ok(()) } else { anyhow::bail!("{}", errors.join("\n")) }
}

/// A run that is about to begin.
struct Execution<'a> {
    options: &'a Options,
    args: &'a RunArgs,
    suite: &'a Suite,
    cases: &'a [Arc<Case>],
    qemu: &'a Qemu,
    runner: &'a Runner,
    stop: &'a AtomicBool,
    witnesses: Option<Witnesses>,
    replayed: Option<&'a Utf8Path>,
    /// How often the fault's line ran, in all cases.
    reached: Cell<u64>,
    /// It was a failure that stopped the run, not the user.
    failed_fast: Cell<bool>,
}

impl Execution<'_> {
    fn run(&self) -> Result<Exit> {
        let folder = self.folder()?;
        let mut environment = session::environment(
            self.options,
            self.runner.target(),
            self.qemu,
            self.cases.len(),
            self.args.repeat,
        );
        environment.replayed = self.replayed.map(ToString::to_string);
        let mut recorder = Recorder::new(
            environment,
            folder,
            self.cases,
            self.runner.target(),
            &self.suite.expectations,
            self.reporters()?,
        )
        .context(Void)?;
        let (wall, stopped) = self.rounds(&mut recorder)?;
        self.ask_others(&mut recorder).map_err(explain)?;
        let (summary, folder) = recorder.end(wall.as_secs_f64(), stopped).context(Void)?;
        if let Some(events) = &self.args.events {
            fs::copy(folder.events(), events)
                .with_context(|| format!("cannot copy the event log to {events}"))
                .context(Void)?;
        }
        if let Some(why) = self.runner.target().kvm().and_then(Kvm::no_snapshots) {
            say(&format!("every machine had to boot: {why}"));
        }
        if let Some(fault) = self.options.fault.filter(|_| self.reached.get() == 0) {
            say(&format!("no case came by the line of {}: the fault was never committed", fault.name()));
        }
        if self.args.format == Format::Human {
            say(&format!("the run is in {}", folder.path()));
        }
        Ok(Exit::of_run(Some(&summary), self.args.require_all))
    }

    /// Runs every case as often as it is to run. Returns the wall time, and whether the run was stopped.
    fn rounds(&self, recorder: &mut Recorder<'_>) -> Result<(Duration, bool)> {
        let total = self.cases.len() as u64 * u64::from(self.args.repeat);
        // A report that is printed as it comes would be torn by the live line.
        let streams = matches!(self.args.format, Format::Ktap | Format::Json) && io::stdout().is_terminal();
        let mut live = (!streams && !self.options.verbose).then(|| Live::new("cases", total));
        let mut wall = Duration::ZERO;
        let mut error = None;
        let mut stopped = false;
        for round in 1..=self.args.repeat {
            let ran = self.runner.run(self.stop, &mut |progress| {
                let result = match progress {
                    Progress::Started { name, machine } => {
                        if self.options.verbose {
                            say(&format!("START {name} on machine {machine}"));
                        }
                        return;
                    }
                    Progress::Finished(result) => result,
                };
                // After a stop the runner calls MISS what it did not run: that is no result.
                if result.state == State::Miss && self.stop.load(Ordering::Relaxed) {
                    stopped = true;
                    return;
                }
                if error.is_some() {
                    return;
                }
                let reached = result.hyp.as_ref().map_or(0, |hyp| hyp.fault_reached);
                self.reached.set(self.reached.get().saturating_add(reached));
                if self.options.verbose {
                    say(&format!("END {} {} {}", result.name, result.state, result.why));
                }
                match recorder.result(result) {
                    Ok(state) => {
                        let bad = state.is_nonconformant() || state.is_void();
                        if bad && self.args.fail_fast && !self.stop.load(Ordering::Relaxed) {
                            self.failed_fast.set(true);
                            self.stop.store(true, Ordering::Relaxed);
                        }
                        if let Some(live) = &mut live {
                            live.done(bad);
                        }
                    }
                    Err(source) => {
                        error = Some(source);
                        self.stop.store(true, Ordering::Relaxed);
                    }
                }
            });
            wall += ran.wall;
            if self.stop.load(Ordering::Relaxed) {
                stopped |= round < self.args.repeat;
                break;
            }
        }
        match error {
            Some(error) => Err(explain(error)),
            None => Ok((wall, stopped)),
        }
    }

    /// Whether what failed on KVM fails elsewhere.
    fn ask_others(&self, recorder: &mut Recorder<'_>) -> Result<(), RecordError> {
        let Some(witnesses) = &self.witnesses else { return Ok(()) };
        let failures = recorder.kinds().to_vec();
        if self.failed_fast.get() {
            self.stop.store(false, Ordering::Relaxed);
        }
        if failures.is_empty() || self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        witnesses
            .ask(self.options, self.cases, &failures, self.stop, &mut |witness| recorder.witness(&witness))
    }

    fn folder(&self) -> Result<RunFolder> {
        let folder = match &self.args.out {
            Some(path) => RunFolder::at(path),
            None => RunFolder::new(&runs(), self.options.target.name(), SystemTime::now()),
        };
        folder.context(Void)
    }

    fn reporters(&self) -> Result<Vec<Box<dyn Reporter>>> {
        // Standard output is locked by nobody else while a run goes on, but `say` may write between two lines.
        let out = anstream::AutoStream::auto(io::stdout());
        let mut reporters = vec![reporter(self.args.format, self.args.all, out)];
        if let Some(path) = &self.args.junit {
            let file = File::create(path).with_context(|| format!("cannot write {path}"))?;
            reporters.push(Box::new(Junit::new(BufWriter::new(file))));
        }
        Ok(reporters)
    }
}

/// The folder of runs: below the sources that this program was built from if they are still there, else below
/// the current folder.
fn runs() -> Utf8PathBuf {
    let sources =
        Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().filter(|path| path.join("suites").is_dir());
    sources.unwrap_or_else(|| Utf8Path::new("")).join(RUNS)
}

fn explain(error: RecordError) -> anyhow::Error {
    anyhow::Error::from(error).context(Void)
}
