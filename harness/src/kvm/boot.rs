//! An emulated arm64 host: a real kernel under QEMU, with the agent as `/init`.

use std::fs::File;
use std::io::{self, Cursor, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::process::Command;

use cpio::NewcBuilder;
use model::scenario::step::Cpu;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::events::quote;
use crate::image::embedded;
use crate::kernel::modules::FOLDER_MODE;
use crate::kernel::{Kernel, KernelSpec};
use crate::qemu::Qemu;

/// Which of its modes KVM is in.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum KvmMode {
    /// The host kernel at EL2: the default on CPUs with FEAT_VHE.
    #[default]
    Vhe,
    /// The host kernel at EL1, a small hypervisor at EL2 (`kvm-arm.mode=nvhe`).
    Nvhe,
    /// The same with the host kept out of protected guests (`kvm-arm.mode=protected`).
    Protected,
    /// VHE, and guests may have an EL2 of their own (`kvm-arm.mode=nested`).
    Nested,
}

impl KvmMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Vhe, Self::Nvhe, Self::Protected, Self::Nested];

    /// The name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vhe => "vhe",
            Self::Nvhe => "nvhe",
            Self::Protected => "protected",
            Self::Nested => "nested",
        }
    }
}

/// How a host begins, with the files that QEMU inherits for it.
#[derive(Debug)]
pub enum Beginning {
    /// It boots.
    Boot,
    /// It boots, and can be saved.
    Savable {
        /// Its memory.
        ram: OwnedFd,
        /// Where the state of its devices will be.
        devices: OwnedFd,
        /// QMP.
        monitor: OwnedFd,
    },
    /// It goes on where another one was saved, and leaves both files as they are.
    Saved {
        /// The memory.
        ram: OwnedFd,
        /// The state of the devices.
        devices: OwnedFd,
    },
}

/// An emulated host.
#[derive(Clone, Debug)]
pub struct Host {
    /// What the user calls the kernel.
    pub spec: KernelSpec,
    /// The kernel.
    pub kernel: Kernel,
    /// KVM's mode.
    pub mode: KvmMode,
    /// CPUs.
    pub cpus: u32,
    /// The largest vector length of the CPU in bits; 0 for a CPU without SVE and SME.
    pub sve_max: u32,
    /// What the user adds to the kernel's command line.
    pub cmdline: String,
}

/// Megabytes of memory: the kernel, the agent, and what is left of some thousand VMs.
const MEMORY: u32 = 1024;

/// Bytes of it.
pub const MEMORY_SIZE: u64 = (MEMORY as u64) << 20;

/// What shortens the boot of a distribution's kernel, and what makes its end quick and plain.
const PARAMETERS: [&str; 14] = [
    "console=ttyAMA0",
    "panic=-1",
    // A thread of the agent that dies in the kernel would else leave locks taken and no word.
    "oops=panic",
    "loglevel=4",
    "cryptomgr.notests=1",
    "mitigations=off",
    "nokaslr",
    "audit=0",
    "apparmor=0",
    "security=none",
    "init_on_alloc=0",
    "rcupdate.rcu_cpu_stall_suppress=1",
    "nowatchdog",
    "initcall_blacklist=load_system_certificate_list,scx_init,inet6_init",
];

impl Host {
    /// The host of a user who asks for nothing but this kernel.
    #[must_use]
    pub fn usual(spec: KernelSpec, kernel: Kernel) -> Self {
        Self { spec, kernel, mode: KvmMode::default(), cpus: 2, sve_max: 2048, cmdline: String::new() }
    }

    /// The command that starts QEMU with the shared file under the number `mail`, and the files that it inherits beside
    /// that one.
    ///
    /// # Errors
    ///
    /// If the initial file system cannot be made.
    pub fn command(
        &self,
        qemu: &Qemu,
        cpu: Cpu,
        mail: RawFd,
        beginning: Beginning,
    ) -> io::Result<(Command, Vec<OwnedFd>)> {
        let path = |file: &OwnedFd| format!("/proc/self/fd/{}", file.as_raw_fd());
        // A host that goes on has both in its memory. QEMU has to see that there is a kernel, and skips the reading of the
        // whole.
        let (kernel, initrd) = match beginning {
            Beginning::Saved { .. } => (Some(self.head()?), None),
            _ => (None, Some(initrd(self.kernel.modules.as_deref())?)),
        };
        let image = kernel.as_ref().map_or_else(|| self.kernel.image.to_string_lossy().into_owned(), path);
        let initrd_path = initrd.as_ref().map(path);
        let mut command = qemu.command();
        let mail = format!("/proc/self/fd/{mail}");
        command.args(self.arguments(cpu, &mail, &image, initrd_path.as_deref()));
        let mut memory = |ram: &OwnedFd, share: &str| {
            let file = path(ram);
            let backend = format!("memory-backend-file,id=ram,size={MEMORY}M,mem-path={file},share={share}");
            command.args(["-machine", "memory-backend=ram", "-object", &backend]);
            command.args(["-global", "migration.x-ignore-shared=on"]);
        };
        let mut files = Vec::from_iter(kernel.into_iter().chain(initrd));
        match beginning {
            Beginning::Boot => {}
            Beginning::Savable { ram, devices, monitor } => {
                memory(&ram, "on");
                command.arg("-chardev").arg(format!("socket,id=monitor,fd={}", monitor.as_raw_fd()));
                command.args(["-qmp", "chardev:monitor"]);
                files.extend([ram, devices, monitor]);
            }
            Beginning::Saved { ram, devices } => {
                memory(&ram, "off");
                command.arg("-incoming").arg(format!("file:{}", path(&devices)));
                files.extend([ram, devices]);
            }
        }
        Ok((command, files))
    }

