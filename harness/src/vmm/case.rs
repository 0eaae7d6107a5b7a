//! One case: a fresh VM, and KVM_RUN until the payload or the budget ends it.

use std::mem::offset_of;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use abi::doorbell::{Check, Disturbance};
use abi::hyp::{End, HypJob, flag};
use abi::job::{self, JobHeader, irq_source};
use arch::host::Call;
use kvm_bindings::{
    KVM_ARM_DEV_EL1_VTIMER, KVM_EXIT_DEBUG, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HYPERCALL, KVM_EXIT_INTERNAL_ERROR,
    KVM_EXIT_INTR, KVM_EXIT_MMIO, KVM_EXIT_SYSTEM_EVENT, kvm_guest_debug,
};
use kvm_ioctls::Kvm;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

use super::alarm::{self, Alarm};
use super::arrival::Arrivals;
use super::disturb::Awaited;
use super::error::{VmError, failed};
use super::other::OtherGuest;
use super::raw::reg;
use super::rival::{self, Rival};
use super::sweep::Sweep;
use super::task::{Report, Task};
use super::trace::Tracer;
use super::vm::{Kind, Vm};
use super::witness::Witness;
use crate::kvm::claims::Claims;
use crate::kvm::exit::Gave;

mod asked;
mod said;

pub(super) use said::Said;

/// What a vCPU returned to its VMM with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Exit {
    /// An MMIO write: address, value.
    Write(u64, u64),
    /// An MMIO read: address.
    Read(u64),
    /// A call of the doorbell.
    Call,
    /// A single step, or a hardware breakpoint: the vCPU is between two instructions.
    Step,
    /// A BRK of the guest's own, not executed.
    Breakpoint,
    /// A signal.
    Signal,
    /// Anything else: the end, and what gave it.
    Other(End, Gave),
}

/// A case under way.
pub(super) struct Case<'a> {
    pub(super) kvm: &'a Kvm,
    pub(super) claims: &'a Claims,
    pub(super) kind: Kind,
    pub(super) memory: &'a GuestMemoryMmap,
    pub(super) vm: Vm,
    pub(super) job: &'a mut HypJob,
    pub(super) task: &'a mut Task,
    pub(super) rival: &'a Rival,
    pub(super) awaited: Option<Awaited>,
    /// The guest's timer as KVM last told of it: there is no interrupt controller in the kernel that would know.
    timer_fires: bool,
    /// The doorbell's IRQ is pending.
    rung: bool,
    /// The next KVM_RUN is entered with every register of this thread in use, not V alone.
    pub(super) everything: bool,
    /// What the rival found in its registers.
    pub(super) of_rival: Report,
    /// Where the program is, in the guest's memory.
    pub(super) job_area: u64,
    /// The operation of the program that rang last.
    op: u64,
    /// What the next KVM_RUN is to show.
    pub(super) at_next_entry: Option<Check>,
    /// The guest runs on another CPU than at home.
    pub(super) is_away: bool,
    /// The disturbance `preempt` is a signal.
    pub(super) by_signal: bool,
    /// The next reset is by CPU_ON.
    pub(super) by_cpu_on: bool,
    /// What softirqs have decrypted while the guest ran, if they are to.
    pub(super) softirqs: Option<u64>,
    /// Stopped when something is found wrong.
    tracer: Option<&'a Tracer>,
    said: Said,
    sweep: Sweep,
    /// Where the transition of the open window may arrive.
    pub(super) arrivals: Arrivals,
    /// The next window is that of a transition before whose end the vCPU is to stop.
    pub(super) stops_at_arrival: bool,
    pub(super) deadline: Instant,
}

