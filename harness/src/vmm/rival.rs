//! A second thread of the agent, which takes the CPU from the vCPU's thread while a guest runs.
//!
//! It sleeps for moments, at a real-time priority: each time that it wakes up the kernel preempts the vCPU wherever it
//! is, in the guest as a rule, with its registers live. It leaves the vCPU as much time as it took: time passes on an emulated
//! host while others have the CPUs below it, and whoever gets the CPU for mere moments may get nothing done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use abi::pattern::Owner;
use arch::host::{self, Call, Image};

use super::other::OtherGuest;
use super::softirq::Traffic;
use super::task::{self, Report, Task, Unit};

/// What the rival does each time that it wakes up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Work {
    /// Nothing: it waits until there is something.
    Rest,
    /// It uses every FP register, as a task of its own.
    Task,
    /// It runs another guest.
    Guest,
    /// It sends the vCPU's thread to the other CPU.
    Migrate,
    /// It sends it a signal.
    Signal,
    /// From the other CPU, it gives the kernel something to decrypt on the vCPU's.
    Simd,
}

/// When the rival does it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum When {
    /// At once: it preempts the vCPU's thread.
    Now,
    /// While that thread sleeps: what does not is not preempted.
    Asleep,
}

/// How long it sleeps in between. Twice the time that an emulated host takes for a switch there and back.
const MOMENT: Duration = Duration::from_micros(150);

/// What the two threads tell each other.
#[derive(Debug)]
struct Order {
    work: Work,
    when: When,
    /// The rival is not in the midst of its work.
    rests: bool,
}

#[derive(Debug)]
struct Shared {
    order: Mutex<Order>,
    /// The order, or the number of rounds.
    changed: Condvar,
    /// The vCPU's thread.
    thread: libc::pid_t,
    /// CPUs of this host.
    cpus: u32,
    /// There is a guest that it can run.
    has_guest: bool,
    /// Another vCPU of the VM under test, which it runs after that guest.
    second: Mutex<Option<OtherGuest>>,
    /// How often it did its work.
    rounds: AtomicU64,
    report: Mutex<Report>,
    /// What it sends, from the first time on that it is asked to; or what the host lacks.
    traffic: OnceLock<Result<Traffic, String>>,
}

/// The thread.
#[derive(Clone, Debug)]
pub(super) struct Rival(Arc<Shared>);

impl Rival {
    /// Starts the thread, beside the calling one, which runs vCPUs. `other` is the guest that it may run.
    pub(super) fn start(cpus: u32, other: Option<OtherGuest>) -> Self {
        // SAFETY: it only tells.
        let thread = unsafe { libc::gettid() };
        let shared = Arc::new(Shared {
            order: Mutex::new(Order { work: Work::Rest, when: When::Now, rests: true }),
            changed: Condvar::new(),
            thread,
            cpus,
            has_guest: other.is_some(),
            second: Mutex::new(None),
            rounds: AtomicU64::new(0),
            report: Mutex::new(Report::NONE),
            traffic: OnceLock::new(),
        });
        pin(0, 0);
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || run(&of_thread, other));
        Self(shared)
    }

    /// Sets it to work.
    pub(super) fn work(&self, work: Work, when: When) {
        let mut order = lock(&self.0.order);
        (order.work, order.when) = (work, when);
        drop(order);
        self.0.changed.notify_all();
    }

    /// Ends its work, and waits until it rests. Returns what it found changed in its registers, or its guest in its own.
    pub(super) fn rest(&self) -> Report {
        let mut order = lock(&self.0.order);
        let was = std::mem::replace(&mut order.work, Work::Rest);
        if was != Work::Rest {
            self.0.changed.notify_all();
            // Asleep: it may be of a lower priority.
            drop(wait_while(&self.0.changed, order, |order| !order.rests));
            if was == Work::Migrate {
                pin(0, 0);
            }
        }
        std::mem::replace(&mut *lock(&self.0.report), Report::NONE)
    }

    /// Lets it do its work once, at least, and waits until it rests. Returns what [`Self::rest`] does.
    pub(super) fn once(&self, work: Work) -> Report {
        let rounds = || self.0.rounds.load(Ordering::Acquire);
        let before = rounds();
        self.work(work, When::Now);
        drop(wait_while(&self.0.changed, lock(&self.0.order), |_| rounds() == before));
        self.rest()
    }

    /// Gives it another vCPU of the VM under test to run, or takes the one that it has. Returns that one.
    pub(super) fn exchange(&self, second: Option<OtherGuest>) -> Option<OtherGuest> {
        std::mem::replace(&mut lock(&self.0.second), second)
    }

    /// How often it did its work.
    pub(super) fn counter(&self) -> &AtomicU64 {
        &self.0.rounds
    }

    /// Whether it has what the work takes: another CPU, another guest, a network. If not, what is missing.
    pub(super) fn can(&self, work: Work) -> Result<(), &str> {
        let there = |is_there: bool, what| if is_there { Ok(()) } else { Err(what) };
        let other_cpu = there(self.0.cpus > 1, "the host has one CPU");
        match work {
            Work::Rest | Work::Task | Work::Signal => Ok(()),
            Work::Guest => there(self.0.has_guest, "the host has no room for another guest"),
            Work::Migrate => other_cpu,
            Work::Simd => other_cpu.and(self.traffic().map(drop)),
        }
    }

    /// What has the kernel use SIMD in softirqs of the vCPU's CPU. The first call prepares the host.
    pub(super) fn traffic(&self) -> Result<&Traffic, &str> {
        self.0.traffic.get_or_init(Traffic::start).as_ref().map_err(String::as_str)
    }
}

