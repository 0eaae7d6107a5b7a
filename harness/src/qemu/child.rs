//! A child process that answers bytes with bytes and never outlives its owner.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child as Process, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use super::share::CpuShare;
use crate::limits;

/// What came of waiting for a byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Received {
    /// The byte.
    Byte(u8),
    /// Nothing until the deadline.
    TimedOut,
    /// The user wants to stop.
    Stopped,
    /// The process closed its output: it is gone, or soon will be.
    Ended,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    input: ChildStdin,
    output: ChildStdout,
    /// Standard error, until its end.
    errors: Option<ChildStderr>,
    console: Vec<u8>,
    /// Bytes of the console beyond the limit.
    lost: u64,
}

impl Child {
    /// Starts a process that inherits `files` under their numbers in this process.
    ///
    /// The kernel kills it when the calling *thread* ends, however that happens, so the thread that starts it
    /// has to be the one that uses it.
    #[expect(
        unsafe_code,
        reason = "only between fork and exec can a child ask for its parent's death signal"
    )]
    pub(super) fn spawn(mut command: Command, files: Vec<OwnedFd>) -> io::Result<Self> {
        let parent = getpid();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C goes to the foreground group: it is for the harness to decide what becomes of its machines.
        command.process_group(0);
        let before_exec = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(parent) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            for file in &files {
                fcntl_setfd(file, FdFlags::empty())?;
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls alone, and neither allocates nor locks.
        unsafe { command.pre_exec(before_exec) };
        let mut process = command.spawn()?;
        match (process.stdin.take(), process.stdout.take(), process.stderr.take()) {
            (Some(input), Some(output), Some(errors)) => {
                Ok(Self { process, input, output, errors: Some(errors), console: Vec::new(), lost: 0 })
            }
            _ => unreachable!("all three streams were asked for"),
        }
    }

    /// Sends a byte. Nothing but the process's death makes this fail.
    pub(super) fn send(&mut self, byte: u8) -> io::Result<()> {
        self.input.write_all(&[byte])
    }

    /// Waits for a byte, and collects the console meanwhile.
    pub(super) fn receive(&mut self, deadline: Instant, stop: &AtomicBool) -> io::Result<Received> {
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(Received::Stopped);
            }
            let now = Instant::now();
            let wait = deadline.saturating_duration_since(now).min(limits::STOP_LATENCY);
            let (output, errors) = self.ready(wait)?;
            if errors {
                self.read_console()?;
            }
            if output {
                let mut byte = [0];
                return Ok(match self.output.read(&mut byte)? {
                    0 => Received::Ended,
                    _ => Received::Byte(byte[0]),
                });
            }
            if now >= deadline {
                return Ok(Received::TimedOut);
            }
        }
    }

    /// What its threads have had of the host's CPUs so far, but for those that have ended.
    pub(super) fn cpu_share(&self) -> CpuShare {
        CpuShare::of(self.process.id())
    }

    /// What was collected of what the process wrote to standard error, and not taken.
    pub(super) fn console(&self) -> &[u8] {
        &self.console
    }

    /// What the process wrote to standard error since the last call, up to [`limits::CONSOLE`] bytes of it.
    pub(super) fn take_console(&mut self) -> Vec<u8> {
        // What was written before the byte that ended the wait is in the pipe already.
        while self.errors.is_some() && self.ready(Duration::ZERO).is_ok_and(|(_, errors)| errors) {
            if self.read_console().is_err() {
                break;
            }
        }
        let mut console = std::mem::take(&mut self.console);
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            console.extend_from_slice(format!("\n[{lost} more bytes]\n").as_bytes());
        }
        console
    }

    /// Waits a moment for a process that closed its output, then kills it if it still runs.
    pub(super) fn reap(&mut self) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + limits::REAP;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.process.kill()?;
        self.process.wait()
    }

    /// Whether output and standard error can be read without waiting.
    fn ready(&self, wait: Duration) -> io::Result<(bool, bool)> {
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        let interest = PollFlags::IN;
        let mut files = vec![PollFd::new(&self.output, interest)];
        files.extend(self.errors.as_ref().map(|errors| PollFd::new(errors, interest)));
        match poll(&mut files, Some(&timeout)) {
            Ok(_) => {}
            // A signal: the caller looks at the stop flag and the clock again.
            Err(Errno::INTR) => return Ok((false, false)),
            Err(error) => return Err(error.into()),
        }
        let ready = |file: Option<&PollFd<'_>>| file.is_some_and(|file| !file.revents().is_empty());
        Ok((ready(files.first()), ready(files.get(1))))
    }

    /// Reads standard error once; it must be ready.
    fn read_console(&mut self) -> io::Result<()> {
        let Some(errors) = &mut self.errors else { return Ok(()) };
        let mut bytes = [0; 4096];
        let len = errors.read(&mut bytes)?;
        if len == 0 {
            self.errors = None;
        }
        let kept = len.min(limits::CONSOLE.saturating_sub(self.console.len()));
        self.console.extend_from_slice(&bytes[..kept]);
        self.lost += (len - kept) as u64;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a process that is gone and reaped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::spawn(command, vec![std::fs::File::open("/dev/null").unwrap().into()]).unwrap()
    }

    fn receive(child: &mut Child, wait: Duration) -> Received {
        child.receive(Instant::now() + wait, &AtomicBool::new(false)).unwrap()
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn bytes_go_both_ways_and_the_console_is_kept() {
        let mut child = shell("echo early >&2; head -c1; echo late >&2; exec sleep 100");
        child.send(b'x').unwrap();
        assert_eq!(receive(&mut child, LONG), Received::Byte(b'x'));
        assert_eq!(receive(&mut child, Duration::from_millis(100)), Received::TimedOut);
        assert_eq!(child.take_console(), b"early\nlate\n");
        assert_eq!(child.take_console(), b"");
    }

    #[test]
    fn an_ended_process_is_told_from_a_silent_one() {
        let mut child = shell("exit 7");
        assert_eq!(receive(&mut child, LONG), Received::Ended);
        assert_eq!(child.reap().unwrap().code(), Some(7));
    }

    #[test]
    fn a_flood_on_the_console_is_bounded() {
        let mut child = shell("yes | head -c 1000000 >&2; printf x");
        assert_eq!(receive(&mut child, LONG), Received::Byte(b'x'));
        let console = child.take_console();
        assert!(console.len() < limits::CONSOLE + 100);
        assert!(console.ends_with(format!("\n[{} more bytes]\n", 1_000_000 - limits::CONSOLE).as_bytes()));
    }

    #[test]
    fn stopping_does_not_wait_for_the_deadline() {
        let mut child = shell("exec sleep 100");
        let stop = AtomicBool::new(true);
        assert_eq!(child.receive(Instant::now() + LONG, &stop).unwrap(), Received::Stopped);
    }

    #[test]
    fn a_process_at_work_is_told_from_one_that_waits() {
        let mut idle = shell("printf x; exec sleep 100");
        let mut busy = shell("printf x; while :; do :; done");
        for child in [&mut idle, &mut busy] {
            assert_eq!(receive(child, LONG), Received::Byte(b'x'));
        }
        let begun = Instant::now();
        while busy.cpu_share().ran < Duration::from_millis(100) && begun.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(busy.cpu_share().ran >= Duration::from_millis(100));
        assert!(idle.cpu_share().ran < Duration::from_millis(100));
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let child = shell("exec sleep 100");
        let pid = rustix::process::Pid::from_child(&child.process);
        drop(child);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn a_process_dies_with_the_thread_that_started_it() {
        let mut child = std::thread::spawn(|| shell("exec sleep 100")).join().unwrap();
        assert_eq!(receive(&mut child, LONG), Received::Ended);
    }
}
