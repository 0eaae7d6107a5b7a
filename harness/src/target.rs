//! Targets: what runs the payload, and what it can be asked for.
//!
//! A target is a stack of bare-metal images in one machine: the payload alone (`bare`), reference hypervisors below it
//! (`reference`), or a Linux host whose VMM stands in the place of one (`kvm`, `kvm-qemu`). It says what machine a case sees before anything runs, it lays a job out
//! in guest memory, and it reads the outcome back.

mod job;
mod kvm;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use abi::doorbell::Sweep;
use model::machine::{Doorbell, IrqSource, Machine, QemuCpu, Unavailable};
use model::scenario::step::{Cpu, GuestSpec};

use crate::image::{Image, ImageError, embedded};
use crate::kvm::boot::Host;
use crate::kvm::mailbox;
use crate::limits;
use crate::memory::{GuestMemory, OutOfRange};
use crate::options::{Options, Strategy, TargetKind};
use crate::qemu::Version;
use crate::qemu::command::{MachineConfig, SLOTS, slot};

pub use job::{Launch, SweepRun};
pub use kvm::Kvm;
pub use outcome::{CaseEnd, Outcome, OutcomeError, Ring};

/// What a target is to be like. Everything but the machine's configuration is a parameter of each job.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// What runs the payload.
    pub kind: TargetKind,
    /// The reference hypervisor's switches.
    pub strategy: Strategy,
    /// Copies of the reference hypervisor below the payload, from 1. Without meaning on `bare`.
    pub depth: u32,
    /// The hypervisor is the build that can commit faults. Which one is a parameter of each job.
    pub faults: bool,
    /// The hypervisor overwrites registers that it marks free. Off only for exact counts.
    pub poison: bool,
    /// The hypervisor keeps a trace. Off only for exact counts.
    pub trace: bool,
    /// Every single step is in the trace.
    pub trace_steps: bool,
    /// The hypervisor maps guest pages when they are touched, not before.
    pub demand_map: bool,
    /// Nanoseconds (under icount: instructions) between preemptions by the timer, 0 for none.
    pub preempt_ticks: u64,
    /// Time passes by instructions, also for cases that do not need it.
    pub icount: bool,
    /// How the payload rings.
    pub doorbell: Doorbell,
    /// The emulated host of `kvm-qemu`.
    pub host: Option<Host>,
}

impl TargetConfig {
    /// The target that the options of a run ask for.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            kind: options.target,
            strategy: options.strategy,
            depth: options.depth,
            faults: options.fault.is_some(),
            poison: true,
            trace: true,
            trace_steps: false,
            demand_map: false,
            preempt_ticks: 0,
            icount: false,
            doorbell: options.doorbell,
            host: options.host.clone(),
        }
    }
}

/// Why there is no such target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// An image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// More hypervisors than memory has room for.
    #[error("depth {depth}: there is room for 1 to {} copies of the hypervisor", SLOTS - 1)]
    Depth {
        /// What was asked for.
        depth: u32,
    },
    /// The target has no hypervisor of ours.
    #[error("only the reference hypervisor can commit a fault: the target has none below the payload")]
    Fault,
    /// A job does not fit into the payload's job area.
    #[error("the job needs {needed} bytes, and the payload has {room}")]
    JobTooLarge {
        /// Bytes needed.
        needed: u64,
        /// Bytes of the job area.
        room: u64,
    },
    /// Guest memory is smaller than the images claim.
    #[error(transparent)]
    Memory(#[from] OutOfRange),
}

/// One image in its slot.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The image.
    pub image: Arc<Image>,
    /// The address that it is loaded at.
    pub base: u64,
}

/// A target: images, and where they lie. Shared by all machines of a run.
#[derive(Debug)]
pub struct Target {
    config: TargetConfig,
    version: Version,
    /// From the outermost hypervisor of ours to the payload.
    layers: Vec<Layer>,
    /// The address of each hypervisor's [`abi::hyp::HypJob`], the outermost first; that of a VMM is in its mailbox.
    hyp_jobs: Vec<u64>,
    /// Linux KVM, if that is below.
    kvm: Option<Kvm>,
    /// The address of the job area and its length.
    job_area: (u64, u64),
    /// The address of the two hole pages.
    hole: u64,
}

