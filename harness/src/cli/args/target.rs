//! What the cases run on, and with which fault.

use abi::doorbell::{Disturbance, Sweep};
use abi::fault::Fault;
use clap::Args;
use model::machine::Doorbell;

use super::values;
use crate::kernel::{Kernel, KernelSpec};
use crate::kvm::boot::{self, Host, KvmMode};
use crate::options::{Options, SetError, Strategy, TargetKind};

/// What the cases run on.
#[derive(Args, Debug)]
pub(in crate::cli) struct TargetArgs {
    /// What runs the payload
    #[arg(long, default_value = "reference", value_parser = values::target())]
    pub(in crate::cli) target: TargetKind,
    #[command(flatten)]
    pub(in crate::cli) host: HostArgs,
    /// Set a switch of the reference hypervisor: restore=eager|lazy, nested=put-load|elide,
    /// upper=cpu|keep|zero|random
    #[arg(long = "set", value_name = "SWITCH=VALUE", value_parser = values::setting)]
    pub(in crate::cli) settings: Vec<String>,
    /// Copies of the reference hypervisor below the payload
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) depth: u32,
    /// How the payload asks for disturbances: by an access to a page without memory, or by an SMCCC call, which KVM has
    /// forwarded since Linux 6.4
    #[arg(long, value_name = "WAY", default_value = "mmio", value_parser = values::doorbell())]
    pub(in crate::cli) doorbell: Doorbell,
    /// Sweep every case in this way, whatever its file says
    #[arg(long, value_name = "KIND", value_parser = values::sweep())]
    pub(in crate::cli) sweep: Option<Sweep>,
    /// What a sweep commits at each point
    #[arg(long, value_name = "WHAT", value_parser = values::disturbance())]
    pub(in crate::cli) disturb: Option<Disturbance>,
    /// Machines at the same time [default: the CPUs of this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(in crate::cli) workers: Option<u16>,
    /// Multiply every timeout by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = values::scale)]
    pub(in crate::cli) timeout_scale: f64,
    #[command(flatten)]
    pub(in crate::cli) provision: ProvisionArgs,
    /// Tell on standard error what is being done, with START and END of every case
    #[arg(long, short)]
    pub(in crate::cli) verbose: bool,
}

/// The emulated host of `kvm-qemu`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of --target kvm-qemu")]
pub(in crate::cli) struct HostArgs {
    /// The arm64 Linux kernel to boot: an image, or one of Debian's, as debian:7.2, debian:6.12.43, debian:6.12/oldest
    #[arg(long, value_name = "KERNEL", default_value = boot::DEFAULT_KERNEL)]
    pub(in crate::cli) kernel: KernelSpec,
    /// The mode of its KVM
    #[arg(long, value_name = "MODE", default_value = "vhe", value_parser = values::kvm_mode())]
    pub(in crate::cli) kvm_mode: KvmMode,
    /// Its CPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(in crate::cli) cpus: u32,
    /// The largest vector length of its CPUs in bits, 0 for CPUs without SVE and SME
    #[arg(long, value_name = "BITS", default_value_t = 2048, value_parser = values::sve_max)]
    pub(in crate::cli) sve_max: u32,
    /// More parameters for the kernel
    #[arg(long, value_name = "PARAMETERS", default_value = "", hide_default_value = true)]
    pub(in crate::cli) cmdline: String,
}

impl HostArgs {
    /// The host, with this kernel.
    pub(in crate::cli) fn host(&self, kernel: Kernel) -> Host {
        let Self { kernel: spec, kvm_mode: mode, cpus, sve_max, cmdline } = self;
        Host {
            spec: spec.clone(),
            kernel,
            mode: *mode,
            cpus: *cpus,
            sve_max: *sve_max,
            cmdline: cmdline.clone(),
        }
    }
}

/// Where QEMU may come from.
#[derive(Args, Debug)]
pub(in crate::cli) struct ProvisionArgs {
    /// Do not fetch a private QEMU if this machine has none that will do
    #[arg(long)]
    pub(in crate::cli) no_provision: bool,
    /// Fetch the private QEMU from this Debian mirror [default: HOLDFAST_DEBIAN_MIRROR, else this machine's own]
    #[arg(long, value_name = "URL", value_parser = values::mirror)]
    pub(in crate::cli) debian_mirror: Option<String>,
}

/// `--fault`.
#[derive(Args, Debug)]
pub(in crate::cli) struct FaultArgs {
    /// Let the reference hypervisor commit this bug (`holdfast explain FAULT` tells of it)
    #[arg(long, value_name = "FAULT", value_parser = values::fault(), hide_possible_values = true)]
    pub(in crate::cli) fault: Option<Fault>,
}

impl TargetArgs {
    /// The options of a run.
    pub(in crate::cli) fn options(&self, fault: Option<Fault>) -> Result<Options, SetError> {
        let mut strategy = Strategy::default();
        for setting in &self.settings {
            strategy.set(setting)?;
        }
        let usual = Options::default();
        Ok(Options {
            target: self.target,
            strategy,
            host: None,
            depth: self.depth,
            doorbell: self.doorbell,
            sweep: self.sweep,
            disturbance: self.disturb,
            fault,
            workers: self.workers.map_or(usual.workers, usize::from),
            timeout_scale: self.timeout_scale,
            provision: !self.provision.no_provision,
            mirror: self.provision.debian_mirror.clone(),
            verbose: self.verbose,
        })
    }
}
