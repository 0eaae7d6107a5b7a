//! The machine that a case is compiled against.
//!
//! A [`Machine`] says what the payload's CPU has, as configured or claimed: never as probed, or a broken
//! hypervisor would define its own oracle.

mod hooks;

use abi::doorbell::{Check, Disturbance};
use abi::skip;

pub use hooks::{Doorbell, Hooks, IrqSource};

use crate::scenario::step::{Cpu, GuestSpec, L1Mode};

/// FPSR: QC, IDC, IXC, UFC, OFC, DZC, IOC (DDI0487 C5.2.10). N, Z, C and V of AArch32 are left alone.
pub const FPSR_WRITABLE: u64 = 0x0800_009f;
/// FPCR: AHP, DN, FZ, RMode and FZ16 (DDI0487 C5.2.8). Trap enables are optional and left alone.
pub const FPCR_WRITABLE: u64 = 0x07c8_0000;
/// FPCR: NEP, AH and FIZ, with FEAT_AFP.
pub const FPCR_WRITABLE_AFP: u64 = 0x7;
/// FPMR: F8S1, F8S2, F8D, OSM, OSC, LSCALE, NSCALE, LSCALE2 (DDI0487 C5.2.9).
pub const FPMR_WRITABLE: u64 = 0x3f_ff7f_c1ff;

/// What the CPU under the payload is and what its target can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Machine {
    /// What the ID registers promise to the payload's highest level.
    pub features: Features,
    /// The vector lengths that it has, already capped by the guest's maximum. Empty without SVE.
    pub lengths: Lengths,
    /// The bits of the FP control and status registers that hold what is written.
    pub writable: Writable,
    /// What the FP registers hold when the case begins.
    pub fp_reset: FpReset,
    /// ZCR_ELx at every level when the case begins.
    pub zcr_reset: u64,
    /// What the target can be asked for.
    pub hooks: Hooks,
    /// Known departures of the substrate from the manual.
    pub quirks: Quirks,
    /// What the manual leaves to the implementation.
    pub choices: Choices,
}

/// The features that a verdict depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Features {
    /// FEAT_SVE.
    pub sve: bool,
    /// FEAT_SME is visible.
    pub sme: bool,
    /// FEAT_FPMR.
    pub fpmr: bool,
    /// FEAT_S1POE: CPACR_EL1 and CPTR_EL2 have E0POE.
    pub poe: bool,
    /// FEAT_PAuth: ERETAA and ERETAB exist.
    pub pauth: bool,
    /// FEAT_FPACCOMBINE: a combined instruction such as ERETAA faults itself if authentication fails.
    pub fpac_combined: bool,
    /// How the payload's EL2 runs, if it has one.
    pub el2: Option<L1Mode>,
}

/// A set of vector lengths, in quadwords (units of 128 bits, 1 to 16).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lengths(u16);

impl Lengths {
    /// The set of the given numbers of quadwords; those outside 1 to 16 are ignored.
    #[must_use]
    pub fn new(vqs: impl IntoIterator<Item = u8>) -> Self {
        Self(vqs.into_iter().filter(|vq| (1..=16).contains(vq)).fold(0, |set, vq| set | 1 << (vq - 1)))
    }

    /// What a CPU of this kind has up to `bits`.
    #[must_use]
    pub fn of_cpu(cpu: Cpu, bits: u32) -> Self {
        let fits = |vq: &u8| u32::from(*vq) * 128 <= bits;
        match cpu {
            Cpu::Max => Self::new([1, 2, 4, 8, 16].into_iter().filter(fits)),
            Cpu::AllLengths => Self::new((1..=16).filter(fits)),
        }
    }

    /// Whether a length is in the set.
    #[must_use]
    pub const fn contains(self, vq: u8) -> bool {
        vq >= 1 && vq <= 16 && self.0 & (1 << (vq - 1)) != 0
    }

    /// The lengths, smallest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = u8> {
        (1..=16).filter(move |vq| self.contains(*vq))
    }

    /// The largest length.
    #[must_use]
    pub fn max(self) -> Option<u8> {
        self.iter().next_back()
    }

    /// The middle length, the lower one of two.
    #[must_use]
    pub fn mid(self) -> Option<u8> {
        let count = self.iter().count();
        self.iter().nth(count.saturating_sub(1) / 2)
    }

    /// The largest length that is not above `vq` (rule P-50; ImplementedSVEVectorLength in the manual).
    #[must_use]
    pub fn round_down(self, vq: u8) -> u8 {
        self.iter().take_while(|have| *have <= vq).last().unwrap_or(1)
    }
}

/// Writable bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Writable {
    /// Of FPCR.
    pub fpcr: u64,
    /// Of FPSR.
    pub fpsr: u64,
    /// Of FPMR.
    pub fpmr: u64,
}

