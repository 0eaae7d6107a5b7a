//! The agent: a process on the host under test that does what the mailbox asks for.

use std::io::{self, Write as _};
use std::mem::offset_of;
use std::process::ExitCode;

use abi::hyp::HypJob;
use abi::job::JobHeader;
use abi::pattern::Owner;
use kvm_ioctls::Kvm;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::{RebootCommand, reboot};
use vm_memory::{
    Address as _, Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _,
};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::alarm;
use super::case::{self, Said};
use super::channel::{Channel, Emulated, Local};
use super::claims::claims;
use super::clocks;
use super::kernel_log::KernelLog;
use super::other::{self, OtherGuest};
use super::rival::Rival;
use super::task::Task;
use super::trace::Tracer;
use super::vm;
use crate::kvm::claims::Claims;
use crate::kvm::log::ASKS_KVM;
use crate::kvm::mailbox::{self, CaseText, Greeting, Mail, Part, Reply, Request, TEXT_MAX, Traced};
use crate::qemu::command::{SLOT_SIZE, slot};

/// The guest's memory: the one slot of the payload. That of another vCPU is beside it.
const GUEST: u64 = slot(1);

/// What ends the agent.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// As `/init` of an emulated host. Never returns: the host is powered off.
pub fn init() -> ! {
    if let Err(error) = mount_all().and_then(|()| serve_emulated()) {
        say(&format!("agent: {error}"));
    }
    // It fails only for those who may not.
    let _ = reboot(RebootCommand::PowerOff);
    loop {
        std::thread::park();
    }
}

fn mount_all() -> Result<()> {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        // The kernel may have mounted the first one itself.
        if let Err(error) = mount(kind, target, kind, MountFlags::empty(), None)
            && error != rustix::io::Errno::BUSY
        {
            return Err(format!("cannot mount {target}: {error}").into());
        }
    }
    Ok(())
}

