//! Linux KVM as a target: what it claims, and how an agent is started and greeted.

use std::collections::HashMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use abi::skip;
use model::machine::{Claimed, Lengths, Machine, Substrate, Unavailable};
use model::scenario::step::{Cpu, GuestSpec, L1Mode};

use super::{Target, VL_MAX};
use crate::kvm::boot::{Beginning, Host, KvmMode};
use crate::kvm::claims::{Claims, GuestClaims};
use crate::kvm::mailbox::{self, CaseText, Greeting, Mail, Part, Reply, Request};
use crate::kvm::snapshot::Snapshot;
use crate::limits;
use crate::memory::{GuestMemory, OutOfRange};
use crate::qemu::Qemu;
use crate::qemu::command::MachineConfig;
use crate::qemu::machine::Launcher;
use crate::target::OutcomeError;

/// The KVM under test. Cases are compiled against what it claims, so it has to be greeted first.
#[derive(Debug)]
pub struct Kvm {
    /// The emulated host; none for the KVM of this one.
    host: Option<Host>,
    claims: OnceLock<Claims>,
    snapshots: Mutex<Snapshots>,
}

/// Hosts that were booted and saved.
#[derive(Debug, Default)]
struct Snapshots {
    of: HashMap<MachineConfig, Arc<Snapshot>>,
    /// How often in a row one could not be used.
    failures: u32,
    /// Why there will be no more.
    given_up: Option<String>,
}

impl Kvm {
    pub(super) fn new(host: Option<Host>) -> Self {
        Self { host, claims: OnceLock::new(), snapshots: Mutex::default() }
    }

    /// A saved host of this kind.
    #[must_use]
    pub fn snapshot(&self, config: &MachineConfig) -> Option<Arc<Snapshot>> {
        self.snapshots().of.get(config).map(Arc::clone)
    }

    /// Whether a host of this kind is to be saved as soon as it has booted.
    #[must_use]
    pub fn saves(&self, config: &MachineConfig) -> bool {
        let snapshots = self.snapshots();
        // A CPU's clock is brought back by another one: the agent's `clocks`.
        self.host.as_ref().is_some_and(|host| host.cpus > 1)
            && self.claims.get().is_none_or(|claims| claims.cpus > 1)
            && snapshots.given_up.is_none()
            && !snapshots.of.contains_key(config)
    }

    /// Keeps a saved host for the machines to come.
    pub fn keep(&self, config: MachineConfig, snapshot: Snapshot) {
        self.snapshots().of.entry(config).or_insert_with(|| Arc::new(snapshot));
    }

    /// One was used.
    pub fn snapshot_worked(&self) {
        self.snapshots().failures = 0;
    }

    /// One could not be used, or made: after [`limits::START_FAILURES`] of this, hosts boot.
    pub fn snapshot_failed(&self, why: String) {
        let mut snapshots = self.snapshots();
        snapshots.failures += 1;
        if snapshots.failures >= limits::START_FAILURES {
            snapshots.of.clear();
            snapshots.given_up.get_or_insert(why);
        }
    }

    /// Why hosts boot though they might have been saved.
    #[must_use]
    pub fn no_snapshots(&self) -> Option<String> {
        self.snapshots().given_up.clone()
    }

