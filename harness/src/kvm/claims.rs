//! What a KVM claims of its guests: capabilities and ID registers, never the registers under test.

use model::machine::{Choices, Claimed, Lengths};
use serde::{Deserialize, Serialize};

use crate::expectations::is_among;

/// What the agent found out about its host, before any guest ran.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Claims {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// CPUs that are online.
    pub cpus: u32,
    /// What KVM logged of itself when it was initialized (`VHE mode initialized successfully`), if it could be read.
    pub mode: String,
    /// The kernel's command line.
    pub cmdline: String,
    /// A plain guest without SVE.
    pub plain: Option<GuestClaims>,
    /// A plain guest with SVE.
    pub sve: Option<GuestClaims>,
    /// A guest with an EL2 of its own (KVM_ARM_VCPU_HAS_EL2), with SVE if that can be had.
    pub el2: Option<GuestClaims>,
    /// The same with HCR_EL2.E2H fixed to 0 (KVM_ARM_VCPU_HAS_EL2_E2H0).
    pub el2_e2h0: Option<GuestClaims>,
    /// Why one of these cannot be had, in the kernel's words, by its name.
    pub refused: Vec<(String, String)>,
}

/// What one kind of guest is told.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct GuestClaims {
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
    /// ID_AA64PFR1_EL1.
    pub pfr1: u64,
    /// ID_AA64PFR2_EL1; 0 on a kernel that does not list it.
    pub pfr2: u64,
    /// ID_AA64ISAR1_EL1.
    pub isar1: u64,
    /// ID_AA64ISAR2_EL1.
    pub isar2: u64,
    /// ID_AA64MMFR1_EL1.
    pub mmfr1: u64,
    /// ID_AA64MMFR3_EL1; 0 on a kernel that does not list it.
    pub mmfr3: u64,
    /// KVM_REG_ARM64_SVE_VLS, the first word: bit `n` for `n + 1` quadwords.
    pub vls: u64,
    /// ID_AA64PFR2_EL1.FPMR can be written: FPMR can be hidden.
    pub fpmr_hides: bool,
    /// SMC calls are handled: KVM_ARM_VM_SMCCC_FILTER came with that (Linux 6.4).
    pub smc: bool,
    /// It is given a GIC of KVM's, which then owns its interrupt lines. A guest with EL2 does not run without one
    /// (EAGAIN from its first KVM_RUN), and in protected mode KVM forgets a line that userspace sets (from Linux 6.14
    /// on, `flush_hyp_vcpu()` takes nothing of HCR_EL2.{VI,VF} from the host).
    pub gic: bool,
    /// It is not given the pointer authentication that KVM offers, because guests cannot use it.
    pub pauth_is_broken: bool,
    /// It is not given the TCR2_EL1 that KVM offers, because it would find the host's there.
    pub tcr2_is_broken: bool,
}

impl Claims {
    /// Whether KVM keeps its host out of guests (`kvm-arm.mode=protected`), as far as can be told.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.mode.starts_with("Protected")
            || self.mode.is_empty() && self.cmdline.contains("kvm-arm.mode=protected")
    }

    /// Whether a guest that is told to have TCR2_EL1 may be let read it to see whose it is. In protected mode before 6.15,
    /// which clears HCRX_EL2.TCR2En, that read is the end of the host: BUG_ON() in `access_vm_reg()`
    /// (arch/arm64/kvm/sys_regs.c) takes it for a write.
    #[must_use]
    pub fn tcr2_can_be_probed(&self) -> bool {
        self.is_protected() && is_among(&self.release, "6.15..")
    }

    /// What the manual leaves to the implementation, as this release has chosen.
    #[must_use]
    pub fn choices(&self) -> Choices {
        // `vcpu_el2_amo_is_set()` says so, and why (arch/arm64/include/asm/kvm_emulate.h), since ff37a41db8b4 ("KVM: arm64:
        // nv: Treat AMO as 1 when at EL2 and {E2H,TGE} = {1, 0}").
        Choices { amo_is_one_at_vhe_el2: is_among(&self.release, "6.18..") }
    }
}

const fn field(register: u64, low: u32) -> u64 {
    register >> low & 0xf
}

impl GuestClaims {
    /// ID_AA64PFR0_EL1.SVE.
    #[must_use]
    pub const fn has_sve(&self) -> bool {
        field(self.pfr0, 32) != 0
    }

    /// ID_AA64PFR2_EL1.FPMR.
    #[must_use]
    pub const fn has_fpmr(&self) -> bool {
        field(self.pfr2, 32) != 0
    }

    /// What a model of this guest is made from.
    #[must_use]
    pub fn claimed(&self) -> Claimed {
        // FEAT_FPACCOMBINE is value 5 of each of the three fields of algorithms.
        let algorithms = [field(self.isar1, 4), field(self.isar1, 8), field(self.isar2, 12)];
        Claimed {
            lengths: Lengths::new((1..=16).filter(|vq| self.has_sve() && self.vls >> (vq - 1) & 1 != 0)),
            fpmr: self.has_fpmr(),
            fpmr_hides: self.fpmr_hides,
            poe: field(self.mmfr3, 16) != 0,
            pauth: algorithms.iter().any(|algorithm| *algorithm != 0),
            fpac_combined: algorithms.iter().any(|algorithm| *algorithm >= 5),
            afp: field(self.mmfr1, 44) != 0,
            smc: self.smc,
            gic: self.gic,
            choices: Choices::default(),
        }
    }
}