/// VMs whose end would take too long stay, with their descriptors.
fn allow_many_files() {
    const FILES: u64 = 1 << 20;
    let limit = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    // A host that does not let us has to do with fewer cases.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Writes to each page. One that was only read is the page of zeroes: the first write to it changes what is mapped there, and
/// for that KVM takes down the shadows of stage 2 of every VM with EL2 that has this memory, whole ones, for seconds each.
fn populate(memory: &GuestMemoryMmap) -> Result<()> {
    const PAGE: usize = 4096;
    for region in memory.iter() {
        for offset in (0..region.len()).step_by(PAGE) {
            memory.write_obj(0_u8, region.start_addr().unchecked_add(offset))?;
        }
    }
    Ok(())
}

fn serve_emulated() -> Result<()> {
    let (log, boot) = KernelLog::since_boot();
    say(ASKS_KVM);
    Agent { channel: Emulated::open()?, log, logged: boot, host: None }.serve()
}

/// As a process beside the harness, with the shared file at `path`.
#[must_use]
pub fn serve(path: &str) -> ExitCode {
    let served = Local::open(path).map_err(Into::into).and_then(|channel| {
        Agent { channel, log: KernelLog::open(), logged: String::new(), host: None }.serve()
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("agent: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// What the agent knows after it was greeted.
struct Host {
    kvm: Kvm,
    claims: Claims,
    /// Used by one VM after the other: it is never unmapped.
    memory: GuestMemoryMmap,
    /// The payload's data before its first instruction, and where it lies.
    pristine: (u64, Vec<u8>),
    task: Task,
    rival: Rival,
}

struct Agent<C> {
    channel: C,
    log: KernelLog,
    /// What the kernel logged before the greeting.
    logged: String,
    host: Option<Host>,
}

impl<C: Channel> Agent<C> {
    /// Until there are no more requests.
    fn serve(&mut self) -> Result<()> {
        alarm::block();
        while self.channel.wait()? {
            let mut mail = Mail::new_zeroed();
            self.channel.read(mailbox::ADDRESS, mail.as_mut_bytes())?;
            if mail.magic != mailbox::MAGIC || mail.version != u64::from(abi::ABI_VERSION) {
                return Err("the mailbox is of another version".into());
            }
            let (reply, text) = match self.request(&mail) {
                Ok(text) => (Reply::Done, text),
                Err(error) => (Reply::Failed, error.to_string()),
            };
            let mut len = text.len().min(TEXT_MAX);
            while !text.is_char_boundary(len) {
                len -= 1;
            }
            self.channel.write(mailbox::TEXT, &text.as_bytes()[..len])?;
            (mail.reply, mail.text_len) = (reply as u64, len as u64);
            self.channel.write(mailbox::ADDRESS, mail.as_bytes())?;
            self.channel.answer()?;
            if mail.request == Request::Rest as u64 {
                self.channel.rest(&|mail| mail.request != Request::Rest as u64)?;
            }
        }
        Ok(())
    }

    fn request(&mut self, mail: &Mail) -> Result<String> {
        let parts = mail.part.get(..usize::try_from(mail.parts)?).ok_or("more parts than there can be")?;
        match Request::from_u64(mail.request).ok_or("an unknown request")? {
            Request::Hello => {
                let host = self.greet(parts)?;
                let kernel_log = std::mem::take(&mut self.logged) + &self.log.take();
                let greeting = Greeting { claims: host.claims.clone(), kernel_log };
                self.host = Some(host);
                Ok(serde_json::to_string(&greeting)?)
            }
            Request::Rest => Ok(String::new()),
            Request::Resume => {
                clocks::wake(self.host.as_ref().ok_or("no greeting")?.claims.cpus)?;
                // What the host thinks of having been saved is no case's.
                drop(self.log.take());
                Ok(String::new())
            }
            request @ (Request::Case | Request::Traced) => {
                let [part] = parts else { return Err("a case has one part".into()) };
                let tracer = (request == Request::Traced).then(Tracer::start);
                let said = self.case(part, tracer.as_ref().and_then(|tracer| tracer.as_ref().ok()));
                let traced = tracer.map(|tracer| {
                    tracer.map_or_else(|why| Traced { absent: Some(why), ..Traced::default() }, Tracer::end)
                });
                let Said { complaints, skipped } = said?;
                let kernel_log = self.log.take();
                let spent = vm::left_little_memory();
                Ok(serde_json::to_string(&CaseText { kernel_log, complaints, skipped, traced, spent })?)
            }
        }
    }

    fn greet(&mut self, parts: &[Part]) -> Result<Host> {
        allow_many_files();
        let kvm = Kvm::new().map_err(|error| format!("cannot open /dev/kvm: {error}"))?;
        let memory = GuestMemoryMmap::from_ranges(&[
            (GuestAddress(GUEST), SLOT_SIZE as usize),
            (GuestAddress(other::BASE), other::SIZE),
        ])?;
        populate(&memory)?;
        let mut pristine = (0, Vec::new());
        for part in parts {
            let mut bytes = vec![0; usize::try_from(part.len.min(SLOT_SIZE))?];
            self.channel.read(part.address, &mut bytes)?;
            memory.write_slice(&bytes, GuestAddress(part.address))?;
            pristine = (part.address, bytes);
        }
        let claims = claims(&kvm);
        // A host that has no room for a second VM has nothing to disturb with.
        let rival = Rival::start(claims.cpus, OtherGuest::new(&kvm, &claims, 0).ok());
        Ok(Host { claims, kvm, memory, pristine, task: Task::new(Owner::HostTask), rival })
    }

    fn case(&mut self, part: &Part, tracer: Option<&Tracer>) -> Result<Said> {
        let Self { channel, host, .. } = self;
        let host = host.as_mut().ok_or("a case before the greeting")?;
        let Host { kvm, claims, memory, pristine, task, rival } = host;
        let mut job = HypJob::new_zeroed();
        channel.read(mailbox::HYP_JOB, &mut job.as_mut_bytes()[..offset_of!(HypJob, end)])?;
        // What the harness reads is what this case comes to.
        job.as_mut_bytes()[offset_of!(HypJob, end)..].fill(0);
        let mut bytes = vec![0; usize::try_from(part.len.min(SLOT_SIZE))?];
        channel.read(part.address, &mut bytes)?;
        memory.write_slice(&pristine.1, GuestAddress(pristine.0))?;
        memory.write_slice(&bytes, GuestAddress(part.address))?;

        let said = case::run(kvm, claims, (memory, part.address), &mut job, (task, rival), tracer)?;

        let mut header = JobHeader::new_zeroed();
        memory.read_slice(header.as_mut_bytes(), GuestAddress(part.address))?;
        channel.write(part.address, header.as_bytes())?;
        for (offset, used) in
            [(header.ring_offset, header.ring_used), (header.sweep_ring_offset, header.sweep_ring_used)]
        {
            // The harness refuses lengths that make no sense: they only must not be followed here.
            let used = usize::try_from(used.min(u64::from(header.ring_len)))?;
            let mut ring = vec![0; used];
            let address = part.address + u64::from(offset);
            memory.read_slice(&mut ring, GuestAddress(address))?;
            channel.write(address, &ring)?;
        }
        channel.write(mailbox::HYP_JOB, &job.as_bytes()[..offset_of!(HypJob, trace)])?;
        Ok(said)
    }
}
