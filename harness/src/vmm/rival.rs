//! A second thread of the agent, which takes the CPU from the vCPU's thread while a guest runs.
//!
//! It sleeps for moments, at a real-time priority: each time that it wakes up the kernel preempts the vCPU wherever it
//! is, in the guest as a rule, with its registers live.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use abi::pattern::Owner;
use arch::host::Call;

use super::other::OtherGuest;
use super::task::{Report, Task};

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
}

/// Above that of the vCPU's thread.
const PRIORITY: i32 = 2;

/// How long it sleeps in between. Twice the time that an emulated host takes for a switch there and back.
const MOMENT: Duration = Duration::from_micros(150);

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
    /// The vCPU's thread.
    thread: libc::pid_t,
    /// CPUs of this host.
    cpus: u32,
    /// There is a guest that it can run.
    has_guest: bool,
    /// How often it did its work.
    rounds: AtomicU64,
    /// It is not in the midst of its work.
    resting: AtomicU32,
    report: Mutex<Report>,
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
            work: Mutex::new(Work::Rest),
            changed: Condvar::new(),
            thread,
            cpus,
            has_guest: other.is_some(),
            rounds: AtomicU64::new(0),
            resting: AtomicU32::new(1),
            report: Mutex::new(Report::NONE),
        });
        pin(0, 0);
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || run(&of_thread, other));
        Self(shared)
    }

    /// Sets it to work.
    pub(super) fn work(&self, work: Work) {
        *lock(&self.0.work) = work;
        self.0.changed.notify_all();
    }

    /// Ends its work, and waits until it rests. Returns what it found changed in its registers, or its guest in its own.
    pub(super) fn rest(&self) -> Report {
        let was = std::mem::replace(&mut *lock(&self.0.work), Work::Rest);
        if was != Work::Rest {
            while self.0.resting.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
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
        self.work(work);
        while rounds() == before {
            thread::yield_now();
        }
        self.rest()
    }

    /// How often it did its work.
    pub(super) fn counter(&self) -> &AtomicU64 {
        &self.0.rounds
    }

    /// Whether it has what the work takes: another CPU, another guest.
    pub(super) fn can(&self, work: Work) -> bool {
        match work {
            Work::Rest | Work::Task => true,
            Work::Guest => self.0.has_guest,
            Work::Migrate => self.0.cpus > 1,
        }
    }
}

fn run(shared: &Shared, mut other: Option<OtherGuest>) {
    let nanoseconds = [0, i64::from(MOMENT.subsec_nanos())];
    let moment = Call::sleep(&nanoseconds);
    let mut task = Task::new(Owner::HostTask);
    prefer(PRIORITY);
    let mut there = false;
    loop {
        let work = {
            let mut work = lock(&shared.work);
            while *work == Work::Rest {
                shared.resting.store(1, Ordering::Release);
                work = shared.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
            }
            shared.resting.store(0, Ordering::Release);
            *work
        };
        // On the vCPU's CPU, but to send it away: that needs no preemption.
        pin(0, if work == Work::Migrate { 1 } else { 0 });
        let slept = task.call(&moment, true);
        match work {
            Work::Guest => {
                if let Some(other) = &mut other {
                    other.round(&mut task.report);
                }
            }
            Work::Migrate => {
                there = !there;
                pin(shared.thread, u32::from(there));
            }
            Work::Task | Work::Rest => {}
        }
        if slept.is_ok() {
            shared.rounds.fetch_add(1, Ordering::Release);
        }
        let found = std::mem::replace(&mut task.report, Report::NONE);
        lock(&shared.report).merge(found);
    }
}

/// A mutex here holds one value, which is whole whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Lets the calling thread preempt every one of a lower priority; those of other programs have none.
pub(super) fn prefer(priority: i32) {
    let parameter = libc::sched_param { sched_priority: priority, ..zeroed() };
    // SAFETY: the parameter is read. Where it is not allowed, the scheduler's fairness has to do.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
}

fn zeroed() -> libc::sched_param {
    // SAFETY: the structure holds numbers alone.
    unsafe { std::mem::zeroed() }
}
