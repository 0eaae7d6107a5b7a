//! The thread's registers as a debugger writes them, before and after KVM_RUN (`arch/arm64/kernel/ptrace.c`).
//!
//! The debugger is a process of its own, made for one KVM_RUN: a thread cannot trace its own process. It shares this one's
//! memory, and does nothing but system calls.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use abi::pattern::Owner;
use arch::host::part::{FFR, FPCR, FPMR, FPSR, P};
use arch::host::{self, Call, HEADER, Image};
use rustix::pipe::{PipeFlags, pipe_with};

use super::super::case::Case;
use super::super::rival;
use super::super::task::{self, Report, Unit};
use crate::kvm::complaint::Complaint;

/// NT_PRFPREG: V0 to V31, FPSR, FPCR.
const NT_PRFPREG: i32 = 2;
/// NT_ARM_SVE: a header, and the same, or Z, P and FFR.
const NT_ARM_SVE: i32 = 0x405;
/// NT_ARM_FPMR: FPMR.
const NT_ARM_FPMR: i32 = 0x40e;
/// Whether the next debugger writes FPMR alone, else everything but that.
static FPMR_ALONE: AtomicBool = AtomicBool::new(false);
/// Bytes of `struct user_sve_header`.
const SVE_HEADER: usize = 16;
/// SVE_PT_REGS_SVE: the registers after the header are those of SVE.
const REGS_SVE: u16 = 1;
/// Bytes of the largest set of registers.
const SET: usize = SVE_HEADER + 32 * 256 + 17 * 32 + 32;

/// A set of registers as the kernel takes and gives it.
#[repr(C, align(16))]
#[derive(Clone)]
struct Set {
    bytes: [u8; SET],
    len: usize,
}

impl Set {
    const NONE: Self = Self { bytes: [0; SET], len: 0 };
}

/// What debugger and thread share. FPMR is a set of its own, of no bytes where it is not there.
struct Shared {
    at_entry: Set,
    at_exit: Set,
    found: Set,
    fpmr_at_entry: Set,
    fpmr_at_exit: Set,
    fpmr_found: Set,
}

/// Why there was no debugger: the step of it that failed, and why, as an exit status.
const STEPS: [&str; 4] = ["attach", "stop the thread", "read its registers", "write its registers"];

impl Case<'_> {
    /// What the debugger writes before the call is what the call is made with; what it writes after it is what the thread
    /// has.
    pub(super) fn run_under_debugger(&mut self) -> Result<u64, i32> {
        let unit = Unit::of_this_thread();
        let image = |generation| Box::new(task::image(Owner::HostTask, generation, unit.vl, unit.fpmr));
        let before = image(4);
        // In turns: what the kernel does for the one that is written it has done for the other.
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
        let sets_of = |image: &Image| match fpmr_alone {
            true => (Set::NONE, fpmr_of(image, unit)),
            false => (set_of(image, unit), Set::NONE),
        };
        let ((at_entry_set, fpmr_at_entry), (at_exit_set, fpmr_at_exit)) =
            (sets_of(&at_entry), sets_of(&at_exit));
        let call = self.kvm_run();
        let mut found = Box::new(Image::ZERO);
        let sets = Shared {
            at_entry: at_entry_set,
            at_exit: at_exit_set,
            found: Set::NONE,
            fpmr_at_entry,
            fpmr_at_exit,
            fpmr_found: fpmr_of(&at_entry, unit),
        };
        let traced = match Traced::start(sets, kind(unit)) {
            Ok(traced) => traced,
            Err(error) => {
                self.skip(&format!("no debugger: {error}"));
                return self.task.call(&call, true);
            }
        };
        // SAFETY: the VMM's own vCPU, and the CPU has what is used.
        let result = unsafe { host::call(&call, &before, &mut found, unit.uses()) };
        match traced.end() {
            Ok((set, fpmr)) => {
                let mut report = Report::NONE;
                let read = image_of(&set, &fpmr, unit);
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
            Err(error) => self.skip(&format!("no debugger: {error}")),
        }
        if result < 0 { Err(i32::try_from(-result).unwrap_or(libc::EIO)) } else { Ok(result.unsigned_abs()) }
    }

    fn complain_of(&mut self, report: &Report, rule: &str, what: &str) {
        if report.times > 0 {
            let what = format!("{} {what}", super::host::names(report.harm.registers));
            self.note(Complaint::new(rule, what).changed(report.changed()));
        }
    }
}

/// Where the parts of a set lie.
#[derive(Clone, Copy, Debug)]
struct Layout {
    z: usize,
    vl: usize,
    /// P0; FFR is the one after P15. Nothing without SVE.
    p: usize,
    fpsr: usize,
    len: usize,
}

impl Layout {
    /// SVE_PT_REGS_SVE of NT_ARM_SVE.
    const fn sve(vl: usize) -> Self {
        let p = SVE_HEADER + 32 * vl;
        let fpsr = (p + 17 * (vl / 8)).next_multiple_of(16);
        Self { z: SVE_HEADER, vl, p, fpsr, len: fpsr + 16 }
    }