/// What the FP registers hold before anybody wrote them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FpReset {
    /// Zero: what the target promises for a new vCPU (rule P-13).
    Zero,
    /// Anything, but never another context's values (rule P-13 as amended).
    Unknown,
}

/// Known departures of a substrate from the manual. A case that meets one is judged by the quirk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quirks {
    /// QEMU checks FPEN (TFP) as well as ZEN (TZ) when ZCR_ELx is accessed, and reports EC 0x07. The manual's
    /// accessors have ZEN and TZ only (rules P-69, P-70 as amended; QEMU `handle_sys`, `ARM_CP_SVE`, calls
    /// `sve_access_check`). A hypervisor below cannot mend it: the trap of ZCR and that of an SVE
    /// instruction share EC 0x19 with ISS 0.
    pub zcr_checks_fpen: bool,
    /// ZCR_EL12 of a virtual EL2 with E2H = 1 is memory (FEAT_NV2: `NVMem[0x1E0]` comes first in its accessor), so
    /// neither L1's own CPTR_EL2 traps it nor can a hypervisor make it UNDEFINED (rules P-58, P-88).
    pub zcr_el12_is_memory: bool,
    /// A hypervisor below emulates ZCR_EL2 for L1 (FEAT_NV traps it), by the manual: FPEN is not checked there even if
    /// the CPU under it does (rule P-70).
    pub zcr_el2_is_emulated: bool,
    /// A first-fault load whose first active element lies beyond a page boundary may suppress that element, too
    /// (QEMU `sve_ldnfff1_r` declines all elements on the second page; the manual allows that but for the first).
    pub first_fault_stops_at_page: bool,
    /// SVE is hidden from the guest on a CPU that has it. FPEN, which the guest owns, is checked before anything that
    /// the hypervisor controls: where it is closed, EC 0x07 is accepted beside the EC 0x00 of rule P-72.
    pub sve_is_hidden: bool,
    /// CPACR_EL1.ZEN of a guest from which SVE is hidden reaches the CPU as the guest writes it, so EC 0x19 is accepted as
    /// well. A hypervisor that traps CPACR_EL1 of such a guest (CPTR_EL2.TCPAC) keeps ZEN open, and has no such excuse.
    pub hidden_zen_reaches_cpu: bool,
    /// SME is hidden on a CPU that has it, and CPACR_EL1.SMEN reaches the CPU: EC 0x1d and EC 0x07 are accepted.
    pub sme_is_hidden: bool,
    /// ERET does not set the event register (QEMU; the manual's `AArch64.ExceptionReturn` calls SendEventLocal),
    /// so a WFE after it may wait for ever.
    pub eret_sets_no_event: bool,
}

/// What the manual leaves to the implementation, as this one has chosen. Nobody departs from anything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Choices {
    /// At EL2 with HCR_EL2.{E2H, TGE} = {1, 0} the effective value of AMO is 1, whatever is programmed: an SError is
    /// taken there as soon as it is unmasked. IMPLEMENTATION DEFINED (Known Issue D22105 of DDI0487 L.b).
    pub amo_is_one_at_vhe_el2: bool,
}

/// How the CPU of a QEMU machine was configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QemuCpu {
    /// The set of lengths.
    pub cpu: Cpu,
    /// SVE is on.
    pub sve: bool,
    /// The largest vector length in bits.
    pub vl_max: u32,
    /// SME is on.
    pub sme: bool,
    /// It has FPMR (QEMU 11.0 and later).
    pub fpmr: bool,
    /// It has S1POE.
    pub poe: bool,
}

/// What a hypervisor claims of one kind of guest, by its ID registers and its interface.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Claimed {
    /// The vector lengths that it can give; empty without SVE.
    pub lengths: Lengths,
    /// FEAT_FPMR.
    pub fpmr: bool,
    /// FEAT_FPMR can be hidden.
    pub fpmr_hides: bool,
    /// FEAT_S1POE.
    pub poe: bool,
    /// FEAT_PAuth.
    pub pauth: bool,
    /// FEAT_FPACCOMBINE.
    pub fpac_combined: bool,
    /// FEAT_AFP.
    pub afp: bool,
    /// SMC is a conduit for calls, as HVC is; else it answers NOT_SUPPORTED to each.
    pub smc: bool,
    /// It has a GIC of KVM's, which owns its interrupt lines.
    pub gic: bool,
    /// What this release of KVM has chosen.
    pub choices: Choices,
}

/// What is known of the CPU under a hypervisor that is not ours.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Substrate {
    /// It is QEMU's, with QEMU's quirks.
    pub qemu: bool,
    /// It has SVE.
    pub sve: bool,
    /// It has SME.
    pub sme: bool,
}

