//! The mailbox: requests of the harness, replies of the agent.
//!
//! It lies in slot 0 of the shared file. The agent may be a process of another machine that can only copy parts of the
//! file, so a request names the parts that matter.

use abi::hyp::HypJob;
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::claims::Claims;
use super::complaint::Complaint;
use crate::qemu::command::slot;

/// Where the [`Mail`] is, as an address of guest memory.
pub const ADDRESS: u64 = slot(0);
/// Where the [`HypJob`] is: the VMM takes the job that a hypervisor would, and reports as one.
pub const HYP_JOB: u64 = ADDRESS + 0x1000;
/// Where the text of a reply is.
pub const TEXT: u64 = ADDRESS + 0x10_0000;
/// Bytes that a text may have.
pub const TEXT_MAX: usize = 1 << 20;
/// Parts of the file that a request may name.
pub const PARTS: usize = 8;

/// [`Mail::magic`]: "HOLDMAIL".
pub const MAGIC: u64 = 0x4c49_414d_444c_4f48;

const _: () = assert!(HYP_JOB + size_of::<HypJob>() as u64 <= TEXT);

/// A request, and what became of it.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Mail {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`abi::ABI_VERSION`].
    pub version: u64,
    /// A [`Request`].
    pub request: u64,
    /// Parts in `part`.
    pub parts: u64,
    /// What the agent is to copy out of the file.
    pub part: [Part; PARTS],
    /// Written by the agent: a [`Reply`], 0 before.
    pub reply: u64,
    /// Written by the agent: bytes at [`TEXT`].
    pub text_len: u64,
}

/// A part of the shared file.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Part {
    /// Its first byte, as an address of guest memory.
    pub address: u64,
    /// Its bytes.
    pub len: u64,
}

/// What the agent is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u64)]
pub enum Request {
    /// Take the payload's image (the parts: its segments, the written one last), and say what KVM claims: the text is
    /// [`super::claims::Claims`] as JSON.
    Hello = 1,
    /// Run a case in a fresh VM (the one part: the job). The text is a [`CaseText`] as JSON.
    Case = 2,
    /// The same, with the trace events of the host's KVM on. The text tells them, too.
    Traced = 3,
    /// Answer, and then look at nothing but the mailbox until another request is in it: the machine is saved meanwhile.
    Rest = 4,
    /// Go on after [`Self::Rest`], perhaps as a copy of the machine that rested.
    Resume = 5,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u64)]
pub enum Reply {
    /// It was carried out.
    Done = 1,
    /// KVM, or the agent, could not: the text says why.
    Failed = 2,
}

/// What the agent says when it is greeted.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Greeting {
    /// What KVM claims.
    pub claims: Claims,
    /// Warnings and worse that the host kernel logged of its arm64 code since it booted, where it is an emulated one, and
    /// of anything while it was greeted, one a line.
    pub kernel_log: String,
}

/// What the agent says of a case in words.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CaseText {
    /// Warnings and worse that the host kernel logged meanwhile, one a line.
    pub kernel_log: String,
    /// What KVM did wrong as its user sees it, if the case came to look.
    pub complaints: Vec<Complaint>,
    /// Why a check could not be made.
    pub skipped: Option<Skipped>,
    /// What was traced, if that was asked for.
    pub traced: Option<Traced>,
    /// The host has little memory left, because of the VMs that it was left with: it is not for many more cases.
    pub spent: bool,
}

/// Why a check could not be made.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Skipped {
    /// One of [`abi::skip`].
    pub code: String,
    /// The same in words.
    pub why: String,
}

/// The trace events of a case, as the kernel prints them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Traced {
    /// Why there are none.
    pub absent: Option<String>,
    /// Events that the kernel does not have.
    pub missing: Vec<String>,
    /// The thread that runs the vCPU.
    pub thread: u32,
    /// The last events are those of the access by which the payload began to end the case.
    pub ended: bool,
    /// The last lines of the trace, oldest first.
    pub lines: Vec<String>,
}

impl Request {
    /// The request with this value, if there is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            1 => Some(Self::Hello),
            2 => Some(Self::Case),
            3 => Some(Self::Traced),
            4 => Some(Self::Rest),
            5 => Some(Self::Resume),
            _ => None,
        }
    }
}

impl Reply {
    /// The reply with this value, if there is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            1 => Some(Self::Done),
            2 => Some(Self::Failed),
            _ => None,
        }
    }
}
