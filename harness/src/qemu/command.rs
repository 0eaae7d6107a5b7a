//! The machine that QEMU is asked for, and the command line that asks for it.

use model::scenario::step::Cpu;

use super::Qemu;

/// Guest physical address of RAM.
pub const RAM_BASE: u64 = 0x4000_0000;
/// Bytes of RAM.
pub const RAM_SIZE: usize = 64 << 20;
/// Bytes of memory that each image has.
pub const SLOT_SIZE: u64 = 8 << 20;
/// How many images fit.
pub const SLOTS: u32 = 7;

/// The address of an image's memory. Slot 0 is for the image that the machine starts; slots from 1 on are
/// adjacent, so that the memory of a guest with several images is one range.
#[must_use]
pub const fn slot(number: u32) -> u64 {
    match number {
        0 => 0x4040_0000,
        above => 0x4100_0000 + (above - 1) as u64 * SLOT_SIZE,
    }
}

/// The machine under everything. Cases with equal ones share a QEMU.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MachineConfig {
    /// The CPU has EL2 and starts there; else it has only EL1 and EL0.
    pub el2: bool,
    /// Which vector lengths it has.
    pub cpu: Cpu,
    /// Its largest vector length in bits; 0 for a CPU without SVE.
    pub vl_max: u32,
    /// The CPU has SME.
    pub sme: bool,
    /// Time passes by instructions: one tick of the counter each.
    pub icount: bool,
}

impl MachineConfig {
    /// Whether the CPU has this vector length, in bits.
    #[must_use]
    pub fn has_vl(&self, vl: u32) -> bool {
        let exists = match self.cpu {
            Cpu::Max => vl.is_power_of_two(),
            Cpu::AllLengths => true,
        };
        exists && vl.is_multiple_of(128) && (128..=self.vl_max).contains(&vl)
    }

    /// The argument of `-cpu`. Every length is named: QEMU's defaults for the rest have changed before.
    fn cpu(&self) -> String {
        let switch = |on| if on { "on" } else { "off" };
        // Ticks of 1 ns: under `-icount shift=0` one instruction each.
        let mut cpu = "max,pauth-impdef=on,lpa2=off,cntfrq=1000000000".to_owned();
        if self.vl_max == 0 {
            cpu.push_str(",sve=off");
        } else {
            for vl in (1..=16).map(|vq| vq * 128) {
                cpu.push_str(&format!(",sve{vl}={}", switch(self.has_vl(vl))));
            }
        }
        cpu.push_str(&format!(",sme={}", switch(self.sme)));
        cpu
    }

    /// QEMU's arguments, with RAM in the file `ram`.
    #[must_use]
    pub fn arguments(&self, ram: &str) -> Vec<String> {
        let virtualization = if self.el2 { "on" } else { "off" };
        let mut arguments: Vec<String> = [
            "-M",
            &format!("virt,virtualization={virtualization},gic-version=3,acpi=off,memory-backend=ram"),
            "-cpu",
            &self.cpu(),
            "-accel",
            "tcg,tb-size=64",
            "-m",
            "64",
            "-smp",
            "1",
            // Without it a plain start asks for network boot ROMs that minimal packages lack.
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-serial",
            "null",
            "-monitor",
            "none",
            "-semihosting-config",
            "enable=on,target=native",
            "-object",
            &format!("memory-backend-file,id=ram,size={RAM_SIZE},mem-path={ram},share=on"),
            // No file: this only sets the first PC.
            "-device",
            &format!("loader,addr={:#x},cpu-num=0", slot(0)),
        ]
        .map(str::to_owned)
        .to_vec();
        if self.icount {
            arguments.extend(["-icount", "shift=0,sleep=off"].map(str::to_owned));
        }
        arguments
    }

    /// The command line, for people: RAM is then in a file that they choose.
    #[must_use]
    pub fn command_line(&self, qemu: &Qemu) -> String {
        let start = qemu.command();
        let start = std::iter::once(start.get_program()).chain(start.get_args());
        let start = start.map(|word| word.to_string_lossy().into_owned());
        start.chain(self.arguments("RAM")).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: MachineConfig =
        MachineConfig { el2: true, cpu: Cpu::Max, vl_max: 2048, sme: true, icount: false };

    #[track_caller]
    fn check(config: MachineConfig, lengths: &[u32]) {
        let has: Vec<u32> = (1..=16).map(|vq| vq * 128).filter(|&vl| config.has_vl(vl)).collect();
        assert_eq!(has, lengths);
        for vl in (1..=16).map(|vq| vq * 128) {
            let text = format!(",sve{vl}={}", if has.contains(&vl) { "on" } else { "off" });
            assert_eq!(config.cpu().contains(&text), config.vl_max != 0, "{text}");
        }
    }

    #[test]
    fn lengths_are_those_of_the_configuration() {
        check(CONFIG, &[128, 256, 512, 1024, 2048]);
        check(MachineConfig { vl_max: 512, ..CONFIG }, &[128, 256, 512]);
        check(MachineConfig { vl_max: 384, ..CONFIG }, &[128, 256]);
        check(MachineConfig { cpu: Cpu::AllLengths, vl_max: 384, ..CONFIG }, &[128, 256, 384]);
        check(MachineConfig { vl_max: 0, ..CONFIG }, &[]);
        assert!(!CONFIG.has_vl(0) && !CONFIG.has_vl(192));
    }

    #[test]
    fn slots_do_not_overlap_and_fit() {
        for number in 0..SLOTS {
            assert!(slot(number) >= RAM_BASE && slot(number).is_multiple_of(0x20_0000));
            assert!(number == 0 || slot(number) >= slot(number - 1) + SLOT_SIZE);
        }
        assert_eq!(slot(SLOTS - 1) + SLOT_SIZE, RAM_BASE + RAM_SIZE as u64);
    }
}
