//! `holdfast mutants`: the suite against every fault of the reference hypervisor.
//!
//! First the suite runs without a fault: only a case that passes there can kill, and only one that comes by the
//! fault's line. Each of those then runs once with the fault, all on the same machines, with limits taken from the
//! first run, so that a case that a fault makes hang is cut short. A fault that keeps killing its machine is given
//! up after a few cases.

mod hunt;
mod outcome;
mod print;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Instant;

use abi::fault::Fault;
use anyhow::{Result, bail};

use self::hunt::Hunt;
use self::outcome::Total;
use self::print::Printer;
use super::args::Mutants;
use super::exit::Exit;
use super::session::{self, say};
use crate::options::TargetKind;
use crate::suite::{Suite, select};

/// Cases that cannot kill of which the names are shown.
const NAMES_SHOWN: usize = 5;

/// Runs the command.
pub(super) fn run(args: &Mutants, to: &mut dyn Write) -> Result<Exit> {
    let options = args.target.options(None)?;
    if options.target != TargetKind::Reference {
        bail!("only the reference hypervisor can commit faults: use --target reference");
    }
    let cases = select(&Suite::embedded()?.cases(), &args.filters);
    let faults: Vec<Fault> = if args.faults.is_empty() { Fault::ALL.to_vec() } else { args.faults.clone() };
    let begun = Instant::now();
    let signal = session::stop_on_signal()?;
    let qemu = session::find_qemu(&options)?;
    let hunt = Hunt { options: &options, qemu: &qemu, signal: &signal };
    let clean = hunt.clean(&cases)?;
    let stopped = || {
        let stopped = signal.load(Ordering::Relaxed);
        if stopped {
            say("stopped: the score would be of a part only");
        }
        stopped
    };
    if stopped() {
        return Ok(Exit::Void);
    }
    if clean.fit.is_empty() {
        say("no case passes without a fault: there is nothing that could notice one");
        return Ok(Exit::NothingRan);
    }
    for (name, state) in clean.unfit.iter().take(NAMES_SHOWN) {
        say(&format!("{name} is {state} without any fault: it cannot notice one"));
    }
    if clean.unfit.len() > NAMES_SHOWN {
        say(&format!("and {} more do not pass without a fault", clean.unfit.len() - NAMES_SHOWN));
    }
    let outcomes = hunt.faults(&faults, &clean)?;
    if stopped() {
        return Ok(Exit::Void);
    }
    let mut printer = Printer { to, format: args.format, all: args.all };
    let mut total = Total { unfit: clean.unfit.len(), ..Total::default() };
    for outcome in &outcomes {
        total.add(outcome);
        printer.outcome(outcome)?;
    }
    printer.total(&total, begun.elapsed())?;
    let whole = total.killed == total.faults && total.reached == total.faults && total.unfit == 0;
    Ok(if whole { Exit::Success } else { Exit::Nonconformant })
}