/// Why a machine cannot be had.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct Unavailable {
    /// A code of [`abi::skip`].
    pub code: &'static str,
    /// The reason in words.
    pub why: String,
}

impl Machine {
    /// The payload at real EL2 (or EL1) of QEMU, without any hypervisor.
    ///
    /// The payload itself zeroes the register file and ZCR_ELx before each case, in the place of a reset.
    ///
    /// # Errors
    ///
    /// The guest asks for lengths or features that this very CPU is not configured with.
    pub fn bare(cpu: &QemuCpu, guest: &GuestSpec) -> Result<Self, Unavailable> {
        if guest.sve != cpu.sve || guest.cpu != cpu.cpu || (cpu.fpmr && !guest.fpmr) {
            let why = "the guest's CPU differs from the machine's, and there is no hypervisor to hide it";
            return Err(Unavailable { code: skip::FEATURE_ABSENT, why: why.into() });
        }
        if guest.sve && guest.vl_max != cpu.vl_max {
            let why = format!("the machine goes to {} bits, the guest to {}", cpu.vl_max, guest.vl_max);
            return Err(Unavailable { code: skip::NO_VECTOR_LENGTH, why });
        }
        let mut machine = Self::qemu(cpu, guest)?;
        machine.features.sme = cpu.sme;
        machine.hooks = Hooks {
            doorbell: None,
            disturbances: &[],
            checks: &[],
            irq: IrqSource::Gic,
            serror: false,
            reset: false,
            // QEMU's `virt` has PSCI by SMC on a machine with EL2, and by HVC on one without.
            smccc: guest.l1.is_some(),
            suspend: guest.l1.is_some(),
            tsc: true,
        };
        machine.quirks.eret_sets_no_event = true;
        Ok(machine)
    }

    /// The payload as a guest of the reference hypervisor under QEMU.
    ///
    /// # Errors
    ///
    /// The guest asks for more than the machine below has.
    pub fn reference(cpu: &QemuCpu, guest: &GuestSpec) -> Result<Self, Unavailable> {
        if guest.sve && !cpu.sve {
            let why = "the machine has no SVE".into();
            return Err(Unavailable { code: skip::FEATURE_ABSENT, why });
        }
        if guest.sve && (guest.cpu != cpu.cpu || guest.vl_max > cpu.vl_max) {
            let why = format!("the machine's lengths go to {} bits only", cpu.vl_max);
            return Err(Unavailable { code: skip::NO_VECTOR_LENGTH, why });
        }
        let mut machine = Self::qemu(cpu, guest)?;
        (machine.hooks.smccc, machine.hooks.suspend) = (true, true);
        machine.quirks.zcr_el12_is_memory = guest.l1 == Some(L1Mode::Vhe);
        machine.quirks.zcr_el2_is_emulated = guest.l1.is_some();
        machine.quirks.sve_is_hidden = cpu.sve && !guest.sve;
        machine.quirks.sme_is_hidden = cpu.sme;
        Ok(machine)
    }

    /// The payload as a guest of Linux KVM, by what that claims.
    ///
    /// # Errors
    ///
    /// The guest asks for more, or for less, than KVM can give.
    pub fn kvm(claimed: &Claimed, cpu: Substrate, guest: &GuestSpec) -> Result<Self, Unavailable> {
        let absent = |why: &str| Unavailable { code: skip::FEATURE_ABSENT, why: why.into() };
        let vq_max = u8::try_from(guest.vl_max / 128).unwrap_or(u8::MAX);
        let lengths = Lengths::new(claimed.lengths.iter().filter(|vq| guest.sve && *vq <= vq_max));
        if guest.sve && claimed.lengths.max().is_none() {
            return Err(absent("KVM has no SVE for such a guest"));
        }
        if guest.sve && lengths != Lengths::of_cpu(guest.cpu, guest.vl_max) {
            let has: Vec<String> =
                claimed.lengths.iter().map(|vq| (u32::from(vq) * 128).to_string()).collect();
            let why = format!("KVM has the vector lengths {} bits, not those of the guest", has.join(", "));
            return Err(Unavailable { code: skip::NO_VECTOR_LENGTH, why });
        }
        if claimed.fpmr && !guest.fpmr && !claimed.fpmr_hides {
            return Err(absent("KVM cannot hide FPMR"));
        }
        let fpmr = claimed.fpmr && guest.fpmr;
        let nested = guest.l1.is_some();
        Ok(Self {
            features: Features {
                sve: guest.sve,
                sme: false,
                fpmr,
                poe: claimed.poe,
                pauth: claimed.pauth,
                fpac_combined: claimed.fpac_combined,
                el2: guest.l1,
            },
            lengths,
            writable: Writable {
                fpcr: FPCR_WRITABLE | if claimed.afp { FPCR_WRITABLE_AFP } else { 0 },
                fpsr: FPSR_WRITABLE,
                fpmr: if fpmr { FPMR_WRITABLE } else { 0 },
            },
            // KVM_ARM_VCPU_INIT zeroes them (rule P-13).
            fp_reset: FpReset::Zero,
            zcr_reset: 0,
            hooks: Hooks {
                doorbell: Some(Doorbell::Mmio),
                disturbances: &Disturbance::ALL,
                checks: Check::ALL,
                irq: if claimed.gic { IrqSource::Line } else { IrqSource::Doorbell },
                serror: true,
                reset: true,
                smccc: true,
                suspend: claimed.smc,
                tsc: true,
            },
            quirks: Quirks {
                zcr_checks_fpen: cpu.qemu,
                first_fault_stops_at_page: cpu.qemu,
                zcr_el12_is_memory: guest.l1 == Some(L1Mode::Vhe),
                zcr_el2_is_emulated: nested,
                sve_is_hidden: cpu.sve && !guest.sve,
                // KVM does not trap CPACR_EL1 of a plain guest.
                hidden_zen_reaches_cpu: cpu.sve && !guest.sve,
                sme_is_hidden: cpu.sme,
                eret_sets_no_event: false,
            },
            choices: claimed.choices,
        })
    }

