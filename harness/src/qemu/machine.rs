//! One QEMU: its memory, its process, and the handshake that runs a job.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::process::{Command, ExitStatus};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::Qemu;
use super::child::{Child, Received};
use super::command::{MachineConfig, RAM_BASE, RAM_SIZE};
use super::share::CpuShare;
use crate::memory::GuestMemory;

/// The byte that starts a job. Its value says nothing; a printable one shows in a trace of the process.
const START: u8 = b'j';

/// Why there is no machine, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Guest memory cannot be made.
    #[error("cannot make guest memory of {} MiB", RAM_SIZE >> 20)]
    Memory(#[source] io::Error),
    /// QEMU does not start.
    #[error("cannot start QEMU")]
    Start(#[source] io::Error),
    /// Talking to QEMU failed in a way that its death does not explain.
    #[error("cannot talk to QEMU")]
    Pipe(#[source] io::Error),
}

/// How a job ended, as far as the machine knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JobEnd {
    /// The image says that it is over and waits for the next one.
    Answered,
    /// No answer in time. The machine is of no further use.
    TimedOut,
    /// The user wants to stop. The machine is of no further use.
    Stopped,
    /// QEMU is gone.
    Died(ExitStatus),
}

/// What starts a machine.
pub trait Launcher {
    /// The command that starts it around the file of guest memory, which the process inherits under this number, and the
    /// other files that it inherits.
    ///
    /// # Errors
    ///
    /// If one of the files cannot be made.
    fn command(self, memory: RawFd) -> io::Result<(Command, Vec<OwnedFd>)>;
}

/// A bare-metal machine of QEMU: the image in slot 0 runs at once.
impl Launcher for &(&Qemu, MachineConfig) {
    fn command(self, memory: RawFd) -> io::Result<(Command, Vec<OwnedFd>)> {
        let (qemu, config) = self;
        let mut command = qemu.command();
        command.args(config.arguments(&format!("/proc/self/fd/{memory}")));
        Ok((command, Vec::new()))
    }
}

/// A running machine. Dropping it kills QEMU and waits for its end.
///
/// It has to be used by the thread that started it: the kernel kills QEMU when that thread ends.
#[derive(Debug)]
pub struct Machine {
    // Dropped before the memory that it maps, so that nothing writes into it any more.
    child: Child,
    memory: GuestMemory,
}

impl Machine {
    /// The memory of a machine that is to be started: zero, for the images to be loaded into.
    ///
    /// # Errors
    ///
    /// If the system refuses it.
    pub fn new_memory() -> Result<GuestMemory, MachineError> {
        GuestMemory::new(RAM_BASE, RAM_SIZE).map_err(MachineError::Memory)
    }

    /// Starts a machine with this memory. What runs in it is expected to wait for a job.
    ///
    /// # Errors
    ///
    /// If the system refuses the process. A QEMU that does not like its arguments is seen by the first job: it
    /// has died, and its console says why.
    pub fn start(launcher: impl Launcher, memory: GuestMemory) -> Result<Self, MachineError> {
        // The child's own descriptor, by the number that it inherits.
        let file = memory.file().try_clone_to_owned().map_err(MachineError::Memory)?;
        let (command, mut files) = launcher.command(file.as_raw_fd()).map_err(MachineError::Start)?;
        files.push(file);
        let child = Child::spawn(command, files).map_err(MachineError::Start)?;
        Ok(Self { child, memory })
    }

    /// Guest memory. While a job runs the guest may change all of it.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Runs the job that is in memory, and waits for its end.
    ///
    /// # Errors
    ///
    /// If talking to QEMU fails though it lives.
    pub fn run(&mut self, timeout: Duration, stop: &AtomicBool) -> Result<JobEnd, MachineError> {
        match self.child.send(START) {
            Ok(()) => self.wait(timeout, stop),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.died(),
            Err(error) => Err(MachineError::Pipe(error)),
        }
    }

    /// Waits on for the end of a job that ran out of time.
    ///
    /// # Errors
    ///
    /// If talking to QEMU fails though it lives.
    pub fn wait(&mut self, timeout: Duration, stop: &AtomicBool) -> Result<JobEnd, MachineError> {
        let deadline = Instant::now() + timeout;
        match self.child.receive(deadline, stop).map_err(MachineError::Pipe)? {
            Received::Byte(_) => Ok(JobEnd::Answered),
            Received::TimedOut => Ok(JobEnd::TimedOut),
            Received::Stopped => Ok(JobEnd::Stopped),
            Received::Ended => self.died(),
        }
    }

    /// What QEMU has had of the host's CPUs so far.
    #[must_use]
    pub fn cpu_share(&self) -> CpuShare {
        self.child.cpu_share()
    }

    /// What was written to the console since the last call: a stranger's bytes, bounded.
    #[must_use]
    pub fn take_console(&mut self) -> String {
        String::from_utf8_lossy(&self.child.take_console()).into_owned()
    }

    /// The same, which the next call tells again.
    #[must_use]
    pub fn console(&self) -> String {
        String::from_utf8_lossy(self.child.console()).into_owned()
    }

    fn died(&mut self) -> Result<JobEnd, MachineError> {
        self.child.reap().map(JobEnd::Died).map_err(MachineError::Pipe)
    }
}