    fn snapshots(&self) -> MutexGuard<'_, Snapshots> {
        // It is whole after every operation.
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the first agent that was greeted told.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.get()
    }

    /// The emulated host; none for the KVM of this one.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// The machine that a guest sees.
    pub(super) fn machine(&self, guest: &GuestSpec) -> Result<Machine, Unavailable> {
        let unavailable = |code, why: String| Unavailable { code, why };
        let claims = self
            .claims
            .get()
            .ok_or_else(|| unavailable(skip::NO_HOOK, "KVM was not asked what it has".to_owned()))?;
        let (name, claimed) = match (guest.l1, guest.sve) {
            (Some(L1Mode::Vhe), _) => ("el2", claims.el2),
            (Some(L1Mode::Nvhe), _) => ("el2-e2h0", claims.el2_e2h0),
            (None, true) => ("sve", claims.sve),
            (None, false) => ("plain", claims.plain),
        };
        let Some(claimed) = claimed else {
            let why = claims.refused.iter().find(|(refused, _)| refused == name);
            let why = why.map_or("the kernel gives no reason", |(_, why)| why.as_str());
            let code = if guest.l1.is_some() { skip::NO_EL2 } else { skip::FEATURE_ABSENT };
            return Err(unavailable(code, format!("KVM has no such guest ({name}): {why}")));
        };
        let sme = self.host.as_ref().is_some_and(|host| host.sve_max > 0);
        let substrate = Substrate { qemu: self.host.is_some(), sve: claims.sve.is_some(), sme };
        let claimed = Claimed { choices: claims.choices(), ..self.claimed(&claimed, guest.cpu) };
        Machine::kvm(&claimed, substrate, guest)
    }

    /// What a guest becomes that asks for no vector length in particular, where there is none as large as the usual: one with
    /// the largest that there is. None if that changes nothing.
    pub(super) fn fit(&self, guest: &GuestSpec) -> Option<GuestSpec> {
        let usual = GuestSpec::default().vl_max;
        let claims = self.claims.get()?;
        let claimed = match guest.l1 {
            None => claims.sve,
            Some(L1Mode::Vhe) => claims.el2,
            Some(L1Mode::Nvhe) => claims.el2_e2h0,
        };
        let largest = u32::from(self.claimed(&claimed?, guest.cpu).lengths.max()?) * 128;
        (guest.sve && guest.vl_max == usual && largest < usual)
            .then(|| GuestSpec { vl_max: largest, ..guest.clone() })
    }

    /// The lengths are those that the emulated CPU is configured with; the KVM of this host can only be asked.
    fn claimed(&self, claims: &GuestClaims, cpu: Cpu) -> Claimed {
        let claimed = claims.claimed();
        match &self.host {
            Some(host) if claimed.lengths.max().is_some() => {
                Claimed { lengths: Lengths::of_cpu(cpu, host.sve_max.min(VL_MAX)), ..claimed }
            }
            _ => claimed,
        }
    }
}

impl Kvm {
    /// What starts an agent.
    #[must_use]
    pub fn launcher<'a>(
        &'a self,
        qemu: &'a Qemu,
        config: MachineConfig,
        beginning: Beginning,
    ) -> AgentLauncher<'a> {
        AgentLauncher { kvm: self, qemu, config, beginning }
    }
}

/// What starts the agent: an emulated host, or this program itself.
#[derive(Debug)]
pub struct AgentLauncher<'a> {
    kvm: &'a Kvm,
    qemu: &'a Qemu,
    config: MachineConfig,
    beginning: Beginning,
}

impl Launcher for AgentLauncher<'_> {
    fn command(self, memory: RawFd) -> io::Result<(Command, Vec<OwnedFd>)> {
        match &self.kvm.host {
            Some(host) => host.command(self.qemu, self.config.cpu, memory, self.beginning),
            None => {
                let mut command = Command::new("/proc/self/exe");
                command.arg("agent").arg(format!("/proc/self/fd/{memory}"));
                Ok((command, Vec::new()))
            }
        }
    }
}

impl Target {
    /// Asks the agent for something that has no parts.
    ///
    /// # Errors
    ///
    /// If the memory has no mailbox.
    pub fn ask(&self, memory: &GuestMemory, request: Request) -> Result<(), OutcomeError> {
        Ok(memory.write_value(mailbox::ADDRESS, &mail(request, std::iter::empty()))?)
    }

    /// The mail that the agent finds first.
    pub(super) fn greeting(&self) -> Mail {
        let payload = self.payload();
        let parts = payload.image.parts().map(|(address, len)| Part { address: payload.base + address, len });
        mail(Request::Hello, parts)
    }

