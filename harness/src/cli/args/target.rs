//! What the cases run on, and with which fault.

use abi::doorbell::{Disturbance, Sweep};
use abi::fault::Fault;
use anyhow::{Result, bail};
use clap::Args;
use model::machine::Doorbell;

use super::values;
use crate::kernel::{Kernel, KernelSpec};
use crate::kvm::boot::{Host, KvmMode};
use crate::options::{Options, Strategy, TargetKind};

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

/// Said of each option: a heading of the structure would go on behind it.
const HOST: &str = "Options of --target kvm-qemu";

/// The emulated host of `kvm-qemu`. None of them has a default here, to be told from what nobody asked for.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct HostArgs {
    /// The arm64 Linux kernel to boot: an image, or one of Debian's, as debian:7.2, debian:6.12.43, debian:6.12/oldest,
    /// debian:7.2/rt or debian:7.2/16k [default: debian:7.2]
    #[arg(help_heading = HOST, long, value_name = "KERNEL")]
    pub(in crate::cli) kernel: Option<KernelSpec>,
    /// The mode of its KVM [default: vhe]
    #[arg(help_heading = HOST, long, value_name = "MODE", value_parser = values::kvm_mode())]
    pub(in crate::cli) kvm_mode: Option<KvmMode>,
    /// Its CPUs [default: 2]
    #[arg(help_heading = HOST, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(in crate::cli) cpus: Option<u32>,
    /// The largest vector length of its CPUs in bits, 0 for CPUs without SVE and SME [default: 2048]
    #[arg(help_heading = HOST, long, value_name = "BITS", value_parser = values::sve_max)]
    pub(in crate::cli) sve_max: Option<u32>,
    /// More parameters for the kernel
    #[arg(help_heading = HOST, long, value_name = "PARAMETERS", value_parser = values::cmdline)]
    pub(in crate::cli) cmdline: Option<String>,
}

impl HostArgs {
    /// The kernel's name.
    pub(in crate::cli) fn spec(&self) -> KernelSpec {
        self.kernel.clone().unwrap_or_default()
    }

    /// The host, with this kernel.
    pub(in crate::cli) fn host(&self, kernel: Kernel) -> Host {
        let usual = Host::usual(self.spec(), kernel);
        Host {
            mode: self.kvm_mode.unwrap_or(usual.mode),
            cpus: self.cpus.unwrap_or(usual.cpus),
            sve_max: self.sve_max.unwrap_or(usual.sve_max),
            cmdline: self.cmdline.clone().unwrap_or_default(),
            ..usual
        }
    }

    /// The first option that was given.
    fn given(&self) -> Option<&'static str> {
        let Self { kernel, kvm_mode, cpus, sve_max, cmdline } = self;
        [
            ("--kernel", kernel.is_some()),
            ("--kvm-mode", kvm_mode.is_some()),
            ("--cpus", cpus.is_some()),
            ("--sve-max", sve_max.is_some()),
            ("--cmdline", cmdline.is_some()),
        ]
        .into_iter()
        .find_map(|(option, given)| given.then_some(option))
    }
}

/// Where QEMU may come from.
#[derive(Args, Debug)]
pub(in crate::cli) struct ProvisionArgs {
    /// Fetch nothing: neither a private QEMU if this machine has none that will do, nor kernels
    #[arg(long)]
    pub(in crate::cli) no_provision: bool,
    /// Fetch QEMU and kernels from this Debian mirror [default: HOLDFAST_DEBIAN_MIRROR, else this machine's own]
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
    /// The options of a run. One that the target has no use for is an error: what was to be tested would not have been.
    pub(in crate::cli) fn options(&self, fault: Option<Fault>) -> Result<Options> {
        let target = self.target;
        let misplaced = match target {
            TargetKind::KvmQemu => None,
            _ => self.host.given().map(|option| (option, TargetKind::KvmQemu)),
        };
        let misplaced = misplaced.or_else(|| match target {
            TargetKind::Reference => None,
            _ => self.of_reference().map(|option| (option, TargetKind::Reference)),
        });
        if let Some((option, of)) = misplaced {
            bail!("{option} is of --target {}, and the target is {}", of.name(), target.name());
        }
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

    /// The first option given that is about the reference hypervisor.
    fn of_reference(&self) -> Option<&'static str> {
        if !self.settings.is_empty() {
            return Some("--set");
        }
        (self.depth > 1).then_some("--depth")
    }
}
