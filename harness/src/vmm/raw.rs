//! What `kvm-ioctls` and `kvm-bindings` lack, each with its place in Linux's uapi headers.

/// KVM_CAP_ARM_EL2 (`include/uapi/linux/kvm.h`).
pub(super) const CAP_ARM_EL2: u64 = 240;
/// KVM_CAP_ARM_EL2_E2H0 (`include/uapi/linux/kvm.h`).
pub(super) const CAP_ARM_EL2_E2H0: u64 = 241;
/// Bits of a VM's type that give its IPA size: KVM_VM_TYPE_ARM_IPA_SIZE_MASK. 0 stands for 40 bits.
pub(super) const IPA_40_BITS: u64 = 0;

/// Register ids of KVM_GET_ONE_REG (`arch/arm64/include/uapi/asm/kvm.h`).
pub(super) mod reg {
    use kvm_bindings::{KVM_REG_ARM64, KVM_REG_SIZE_U64, KVM_REG_SIZE_U512};

    const CORE: u64 = 0x10 << 16;
    const SYSREG: u64 = 0x13 << 16;

    /// KVM_REG_ARM64_SVE_VLS: eight words, bit `n` for `n + 1` quadwords.
    pub(in crate::vmm) const SVE_VLS: u64 = KVM_REG_ARM64 | KVM_REG_SIZE_U512 | 0x15 << 16 | 0xffff;

    /// KVM_REG_ARM_CORE_REG, by the byte offset in `struct kvm_regs`.
    const fn core(offset: u64) -> u64 {
        KVM_REG_ARM64 | KVM_REG_SIZE_U64 | CORE | offset / 4
    }

    /// PC.
    pub(in crate::vmm) const PC: u64 = core(0x100);
    /// PSTATE.
    pub(in crate::vmm) const PSTATE: u64 = core(0x108);

    /// ARM64_SYS_REG.
    pub(in crate::vmm) const fn sys(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
        KVM_REG_ARM64 | KVM_REG_SIZE_U64 | SYSREG | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
    }

    /// An ID register of AArch64.
    pub(in crate::vmm) const fn id(crm: u64, op2: u64) -> u64 {
        sys(3, 0, 0, crm, op2)
    }

    pub(in crate::vmm) const ID_AA64PFR0: u64 = id(4, 0);
    pub(in crate::vmm) const ID_AA64PFR1: u64 = id(4, 1);
    pub(in crate::vmm) const ID_AA64PFR2: u64 = id(4, 2);
    pub(in crate::vmm) const ID_AA64ISAR1: u64 = id(6, 1);
    pub(in crate::vmm) const ID_AA64ISAR2: u64 = id(6, 2);
    pub(in crate::vmm) const ID_AA64MMFR1: u64 = id(7, 1);
    pub(in crate::vmm) const ID_AA64MMFR3: u64 = id(7, 3);
    /// ID_AA64PFR2_EL1.FPMR.
    pub(in crate::vmm) const PFR2_FPMR: u64 = 0xf << 32;
}
