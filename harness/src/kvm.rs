//! Linux KVM as the hypervisor under test: the part that any host has.
//!
//! An *agent* drives KVM: this very program on an arm64 Linux host, as a process of its own (`kvm`) or as `/init` of an
//! emulated host (`kvm-qemu`). It and the harness share one file, the one that guest memory of the other targets
//! lies in: a [`mailbox`] in slot 0, and in slot 1 the payload, the job and its records, laid out as for a reference
//! hypervisor. One byte each way starts and ends a request, as with any machine.
//!
//! | module | what |
//! | --- | --- |
//! | [`mailbox`] | what travels between harness and agent |
//! | [`claims`] | what a KVM says that its guests have |
//! | [`complaint`] | what it did wrong as its user sees it |
//! | [`exit`] | how KVM_RUN ended a case |
//! | [`log`] | what a kernel's log says about it |
//! | [`trace`] | what its trace events tell of a case |
//! | [`sme`] | the registers of SME as they are planned |
//! | [`boot`] | an emulated host: kernel, `/init`, QEMU's command line |
//! | [`snapshot`] | such a host, saved, for others to begin with |

pub mod boot;
pub mod claims;
pub mod complaint;
pub mod exit;
pub mod log;
pub mod mailbox;
pub mod sme;
pub mod snapshot;
pub mod trace;
