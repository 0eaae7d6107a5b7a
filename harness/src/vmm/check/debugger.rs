//! The thread's registers as a debugger writes them, before and after KVM_RUN (rules P-20, P-22, P-23).
//!
//! What it writes before the call is what the call is made with; what it writes after it is what the thread has.

mod sme;

use std::sync::atomic::{AtomicBool, Ordering};

use abi::pattern::Owner;
use arch::host::part::FPMR;
use arch::host::{self, Image};

use super::super::case::Case;
use super::super::debugger::{Shared, Traced};
use super::super::regset::{Set, simd_image};
use super::super::task::{self, Report, Unit};
use super::host::names;
use crate::kvm::complaint::Complaint;

/// Whether the next debugger writes FPMR alone, else everything but that. In turns: what the kernel does for a set that is
/// written it has done for the others.
static FPMR_ALONE: AtomicBool = AtomicBool::new(false);

impl Case<'_> {
    /// V, Z, P, FFR, FPSR and FPCR, or FPMR.
    pub(super) fn run_under_debugger(&mut self) -> Result<u64, i32> {
        let unit = Unit::of_this_thread();
        let image = |generation| Box::new(task::image(Owner::HostTask, generation, unit.vl, unit.fpmr));
        let before = image(4);
        let fpmr_alone = unit.fpmr && FPMR_ALONE.fetch_xor(true, Ordering::Relaxed);
        let written = |generation, over: &Image| {
            let (mut written, mut over) = (image(generation), Box::new(over.clone()));
            if fpmr_alone {
                over.0[FPMR..FPMR + 8].copy_from_slice(&written.0[FPMR..FPMR + 8]);
                over
            } else {
                written.0[FPMR..FPMR + 8].copy_from_slice(&over.0[FPMR..FPMR + 8]);
                written
            }
        };
        let at_entry = written(5, &before);
        let at_exit = written(6, &at_entry);
        let set = |image: &Image| if fpmr_alone { Set::fpmr(image) } else { Set::simd(image, unit) };
        let sets = Shared {
            at_entry: vec![set(&at_entry)],
            found: Set::simd_rooms(unit),
            at_exit: vec![set(&at_exit)],
        };
        let call = self.kvm_run();
        let mut found = Box::new(Image::ZERO);
        let (result, read) = self.traced(sets, || {
            // SAFETY: the VMM's own vCPU, and the CPU has what is used.
            unsafe { host::call(&call, &before, &mut found, unit.uses()) }
        });
        if let Some(read) = read {
            let mut report = Report::NONE;
            let read = simd_image(&read, unit);
            task::look(&at_entry, &read, unit, true, Owner::HostTask, &mut report);
            self.complain_of(&report, "P-20", "that a debugger wrote before KVM_RUN changed in it");
            let mut report = Report::NONE;
            task::look(&at_exit, &found, unit, fpmr_alone, Owner::HostTask, &mut report);
            self.complain_of(
                &report,
                "P-23",
                "that a debugger wrote after KVM_RUN are not what the thread finds",
            );
        }
        result
    }

    /// A KVM_RUN with a debugger, and what that read after it. If there was none, the case is skipped.
    fn traced(&mut self, sets: Shared, run: impl FnOnce() -> i64) -> (Result<u64, i32>, Option<Vec<Set>>) {
        let traced = match Traced::start(sets) {
            Ok(traced) => traced,
            Err(error) => {
                self.skip(&format!("no debugger: {error}"));
                let call = self.kvm_run();
                return (self.task.call(&call, true), None);
            }
        };
        let result = run();
        let read = traced.end().map_err(|error| self.skip(&format!("no debugger: {error}"))).ok();
        let result = if result < 0 {
            Err(i32::try_from(-result).unwrap_or(libc::EIO))
        } else {
            Ok(result.unsigned_abs())
        };
        (result, read)
    }

    fn complain_of(&mut self, report: &Report, rule: &str, what: &str) {
        if report.times > 0 {
            let what = format!("{} {what}", names(report.harm.registers));
            self.note(Complaint::new(rule, what).changed(report.changed()));
        }
    }
}
