//! Registers over page faults that sleep: the thread's own, which a fault keeps whole where a system call need not, and a guest's
//! over one in KVM_RUN (rules P-01, P-02, P-20 to P-22).
//!
//! To its program a fault is asynchronous: nothing of Documentation/arch/arm64/{sve,sme}.rst lets the kernel discard a bit over
//! it. Another thread on the same CPU brings the page, and uses every register before.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use abi::pattern::Owner;
use arch::host::part::FFR;
use arch::host::{self, Call, Image, SmeImage};
use kvm_bindings::KVM_EXIT_MMIO;
use rustix::param::page_size;
use rustix::pipe::{PipeFlags, pipe_with};
use vm_memory::MmapRegion;

use super::super::absent::Absent;
use super::super::case::Case;
use super::super::other::OtherGuest;
use super::super::task::{self, Report, Unit};
use super::host::{Sme, compare_za, names, sme_image};
use crate::kvm::complaint::Complaint;

/// What sleeps for pages: two of the thread's own, and a guest for one of its.
struct Sleepers {
    own: MmapRegion,
    guest: OtherGuest,
}

impl Case<'_> {
    /// Faults before KVM_RUN and after, of a thread that makes use of SME as `uses` says; and before that KVM_RUN one of another
    /// guest, which stores its registers to a page that is not there. That guest has a VM of its own: to take a page of this
    /// one's memory away takes the shadows of stage 2 of every VM with EL2 down, for seconds each.
    pub(super) fn run_over_faults(&mut self, uses: u64) -> Result<u64, i32> {
        let sme = Sme::of_this_host();
        if uses != 0 && !sme.there {
            self.skip("the host has no SME for its tasks");
            return self.task.call(&self.kvm_run(), true);
        }
        match self.take_pages() {
            Ok((absent, sleepers)) => self.run_without(absent, sleepers, uses, sme),
            Err(error) => {
                self.skip(&format!("no page can be taken away: {error}"));
                self.task.call(&self.kvm_run(), true)
            }
        }
    }

    fn take_pages(&self) -> io::Result<(Absent, Sleepers)> {
        let own = MmapRegion::new(2 * page_size()).map_err(io::Error::other)?;
        let also = host::LOADS_ANEW;
        let mut guest = OtherGuest::new(self.kvm, self.claims, also).map_err(io::Error::other)?;
        // Other registers than were saved when it rang.
        guest.give();
        let of_guest = guest.stores_to().map_err(io::Error::other)?;
        let mut absent = Absent::new()?;
        for byte in [own.as_ptr(), own.as_ptr().wrapping_add(page_size()), of_guest] {
            // SAFETY: all are bytes of private anonymous mappings, and no reference is made into them.
            unsafe { absent.take(byte) }?;
        }
        Ok((absent, Sleepers { own, guest }))
    }

    fn run_without(&mut self, absent: Absent, sleepers: Sleepers, uses: u64, sme: Sme) -> Result<u64, i32> {
        let Sleepers { own, mut guest } = sleepers;
        let (until, end) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| error.raw_os_error())?;
        let (result, looked, served) = std::thread::scope(|scope| {
            // It has this thread's CPU and priority, and so runs while this thread sleeps.
            let server = scope.spawn(|| absent.serve(until.as_fd()));
            self.touch(8, own.as_ptr(), uses, sme, "a page fault before KVM_RUN in which the thread slept");
            let call = Call::kvm_run(guest.vm().vcpu.as_raw_fd());
            let has_run = self.run_as(&call, uses);
            let looked = self.look_at(&mut guest, has_run);
            let result = self.run_as(&self.kvm_run(), uses);
            let second = own.as_ptr().wrapping_add(page_size());
            self.touch(9, second, uses, sme, "a page fault after KVM_RUN in which the thread slept");
            drop(end);
            (result, looked, server.join())
        });
        let served = served.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        match served.and_then(|()| absent.end()) {
            Ok(all) => self.job.disturbed += u64::from(all && looked),
            Err(error) => self.skip(&format!("a page cannot be brought back: {error}")),
        }
        result
    }

    pub(super) fn run_as(&mut self, call: &Call, uses: u64) -> Result<u64, i32> {
        if uses == 0 { self.task.call(call, true) } else { self.run_with_sme(call, uses) }
    }

    /// Returns whether there was something to look at: not so if the case's time was over.
    fn look_at(&mut self, guest: &mut OtherGuest, has_run: Result<u64, i32>) -> bool {
        match has_run.map(|_| guest.vm().vcpu.get_kvm_run().exit_reason) {
            Ok(KVM_EXIT_MMIO) => {}
            Err(libc::EINTR) => return false,
            left => {
                self.complain(
                    "P-01",
                    format!("a guest does not go on after its VMM slept for a page of it: {left:?}"),
                );
                return true;
            }
        }
        let mut report = Report::NONE;
        guest.look(&mut report);
        if report.times > 0 {
            let registers = names(report.harm.registers);
            let what = format!(
                "{registers} of a guest changed while KVM_RUN slept for the page that it stored them to"
            );
            self.note(Complaint::new("P-02", what).changed(report.changed()));
        }
        true
    }

    /// Reads the byte at `at`, with every register of its own. What `event` names comes in between.
    pub(super) fn touch(&mut self, generation: u16, at: *const u8, uses: u64, sme: Sme, event: &str) {
        let streaming = uses & host::STREAMING != 0;
        let unit = Unit::of_this_thread();
        let unit = if streaming { Unit { vl: task::streaming_length(), ..unit } } else { unit };
        let with_sme = uses != 0;
        let uses = uses
            | unit.uses()
            | if with_sme && sme.zt0 { host::ZT0 } else { 0 }
            | if streaming && !sme.fa64 { host::NO_FFR } else { 0 };
        let mut before = Box::new(task::image(Owner::HostTask, generation, unit.vl, unit.fpmr));
        if uses & host::NO_FFR != 0 {
            before.0[FFR..FFR + unit.vl / 8].fill(0);
        }
        let mut found = Box::new(Image::ZERO);
        let (sme_before, mut sme_found) = (sme_image(generation.into()), Box::new(SmeImage::ZERO));
        if with_sme {
            let (before, found) = ((&*before, &*sme_before), (&mut *found, &mut *sme_found));
            // SAFETY: the byte comes as soon as it is waited for, and the CPU has what is used.
            unsafe { host::sme_touch(before, found, uses, at) };
        } else {
            // SAFETY: as above.
            unsafe { host::touch(&before, &mut found, uses, at) };
        }
        let mut report = Report::NONE;
        task::look(&before, &found, unit, false, Owner::HostTask, &mut report);
        let mode = match (streaming, with_sme) {
            (true, _) => " in streaming mode with ZA enabled,",
            (false, true) => " with ZA enabled,",
            (false, false) => "",
        };
        let of = |rule, what: &str| Complaint::new(rule, format!("over {event},{mode} the thread's {what}"));
        if report.times > 0 {
            let registers = names(report.harm.registers);
            self.note(of("P-21", &format!("{registers} changed")).changed(report.changed()));
        }
        if !with_sme {
            return;
        }
        // The bits of STREAMING and ZA are those of SVCR, two further up.
        let svcr = uses >> 2 & 3;
        for (name, found, wanted) in
            [("SVCR", sme_found.svcr, svcr), ("TPIDR2_EL0", sme_found.tpidr2, sme_before.tpidr2)]
        {
            if found != wanted {
                self.note(
                    of("P-22", &format!("{name} is another"))
                        .wanted(format!("{wanted:#x}"), format!("{found:#x}")),
                );
            }
        }
        for (what, changed) in compare_za(&sme_before, &sme_found, sme.zt0) {
            self.note(of("P-22", &what).changed(changed));
        }
    }
}
