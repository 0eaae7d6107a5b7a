//! Pages that are taken away until somebody needs them: who touches one sleeps in a page fault, the kernel for a guest as well
//! (userfaultfd(2)).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use abi::pattern::Owner;
use arch::host::{self, Image};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::mm::{Advice, UserfaultfdFlags, madvise, userfaultfd};
use rustix::param::page_size;
use zerocopy::IntoBytes as _;

use super::task::{self, Unit};

/// UFFDIO_API, of `struct uffdio_api`: version, features, ioctls (`include/uapi/linux/userfaultfd.h`, as all below).
const API: Opcode = opcode::read_write::<[u64; 3]>(UFFDIO, 0x3f);
/// UFFDIO_REGISTER, of `struct uffdio_register`: start, length, mode, ioctls.
const REGISTER: Opcode = opcode::read_write::<[u64; 4]>(UFFDIO, 0);
/// UFFDIO_COPY, of `struct uffdio_copy`: destination, source, length, mode, what was copied.
const COPY: Opcode = opcode::read_write::<[u64; 5]>(UFFDIO, 3);
const UFFDIO: u8 = 0xaa;
/// UFFD_API.
const VERSION: u64 = 0xaa;
/// UFFDIO_REGISTER_MODE_MISSING.
const MISSING: u64 = 1;
/// UFFD_EVENT_PAGEFAULT.
const PAGEFAULT: u64 = 0x12;

/// The pages, and who is told of those that wait for them.
pub(super) struct Absent {
    faults: OwnedFd,
    pages: Vec<Page>,
}

struct Page {
    address: u64,
    content: Vec<u8>,
    /// How often somebody waited for it.
    waited: AtomicU64,
}

impl Absent {
    pub(super) fn new() -> io::Result<Self> {
        // One that blocks cannot be polled.
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
        // SAFETY: what the descriptor can do to this process's memory is done in `take` and `give` alone.
        let faults = unsafe { userfaultfd(flags) }?;
        ask::<API, _>(&faults, &mut [VERSION, 0_u64, 0])?;
        Ok(Self { faults, pages: Vec::new() })
    }

    /// Takes away the page with the byte at `byte`.
    ///
    /// # Safety
    ///
    /// The page is one of private anonymous memory that can be read, and no reference into it is alive.
    pub(super) unsafe fn take(&mut self, byte: *mut u8) -> io::Result<()> {
        let len = page_size();
        let start = byte.map_addr(|at| at & !(len - 1));
        // SAFETY: the caller's.
        let content = unsafe { std::slice::from_raw_parts(start, len) }.to_vec();
        let address = start.expose_provenance() as u64;
        ask::<REGISTER, _>(&self.faults, &mut [address, len as u64, MISSING, 0])?;
        self.pages.push(Page { address, content, waited: AtomicU64::new(0) });
        // SAFETY: whoever reads the page finds what was in it, if later.
        unsafe { madvise(start.cast(), len, Advice::LinuxDontNeed) }?;
        Ok(())
    }

    /// Until nobody holds the other end of `until`, gives each page back to who waits for it, and uses every register before.
    pub(super) fn serve(&self, until: BorrowedFd<'_>) -> io::Result<()> {
        const GENERATION: u16 = 10;
        let unit = Unit::of_this_thread();
        let image = Box::new(task::image(Owner::HostTask, GENERATION, unit.vl, unit.fpmr));
        let (mut found, word) = (Box::new(Image::ZERO), AtomicU64::new(0));
        loop {
            let mut ready =
                [PollFd::new(&self.faults, PollFlags::IN), PollFd::from_borrowed_fd(until, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                answer => answer?,
            };
            if !ready[0].revents().contains(PollFlags::IN) {
                return Ok(());
            }
            // `struct uffd_msg`: the event in bits 7:0; of a page fault, flags and address.
            let mut message = [0_u64; 4];
            read(self.faults.as_fd(), message.as_mut_bytes())?;
            let [event, _, at, _] = message;
            let page = self.pages.iter().find(|page| (page.address..page.end()).contains(&at));
            if let Some(page) = page.filter(|_| event & 0xff == PAGEFAULT) {
                // SAFETY: the CPU has what is used.
                unsafe { host::hold(&image, &mut found, unit.uses(), &word, 0, 1) };
                page.waited.fetch_add(1, Ordering::Relaxed);
                self.give(page)?;
            }
        }
    }

    fn give(&self, page: &Page) -> io::Result<()> {
        let source = page.content.as_ptr().expose_provenance() as u64;
        ask::<COPY, _>(&self.faults, &mut [page.address, source, page.content.len() as u64, 0, 0])
    }

    /// Gives back what nobody waited for. Returns whether there was nothing of that.
    pub(super) fn end(self) -> io::Result<bool> {
        let mut left = self.pages.iter().filter(|page| page.waited.load(Ordering::Relaxed) == 0).peekable();
        let all = left.peek().is_none();
        left.try_for_each(|page| self.give(page))?;
        Ok(all)
    }
}

/// One of the calls above.
fn ask<const OPCODE: Opcode, T>(faults: &OwnedFd, structure: &mut T) -> io::Result<()> {
    // SAFETY: each opcode was made of what it reads and writes.
    let call = unsafe { Updater::<OPCODE, T>::new(structure) };
    // SAFETY: as above. What becomes of memory is an unsafe function's matter, or it is filled with what was in it.
    Ok(unsafe { ioctl(faults, call) }?)
}

impl Page {
    fn end(&self) -> u64 {
        self.address + self.content.len() as u64
    }
}