/// The kind of VM that a job asks for.
fn kind(job: &HypJob, flags: u32, claims: &Claims) -> Kind {
    let el2 = job.flags & flag::EL2 != 0;
    let e2h0 = el2 && job.flags & flag::VHE == 0;
    let claimed = match (el2, e2h0) {
        (true, true) => claims.el2_e2h0,
        (true, false) => claims.el2,
        (false, _) if job.vq_max > 0 => claims.sve,
        (false, _) => claims.plain,
    };
    // Without E2H the other guest's code does not reach the controls of its own level.
    let has_second = flags & job::flag::OTHER_VCPU != 0 && !e2h0;
    let has_fpmr = claimed.is_some_and(|claimed| claimed.has_fpmr());
    Kind {
        vq_max: u32::try_from(job.vq_max).unwrap_or(u32::MAX).min(16),
        el2,
        e2h0,
        without_fpmr: has_fpmr && job.flags & flag::FPMR == 0,
        gic: claimed.is_some_and(|claimed| claimed.gic),
        protected: false,
        sme: false,
        without_pauth: claimed.is_some_and(|claimed| claimed.pauth_is_broken),
        without_tcr2: claimed.is_some_and(|claimed| claimed.tcr2_is_broken),
        calls: job.flags & flag::CALLS != 0,
        second: has_second,
    }
}

/// Runs the job that is in `memory`, at `job_area`. What it comes to is written into `job`; what the VMM has to say beside
/// that is returned.
pub(super) fn run(
    kvm: &Kvm,
    claims: &Claims,
    (memory, job_area): (&GuestMemoryMmap, u64),
    job: &mut HypJob,
    (task, rival): (&mut Task, &Rival),
    tracer: Option<&Tracer>,
) -> Result<Said, VmError> {
    let flags = job_area + offset_of!(JobHeader, flags) as u64;
    let kind = kind(job, memory.read_obj(GuestAddress(flags)).unwrap_or(0), claims);
    let vm = Vm::new(kvm, kind, memory, job.guest_entry)?;
    let budget = Duration::from_nanos(job.budget_ticks);
    let mut case = Case {
        kvm,
        claims,
        kind,
        memory,
        vm,
        job,
        task,
        rival,
        awaited: None,
        timer_fires: false,
        rung: false,
        everything: true,
        of_rival: Report::NONE,
        job_area,
        op: 0,
        at_next_entry: None,
        is_away: false,
        by_signal: false,
        by_cpu_on: false,
        softirqs: None,
        tracer,
        said: Said::default(),
        sweep: Sweep::off(),
        arrivals: Arrivals::default(),
        stops_at_arrival: false,
        deadline: Instant::now() + budget,
    };
    let alarm = Alarm::set(budget);
    case.urge();
    let ran = case.seat_second().and_then(|()| case.run());
    case.end_softirqs();
    // It may run a guest that only the alarm gets it out of.
    let last = case.rival.rest();
    drop(alarm);
    if let Some(second) = case.rival.exchange(None) {
        second.retire(kind);
    }
    if case.is_away {
        rival::pin(0, 0);
    }
    let Case { vm, job, task, said, mut of_rival, .. } = case;
    of_rival.merge(last);
    for report in [std::mem::replace(&mut task.report, Report::NONE), of_rival] {
        report.add_to(&mut job.harm, &mut job.counters, job.disturbed);
    }
    job.end_at = [vm.get(reg::PC).unwrap_or(0), vm.get(reg::PSTATE).unwrap_or(0), 0, 0];
    vm.retire(kind);
    ran.map(|()| said)
}

