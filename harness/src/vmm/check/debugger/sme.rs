//! The registers of SME as a debugger writes them, and streaming mode, which it enters and leaves for the thread.
//!
//! The kernel leaves streaming mode when a thread calls, before a debugger sees it, and not again
//! (Documentation/arch/arm64/sme.rst, section 3; `arch/arm64/kernel/entry-common.c`). So a debugger alone has KVM_RUN find it on:
//! with NT_ARM_SSVE a thread enters it, with NT_ARM_SVE it leaves it, and ZA is as it was
//! (`tools/testing/selftests/arm64/fp/fp-ptrace.c`).

use std::sync::atomic::{AtomicBool, Ordering};

use abi::pattern::Owner;
use arch::host::part::FFR;
use arch::host::{self, Image, SVCR_SM, SVCR_ZA, SmeImage};

use super::super::super::case::Case;
use super::super::super::debugger::Shared;
use super::super::super::regset::{Set, sme_images};
use super::super::super::task::{self, Report, Unit};
use super::super::host::{Sme, compare_za, names, sme_image};
use crate::kvm::complaint::Complaint;

/// Whether the next debugger does the second of what there is to do.
static SECOND: AtomicBool = AtomicBool::new(false);
/// The same of one that has the thread go on in streaming mode.
static SECOND_STREAMING: AtomicBool = AtomicBool::new(false);

impl Case<'_> {
    /// The debugger writes ZA or ZT0, and TPIDR2_EL0; or, with `streaming`, the registers of that mode, and after KVM_RUN them
    /// again or those of SVE. ZA is enabled in any case.
    pub(in crate::vmm::check) fn run_under_sme_debugger(&mut self, streaming: bool) -> Result<u64, i32> {
        let thread = Thread::this(streaming);
        if !thread.sme.there || streaming && thread.vl == 0 {
            let lacks = if thread.sme.there { "SVE" } else { "SME" };
            self.skip(&format!("the host has no {lacks} for its tasks"));
            return self.task.call(&self.kvm_run(), true);
        }
        let turns = if streaming { &SECOND_STREAMING } else { &SECOND };
        let second = turns.fetch_xor(true, Ordering::Relaxed);
        let (entry, exit) = match (streaming, second) {
            (true, false) => (Writes::Streaming, Writes::Streaming),
            (true, true) => (Writes::Streaming, Writes::Sve),
            (false, true) if thread.sme.zt0 => (Writes::Zt0, Writes::Zt0),
            (false, _) => (Writes::Za, Writes::Za),
        };
        let before = thread.state(4, SVCR_ZA);
        let at_entry = entry.over(&before, &thread, 5);
        let at_exit = exit.over(&at_entry, &thread, 6);
        let sets = Shared {
            at_entry: entry.sets(&at_entry, thread.svl),
            found: Set::sme_rooms(thread.sme.zt0),
            at_exit: exit.sets(&at_exit, thread.svl),
        };
        let call = self.kvm_run();
        let (mut found, mut sme_found) = (Box::new(Image::ZERO), Box::new(SmeImage::ZERO));
        let (result, read) = self.traced(sets, || {
            let (before, found) = ((&*before.simd, &*before.sme), (&mut *found, &mut *sme_found));
            // SAFETY: the VMM's own vCPU, and the CPU has what is used.
            unsafe { host::sme_call_whole(&call, before, found, thread.uses()) }
        });
        if let Some(read) = read {
            let (simd_read, sme_read) = sme_images(&read, at_entry.unit);
            let when = format!("a debugger wrote {} before KVM_RUN, and found after it that", entry.what());
            let looks = streaming.then_some(Look { rule: "P-20", is_call: true });
            self.compare_state("P-22", &when, &at_entry, (&simd_read, &sme_read), looks, thread.sme.zt0);
            let when = format!("a debugger wrote {} after KVM_RUN, and the thread found that", exit.what());
            let rule = if streaming { "P-23" } else { "P-20" };
            let looks = Some(Look { rule, is_call: !streaming });
            self.compare_state("P-23", &when, &at_exit, (&found, &sme_found), looks, thread.sme.zt0);
        }
        result
    }

    /// Compares TPIDR2_EL0, SVCR, ZA and ZT0; and the registers that change with streaming mode, if `looks` says how and the mode
    /// is right.
    fn compare_state(
        &mut self,
        rule: &str,
        when: &str,
        wanted: &State,
        (simd, sme): (&Image, &SmeImage),
        looks: Option<Look>,
        zt0: bool,
    ) {
        let of = |rule: &str, what: &str| Complaint::new(rule, format!("{when} {what}"));
        let status = [("SVCR", sme.svcr, wanted.sme.svcr), ("TPIDR2_EL0", sme.tpidr2, wanted.sme.tpidr2)];
        for (name, found, wanted) in status {
            if found != wanted {
                let complaint = of(rule, &format!("{name} is another"));
                self.note(complaint.wanted(format!("{wanted:#x}"), format!("{found:#x}")));
            }
        }
        for (what, changed) in compare_za(&wanted.sme, sme, zt0) {
            self.note(of(rule, &what).changed(changed));
        }
        if let Some(Look { rule, is_call }) = looks.filter(|_| sme.svcr == wanted.sme.svcr) {
            let mut report = Report::NONE;
            task::look(&wanted.simd, simd, wanted.unit, is_call, Owner::HostTask, &mut report);
            if report.times > 0 {
                let what = format!("{} changed", names(report.harm.registers));
                self.note(of(rule, &what).changed(report.changed()));
            }
        }
    }
}

