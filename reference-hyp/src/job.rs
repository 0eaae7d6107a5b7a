//! The life of the hypervisor: start, wait for a job, run it, tell its end.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering, compiler_fence};

use abi::fault::Fault;
use abi::hyp::{Counters, End, Event, Harm, HypJob, flag};
use abi::pattern::Owner as Writer;
use arch::semihosting::{self, Console};
use arch::write;
use zerocopy::FromZeros;

use crate::Hyp;
use crate::bits::hcr;
use crate::config::Config;
use crate::disturb::Neighbors;
use crate::fault::Faults;
use crate::fp::{Cpu, Fp, Owner};
use crate::machine;
use crate::shadow::Shadow;
use crate::stage2::{Stage2, Table};
use crate::statics::Static;
use crate::sweep;
use crate::upper::Stash;
use crate::vcpu::Vcpu;

/// Where the harness finds the job, by this symbol. Neither loaded nor zeroed: the harness writes it.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".noinit.job")]
static HYP_JOB: JobCell = JobCell(UnsafeCell::new(MaybeUninit::uninit()));

#[repr(transparent)]
struct JobCell(UnsafeCell<MaybeUninit<HypJob>>);

// SAFETY: only `Hyp::start` takes a reference, once; `broken` writes through the raw pointer and never returns.
unsafe impl Sync for JobCell {}

/// What does not fit on the stack.
struct Large {
    fp: Fp,
    vcpu: Vcpu,
    upper: Stash,
    stage2: Stage2,
    shadow: Shadow,
    neighbors: Neighbors,
    own_table: Table,
}

static LARGE: Static<Large> = Static::new(Large {
    fp: Fp::new(),
    vcpu: Vcpu::new(),
    upper: Stash::new(),
    stage2: Stage2::new(),
    shadow: Shadow::new(),
    neighbors: Neighbors::new(),
    own_table: Table::new(),
});

/// Whether [`LARGE`] is taken. In `.bss` by itself, so that a reset that starts the image anew clears it.
static TAKEN: AtomicBool = AtomicBool::new(false);

#[unsafe(no_mangle)]
extern "C" fn main(_x0: u64) -> ! {
    write!("hcr_el2", hcr::RW | hcr::E2H);
    arch::sysreg::isb();
    // VBAR_EL2, by its VHE alias.
    write!("S3_0_C12_C0_0", arch::hyp::vectors());
    let Some(mut hyp) = Hyp::start() else { broken(0, 0, 0) };
    if hyp.job.flags & flag::OUTERMOST == 0 {
        hyp.run_job();
        hyp.tell_outermost()
    }
    machine::take_machine();
    hyp.serve()
}

impl Hyp {
    /// Takes the statics and finds out what the CPU has. `None` the second time.
    fn start() -> Option<Self> {
        let Large { fp, vcpu, upper, stage2, shadow, neighbors, own_table } = LARGE.take(&TAKEN)?;
        machine::enable_mmu(own_table);
        let cpu = Cpu::probe();
        fp.poison.fill(Writer::Poison, 0, cpu.vl(), cpu.fpmr);
        fp.clobber.fill(Writer::Clobber, 0, cpu.vl(), cpu.fpmr);
        fp.host_simd.fill(Writer::HostSimd, 0, cpu.vl(), cpu.fpmr);
        // SAFETY: the flag above makes this the only reference.
        let job = unsafe { &mut *HYP_JOB.0.get() };
        // SAFETY: any bytes are a HypJob.
        let job = unsafe { job.assume_init_mut() };
        Some(Self {
            config: Config::none(),
            faults: Faults::new(None),
            job,
            cpu,
            fp,
            vcpu,
            upper,
            stage2,
            shadow,
            neighbors,
            sweep: sweep::State::off(),
            installed: crate::run::Installed::default(),
            vse_given: false,
            l2_vncr: 0,
            in_host_simd: false,
            stepping: false,
            preempt_at: None,
            budget_end: u64::MAX,
            at_next_wait: None,
            guest_timer_fired: false,
            el1_timer_fired: false,
        })
    }

