//! The signal that ends a KVM_RUN when a case's time is over.
//!
//! It is blocked in every thread, and let through by KVM_RUN alone ([`let_through`]): none comes too early to be seen, and none
//! has a frame. A frame would save and restore the thread's registers once more than the case asks for, and Linux 6.9 to 6.15
//! saves a wrong FPMR in it.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use kvm_ioctls::VcpuFd;

/// How often the alarm rings once the budget is used up.
const ALARM: Duration = Duration::from_millis(20);

/// Interrupts the KVM_RUN of this process when a time is over, again and again until it is dropped.
pub(super) struct Alarm;

impl Alarm {
    pub(super) fn set(after: Duration) -> Self {
        set_timer(after.max(Duration::from_micros(1)), ALARM);
        Self
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        set_timer(Duration::ZERO, Duration::ZERO);
        forget();
    }
}

/// Keeps the alarm from this thread and those that it starts.
pub(super) fn block() {
    let set = only();
    // SAFETY: the set is read, and nothing is written back.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Takes an alarm that rang: the next KVM_RUN would end at once. Returns whether there was one.
pub(super) fn forget() -> bool {
    let set = only();
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut rang = false;
    // SAFETY: both are read, and nothing is written back.
    while unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const at_once) } > 0 {
        rang = true;
    }
    rang
}

/// Has every signal end a KVM_RUN of this vCPU, those that its thread blocks, too: KVM_SET_SIGNAL_MASK, `_IOW(KVMIO, 0x8b, struct
/// kvm_signal_mask)` (`include/uapi/linux/kvm.h`). When KVM_RUN is over they are blocked again, and stay pending.
pub(super) fn let_through(vcpu: &VcpuFd) {
    const KVM_SET_SIGNAL_MASK: libc::c_int = 0x4004_ae8b;
    /// `struct kvm_signal_mask` of no signal. The kernel's own set has 64 bits.
    #[repr(C)]
    struct Mask {
        len: u32,
        set: [u8; 8],
    }
    let none = Mask { len: 8, set: [0; 8] };
    // A vCPU that it fails for runs out of time unseen, until the harness loses patience.
    // SAFETY: the mask is read.
    unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_SET_SIGNAL_MASK, &raw const none) };
}

fn only() -> libc::sigset_t {
    // SAFETY: all zero is an empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is written.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGALRM) };
    set
}

fn set_timer(first: Duration, then: Duration) {
    let time = |time: Duration| libc::timeval {
        tv_sec: time.as_secs().min(1 << 31).cast_signed(),
        tv_usec: i64::from(time.subsec_micros()),
    };
    let timer = libc::itimerval { it_interval: time(then), it_value: time(first) };
    // SAFETY: the timer is read, and nothing is written back.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}