    /// The mail of a case whose job is this long.
    pub(super) fn case(&self, len: u64) -> Mail {
        mail(Request::Case, std::iter::once(Part { address: self.job_area.0, len }))
    }

    /// Asks for the job that was prepared with the trace events of the host's KVM on.
    ///
    /// # Errors
    ///
    /// If guest memory is too small.
    pub fn ask_for_trace(&self, memory: &GuestMemory) -> Result<(), OutOfRange> {
        let mail: Mail = memory.read_value(mailbox::ADDRESS)?;
        memory.write_value(mailbox::ADDRESS, &Mail { request: Request::Traced as u64, ..mail })
    }

    /// Takes the answer to a request that has no result.
    ///
    /// # Errors
    ///
    /// If the agent could not do it.
    pub fn done(&self, memory: &GuestMemory) -> Result<(), OutcomeError> {
        answer(memory).map(drop)
    }

    /// Takes the answer to the greeting; returns what the host's kernel logged of KVM so far.
    ///
    /// # Errors
    ///
    /// If the agent could not do its work, or says nothing that makes sense.
    pub fn greeted(&self, memory: &GuestMemory) -> Result<String, OutcomeError> {
        let text = answer(memory)?;
        let Greeting { claims, kernel_log } =
            serde_json::from_str(&text).map_err(|error| OutcomeError::Agent(format!("claims: {error}")))?;
        if let Some(kvm) = &self.kvm {
            if let Some(host) = &kvm.host {
                in_mode(&claims, host.mode)?;
            }
            // Every machine of a run is alike: the first one speaks for all.
            let _ = kvm.claims.set(claims);
        }
        Ok(kernel_log)
    }
}

/// A kernel that does not know a mode, or cannot have it, comes up in another one and says so in its log alone: what was
/// then certified would not be what was asked for. A kernel without guests with EL2 says so of each case that needs one.
fn in_mode(claims: &Claims, asked: KvmMode) -> Result<(), OutcomeError> {
    let is_in = match asked {
        KvmMode::Protected => claims.is_protected(),
        // That of Linux 6.1 calls itself "Hyp mode".
        KvmMode::Nvhe => !claims.mode.starts_with("VHE"),
        // One without nested mode says so of each case that needs it.
        KvmMode::Vhe | KvmMode::Nested => claims.mode.starts_with("VHE"),
    };
    if is_in {
        return Ok(());
    }
    let (asked, mode) = (asked.name(), &claims.mode);
    Err(OutcomeError::Agent(format!("KVM was to be in mode {asked}, and the kernel says: {mode}")))
}

fn mail(request: Request, parts: impl Iterator<Item = Part>) -> Mail {
    let mut mail = Mail {
        magic: mailbox::MAGIC,
        version: u64::from(abi::ABI_VERSION),
        request: request as u64,
        ..Mail::default()
    };
    for (place, part) in mail.part.iter_mut().zip(parts) {
        *place = part;
        mail.parts += 1;
    }
    mail
}

/// What the agent says of a case.
pub(super) fn case_text(memory: &GuestMemory) -> Result<CaseText, OutcomeError> {
    serde_json::from_str(&answer(memory)?).map_err(|error| OutcomeError::Agent(format!("case: {error}")))
}

/// The text of the agent's reply.
fn answer(memory: &GuestMemory) -> Result<String, OutcomeError> {
    let mail: Mail = memory.read_value(mailbox::ADDRESS)?;
    let len = usize::try_from(mail.text_len).unwrap_or(usize::MAX).min(mailbox::TEXT_MAX);
    let mut text = vec![0; len];
    memory.read(mailbox::TEXT, &mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    match Reply::from_u64(mail.reply) {
        Some(Reply::Done) => Ok(text),
        Some(Reply::Failed) => Err(OutcomeError::Agent(text)),
        None => Err(OutcomeError::Agent("it answered without a reply".to_owned())),
    }
}
