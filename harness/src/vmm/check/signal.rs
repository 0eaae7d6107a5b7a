//! A thread's ZA, ZT0 and TPIDR2_EL0, and its streaming mode, over signals (rules P-21 and P-22).
//!
//! A handler is entered with all of that off (Documentation/arch/arm64/sme.rst, "Signal handling"), and its return gives it
//! back. The signal is the one of an access that is not allowed: it comes between two instructions of the check, and nowhere else.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use abi::pattern::Owner;
use arch::host::{self, Call, Image, SmeImage};
use rustix::mm::{MprotectFlags, mprotect};
use rustix::param::page_size;
use vm_memory::MmapRegion;

use super::super::case::Case;
use super::super::task::{self, Unit};
use super::host::{Sme, sme_image};

/// Where the pages are that may not be read, until they are.
static PAGES: AtomicUsize = AtomicUsize::new(0);
/// How many there are.
const COUNT: usize = 2;
/// Signals that were handled.
static HANDLED: AtomicU64 = AtomicU64::new(0);

impl Case<'_> {
    /// Signals before KVM_RUN and after, of a thread that makes use of SME as `uses` says.
    pub(super) fn run_over_signals(&mut self, uses: u64) -> Result<u64, i32> {
        let sme = Sme::of_this_host();
        if !sme.there {
            self.skip("the host has no SME for its tasks");
            return self.task.call(&self.kvm_run(), true);
        }
        let pages = match MmapRegion::new(COUNT * page_size()) {
            Ok(pages) => pages,
            Err(error) => {
                self.skip(&format!("no memory for pages that may not be read: {error}"));
                return self.task.call(&self.kvm_run(), true);
            }
        };
        let handled = HANDLED.load(Ordering::Relaxed);
        let forbidden = match Forbidden::new(&pages) {
            Ok(forbidden) => forbidden,
            Err(error) => {
                self.skip(&format!("a page cannot be made one that may not be read: {error}"));
                return self.task.call(&self.kvm_run(), true);
            }
        };
        self.touch(10, pages.as_ptr(), uses, sme, "a signal before KVM_RUN");
        let result = self.run_as(&self.kvm_run(), uses);
        self.touch(11, pages.as_ptr().wrapping_add(page_size()), uses, sme, "a signal after KVM_RUN");
        drop(forbidden);
        self.job.disturbed += u64::from(HANDLED.load(Ordering::Relaxed) - handled == COUNT as u64);
        result
    }
}

/// Pages that may not be read, and the handler that lets them be.
struct Forbidden {
    before: libc::sigaction,
}

impl Forbidden {
    fn new(pages: &MmapRegion) -> io::Result<Self> {
        PAGES.store(pages.as_ptr().addr(), Ordering::Relaxed);
        // SAFETY: nothing is in them, and the handler brings them back.
        unsafe { mprotect(pages.as_ptr().cast(), pages.size(), MprotectFlags::empty()) }?;
        // SAFETY: all zero is a valid action.
        let [mut action, mut before]: [libc::sigaction; 2] = unsafe { std::mem::zeroed() };
        action.sa_sigaction =
            handle as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler makes system calls that may be made in one, and touches nothing but its own.
        match unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, &raw mut before) } {
            0 => Ok(Self { before }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        // SAFETY: what was there before.
        unsafe { libc::sigaction(libc::SIGSEGV, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// Uses every register, as a handler may, and lets the page be read whose access it was called for.
extern "C" fn handle(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    const GENERATION: u16 = 12;
    // SAFETY: the kernel gives a handler with SA_SIGINFO what it is called for.
    let info = unsafe { &*info };
    // SAFETY: SIGSEGV comes with an address.
    let at = unsafe { info.si_addr() }.addr();
    let pages = PAGES.load(Ordering::Relaxed);
    if !(pages..pages + COUNT * page_size()).contains(&at) {
        // Somebody else's, and the end: the access is made anew.
        // SAFETY: the default action.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
        return;
    }
    let unit = Unit::of_this_thread();
    let image = task::image(Owner::HostTask, GENERATION, unit.vl, unit.fpmr);
    let mut found = Image::ZERO;
    // SAFETY: the CPU has what is used.
    unsafe { host::hold(&image, &mut found, unit.uses(), &HANDLED, HANDLED.load(Ordering::Relaxed), 1) };
    let sme = Sme::of_this_host();
    let uses = host::ZA | if sme.zt0 { host::ZT0 } else { 0 } | if unit.fpmr { host::FPMR } else { 0 };
    let mut found = SmeImage::ZERO;
    let moment = [0, 1];
    // SAFETY: a short sleep, and the CPU has what is used.
    let _ = unsafe { host::sme_call(&Call::sleep(&moment), &sme_image(GENERATION.into()), &mut found, uses) };
    let page = std::ptr::with_exposed_provenance_mut(at / page_size() * page_size());
    // SAFETY: nobody but the check knows of it.
    if unsafe { mprotect(page, page_size(), MprotectFlags::READ) }.is_ok() {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
}
