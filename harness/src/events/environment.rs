//! The first line of the log: what was run, by what, on what.

use serde::{Deserialize, Serialize};

/// What was run, by what, on what.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Environment {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION) of the writer.
    pub schema_version: u32,
    /// Version of the suite.
    pub suite_version: String,
    /// What `git describe` said of the suite's sources when it was built, if they were a checkout.
    pub suite_commit: Option<String>,
    /// The target's name.
    pub target: String,
    /// The reference hypervisor's switches, each as `switch=value`; empty on other targets.
    pub strategy: Vec<String>,
    /// Copies of the reference hypervisor below the payload; 0 on targets without one.
    pub depth: u32,
    /// How the payload rang, where that is not by MMIO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doorbell: Option<String>,
    /// The sweep that the command line asked for, for every case.
    pub sweep: Option<String>,
    /// The disturbance at each sweep point that the command line asked for.
    pub disturbance: Option<String>,
    /// The fault that the reference hypervisor was to commit.
    pub fault: Option<String>,
    /// What ran the machines.
    pub emulator: Option<Emulator>,
    /// The kernel whose KVM ran the cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// The bare-metal images.
    pub images: Vec<Image>,
    /// The machine that all this ran on.
    pub host: Host,
    /// The scenario file that was replayed; none for a run of the suite.
    pub replayed: Option<String>,
    /// The command line, one argument each.
    pub command: Vec<String>,
    /// How often each case is run.
    pub repeat: u32,
    /// When the run began: UTC, RFC 3339, in whole seconds.
    pub started: String,
    /// How many cases the run is to have.
    pub planned: u64,
}

/// A Linux kernel under test.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Kernel {
    /// What it is called to people.
    pub name: String,
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// SHA-256 of the raw image, in hexadecimal; none for that of the machine itself.
    pub sha256: Option<String>,
    /// SHA-256 of its configuration, if that is known.
    pub config_sha256: Option<String>,
    /// What its KVM said of its mode.
    pub kvm: String,
    /// The options of the command line that asked for it, without dashes, each with its value.
    #[serde(default)]
    pub options: Vec<(String, String)>,
    /// The command line of the QEMU that it booted in.
    pub command: Option<String>,
}

/// The emulator under the machines.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Emulator {
    /// Its first line of `--version`.
    pub version: String,
    /// SHA-256 of its binary, in hexadecimal.
    pub sha256: String,
}

/// A bare-metal image.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// SHA-256 of its ELF file, in hexadecimal.
    pub sha256: String,
}

/// The machine that ran the harness.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Host {
    /// Operating system and its release.
    pub os: String,
    /// The instruction set.
    pub arch: String,
    /// CPUs that the process may use.
    pub cpus: u32,
}