impl Target {
    /// The target of a configuration under a QEMU of this version. Starts nothing.
    ///
    /// # Errors
    ///
    /// If the configuration makes no sense, or an image cannot be used.
    pub fn new(config: TargetConfig, version: Version) -> Result<Self, TargetError> {
        let hypervisors = match config.kind {
            TargetKind::Bare | TargetKind::Kvm | TargetKind::KvmQemu => 0,
            TargetKind::Reference if (1..SLOTS).contains(&config.depth) => config.depth,
            TargetKind::Reference => return Err(TargetError::Depth { depth: config.depth }),
        };
        if config.faults && hypervisors == 0 {
            return Err(TargetError::Fault);
        }
        let (mut layers, mut hyp_jobs) = (Vec::new(), Vec::new());
        if hypervisors > 0 {
            let elf = if config.faults { embedded::REFERENCE_HYP_FAULTS } else { embedded::REFERENCE_HYP };
            let image = Arc::new(Image::parse("reference-hyp", elf)?);
            let symbol = image.symbol(abi::hyp::SYMBOL)?;
            for number in 0..hypervisors {
                let base = slot(number);
                layers.push(Layer { image: Arc::clone(&image), base });
                hyp_jobs.push(base + symbol);
            }
        }
        let payload = Image::parse("scenario", embedded::SCENARIO)?;
        let kvm = config.kind.is_kvm().then(|| Kvm::new(config.host.clone()));
        if kvm.is_some() {
            hyp_jobs.push(mailbox::HYP_JOB);
        }
        let base = slot(if kvm.is_some() { 1 } else { hypervisors });
        let (start, end) = (payload.symbol(abi::job::SYMBOL)?, payload.symbol("__job_end")?);
        let job_area = (base + start, end.saturating_sub(start));
        let hole = base + payload.symbol(abi::job::HOLE_SYMBOL)?;
        layers.push(Layer { image: Arc::new(payload), base });
        Ok(Self { config, version, layers, hyp_jobs, kvm, job_area, hole })
    }

    /// What it was made from.
    #[must_use]
    pub fn config(&self) -> &TargetConfig {
        &self.config
    }

    /// The images, from the outermost hypervisor to the payload.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The payload, the last of the layers.
    #[must_use]
    pub fn payload(&self) -> &Layer {
        self.layers.last().expect("a target has a payload")
    }

    /// The address of the payload's two hole pages, for [`model::compile::Program::link`].
    #[must_use]
    pub fn hole(&self) -> u64 {
        self.hole
    }

    /// Linux KVM, if that is what runs the payload.
    #[must_use]
    pub fn kvm(&self) -> Option<&Kvm> {
        self.kvm.as_ref()
    }

    /// Whether what runs the payload is the KVM of a host that QEMU emulates.
    #[must_use]
    pub fn is_emulated_host(&self) -> bool {
        self.kvm.as_ref().is_some_and(|kvm| kvm.host().is_some())
    }

    /// The machine that a guest of this target sees, from configuration alone.
    ///
    /// # Errors
    ///
    /// If the target cannot give this guest what it asks for.
    pub fn machine(&self, guest: &GuestSpec) -> Result<Machine, Unavailable> {
        let config = self.machine_config(guest, Sweep::Off);
        let cpu = QemuCpu {
            cpu: config.cpu,
            sve: config.vl_max != 0,
            vl_max: config.vl_max,
            sme: config.sme,
            fpmr: self.version.has_fpmr(),
            // `max` has FEAT_S1PIE and not FEAT_S1POE in every version so far.
            poe: false,
        };
        let machine = match self.config.kind {
            TargetKind::Bare => Machine::bare(&cpu, guest),
            TargetKind::Kvm | TargetKind::KvmQemu => self.kvm.as_ref().map_or_else(
                || Err(Unavailable { code: abi::skip::NO_HOOK, why: "there is no KVM".to_owned() }),
                |kvm| kvm.machine(guest),
            ),
            TargetKind::Reference => Machine::reference(&cpu, guest).map(|mut machine| {
                if self.config.depth > 1 {
                    // The doorbell's interrupts and resets are for the hypervisor above the outermost one, which
                    // does not hand them on: they come with virtual interrupts.
                    machine.hooks.irq = IrqSource::None;
                    machine.hooks.serror = false;
                    machine.hooks.reset = false;
                }
                machine
            }),
        };
        machine.and_then(|mut machine| {
            if machine.hooks.doorbell.is_some() {
                machine.hooks.doorbell = Some(self.doorbell(&machine)?);
            }
            Ok(machine)
        })
    }

