//! What a run is to be like: target, strategy, sweep, limits. Never part of a case's name.

use std::fmt;

use abi::doorbell::{Disturbance, Sweep};
use abi::fault::Fault;
use abi::hyp::{Nested, Restore, Upper};

use model::machine::Doorbell;

use crate::kvm::boot::Host;

/// What runs the payload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TargetKind {
    /// QEMU TCG with the reference hypervisor below the payload.
    Reference,
    /// QEMU TCG with the payload at real EL2 and no hypervisor at all.
    Bare,
    /// The KVM of this arm64 host.
    Kvm,
    /// The KVM of a real arm64 kernel that boots in QEMU TCG.
    KvmQemu,
}

impl TargetKind {
    /// Every target.
    pub const ALL: [Self; 4] = [Self::Reference, Self::Bare, Self::Kvm, Self::KvmQemu];

    /// The name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Bare => "bare",
            Self::Kvm => "kvm",
            Self::KvmQemu => "kvm-qemu",
        }
    }

    /// Whether it is Linux KVM.
    #[must_use]
    pub const fn is_kvm(self) -> bool {
        matches!(self, Self::Kvm | Self::KvmQemu)
    }

    /// The target with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The switches of the reference hypervisor.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Strategy {
    /// When the guest's FP state is put into the registers.
    pub restore: Restore,
    /// What happens to live FP state between L1 and L2.
    pub nested: Nested,
    /// What becomes of bits above the vector length of a level passed through.
    pub upper: Upper,
}

impl Default for Strategy {
    fn default() -> Self {
        Self { restore: Restore::Lazy, nested: Nested::Elide, upper: Upper::Cpu }
    }
}

/// A `--set` that makes no sense.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum SetError {
    /// It is not of the form `SWITCH=VALUE`.
    #[error("`{0}` is not of the form SWITCH=VALUE")]
    Form(String),
    /// There is no such switch.
    #[error("no switch `{0}`: there are {switches}", switches = Strategy::SWITCHES.join(", "))]
    Switch(String),
    /// The switch has no such value.
    #[error("switch `{switch}` has no value `{value}`: there are {values}", values = .values.join(", "))]
    Value {
        /// The switch.
        switch: &'static str,
        /// What was given.
        value: String,
        /// What could have been.
        values: Vec<&'static str>,
    },
}

impl Strategy {
    /// The names of the switches.
    pub const SWITCHES: [&'static str; 3] = ["restore", "nested", "upper"];

    /// Sets one switch as written on the command line, `nested=put-load`.
    ///
    /// # Errors
    ///
    /// If the switch or its value does not exist.
    pub fn set(&mut self, setting: &str) -> Result<(), SetError> {
        let (switch, value) = setting.split_once('=').ok_or_else(|| SetError::Form(setting.to_owned()))?;
        match switch {
            "restore" => self.restore = find("restore", value, Restore::ALL, Restore::name)?,
            "nested" => self.nested = find("nested", value, Nested::ALL, Nested::name)?,
            "upper" => self.upper = find("upper", value, Upper::ALL, Upper::name)?,
            other => return Err(SetError::Switch(other.to_owned())),
        }
        Ok(())
    }

    /// The switches as settings, in the order of [`Self::SWITCHES`].
    #[must_use]
    pub fn settings(&self) -> [(&'static str, &'static str); 3] {
        [("restore", self.restore.name()), ("nested", self.nested.name()), ("upper", self.upper.name())]
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [restore, nested, upper] = self.settings().map(|(switch, value)| format!("{switch}={value}"));
        write!(f, "{restore} {nested} {upper}")
    }
}

fn find<T: Copy>(
    switch: &'static str,
    value: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, SetError> {
    all.iter().copied().find(|&candidate| name(candidate) == value).ok_or_else(|| SetError::Value {
        switch,
        value: value.to_owned(),
        values: all.iter().copied().map(name).collect(),
    })
}

/// Everything that one run has in common for all its cases.
#[derive(Clone, Debug)]
pub struct Options {
    /// What runs the payload.
    pub target: TargetKind,
    /// The reference hypervisor's switches; without meaning on other targets.
    pub strategy: Strategy,
    /// The emulated host of `kvm-qemu`.
    pub host: Option<Host>,
    /// How many copies of the reference hypervisor lie below the payload, from 1.
    pub depth: u32,
    /// How the payload rings for disturbances and checks.
    pub doorbell: Doorbell,
    /// Sweeps every case in this way, whatever its file says; `None` leaves it to the file.
    pub sweep: Option<Sweep>,
    /// What a sweep commits at each point, whatever the file says.
    pub disturbance: Option<Disturbance>,
    /// The fault that the reference hypervisor is to commit. Needs the image with faults.
    pub fault: Option<Fault>,
    /// Machines that run at the same time.
    pub workers: usize,
    /// Every timeout is multiplied by this.
    pub timeout_scale: f64,
    /// Fetch a private QEMU if the machine has none that will do.
    pub provision: bool,
    /// The Debian mirror to fetch it from; without one the environment's, else the machine's own.
    pub mirror: Option<String>,
    /// Tell on standard error what is being done.
    pub verbose: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: TargetKind::Reference,
            strategy: Strategy::default(),
            host: None,
            depth: 1,
            doorbell: Doorbell::default(),
            sweep: None,
            disturbance: None,
            fault: None,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            timeout_scale: 1.0,
            provision: true,
            mirror: None,
            verbose: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_validated() {
        let mut strategy = Strategy::default();
        strategy.set("nested=put-load").unwrap();
        assert_eq!(strategy.to_string(), "restore=lazy nested=put-load upper=cpu");
        assert_eq!(strategy.set("nested"), Err(SetError::Form("nested".into())));
        assert_eq!(
            strategy.set("host=at-put").unwrap_err().to_string(),
            "no switch `host`: there are restore, nested, upper"
        );
        assert_eq!(
            strategy.set("restore=never").unwrap_err().to_string(),
            "switch `restore` has no value `never`: there are eager, lazy"
        );
    }
}