    /// `struct user_fpsimd_state` behind so many bytes.
    const fn fpsimd(header: usize) -> Self {
        let fpsr = header + 32 * 16;
        Self { z: header, vl: 16, p: fpsr, fpsr, len: fpsr + 16 }
    }

    /// That of a set that was read.
    fn of(set: &Set, unit: Unit) -> Self {
        let flags = u16::from_le_bytes([set.bytes[12], set.bytes[13]]);
        match unit.vl {
            0 => Self::fpsimd(0),
            vl if flags & REGS_SVE != 0 => Self::sve(vl),
            _ => Self::fpsimd(SVE_HEADER),
        }
    }
}

/// Which set a thread has.
const fn kind(unit: Unit) -> i32 {
    if unit.vl > 0 { NT_ARM_SVE } else { NT_PRFPREG }
}

/// An image as the kernel wants it.
fn set_of(image: &Image, unit: Unit) -> Set {
    let layout = if unit.vl > 0 { Layout::sve(unit.vl) } else { Layout::fpsimd(0) };
    let mut set = Set { bytes: [0; SET], len: layout.len };
    let mut put = |at: usize, bytes: &[u8]| set.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    put(layout.z, &image.0[HEADER..HEADER + 32 * layout.vl]);
    if unit.vl > 0 {
        let pl = unit.vl / 8;
        put(0, &(layout.len as u32).to_le_bytes());
        put(4, &(layout.len as u32).to_le_bytes());
        put(8, &(unit.vl as u16).to_le_bytes());
        put(10, &(unit.vl as u16).to_le_bytes());
        put(12, &REGS_SVE.to_le_bytes());
        put(layout.p, &image.0[P..P + 16 * pl]);
        put(layout.p + 16 * pl, &image.0[FFR..FFR + pl]);
    }
    put(layout.fpsr, &image.0[FPSR..FPSR + 4]);
    put(layout.fpsr + 4, &image.0[FPCR..FPCR + 4]);
    set
}

/// FPMR of an image as the kernel wants it.
fn fpmr_of(image: &Image, unit: Unit) -> Set {
    let mut set = Set { len: if unit.fpmr { 8 } else { 0 }, ..Set::NONE };
    set.bytes[..8].copy_from_slice(&image.0[FPMR..FPMR + 8]);
    set
}

/// What the kernel gave, as an image.
fn image_of(set: &Set, fpmr: &Set, unit: Unit) -> Box<Image> {
    let layout = Layout::of(set, unit);
    let mut image = Box::new(Image::ZERO);
    let vl = unit.vl.max(16);
    for n in 0..32 {
        let from = layout.z + n * layout.vl;
        image.0[HEADER + n * vl..][..layout.vl].copy_from_slice(&set.bytes[from..from + layout.vl]);
    }
    if layout.p != layout.fpsr {
        let pl = unit.vl / 8;
        image.0[P..P + 16 * pl].copy_from_slice(&set.bytes[layout.p..layout.p + 16 * pl]);
        image.0[FFR..FFR + pl].copy_from_slice(&set.bytes[layout.p + 16 * pl..layout.p + 17 * pl]);
    }
    image.0[FPSR..FPSR + 4].copy_from_slice(&set.bytes[layout.fpsr..layout.fpsr + 4]);
    image.0[FPCR..FPCR + 4].copy_from_slice(&set.bytes[layout.fpsr + 4..layout.fpsr + 8]);
    image.0[FPMR..FPMR + 8].copy_from_slice(&fpmr.bytes[..8]);
    image
}

/// What the debugger is given.
struct Start {
    thread: libc::pid_t,
    set: i32,
    shared: Shared,
    /// A pipe to say that the thread is traced: the child has a copy of the descriptor.
    ready: RawFd,
    stack: Vec<u8>,
}

/// This thread, traced by a process until it has made one KVM_RUN.
struct Traced {
    debugger: libc::pid_t,
    start: Box<Start>,
}