impl Case<'_> {
    /// Gives the second vCPU of a new VM to the rival, in the place of that of the old one.
    pub(super) fn seat_second(&mut self) -> Result<(), VmError> {
        let second = match self.vm.take_second(self.kvm)? {
            Some(vm) => Some(OtherGuest::beside(vm, self.memory, self.kind.vq_max)?),
            None => None,
        };
        if let Some(old) = self.rival.exchange(second) {
            old.retire(self.kind);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), VmError> {
        while self.job.end == 0 {
            match self.enter() {
                Exit::Write(address, value) => self.write(address, value)?,
                Exit::Read(address) => self.read(address),
                Exit::Call => self.called()?,
                Exit::Step => self.stepped()?,
                Exit::Breakpoint => self.debug(kvm_guest_debug::default())?,
                Exit::Signal if self.is_late() => self.end(End::Budget, 0),
                Exit::Signal => {}
                Exit::Other(end, gave) => self.end(end, gave.to_arg()),
            }
            self.follow_timer()?;
        }
        Ok(())
    }

    /// Whether the budget is used up.
    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Raises or lowers the guest's IRQ as its virtual timer does. Without an interrupt controller of its own KVM leaves
    /// that to its user, and KVM_RUN returns when it changes (Documentation/virt/kvm/api.rst, KVM_CAP_ARM_USER_IRQ).
    fn follow_timer(&mut self) -> Result<(), VmError> {
        // SAFETY: any number is a level, and nothing else of the union is looked at.
        let level = unsafe { self.vm.vcpu.get_kvm_run().s.regs.device_irq_level };
        let fires = level & u64::from(KVM_ARM_DEV_EL1_VTIMER) != 0;
        if fires == self.timer_fires {
            return Ok(());
        }
        self.timer_fires = fires;
        self.set_line()
    }

    /// One KVM_RUN.
    fn enter(&mut self) -> Exit {
        let before = self.awaits().map(|(work, when)| Witness::now(work, when, self.rival));
        self.forget_softirqs();
        let everything = std::mem::take(&mut self.everything);
        let result = match self.at_next_entry.take() {
            Some(check) => {
                let result = self.run_checked(check);
                self.at_next_entry = self.is_away.then_some(check);
                result
            }
            None => self.task.call(&Call::kvm_run(self.vm.vcpu.as_raw_fd()), everything),
        };
        self.count_softirqs();
        // Only what a guest was made to suffer counts, not what happened by itself.
        if let Some(before) = before {
            self.happened(before.until_now());
        }
        if let Err(errno) = result {
            return match errno {
                libc::EINTR | libc::EAGAIN => {
                    alarm::forget();
                    Exit::Signal
                }
                // An access without a valid syndrome to what is no memory.
                libc::ENOSYS => Exit::Other(End::WildAccess, Gave::Error(errno)),
                other => Exit::Other(End::UnknownExit, Gave::Error(other)),
            };
        }
        if self.task.report.times > 0 {
            self.stop_trace();
        }
        let run = self.vm.vcpu.get_kvm_run();
        let unknown = |with| Exit::Other(End::UnknownExit, Gave::Exit { reason: run.exit_reason, with });
        match run.exit_reason {
            KVM_EXIT_MMIO => {
                // SAFETY: the exit's reason says which member of the union the kernel wrote.
                let mmio = unsafe { run.__bindgen_anon_1.mmio };
                if mmio.is_write == 0 {
                    Exit::Read(mmio.phys_addr)
                } else {
                    Exit::Write(mmio.phys_addr, u64::from_le_bytes(mmio.data))
                }
            }
            KVM_EXIT_HYPERCALL => {
                // SAFETY: as above.
                let call = unsafe { run.__bindgen_anon_1.hypercall };
                if call.nr == u64::from(abi::doorbell::CALL) { Exit::Call } else { unknown(call.nr) }
            }
            KVM_EXIT_DEBUG => {
                /// ESR_ELx.EC of BRK.
                const BRK: u32 = 0x3c;
                // SAFETY: as above.
                let debug = unsafe { run.__bindgen_anon_1.debug };
                if debug.arch.hsr >> 26 == BRK { Exit::Breakpoint } else { Exit::Step }
            }
            KVM_EXIT_INTR => Exit::Signal,
            KVM_EXIT_SYSTEM_EVENT => {
                // SAFETY: as above.
                let event = unsafe { run.__bindgen_anon_1.system_event };
                unknown(u64::from(event.type_))
            }
            reason @ (KVM_EXIT_FAIL_ENTRY | KVM_EXIT_INTERNAL_ERROR) => {
                Exit::Other(End::Broken, Gave::Exit { reason, with: 0 })
            }
            _ => unknown(0),
        }
    }

    /// An instruction was executed in an open window.
    fn stepped(&mut self) -> Result<(), VmError> {
        self.job.counters.steps += 1;
        if !self.sweep.steps() {
            return self.arrived();
        }
        if !self.arrivals.is_empty() && self.arrivals.contain(self.vm.get(reg::PC)?) {
            // The breakpoint would stop it here again and again.
            self.arrivals = Arrivals::default();
            self.step_or_not()?;
        }
        if self.sweep.step() {
            let before = self.job.disturbed;
            let kind = Disturbance::from_u64(self.job.sweep_disturbance).unwrap_or(Disturbance::Clobber);
            self.disturb_at_point(kind)?;
            // A point at which nothing happened is none.
            self.job.counters.sweep_points += u64::from(self.job.disturbed > before);
        }
        Ok(())
    }

    /// Sets or clears KVM_GUESTDBG_SINGLESTEP, and the breakpoints where the step may arrive.
    pub(super) fn step_or_not(&self) -> Result<(), VmError> {
        use kvm_bindings::{KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP};
        let control = match (self.sweep.steps(), self.arrivals.is_empty()) {
            (true, _) => KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP,
            (false, false) => KVM_GUESTDBG_ENABLE,
            (false, true) => 0,
        };
        self.debug(self.arrivals.watch(kvm_guest_debug { control, ..Default::default() }))
    }

    /// Sets KVM's debugging of the guest. While there is any, each BRK is taken for the debugger's: for the guest to have
    /// its own there must be none, until the arrival closes the window.
    fn debug(&self, debug: kvm_guest_debug) -> Result<(), VmError> {
        let set = self.vm.vcpu.set_guest_debug(&debug);
        set.map_err(|error| VmError { call: "KVM_SET_GUEST_DEBUG", source: error.into() })
    }

    /// Makes interrupts pending: bit 0 IRQ, bit 1 SError.
    fn pend(&mut self, wanted: u64) -> Result<(), VmError> {
        self.rung = wanted & 1 != 0;
        self.set_line()?;
        if wanted & 2 != 0 {
            self.vm.settle();
            let mut events = self.vm.vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?;
            events.exception.serror_pending = 1;
            self.vm.vcpu.set_vcpu_events(&events).map_err(failed("KVM_SET_VCPU_EVENTS"))?;
        }
        Ok(())
    }

    /// Sets the line of the guest's interrupt: that of its CPU, or one of its GIC's, which then owns that of the CPU.
    pub(super) fn set_line(&self) -> Result<(), VmError> {
        /// KVM_ARM_IRQ_TYPE_CPU, vCPU 0, KVM_ARM_IRQ_CPU_IRQ.
        const CPU_IRQ: u32 = 0;
        /// KVM_ARM_IRQ_TYPE_PPI, vCPU 0.
        const PPI: u32 = 2 << 24;
        let line = if self.kind.gic { PPI | irq_source::LINE_INTID } else { CPU_IRQ };
        // KVM's own GIC gets the timer's by itself.
        let level = self.rung || self.timer_fires && !self.kind.gic;
        self.vm.fd.set_irq_line(line, level).map_err(failed("KVM_IRQ_LINE"))
    }

    /// Ends the case by the last exit, with what it brought.
    fn end_by_exit(&mut self, end: End, with: u64) {
        let reason = self.vm.vcpu.get_kvm_run().exit_reason;
        self.end(end, Gave::Exit { reason, with }.to_arg());
    }

    fn end(&mut self, end: End, argument: u64) {
        self.job.end_arg = argument;
        self.job.end = end as u64;
    }
}