    /// One job for each byte of input, and one byte of output for each job.
    fn serve(&mut self) -> ! {
        let (Some(input), Some(output)) = (Console::input(), Console::output()) else {
            semihosting::complain(c"no semihosting console\n");
            semihosting::exit(2)
        };
        while input.read_byte().is_some() {
            self.run_job();
            arch::sysreg::dsb();
            output.write(b"d");
        }
        semihosting::exit(0)
    }

    /// Runs the case that the harness has laid out.
    fn run_job(&mut self) {
        compiler_fence(Ordering::SeqCst);
        (self.job.counters, self.job.harm) = (Counters::new_zeroed(), Harm::NONE);
        (self.job.end, self.job.end_arg, self.job.trace_head) = (0, 0, 0);
        (self.job.fault_reached, self.job.disturbed, self.job.fault_lines) = (0, 0, [0; 2]);
        let config = Config::read(self.job);
        self.config = config.unwrap_or(Config::none());
        if config.is_none() || (self.config.fault.is_some() && !Faults::available()) {
            return self.end(End::BadJob, 0);
        }
        self.faults = Faults::new(self.config.fault);
        self.fresh_guest();
        self.run();
        self.set_stepping(false);
        compiler_fence(Ordering::SeqCst);
    }

    /// Everything of the case before is gone: registers, translations, deadlines.
    fn fresh_guest(&mut self) {
        self.vcpu.reset(&self.config);
        self.fp.guest.reset();
        self.fp.owner = Owner::Free;
        self.upper.forget();
        self.fp.nested_transition = false;
        if self.config.poison() {
            self.cpu.load(&self.fp.poison, self.cpu.vq);
        }
        self.neighbors.forget();
        self.sweep = sweep::State::off();
        self.make_stage2();
        self.prepare_installation();
        self.vse_given = false;
        self.at_next_wait = None;
        self.reset_guest_timer();
        let now = self.ticks();
        self.budget_end = now.saturating_add(self.config.budget_ticks);
        self.preempt_at = (self.config.preempt_ticks != 0).then(|| now + self.config.preempt_ticks);
        self.arm_timer();
    }

    /// Ends the case.
    pub fn end(&mut self, end: End, argument: u64) {
        self.event(Event::End, [end as u64, argument]);
        let frame = &self.vcpu.frame;
        self.job.end_at = [frame.pc, frame.pstate, frame.far, u64::from(self.vcpu.in_el2)];
        self.job.end_arg = argument;
        self.job.fault_lines = self.faults.lines;
        self.job.end = end as u64;
    }

    /// An inner hypervisor whose guest ended without the doorbell rings it itself.
    fn tell_outermost(&self) -> ! {
        loop {
            arch::sysreg::dsb();
            // SAFETY: the doorbell page is mapped Device, and its END register may be written by anyone.
            unsafe { arch::hyp::ring(abi::doorbell::ADDRESS + abi::doorbell::END, abi::hyp::INNER_ENDED) };
        }
    }

    /// Whether the current case commits `fault` here.
    #[inline]
    pub fn fault(&mut self, fault: Fault) -> bool {
        let commits = self.faults.commit(fault);
        if commits {
            // At once: a fault may be the last thing that this hypervisor does.
            self.job.fault_reached = self.faults.reached;
            self.event(Event::Fault, [fault as u64, 0]);
        }
        commits
    }
}

/// The hypervisor has met an exception of its own. `number` is the vector's.
#[unsafe(no_mangle)]
extern "C" fn hyp_exception(number: u64, esr: u64, elr: u64, far: u64) -> ! {
    let _ = number;
    broken(esr, elr, far)
}

/// Tells what broke, and stops the machine: nothing after it could be trusted.
fn broken(esr: u64, elr: u64, far: u64) -> ! {
    // SAFETY: any bytes are a HypJob, and whoever had the other reference does not run any more.
    let job = unsafe { &mut *HYP_JOB.0.get().cast::<HypJob>() };
    job.end_at = [elr, 0, far, 0];
    job.end_arg = esr;
    job.end = End::Broken as u64;
    arch::sysreg::dsb();
    semihosting::complain(c"reference-hyp: broken\n");
    semihosting::exit(3)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| u64::from(location.line()));
    // The message itself would need formatting code; file and line follow from the trace and this line.
    broken(0, line, 0)
}