impl Traced {
    fn start(shared: Shared, set: i32) -> io::Result<Self> {
        const STACK: usize = 64 << 10;
        // SAFETY: it only tells.
        let thread = unsafe { libc::gettid() };
        let (readable, writable) = pipe_with(PipeFlags::CLOEXEC)?;
        let ready = writable.as_raw_fd();
        let mut start = Box::new(Start { thread, set, shared, ready, stack: vec![0; STACK] });
        // SAFETY: Yama lets a process be traced by its children only if it says so.
        unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::MAX, 0, 0, 0) };
        let top = start.stack.as_mut_ptr_range().end.map_addr(|end| end & !15);
        // In the same memory: a copy of it would have KVM unmap that of every VM.
        // SAFETY: the child has a stack of its own, which lives until it has ended, and makes system calls alone.
        let debugger = unsafe {
            libc::clone(child, top.cast(), libc::CLONE_VM | libc::SIGCHLD, (&raw mut *start).cast())
        };
        drop(writable);
        // Begun anew after a stop; it ends with nothing if the child has ended.
        while rustix::io::read(&readable, &mut [0]) == Err(rustix::io::Errno::INTR) {}
        if debugger < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { debugger, start }) }
    }

    /// What the debugger read after the call, and FPMR.
    fn end(self) -> io::Result<(Set, Set)> {
        let mut status = 0;
        // SAFETY: the status is written. A signal may come meanwhile.
        while unsafe { libc::waitpid(self.debugger, &raw mut status, 0) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
        match usize::try_from(libc::WEXITSTATUS(status)).unwrap_or(0) {
            0 if libc::WIFEXITED(status) => {
                let Shared { found, fpmr_found, .. } = &self.start.shared;
                Ok((found.clone(), fpmr_found.clone()))
            }
            step => {
                let what = step.checked_sub(1).and_then(|step| STEPS.get(step)).unwrap_or(&"go on");
                Err(io::Error::other(format!("it could not {what}")))
            }
        }
    }
}

extern "C" fn child(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent does not touch it before the child has ended.
    debug(unsafe { &mut *start.cast::<Start>() })
}

/// What the child does. Returns 0, or the number of the step of [`STEPS`] that failed, from 1 on.
fn debug(start: &mut Start) -> libc::c_int {
    /// `struct ptrace_syscall_info`: its kind, and of an entry number and arguments.
    const INFO: libc::c_int = 0x420e;
    const WORDS: usize = 11;
    let [attach, stop, read, write] = [1, 2, 3, 4];
    let Start { thread, set, ref mut shared, ready, .. } = *start;
    let ptrace = |request: libc::c_int, address: usize, data: usize| {
        // SAFETY: each request below is given what it wants.
        unsafe { libc::ptrace(request, thread, address, data) }
    };
    let one = |request: libc::c_int, kind: i32, of: &mut Set| {
        let mut vector = libc::iovec { iov_base: of.bytes.as_mut_ptr().cast(), iov_len: of.len };
        let answer = ptrace(request, kind as usize, (&raw mut vector).expose_provenance());
        of.len = vector.iov_len;
        answer
    };
    let registers = |request: libc::c_int, all: &mut Set, fpmr: &mut Set| {
        let sets = [(set, all), (NT_ARM_FPMR, fpmr)];
        sets.into_iter()
            .filter(|(_, of)| of.len > 0)
            .fold(0, |failed, (kind, of)| failed | one(request, kind, of))
    };
    // Returns the signal that the thread stopped by.
    let wait = || {
        let mut status = 0;
        // SAFETY: the status is written.
        while unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) } < 0 {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return None;
            }
        }
        libc::WIFSTOPPED(status).then_some(status >> 8)
    };
    // On another CPU, if there is one: on its own the thread would find the debugger's registers, and load what is in memory
    // whether or not the kernel noted that it has to.
    rival::pin(0, 1);
    if ptrace(libc::PTRACE_SEIZE, 0, libc::PTRACE_O_TRACESYSGOOD as usize) != 0 {
        return attach;
    }
    if ptrace(libc::PTRACE_INTERRUPT, 0, 0) != 0 || wait().is_none() {
        return stop;
    }
    // SAFETY: the descriptor is open in this process.
    let ready = unsafe { BorrowedFd::borrow_raw(ready) };
    if ptrace(libc::PTRACE_SYSCALL, 0, 0) != 0 || rustix::io::write(ready, &[0]).is_err() {
        return stop;
    }
    let mut is_in = false;
    loop {
        let Some(signal) = wait() else { return stop };
        let mut pass = 0;
        if signal == libc::SIGTRAP | 0x80 {
            let mut info = [0u64; WORDS];
            let len = ptrace(INFO, size_of_val(&info), info.as_mut_ptr().expose_provenance());
            let is_entry = len > 0 && info[0] & 0xff == 1;
            let Call { number, arguments } = Call::kvm_run(0);
            if is_entry && (info[3], info[5]) == (number, arguments[1]) {
                is_in = true;
                if registers(libc::PTRACE_SETREGSET, &mut shared.at_entry, &mut shared.fpmr_at_entry) != 0 {
                    return write;
                }
            } else if is_in {
                shared.found.len = SET;
                if registers(libc::PTRACE_GETREGSET, &mut shared.found, &mut shared.fpmr_found) != 0 {
                    return read;
                }
                if registers(libc::PTRACE_SETREGSET, &mut shared.at_exit, &mut shared.fpmr_at_exit) != 0 {
                    return write;
                }
                ptrace(libc::PTRACE_DETACH, 0, 0);
                return 0;
            }
        } else if signal >> 8 == 0 {
            // The thread's own.
            pass = signal as usize;
        }
        if ptrace(libc::PTRACE_SYSCALL, 0, pass) != 0 {
            return stop;
        }
    }
}
