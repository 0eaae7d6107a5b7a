//! The VMM: runs cases on the KVM of this host, on `kvm-ioctls`.
//!
//! It stands where the reference hypervisor stands: it takes the same [`abi::hyp::HypJob`], answers the same doorbell
//! and reports in the same words. What it cannot know, being outside the hypervisor, stays zero.
//!
//! | module | what |
//! | --- | --- |
//! | [`agent`] | the process: waits for requests in the mailbox |
//! | [`channel`] | how a mailbox is reached: a mapping, or QEMU's semihosting |
//! | [`claims`] | what this KVM says that its guests have |
//! | [`probe`] | what only a guest can find out of it |
//! | [`vm`], [`gic`] | VMs and vCPUs of the kinds that cases ask for; their interrupt controllers |
//! | [`case`], [`alarm`] | one case: KVM_RUN until the payload or the budget ends it |
//! | [`sweep`], [`arrival`] | preemption points: every instruction; before the first of a transition's target |
//! | [`disturb`] | what is done to a vCPU, there and on demand |
//! | [`check`] | what the step `vmm` asks for |
//! | [`witness`] | proof that it happened |
//! | [`task`], [`rival`], [`other`] | a thread as the owner of registers; one that takes the CPU away; another guest |
//! | [`absent`] | pages that a thread, or the kernel for a guest, has to sleep for |
//! | [`debugger`], [`regset`] | a process that writes a thread's registers; how the kernel takes them |
//! | [`softirq`] | SIMD of the host between an exit and the next entry |
//! | [`clocks`] | the timers of a host that was saved |
//! | [`kernel_log`] | what the host kernel said meanwhile |
//! | [`trace`] | the host's trace events of one case |
//! | [`raw`], [`error`] | what `kvm-ioctls` lacks; a call that failed |
#![expect(unsafe_code, reason = "guest memory and register files are handed to the kernel by address")]

mod absent;
mod agent;
mod alarm;
mod arrival;
mod case;
mod channel;
mod check;
mod claims;
mod clocks;
mod debugger;
mod disturb;
mod error;
mod gic;
mod kernel_log;
mod other;
mod probe;
mod raw;
mod regset;
mod rival;
mod softirq;
mod sweep;
mod task;
mod trace;
mod vm;
mod witness;

pub use agent::{init, serve};