/// How registers that change with streaming mode are looked at.
#[derive(Clone, Copy, Debug)]
struct Look {
    rule: &'static str,
    /// As [`task::look`] has it.
    is_call: bool,
}

/// What the calling thread can use.
#[derive(Clone, Copy, Debug)]
struct Thread {
    sme: Sme,
    /// Its vector lengths in bytes.
    vl: usize,
    svl: usize,
    /// FPMR, but not if the mode changes behind its back: nobody says what becomes of it.
    fpmr: bool,
    /// FFR is left alone: there is none in streaming mode.
    no_ffr: bool,
}

impl Thread {
    fn this(streaming: bool) -> Self {
        let (sme, Unit { vl, fpmr }) = (Sme::of_this_host(), Unit::of_this_thread());
        let svl = task::streaming_length();
        Self { sme, vl, svl, fpmr: fpmr && !streaming, no_ffr: streaming && !sme.fa64 }
    }

    /// Bits for [`host::sme_call_whole`].
    fn uses(self) -> u64 {
        let zt0 = if self.sme.zt0 { host::ZT0 } else { 0 };
        let no_ffr = if self.no_ffr { host::NO_FFR } else { 0 };
        Unit { vl: self.vl, fpmr: self.fpmr }.uses() | host::ZA | zt0 | no_ffr
    }

    /// Registers of its own in this mode.
    fn state(self, generation: u16, svcr: u64) -> State {
        let vl = if svcr & SVCR_SM != 0 { self.svl } else { self.vl };
        let mut simd = Box::new(task::image(Owner::HostTask, generation, vl, self.fpmr));
        if self.no_ffr {
            simd.0[FFR..FFR + vl / 8].fill(0);
        }
        let mut sme = sme_image(generation.into());
        sme.svcr = svcr;
        State { simd, unit: Unit { vl, fpmr: self.fpmr }, sme }
    }
}

/// What a thread has.
#[derive(Clone, Debug)]
struct State {
    simd: Box<Image>,
    /// The vector length is that of its mode.
    unit: Unit,
    sme: Box<SmeImage>,
}

/// What a debugger writes.
#[derive(Clone, Copy, Debug)]
enum Writes {
    /// ZA and TPIDR2_EL0. One of ZA and ZT0: what the kernel does for the one it has done for the other.
    Za,
    /// ZT0 and TPIDR2_EL0.
    Zt0,
    /// Z, P, FFR, FPSR and FPCR of streaming mode.
    Streaming,
    /// Those outside of it.
    Sve,
}

impl Writes {
    /// What it makes of a state with registers of another generation.
    fn over(self, before: &State, thread: &Thread, generation: u16) -> State {
        let svcr = if matches!(self, Self::Streaming) { SVCR_ZA | SVCR_SM } else { SVCR_ZA };
        let written = thread.state(generation, svcr);
        let mut after = before.clone();
        match self {
            Self::Za => (after.sme.za, after.sme.tpidr2) = (written.sme.za, written.sme.tpidr2),
            Self::Zt0 => (after.sme.zt0, after.sme.tpidr2) = (written.sme.zt0, written.sme.tpidr2),
            Self::Streaming | Self::Sve => {
                after.sme.svcr = svcr;
                (after.simd, after.unit) = (written.simd, written.unit);
            }
        }
        after
    }

    /// What it writes for the thread to be in this state.
    fn sets(self, state: &State, svl: usize) -> Vec<Set> {
        match self {
            Self::Za => vec![Set::za(&state.sme, svl), Set::tpidr2(&state.sme)],
            Self::Zt0 => vec![Set::zt0(&state.sme), Set::tpidr2(&state.sme)],
            Self::Streaming => vec![Set::streaming(&state.simd, state.unit)],
            Self::Sve => vec![Set::simd(&state.simd, state.unit)],
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Za => "ZA and TPIDR2_EL0",
            Self::Zt0 => "ZT0 and TPIDR2_EL0",
            Self::Streaming => "registers of streaming mode",
            Self::Sve => "registers of SVE",
        }
    }
}
