//! What L0 and its host do to a vCPU: other work on the same CPU, with FP state of its own.

use abi::doorbell::Disturbance;
use abi::fault::Fault;
use abi::hyp::{End, Event, HypJob};
use abi::pattern::Owner as Writer;
use arch::hyp::{ExitKind, GuestFrame};
use arch::{esr, write};

use crate::Hyp;
use crate::bits::{SCTLR_RESET, cptr, hcr, pstate};
use crate::fp::{self, Context};
use crate::stage2::vmid;

/// A context that shares the CPU with the vCPU: a task of the host, or another guest.
///
/// Its registers are a pattern that tells the generation. It finds them unchanged each time it comes back, or
/// else the hypervisor harmed it.
pub struct Neighbor {
    generation: u16,
    /// What its registers were when it last left.
    expected: Context,
    /// Where they are kept while it is away.
    saved: Context,
}

impl Neighbor {
    /// A neighbor that has not run.
    pub const fn new() -> Self {
        Self { generation: 0, expected: Context::new(), saved: Context::new() }
    }

    /// Its first registers, if it has not run in this case yet.
    fn start(&mut self, writer: Writer, vl: usize, fpmr: bool) {
        if self.generation == 0 {
            self.generation = 1;
            self.expected.fill(writer, self.generation, vl, fpmr);
            self.saved.fill(writer, self.generation, vl, fpmr);
        }
    }

    /// The registers that it leaves with this time. They alternate: a state of the turn before shows.
    fn next(&mut self, writer: Writer, vl: usize, fpmr: bool) {
        self.generation = 3 - self.generation;
        self.expected.fill(writer, self.generation, vl, fpmr);
    }

    /// Tells of registers that are not as they were left, if there are any: the first time in full.
    fn look(&self, writer: Writer, vq: u64, job: &mut HypJob) {
        let registers = self.saved.differing(&self.expected, vq);
        if registers == 0 {
            return;
        }
        job.counters.neighbors_harmed += 1;
        if job.harm.neighbor != 0 {
            return;
        }
        let vl = usize::try_from(vq.max(1)).unwrap_or(1) * 16;
        let first = registers.trailing_zeros();
        let (expected, found) = (self.expected.register(first, vl), self.saved.register(first, vl));
        let harm = &mut job.harm;
        (harm.neighbor, harm.registers) = (writer as u64, registers);
        (harm.disturbance, harm.len) = (job.disturbed, expected.len() as u64);
        harm.expected.iter_mut().zip(expected).for_each(|(to, from)| *to = *from);
        harm.found.iter_mut().zip(found).for_each(|(to, from)| *to = *from);
    }
}

/// The host task and the other guest.
pub struct Neighbors {
    /// Runs at the hypervisor's own level.
    pub task: Neighbor,
    /// Runs at EL1 and has a frame of its own.
    pub guest: Neighbor,
    frame: GuestFrame,
}

impl Neighbors {
    /// Nobody has run.
    pub const fn new() -> Self {
        Self { task: Neighbor::new(), guest: Neighbor::new(), frame: GuestFrame::new() }
    }

    /// Where the host task's registers are kept.
    #[cfg(feature = "faults")]
    pub const fn task_image(&mut self) -> &mut Context {
        &mut self.task.saved
    }

    /// A new case: nobody has run.
    pub const fn forget(&mut self) {
        self.task.generation = 0;
        self.guest.generation = 0;
    }
}

/// VMID of the other guest.
const VMID_OTHER: u64 = 9;

impl Hyp {
    /// Commits a disturbance now, between an exit and the next entry.
    pub fn disturb(&mut self, kind: Disturbance) {
        // There is one CPU, and nobody outside who could take a vCPU's registers.
        if matches!(kind, Disturbance::Migrate | Disturbance::SaveRestore) {
            return self.end(End::BadJob, kind as u64);
        }
        self.job.disturbed += 1;
        self.event(Event::Disturb, [kind as u64, 0]);
        match kind {
            Disturbance::Clobber => {
                self.vcpu_put();
                self.cpu.load(&self.fp.clobber, self.cpu.vq);
                self.vcpu_load();
            }
            Disturbance::Preempt => {
                self.vcpu_put();
                self.host_task();
                self.vcpu_load();
            }
            Disturbance::HostSimd => self.host_simd(),
            Disturbance::OtherVcpu => {
                self.vcpu_put();
                self.other_guest();
                self.vcpu_load();
            }
            Disturbance::Migrate | Disturbance::SaveRestore => {}
        }
    }

