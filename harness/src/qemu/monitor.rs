//! QEMU's control channel: QMP, one JSON object a line (`docs/interop/qmp-spec.rst`).

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// Bytes that a line may have.
const LINE: u64 = 1 << 20;
/// How long QEMU may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// QEMU does not answer.
    #[error("QEMU's monitor does not answer")]
    Silent(#[from] io::Error),
    /// It says something else.
    #[error("QEMU's monitor makes no sense")]
    Strange(#[from] serde_json::Error),
    /// It cannot.
    #[error("QEMU refuses {command}: {why}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        why: String,
    },
}

/// The harness's end of the channel.
#[derive(Debug)]
pub struct Monitor {
    stream: BufReader<UnixStream>,
    greeted: bool,
}

/// A line that QEMU sends: an answer if it has one of these, else its greeting or an event.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "return")]
    result: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

impl Monitor {
    /// A channel, and the end that QEMU inherits.
    ///
    /// # Errors
    ///
    /// If the system refuses it.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        ours.set_write_timeout(Some(PATIENCE))?;
        Ok((Self { stream: BufReader::new(ours), greeted: false }, theirs.into()))
    }

    /// Has a command carried out.
    ///
    /// # Errors
    ///
    /// If QEMU refuses, or does not answer in time.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, MonitorError> {
        if !std::mem::replace(&mut self.greeted, true) {
            self.execute("qmp_capabilities", &json!({}))?;
        }
        let line = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        self.stream.get_mut().write_all(line.as_bytes())?;
        loop {
            let Line { result, error } = serde_json::from_str(&self.line()?)?;
            if let Some(Refusal { desc: why }) = error {
                return Err(MonitorError::Refused { command: command.to_owned(), why });
            }
            if let Some(result) = result {
                return Ok(result);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match (&mut self.stream).take(LINE).read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a command that QEMU answers with these lines.
    fn asked(answers: &str) -> Result<Value, MonitorError> {
        let (mut monitor, theirs) = Monitor::new().unwrap();
        let mut theirs = UnixStream::from(theirs);
        theirs.write_all(answers.as_bytes()).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        monitor.execute("stop", &json!({}))
    }

    const GREETING: &str = "{\"QMP\": {\"capabilities\": []}}\n{\"return\": {}}\n";

    #[test]
    fn answers_are_told_from_events() {
        let answers = "{\"event\": \"STOP\", \"data\": {}}\n{\"return\": {\"a\": 1}}\n";
        assert_eq!(asked(&format!("{GREETING}{answers}")).unwrap(), json!({ "a": 1 }));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let refusal = format!("{GREETING}{{\"error\": {{\"class\": \"x\", \"desc\": \"no\"}}}}\n");
        assert_eq!(asked(&refusal).unwrap_err().to_string(), "QEMU refuses stop: no");
        assert!(matches!(asked("hello\n"), Err(MonitorError::Strange(_))));
        assert!(matches!(asked(GREETING), Err(MonitorError::Silent(_))));
        assert!(matches!(asked(""), Err(MonitorError::Silent(_))));
    }
}
