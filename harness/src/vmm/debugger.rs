//! A debugger of this thread (`arch/arm64/kernel/ptrace.c`), which writes its registers before and after one KVM_RUN.
//!
//! It is a process of its own: a thread cannot trace its own process. It shares this one's memory, and does nothing but
//! system calls.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use arch::host::Call;
use rustix::pipe::{PipeFlags, pipe_with};

use super::regset::Set;
use super::rival;

/// What debugger and thread share.
pub(super) struct Shared {
    /// What is written when the thread has called.
    pub(super) at_entry: Vec<Set>,
    /// What is read when the call is over: room, before.
    pub(super) found: Vec<Set>,
    /// What is written then.
    pub(super) at_exit: Vec<Set>,
}

/// Why there was no debugger: the step of it that failed, and why, as an exit status.
const STEPS: [&str; 4] = ["attach", "stop the thread", "read its registers", "write its registers"];

/// What the debugger is given.
struct Start {
    thread: libc::pid_t,
    shared: Shared,
    /// A pipe to say that the thread is traced: the child has a copy of the descriptor.
    ready: RawFd,
    stack: Vec<u8>,
}

/// This thread, traced by a process until it has made one KVM_RUN.
pub(super) struct Traced {
    debugger: libc::pid_t,
    start: Box<Start>,
}

impl Traced {
    pub(super) fn start(shared: Shared) -> io::Result<Self> {
        const STACK: usize = 64 << 10;
        // SAFETY: it only tells.
        let thread = unsafe { libc::gettid() };
        let (readable, writable) = pipe_with(PipeFlags::CLOEXEC)?;
        let ready = writable.as_raw_fd();
        let mut start = Box::new(Start { thread, shared, ready, stack: vec![0; STACK] });
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

    /// What the debugger read after the call.
    pub(super) fn end(self) -> io::Result<Vec<Set>> {
        let mut status = 0;
        // SAFETY: the status is written. A signal may come meanwhile.
        while unsafe { libc::waitpid(self.debugger, &raw mut status, 0) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
        match usize::try_from(libc::WEXITSTATUS(status)).unwrap_or(0) {
            0 if libc::WIFEXITED(status) => Ok(self.start.shared.found),
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
    let Start { thread, ref mut shared, ready, .. } = *start;
    let ptrace = |request: libc::c_int, address: usize, data: usize| {
        // SAFETY: each request below is given what it wants.
        unsafe { libc::ptrace(request, thread, address, data) }
    };
    let each = |request: libc::c_int, sets: &mut [Set]| {
        sets.iter_mut().fold(0, |failed, Set { kind, bytes }| {
            let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let answer = ptrace(request, *kind as usize, (&raw mut vector).expose_provenance());
            // A set that is written has to be taken whole: TPIDR2_EL0 was added to one of them.
            let is_cut = request == libc::PTRACE_SETREGSET && vector.iov_len < bytes.len();
            bytes.truncate(vector.iov_len);
            failed | answer | libc::c_long::from(is_cut)
        })
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
                if each(libc::PTRACE_SETREGSET, &mut shared.at_entry) != 0 {
                    return write;
                }
            } else if is_in {
                if each(libc::PTRACE_GETREGSET, &mut shared.found) != 0 {
                    return read;
                }
                if each(libc::PTRACE_SETREGSET, &mut shared.at_exit) != 0 {
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