    /// SIMD inside the exit, as kernel-mode NEON in an interrupt: whoever owns the registers is saved, and
    /// nobody owns them afterwards. The vCPU is not put.
    fn host_simd(&mut self) {
        if self.fault(Fault::RmHandlerTrapsAsLeft) {
            // The guest's own FPEN and ZEN, as they would stand in a register shared with it.
            write!("S3_0_C1_C0_2", 0);
            arch::sysreg::isb();
            self.fp.host_simd.vectors.load_v();
        }
        if self.fault(Fault::LzFlushNoForeign) {
            self.cpu.load(&self.fp.host_simd, self.cpu.vq);
            return;
        }
        self.in_host_simd = true;
        self.fp_release();
        self.in_host_simd = false;
        if self.faults.may(Fault::HkElideAfterHypSimd) {
            self.faults.latch = Some(0);
        }
        self.cpu.load(&self.fp.host_simd, self.cpu.vq);
        self.fp_load();
    }

    /// A task of the host: gets its registers, looks at them, leaves with others.
    fn host_task(&mut self) {
        let cpu = self.cpu;
        let task = &mut self.neighbors.task;
        task.start(Writer::HostTask, cpu.vl(), cpu.fpmr);
        cpu.load(&task.saved, cpu.vq);
        cpu.save(&mut task.saved, cpu.vq);
        task.look(Writer::HostTask, cpu.vq, self.job);
        task.next(Writer::HostTask, cpu.vl(), cpu.fpmr);
        cpu.load(&task.expected, cpu.vq);
        let old_fpmr = self.neighbors.task.saved.fpmr;
        if self.fault(Fault::LzHostSaveVOnly) {
            cpu.save(&mut self.neighbors.task.saved, 0);
        } else {
            cpu.save(&mut self.neighbors.task.saved, cpu.vq);
        }
        if !self.config.fpmr() && self.fault(Fault::LzHostFpmrSkip) {
            self.neighbors.task.saved.fpmr = old_fpmr;
        }
    }

    /// Another guest, at EL1, with every trap open and the CPU's largest vector length but one.
    pub fn other_guest(&mut self) {
        let cpu = self.cpu;
        let vq = if cpu.vq > 1 { cpu.vq / 2 } else { cpu.vq };
        let vl = usize::try_from(vq.max(1)).unwrap_or(1) * 16;
        let Neighbors { guest, frame, .. } = &mut *self.neighbors;
        guest.start(Writer::OtherVcpu, vl, cpu.fpmr);
        guest.look(Writer::OtherVcpu, vq, self.job);
        guest.next(Writer::OtherVcpu, vl, cpu.fpmr);
        let from = &guest.expected;
        *frame = GuestFrame::new();
        frame.x[0] = from.vectors.z.as_ptr().addr() as u64;
        frame.x[1] = from.vectors.p.as_ptr().addr() as u64;
        frame.x[2] = from.vectors.ffr.as_ptr().addr() as u64;
        frame.x[3] = from.fpsr;
        frame.x[4] = from.fpcr;
        frame.pc = if cpu.sve { arch::hyp::other_guest() } else { arch::hyp::other_guest_without_sve() };
        frame.pstate = pstate::DAIF | pstate::EL1H;
        // MDSCR_EL1.SS is shared: this guest is nobody's to step.
        let stepping = self.stepping;
        self.set_stepping(false);
        let Neighbors { guest, frame, .. } = &mut *self.neighbors;
        fp::open();
        // The other registers it fills itself.
        if cpu.fpmr {
            write!("S3_3_C4_C4_2", guest.expected.fpmr);
        }
        if cpu.sve {
            fp::limit(vq - 1);
            write!("S3_5_C1_C2_0", 0xf);
        }
        write!("S3_5_C1_C0_0", SCTLR_RESET);
        write!("S3_5_C1_C0_2", cptr::FPEN | cptr::ZEN);
        write!("vttbr_el2", vmid(VMID_OTHER));
        write!("hcr_el2", hcr::RW | hcr::E2H | hcr::AMO);
        arch::sysreg::isb();
        // SAFETY: it runs the hypervisor's own code, which reads the context and calls back; interrupts are its own,
        // masked, and stay pending.
        let kind = unsafe { arch::hyp::enter(frame) };
        let syndrome = frame.esr;
        let called = kind == ExitKind::SYNC && esr::class(syndrome) == esr::ec::HVC;
        cpu.save(&mut guest.saved, vq);
        self.installed.forget();
        #[cfg(feature = "faults")]
        if self.faults.may(Fault::LzTrapBitsOfOther) || self.faults.may(Fault::LzZcr2Left) {
            self.faults.latch = Some(crate::traps_faults::OTHER_GUEST_RAN);
        }
        self.set_stepping(stepping);
        if !called {
            self.end(End::Broken, syndrome);
        }
    }
}
