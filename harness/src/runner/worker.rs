//! A worker: one thread, one machine at a time.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use abi::skip;

use super::case::{self, Fate};
use super::ready::{Ready, start};
use super::{Shared, Work, lock, unrun};
use crate::limits;
use crate::qemu::command::MachineConfig;
use crate::result::{Progress, State};

/// Runs cases until there are none, or until the run is stopped.
pub(super) fn work(shared: &Shared<'_>, progress: &Sender<Progress>) {
    let mut ready: Option<Ready> = None;
    // The kind of machine that the queue counts this worker for, with or without one at hand.
    let mut joined: Option<MachineConfig> = None;
    let mut failures = 0;
    // Sending fails only if the receiver panicked; then there is nobody to work for.
    while !shared.stop.load(Ordering::Relaxed) {
        let Some((index, config)) = lock(&shared.queue).next(joined) else { break };
        if joined != Some(config) {
            drop(ready.take());
            joined = Some(config);
        }
        let Some(planned) = shared.plan.jobs.get(index) else { break };
        let Work::Run(job) = &planned.work else { continue };
        if let Some(why) = job.tolerance.as_ref().and_then(|tolerance| tolerance.used_up()) {
            let result = unrun(planned, State::Skip(skip::GAVE_UP.to_owned()), &why);
            if progress.send(Progress::Finished(Box::new(result))).is_err() {
                return;
            }
            continue;
        }
        let started = match ready.take() {
            Some(ready) => Ok(ready),
            None => start(shared, config),
        };
        let mut machine = match started {
            Ok(machine) => machine,
            Err(error) => {
                failures += 1;
                joined = None;
                lock(&shared.queue).leave(config);
                let state = error.state();
                // What is no word of a kernel's may be otherwise another time.
                if state != State::Crash
                    && failures < limits::START_FAILURES
                    && lock(&shared.queue).again(index, config)
                {
                    continue;
                }
                let mut result = error.result(&planned.case.name);
                result.fault = job.fault;
                let why = result.why.clone();
                if progress.send(Progress::Finished(Box::new(result))).is_err() {
                    return;
                }
                if failures >= limits::START_FAILURES {
                    let rest = if state.is_void() { state } else { State::Skip(skip::GAVE_UP.to_owned()) };
                    let given_up = lock(&shared.queue).give_up(config);
                    for planned in given_up.into_iter().filter_map(|index| shared.plan.jobs.get(index)) {
                        let result = unrun(planned, rest.clone(), &why);
                        if progress.send(Progress::Finished(Box::new(result))).is_err() {
                            return;
                        }
                    }
                }
                continue;
            }
        };
        failures = 0;
        let begun = Progress::Started { name: planned.case.name.clone(), machine: machine.number };
        if progress.send(begun).is_err() {
            return;
        }
        let (result, fate) = case::run(shared, &planned.case, job, &mut machine);
        let repeats = match fate {
            Fate::Starved => true,
            // Where it is never done in time there is an end to it.
            Fate::Undisturbed => shared.repeats.fetch_add(1, Ordering::Relaxed) < limits::REPEATS,
            Fate::Reusable | Fate::Lost | Fate::Spent => false,
        };
        let again = repeats && lock(&shared.queue).again(index, config);
        if !again && result.state == State::Timeout {
            shared.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(tolerance) = job.tolerance.as_ref().filter(|_| !again) {
            tolerance.note(&result.state, matches!(fate, Fate::Lost | Fate::Starved));
        }
        match fate {
            Fate::Reusable | Fate::Undisturbed => ready = Some(machine),
            Fate::Lost | Fate::Starved | Fate::Spent => {
                drop(machine);
                joined = None;
                lock(&shared.queue).leave(config);
            }
        }
        if !again && progress.send(Progress::Finished(Box::new(result))).is_err() {
            return;
        }
    }
}