    fn qemu(cpu: &QemuCpu, guest: &GuestSpec) -> Result<Self, Unavailable> {
        let lengths = if guest.sve { Lengths::of_cpu(guest.cpu, guest.vl_max) } else { Lengths::default() };
        if guest.sve && lengths.max().map(|vq| u32::from(vq) * 128) != Some(guest.vl_max) {
            let why = format!("no CPU of this kind has a largest vector length of {} bits", guest.vl_max);
            return Err(Unavailable { code: skip::NO_VECTOR_LENGTH, why });
        }
        Ok(Self {
            features: Features {
                sve: guest.sve,
                sme: false,
                fpmr: cpu.fpmr && guest.fpmr,
                poe: cpu.poe,
                pauth: true,
                // QEMU's `max` has FEAT_FPACCOMBINE with every PAC algorithm (target/arm/tcg/cpu64.c).
                fpac_combined: true,
                el2: guest.l1,
            },
            lengths,
            writable: Writable {
                fpcr: FPCR_WRITABLE | FPCR_WRITABLE_AFP,
                fpsr: FPSR_WRITABLE,
                fpmr: if cpu.fpmr && guest.fpmr { FPMR_WRITABLE } else { 0 },
            },
            fp_reset: FpReset::Zero,
            zcr_reset: 0,
            hooks: Hooks {
                doorbell: Some(Doorbell::Mmio),
                // There is one CPU, and no interface to take a vCPU's registers by.
                disturbances: &[
                    Disturbance::Clobber,
                    Disturbance::Preempt,
                    Disturbance::HostSimd,
                    Disturbance::OtherVcpu,
                ],
                checks: &[],
                irq: IrqSource::Doorbell,
                serror: true,
                reset: true,
                smccc: false,
                suspend: false,
                tsc: true,
            },
            quirks: Quirks { zcr_checks_fpen: true, first_fault_stops_at_page: true, ..Quirks::default() },
            choices: Choices::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_of_the_two_cpus() {
        let max = Lengths::of_cpu(Cpu::Max, 512);
        assert_eq!(max.iter().collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!((max.max(), max.mid()), (Some(4), Some(2)));
        assert_eq!(max.round_down(3), 2);
        let all = Lengths::of_cpu(Cpu::AllLengths, 384);
        assert_eq!(all.iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(Lengths::of_cpu(Cpu::Max, 384).max(), Some(2));
    }

    #[test]
    fn bare_has_only_its_own_lengths() {
        let cpu = QemuCpu { cpu: Cpu::Max, sve: true, vl_max: 512, sme: false, fpmr: true, poe: false };
        let guest = |vl_max| GuestSpec { vl_max, ..GuestSpec::default() };
        assert!(Machine::bare(&cpu, &guest(512)).is_ok());
        assert_eq!(Machine::bare(&cpu, &guest(256)).unwrap_err().code, skip::NO_VECTOR_LENGTH);
        assert!(Machine::reference(&cpu, &guest(256)).is_ok());
        assert_eq!(Machine::reference(&cpu, &guest(1024)).unwrap_err().code, skip::NO_VECTOR_LENGTH);
        assert_eq!(Machine::reference(&cpu, &guest(384)).unwrap_err().code, skip::NO_VECTOR_LENGTH);
    }
}
