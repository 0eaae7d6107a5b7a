//! The thread's own registers around one KVM_RUN (rules P-20 to P-22).

use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use abi::doorbell::Check;
use abi::op::mask;
use abi::pattern::{Owner, mix};
use arch::host::{self, Call, SmeImage};

use super::super::case::Case;
use super::super::rival::{self, When, Work};
use super::super::task::{self, Report, Task, Unit};
use crate::kvm::complaint::{Changed, Complaint};

/// Rounds of waiting for a preemption: seconds, even where the CPU is emulated.
const ROUNDS: u64 = 1 << 28;
/// FPSR after streaming mode was left: every cumulative flag.
const FPSR_LEFT: u64 = 0x0800_009f;

/// What of SME a task of this host can use (Documentation/arch/arm64/elf_hwcaps.rst).
#[derive(Clone, Copy, Debug)]
pub(super) struct Sme {
    pub(super) there: bool,
    pub(super) zt0: bool,
    /// FFR can be used in streaming mode.
    pub(super) fa64: bool,
}

impl Sme {
    pub(super) fn of_this_host() -> Self {
        const HWCAP2_SME: u64 = 1 << 23;
        const HWCAP2_SME_FA64: u64 = 1 << 30;
        const HWCAP2_SME2: u64 = 1 << 37;
        // SAFETY: it only tells.
        let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP2) };
        let has = |what| capabilities & what != 0;
        Self { there: has(HWCAP2_SME), zt0: has(HWCAP2_SME2), fa64: has(HWCAP2_SME_FA64) }
    }
}

/// Whether FPMR can be used, as [`host`] asks.
fn fpmr(unit: Unit) -> u64 {
    if unit.fpmr { host::FPMR } else { 0 }
}

/// Registers of a task with ZA that is to be told from any other.
pub(super) fn sme_image(generation: u64) -> Box<SmeImage> {
    let mut image = Box::new(SmeImage::ZERO);
    let mut words = (0..).map(|n: u64| mix(generation << 32 | n | 1 << 63));
    let mut fill = |bytes: &mut [u8]| {
        for (word, value) in bytes.chunks_exact_mut(8).zip(&mut words) {
            word.copy_from_slice(&value.to_le_bytes());
        }
    };
    fill(&mut image.zt0);
    fill(&mut image.v);
    fill(&mut image.za);
    image.fpsr = 0x0800_0011;
    image.fpcr = 0x0080_0000;
    image.fpmr = 0x12_4040;
    image.tpidr2 = mix(generation);
    image
}

/// What is not as it was left of ZA, and of ZT0 if there is one. Without ZA there is nothing to compare: SVCR tells.
pub(super) fn compare_za(before: &SmeImage, after: &SmeImage, zt0: bool) -> Vec<(String, Changed)> {
    let mut wrong = Vec::new();
    if after.svcr & host::SVCR_ZA == 0 {
        return wrong;
    }
    let svl = usize::try_from(after.svl).unwrap_or(0).clamp(1, 256);
    let rows = after.za.chunks_exact(svl).zip(before.za.chunks_exact(svl)).take(svl).enumerate();
    let lost: Vec<_> = rows.filter(|(_, (found, wanted))| found != wanted).collect();
    if let Some((row, (found, wanted))) = lost.first() {
        let words = format!("ZA is another in {} of {svl} rows, {row} the first", lost.len());
        wrong.push((words, changed(wanted, found, 0)));
    }
    if zt0 && after.zt0 != before.zt0 {
        wrong.push(("ZT0 is another".to_owned(), changed(&before.zt0, &after.zt0, 0)));
    }
    wrong
}

/// A register of this thread that has another value than it had to have.
fn changed(wanted: &[u8], found: &[u8], register: u64) -> Changed {
    Changed { owner: Owner::HostTask as u8, register, wanted: wanted.to_vec(), found: found.to_vec() }
}