impl Shared {
    /// Rests until there is something to do, or to be done once more: at once, or after this pause.
    fn next(&self, pause: Duration) -> (Work, When) {
        let mut order = lock(&self.order);
        let was = (order.work, order.when);
        order.rests = true;
        self.changed.notify_all();
        if was.0 != Work::Rest {
            let as_it_was = |order: &mut Order| (order.work, order.when) == was;
            let woken = self.changed.wait_timeout_while(order, pause, as_it_was);
            order = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut order = wait_while(&self.changed, order, |order| order.work == Work::Rest);
        order.rests = false;
        (order.work, order.when)
    }
}

fn run(shared: &Shared, mut other: Option<OtherGuest>) {
    let nanoseconds = [0, i64::from(MOMENT.subsec_nanos())];
    let moment = Call::sleep(&nanoseconds);
    let mut task = Task::new(Owner::HostTask);
    let mut there = false;
    let mut pause = Duration::ZERO;
    prefer(When::Now);
    loop {
        let (work, when) = shared.next(pause);
        let begun = Instant::now();
        if when == When::Asleep {
            prefer(When::Asleep);
        }
        // On the vCPU's CPU, but for what needs no preemption.
        pin(0, u32::from(matches!(work, Work::Migrate | Work::Simd)));
        let slept = task.call(&moment, true);
        match work {
            Work::Guest => {
                if let Some(other) = &mut other {
                    other.round(&mut task.report);
                }
                if let Some(second) = &mut *lock(&shared.second) {
                    second.round(&mut task.report);
                }
            }
            Work::Migrate => {
                there = !there;
                pin(shared.thread, u32::from(there));
            }
            Work::Signal => signal(shared.thread),
            Work::Simd => {
                if let Some(Ok(traffic)) = shared.traffic.get() {
                    traffic.send();
                }
            }
            Work::Task | Work::Rest => {}
        }
        if when == When::Asleep {
            // To be heard when it is called next.
            prefer(When::Now);
        }
        let found = std::mem::replace(&mut task.report, Report::NONE);
        lock(&shared.report).merge(found);
        if slept.is_ok() {
            let order = lock(&shared.order);
            shared.rounds.fetch_add(1, Ordering::Release);
            drop(order);
            shared.changed.notify_all();
        }
        // One that waits for the vCPU to sleep takes nothing from it.
        pause = if when == When::Now { begun.elapsed() } else { Duration::ZERO };
    }
}

/// A mutex here holds one value, which is whole whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_while<'a>(
    changed: &Condvar,
    order: MutexGuard<'a, Order>,
    is_so: impl Fn(&Order) -> bool,
) -> MutexGuard<'a, Order> {
    changed.wait_while(order, |order| is_so(order)).unwrap_or_else(PoisonError::into_inner)
}

/// Signals that were handled.
static SIGNALS: AtomicU64 = AtomicU64::new(0);

/// How many signals of [`Work::Signal`] have been handled.
pub(super) fn signals() -> &'static AtomicU64 {
    &SIGNALS
}

/// Uses every register, as a handler may: the kernel gives the thread its own back (Documentation/arch/arm64/sve.rst,
/// "Signal return").
extern "C" fn handle(_: libc::c_int) {
    const GENERATION: u16 = 7;
    let unit = Unit::of_this_thread();
    let image = task::image(Owner::HostTask, GENERATION, unit.vl, unit.fpmr);
    let mut found = Image::ZERO;
    // SAFETY: the CPU has what is used.
    unsafe { host::hold(&image, &mut found, unit.uses(), &SIGNALS, SIGNALS.load(Ordering::Relaxed), 1) };
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Sends the thread a signal.
fn signal(thread: libc::pid_t) {
    // SAFETY: all zero is a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // KVM_RUN returns all the same.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler makes one system call that may be made in one, and touches nothing but its own.
    unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    // SAFETY: the thread is one of this process.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, libc::SIGUSR1) };
}

/// Binds a thread (0: the calling one) to a CPU.
pub(super) fn pin(thread: libc::pid_t, cpu: u32) {
    // SAFETY: all zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set has room for a thousand CPUs.
    unsafe { libc::CPU_SET(cpu as usize, &mut set) };
    // SAFETY: the set is read. A CPU that is not there is an error, and nothing changes.
    unsafe { libc::sched_setaffinity(thread, size_of_val(&set), &raw const set) };
}

/// Lets the calling thread go before all others but the rival at its work, or not.
pub(super) fn urge(on: bool) {
    // SAFETY: a number of the scheduler's, for where a real-time priority is not allowed.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, if on { -20 } else { 0 }) };
    if on { schedule(libc::SCHED_FIFO, 1) } else { schedule(libc::SCHED_OTHER, 0) }
}

/// Lets the calling thread preempt every other one, or be preempted by each.
fn prefer(when: When) {
    match when {
        When::Now => schedule(libc::SCHED_FIFO, 2),
        When::Asleep => schedule(libc::SCHED_IDLE, 0),
    }
}

fn schedule(policy: libc::c_int, priority: libc::c_int) {
    let parameter = libc::sched_param { sched_priority: priority, ..zeroed() };
    // Not by the function of this name: musl's answers ENOSYS, because POSIX wants it to mean a process.
    // SAFETY: the parameter is read. Where it is not allowed, the scheduler's fairness has to do.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameter) };
}

fn zeroed() -> libc::sched_param {
    // SAFETY: the structure holds numbers alone.
    unsafe { std::mem::zeroed() }
}
