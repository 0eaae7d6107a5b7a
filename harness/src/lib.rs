//! Everything that runs on the host: targets and their machines, the runner, verdicts, the event log, reports and
//! the `holdfast` command.
//!
//! | module | what |
//! | --- | --- |
//! | [`suite`], [`expectations`] | the scenarios that are part of this program, and what is known not to pass |
//! | [`options`], [`target`], [`image`], [`memory`], [`qemu`], [`limits`] | what runs the payload, and how |
//! | [`kvm`], `vmm` | Linux KVM as the hypervisor under test: from any host; on an arm64 one |
//! | [`debian`], [`kernel`] | the packages of Debian, for what this machine lacks; arm64 kernels by name |
//! | [`runner`], [`result`], [`window`] | many cases on few machines; what each gave; how long a sweep's windows are |
//! | [`recorder`], [`events`], [`run_folder`] | what a run leaves: one log, written once |
//! | [`report`], [`diagnose`] | reports as functions of the log; addresses, syndromes and traces in words |
//! | [`cli`], [`progress`], [`doctor`], [`mod@bench`] | the command |

#![deny(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod debian;
pub mod diagnose;
pub mod doctor;
pub mod events;
pub mod expectations;
pub mod image;
pub mod kernel;
pub mod kvm;
pub mod limits;
pub mod memory;
pub mod options;
mod path;
pub mod progress;
pub mod qemu;
pub mod recorder;
pub mod report;
pub mod result;
pub mod run_folder;
pub mod runner;
pub mod suite;
pub mod target;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub mod vmm;
pub mod window;