    /// The first page of the kernel, with all that QEMU wants to know of it (`Documentation/arch/arm64/booting.rst`).
    fn head(&self) -> io::Result<OwnedFd> {
        let mut head = [0; 4096];
        File::open(&self.kernel.image)?.read_exact(&mut head)?;
        let file = memfd_create("holdfast-kernel", MemfdFlags::empty())?;
        File::from(file.try_clone()?).write_all(&head)?;
        Ok(file)
    }

    /// The options of the command line that ask for it; what is the default anyway is left out.
    #[must_use]
    pub fn options(&self) -> Vec<(String, String)> {
        let values = |host: &Self, kernel| {
            let [cpus, sve_max] = [host.cpus, host.sve_max].map(|number| number.to_string());
            [kernel, host.mode.name().to_owned(), cpus, sve_max, host.cmdline.clone()]
        };
        let usual = Self::usual(KernelSpec::default(), self.kernel.clone());
        let usual = values(&usual, usual.spec.to_string());
        let names = ["kernel", "kvm-mode", "cpus", "sve-max", "cmdline"];
        let values = values(self, self.kernel.exact(&self.spec));
        let asked = names.into_iter().zip(values).zip(usual).filter(|((_, value), usual)| value != usual);
        asked.map(|((name, value), _)| (name.to_owned(), value)).collect()
    }

    /// The command line, for people: the agent's file system and the shared file are then files that they have.
    #[must_use]
    pub fn command_line(&self, qemu: &Qemu) -> String {
        let start = qemu.command();
        let start = std::iter::once(start.get_program()).chain(start.get_args());
        let start = start.map(|word| word.to_string_lossy().into_owned());
        let image = self.kernel.image.to_string_lossy();
        start
            .chain(self.arguments(Cpu::Max, "MAIL", &image, Some("INITRD")))
            .map(|word| quote(&word))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn arguments(&self, cpu: Cpu, mail: &str, kernel: &str, initrd: Option<&str>) -> Vec<String> {
        let switch = |on| if on { "on" } else { "off" };
        let mut model = "max,pauth-impdef=on,lpa2=off".to_owned();
        if self.sve_max == 0 {
            // Of a CPU with SME alone, SVE instructions follow SME's controls: nobody has built one.
            model.push_str(",sve=off,sme=off");
        } else {
            for vq in 1..=16u32 {
                let exists = vq * 128 <= self.sve_max && (cpu == Cpu::AllLengths || vq.is_power_of_two());
                model.push_str(&format!(",sve{}={}", vq * 128, switch(exists)));
            }
        }
        let mut arguments = [
            "-M",
            "virt,virtualization=on,gic-version=3,acpi=off",
            "-cpu",
            &model,
            "-accel",
            "tcg,thread=multi,tb-size=256",
            "-smp",
            &self.cpus.to_string(),
            "-m",
            &MEMORY.to_string(),
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-monitor",
            "none",
            // Standard input and output are the agent's, by semihosting.
            "-chardev",
            "file,id=console,path=/dev/stderr",
            "-serial",
            "chardev:console",
            "-semihosting-config",
            &format!("enable=on,target=native,userspace=on,arg={mail}"),
            "-kernel",
            kernel,
            "-append",
            &self.parameters(),
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(initrd) = initrd {
            arguments.extend(["-initrd", initrd].map(str::to_owned));
        }
        arguments
    }

    fn parameters(&self) -> String {
        let mut parameters = PARAMETERS.map(str::to_owned).to_vec();
        match self.mode {
            KvmMode::Vhe => {}
            mode => parameters.push(format!("kvm-arm.mode={}", mode.name())),
        }
        if !self.cmdline.is_empty() {
            parameters.push(self.cmdline.clone());
        }
        parameters.join(" ")
    }
}

/// The initial file system: the agent as `/init`, the folders that it mounts on, and a console for its last words. The
/// archive of modules follows it as it is.
fn initrd(modules: Option<&Path>) -> io::Result<OwnedFd> {
    const PROGRAM: u32 = 0o100_755;
    const CHARACTER_DEVICE: u32 = 0o020_600;
    let own;
    let agent = match embedded::AGENT {
        Some(agent) => agent,
        // This is the agent: it runs an emulated host on an arm64 one.
        None => {
            own = std::fs::read("/proc/self/exe")?;
            &own
        }
    };
    let file = File::from(memfd_create("holdfast-initrd", MemfdFlags::empty())?);
    let mut out = file.try_clone()?;
    let mut inode = 0;
    let mut entry = |name: &str, mode: u32, bytes: &[u8]| -> io::Result<()> {
        inode += 1;
        let mut builder = NewcBuilder::new(name).mode(mode).ino(inode);
        if mode == CHARACTER_DEVICE {
            builder = builder.rdev_major(5).rdev_minor(1);
        }
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut writer = builder.write(&mut out, len);
        io::copy(&mut Cursor::new(bytes), &mut writer)?;
        writer.finish().map(drop)
    };
    for folder in ["dev", "proc", "sys"] {
        entry(folder, FOLDER_MODE, &[])?;
    }
    entry("dev/console", CHARACTER_DEVICE, &[])?;
    entry("init", PROGRAM, agent)?;
    cpio::newc::trailer(&mut out)?;
    if let Some(modules) = modules {
        io::copy(&mut std::fs::File::open(modules)?, &mut out)?;
    }
    out.flush()?;
    Ok(file.into())
}
