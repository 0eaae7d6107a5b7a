//! One live line on a terminal: done, failed, rate, time left.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The line is redrawn at most this often.
const REDRAW: Duration = Duration::from_millis(100);

/// The live line. It lives on standard error, and only if that is a terminal.
#[derive(Debug)]
pub struct Live {
    shown: bool,
    what: &'static str,
    total: u64,
    done: u64,
    failed: u64,
    began: Instant,
    drawn: Option<Instant>,
}

impl Live {
    /// A line about `total` things called `what`.
    #[must_use]
    pub fn new(what: &'static str, total: u64) -> Self {
        let shown = io::stderr().is_terminal();
        Self { shown, what, total, done: 0, failed: 0, began: Instant::now(), drawn: None }
    }

    /// One more is done.
    pub fn done(&mut self, failed: bool) {
        self.done += 1;
        self.failed += u64::from(failed);
        self.draw();
    }

    fn draw(&mut self) {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if self.shown && due {
            self.drawn = Some(Instant::now());
            let line = line(self.what, self.done, self.total, self.failed, self.began.elapsed());
            // A terminal that went away is no reason to stop the run.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.shown && self.drawn.take().is_some() {
            // As above.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(what: &str, done: u64, total: u64, failed: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let left = if rate > 0.0 {
        format!(", {:.0} s left", (total.saturating_sub(done)) as f64 / rate)
    } else {
        String::new()
    };
    format!("{done}/{total} {what}, {failed} failed, {rate:.0}/s{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left() {
        assert_eq!(line("cases", 0, 600, 0, Duration::ZERO), "0/600 cases, 0 failed, 0/s");
        assert_eq!(
            line("cases", 300, 600, 2, Duration::from_secs(3)),
            "300/600 cases, 2 failed, 100/s, 3 s left"
        );
        assert_eq!(line("cases", 7, 6, 0, Duration::from_secs(1)), "7/6 cases, 0 failed, 7/s, 0 s left");
    }
}