impl Case<'_> {
    /// KVM_RUN as this check has it. Answers as [`Task::call`] does.
    pub(in crate::vmm) fn run_checked(&mut self, check: Check) -> Result<u64, i32> {
        match check {
            Check::HostZa => self.run_with_sme(&self.kvm_run(), host::ZA),
            Check::HostStreaming => self.run_with_sme(&self.kvm_run(), host::ZA | host::STREAMING),
            Check::HostPreempted => self.run_then_hold(Work::Task),
            Check::HostSignal => self.run_then_hold(Work::Signal),
            Check::HostFault => self.run_over_faults(0),
            Check::HostFaultZa => self.run_over_faults(host::ZA),
            Check::HostFaultStreaming => self.run_over_faults(host::ZA | host::STREAMING),
            Check::HostSignalZa => self.run_over_signals(host::ZA),
            Check::HostSignalStreaming => self.run_over_signals(host::ZA | host::STREAMING),
            Check::HostThread => self.run_elsewhere(),
            Check::HostDebugged => self.run_under_debugger(),
            Check::HostDebuggedZa => self.run_under_sme_debugger(false),
            Check::HostDebuggedStreaming => self.run_under_sme_debugger(true),
            Check::CpuOffline => self.run_around_offline(),
            _ => self.run_and_measure(),
        }
    }

    pub(super) fn kvm_run(&self) -> Call {
        Call::kvm_run(self.vm.vcpu.as_raw_fd())
    }

    /// A KVM_RUN with ZA, ZT0 and TPIDR2_EL0, and in streaming mode, which any system call leaves.
    pub(super) fn run_with_sme(&mut self, call: &Call, uses: u64) -> Result<u64, i32> {
        let sme = Sme::of_this_host();
        if !sme.there {
            self.skip("the host has no SME for its tasks");
            return self.task.call(call, true);
        }
        let unit = Unit::of_this_thread();
        let uses = uses | fpmr(unit) | if sme.zt0 { host::ZT0 } else { 0 };
        let streaming = uses & host::STREAMING != 0;
        // An earlier save of the same thread would leave another generation.
        let (earlier, before) = (sme_image(1), sme_image(2));
        let mut after = Box::new(SmeImage::ZERO);
        let moment = [0, i64::from(Duration::from_micros(1).subsec_nanos())];
        // SAFETY: a short sleep, and the CPU has what is used.
        let _ = unsafe { host::sme_call(&Call::sleep(&moment), &earlier, &mut after, uses) };
        // SAFETY: a vCPU of the VMM's own, and the CPU has what is used.
        let result = unsafe { host::sme_call(call, &before, &mut after, uses) };
        self.compare_sme(&before, &after, streaming, unit.fpmr, sme.zt0);
        if result < 0 { Err(i32::try_from(-result).unwrap_or(libc::EIO)) } else { Ok(result.unsigned_abs()) }
    }

    fn compare_sme(&mut self, before: &SmeImage, after: &SmeImage, streaming: bool, fpmr: bool, zt0: bool) {
        let mode = if streaming { " in streaming mode" } else { "" };
        let of = |rule: &str, what: &str| {
            Complaint::new(rule, format!("after KVM_RUN{mode} with ZA enabled, the thread's {what}"))
        };
        let mut status = |rule, name: &str, found: u64, wanted: u64| {
            if found != wanted {
                let complaint = of(rule, &format!("{name} is another"));
                self.note(complaint.wanted(format!("{wanted:#x}"), format!("{found:#x}")));
            }
        };
        status("P-22", "SVCR", after.svcr, host::SVCR_ZA);
        status("P-22", "TPIDR2_EL0", after.tpidr2, before.tpidr2);
        status("P-20", "FPSR", after.fpsr, if streaming { FPSR_LEFT } else { before.fpsr });
        status("P-20", "FPCR", after.fpcr, before.fpcr);
        if fpmr {
            status("P-22", "FPMR", after.fpmr, if streaming { 0 } else { before.fpmr });
        }
        let zero = [0; 32 * 16];
        let v = if streaming { &zero } else { &before.v };
        let mut vectors = (0_u64..).zip(after.v.chunks_exact(16).zip(v.chunks_exact(16)));
        if let Some((n, (found, wanted))) = vectors.find(|(_, (found, wanted))| found != wanted) {
            self.note(of("P-20", &format!("V{n} is another")).changed(changed(wanted, found, 1 << n)));
        }
        for (what, changed) in compare_za(before, after, zt0) {
            self.note(of("P-22", &what).changed(changed));
        }
    }

    /// And then with every register in use until the thread was preempted, or has handled a signal: what it makes of SVE right
    /// after the call is its own, however it is taken away.
    fn run_then_hold(&mut self, work: Work) -> Result<u64, i32> {
        let unit = Unit::of_this_thread();
        let before = Box::new(task::image(Owner::HostTask, 3, unit.vl, unit.fpmr));
        let mut found = Box::new(host::Image::ZERO);
        let call = self.kvm_run();
        self.rival.work(work, When::Now);
        let word = if work == Work::Signal { rival::signals() } else { self.rival.counter() };
        // V alone: the kernel need not know of any SVE yet.
        let result = self.task.call(&call, false);
        let now = word.load(Ordering::Acquire);
        // SAFETY: the CPU has what is used.
        let left = unsafe { host::hold(&before, &mut found, unit.uses(), word, now, ROUNDS) };
        let of_rival = self.rival.rest();
        self.of_rival.merge(of_rival);
        self.job.disturbed += u64::from(left > 0);
        let mut report = Report::NONE;
        task::look(&before, &found, unit, false, Owner::HostTask, &mut report);
        if report.times > 0 {
            let registers = names(report.harm.registers);
            let how = if work == Work::Signal { "had a signal" } else { "was preempted" };
            let what = format!("{registers} that the thread set after KVM_RUN changed when it {how}");
            self.note(Complaint::new("P-21", what).changed(report.changed()));
        }
        result
    }

    /// By another thread: its registers are its own, and the guest's follow the vCPU there and back.
    fn run_elsewhere(&mut self) -> Result<u64, i32> {
        let call = self.kvm_run();
        let (result, report) = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut task = Task::new(Owner::HostTask);
                let result = task.call(&call, true);
                (result, task.report)
            });
            thread.join().unwrap_or((Err(libc::EIO), Report::NONE))
        });
        self.task.report.merge(report);
        result
    }

    /// With every register in use, and a look at the vector length.
    fn run_and_measure(&mut self) -> Result<u64, i32> {
        let before = Unit::of_this_thread();
        let call = self.kvm_run();
        let result = self.task.call(&call, true);
        let rdvl = self.task.found_length();
        let after = Unit::of_this_thread();
        if before.vl == 0 {
            self.skip("the host has no SVE for its tasks");
            return result;
        }
        for (name, found) in [("RDVL", rdvl), ("PR_SVE_GET_VL", after.vl)] {
            if found != before.vl {
                let complaint = Complaint::new("P-22", format!("after KVM_RUN, {name} gives another length"));
                let bytes = |bytes| format!("{bytes} bytes");
                self.note(complaint.wanted(bytes(before.vl), bytes(found)));
            }
        }
        result
    }
}

/// The registers of a set of [`mask`], in words.
pub(super) fn names(registers: u64) -> String {
    let files =
        [(mask::Z, "Z"), (mask::P, "P"), (mask::FFR, "FFR"), (mask::FPSR, "FPSR"), (mask::FPCR, "FPCR")];
    let files = files.into_iter().chain([(mask::FPMR, "FPMR")]);
    let found = files.filter(|(bits, _)| registers & bits != 0).map(|(_, name)| name);
    found.collect::<Vec<_>>().join(", ")
}
