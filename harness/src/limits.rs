//! Every wait and every buffer has a limit, and every limit a name here.

use std::time::Duration;

/// How long a request to stop may go unnoticed.
pub const STOP_LATENCY: Duration = Duration::from_millis(50);

/// How long a QEMU that closed its output may take to end.
pub const REAP: Duration = Duration::from_secs(2);

/// Bytes of console output kept for each case.
pub const CONSOLE: usize = 64 << 10;
