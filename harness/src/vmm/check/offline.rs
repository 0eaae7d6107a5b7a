//! A CPU that is taken from the host between two runs of a guest on it.

use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use arch::host::Call;

use super::super::case::Case;
use super::super::rival::pin;

/// Not the first: some hosts cannot be without that one.
const CPU: u32 = 1;
/// Until a thread that was told to sleep does so.
const MOMENT: Duration = Duration::from_millis(2);

impl Case<'_> {
    /// The first time, runs the guest on [`CPU`], and sleeps there while that CPU goes and comes back: whoever thinks then
    /// that it still holds the registers of the one or the other is wrong. The second time, runs it there again.
    pub(super) fn run_around_offline(&mut self) -> Result<u64, i32> {
        let call = self.kvm_run();
        pin(0, CPU);
        let result = self.task.call(&call, true);
        self.is_away = !self.is_away;
        if !self.is_away {
            pin(0, 0);
        } else if let Err(error) = self.sleep_through_offline() {
            self.skip(&format!("CPU {CPU} of the host cannot be taken offline: {error}"));
            self.is_away = false;
            pin(0, 0);
        }
        result
    }

    fn sleep_through_offline(&mut self) -> std::io::Result<()> {
        let (mut there, here) = UnixStream::pair()?;
        // One that began on that CPU would leave it with registers of its own, for everybody to see.
        pin(0, 0);
        std::thread::scope(|scope| {
            let switcher = scope.spawn(move || {
                std::thread::sleep(MOMENT);
                let switched = switch(false).and_then(|()| switch(true));
                // The thread that sleeps wakes up whatever came out.
                there.write_all(&[0]).and(switched)
            });
            pin(0, CPU);
            let mut byte = 0;
            while self.task.call(&Call::read(here.as_raw_fd(), &mut byte), true) == Err(libc::EINTR) {}
            switcher.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
        })
    }
}

fn switch(online: bool) -> std::io::Result<()> {
    fs::write(format!("/sys/devices/system/cpu/cpu{CPU}/online"), if online { "1" } else { "0" })
}