    /// How the doorbell is rung.
    fn doorbell(&self, machine: &Machine) -> Result<Doorbell, Unavailable> {
        let why = match self.config.doorbell {
            Doorbell::Smc if self.config.depth > 1 => {
                "a call ends at the hypervisor next below, not at the outermost"
            }
            // It came with calls by SMC.
            Doorbell::Smc if self.kvm.is_some() && !machine.hooks.suspend => {
                "the kernel forwards no SMCCC calls"
            }
            way => return Ok(way),
        };
        Err(Unavailable { code: abi::skip::NO_DOORBELL, why: why.to_owned() })
    }

    /// The guest that a case gets instead of the one that it asks for, where this target has none like that and the case
    /// leaves it open.
    #[must_use]
    pub fn fit(&self, guest: &GuestSpec) -> Option<GuestSpec> {
        self.kvm.as_ref()?.fit(guest)
    }

    /// The QEMU that a guest of this target needs if it is swept in this way.
    #[must_use]
    pub fn machine_config(&self, guest: &GuestSpec, sweep: Sweep) -> MachineConfig {
        let icount = self.config.icount || sweep == Sweep::Timer;
        match self.config.kind {
            // Nobody hides anything: the machine is the guest's.
            TargetKind::Bare => MachineConfig {
                el2: guest.l1.is_some(),
                cpu: guest.cpu,
                vl_max: if guest.sve { guest.vl_max } else { 0 },
                sme: false,
                icount,
            },
            // A host has what its user gives it; guests differ in nothing that asks for another one but the set of lengths.
            TargetKind::Kvm | TargetKind::KvmQemu => MachineConfig {
                el2: true,
                cpu: if guest.sve { guest.cpu } else { Cpu::Max },
                vl_max: VL_MAX,
                sme: true,
                icount: false,
            },
            // The hypervisor limits: the machine has everything, so that there is something to hide.
            TargetKind::Reference => MachineConfig {
                el2: true,
                cpu: if guest.sve { guest.cpu } else { Cpu::Max },
                vl_max: VL_MAX,
                sme: true,
                icount,
            },
        }
    }

    /// What the calibration job takes on the machine that limits are set for.
    #[must_use]
    pub fn calibration(&self) -> Duration {
        if self.kvm.is_some() { limits::CALIBRATION_VM } else { limits::CALIBRATION_NOMINAL }
    }

    /// Whether cases can be swept.
    #[must_use]
    pub fn sweeps(&self) -> bool {
        self.config.kind != TargetKind::Bare
    }

    /// Fills a new machine's memory: every image, and for the one that boots that it is to wait for a job.
    ///
    /// # Errors
    ///
    /// If an image does not fit into its slot.
    pub fn load(&self, memory: &GuestMemory) -> Result<(), TargetError> {
        for layer in &self.layers {
            layer.image.load(memory, layer.base)?;
        }
        memory.write_value(self.job_area.0, &self.idle_header())?;
        if self.kvm.is_some() {
            memory.write_value(mailbox::ADDRESS, &self.greeting())?;
        } else if let Some(address) = self.hyp_jobs.first() {
            memory.write_value(*address, &job::idle_hypervisor())?;
        }
        Ok(())
    }
}

/// The largest vector length of the architecture, in bits.
const VL_MAX: u32 = 2048;
