//! What `kvm-ioctls` and `kvm-bindings` lack, each with its place in Linux's uapi headers.

use std::io;
use std::os::fd::AsRawFd as _;

use kvm_ioctls::VcpuFd;

use super::error::VmError;

/// KVM_CAP_ARM_EL2 (`include/uapi/linux/kvm.h`).
pub(super) const CAP_ARM_EL2: u64 = 240;
/// KVM_CAP_ARM_EL2_E2H0 (`include/uapi/linux/kvm.h`).
pub(super) const CAP_ARM_EL2_E2H0: u64 = 241;
/// KVM_VM_TYPE_ARM_PROTECTED (`include/uapi/linux/kvm.h`, since Linux 7.2).
pub(super) const VM_PROTECTED: u64 = 1 << 31;
/// Bits of a VM's type that give its IPA size: KVM_VM_TYPE_ARM_IPA_SIZE_MASK. 0 stands for 40 bits.
pub(super) const IPA_40_BITS: u64 = 0;

/// KVM_GET_REG_LIST, `_IOWR(KVMIO, 0xb0, struct kvm_reg_list)` (`include/uapi/linux/kvm.h`). That of `kvm-ioctls` stops
/// at 500 registers.
pub(super) fn reg_list(vcpu: &VcpuFd) -> Result<Vec<u64>, VmError> {
    const REGISTERS: usize = 4096;
    let mut list = vec![0; REGISTERS + 1];
    list[0] = REGISTERS as u64;
    reg_list_into(vcpu, &mut list)
        .map_err(|errno| VmError { call: "KVM_GET_REG_LIST", source: io::Error::from_raw_os_error(errno) })?;
    let len = usize::try_from(list[0]).unwrap_or(0).min(REGISTERS);
    Ok(list.get(1..=len).unwrap_or_default().to_vec())
}

/// The same, to a list whose first word says how many ids may follow, which is a matter between caller and kernel. An
/// error is an `errno`.
pub(super) fn reg_list_into(vcpu: &VcpuFd, list: &mut [u64]) -> Result<(), i32> {
    const KVM_GET_REG_LIST: libc::c_int = 0xc008_aeb0_u32.cast_signed();
    let room = list.len().saturating_sub(1) as u64;
    let Some(first) = list.first_mut() else { return Err(libc::EINVAL) };
    *first = room.min(*first);
    // SAFETY: the first word says how many follow, at most.
    let answer = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_GET_REG_LIST, list.as_mut_ptr()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
}

/// KVM_RUN for its error alone, an `errno`.
pub(super) fn run(vcpu: &VcpuFd) -> Result<(), i32> {
    const KVM_RUN: libc::c_int = 0xae80;
    // SAFETY: what a guest does with its memory is its VM's matter.
    let answer = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_RUN, 0) };
    if answer >= 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
}

/// Register ids of KVM_GET_ONE_REG (`arch/arm64/include/uapi/asm/kvm.h`).
pub(super) mod reg {
    use kvm_bindings::{
        KVM_REG_ARM64, KVM_REG_SIZE_MASK, KVM_REG_SIZE_U32, KVM_REG_SIZE_U64, KVM_REG_SIZE_U128,
        KVM_REG_SIZE_U256, KVM_REG_SIZE_U512, KVM_REG_SIZE_U2048,
    };

    const CORE: u64 = 0x10 << 16;
    const SYSREG: u64 = 0x13 << 16;

    /// KVM_REG_ARM64_SVE_VLS: eight words, bit `n` for `n + 1` quadwords.
    pub(in crate::vmm) const SVE_VLS: u64 = KVM_REG_ARM64 | KVM_REG_SIZE_U512 | 0x15 << 16 | 0xffff;

    /// KVM_REG_ARM_CORE_REG, by the byte offset in `struct kvm_regs`.
    const fn core(offset: u64) -> u64 {
        KVM_REG_ARM64 | KVM_REG_SIZE_U64 | CORE | (offset / 4)
    }

    const SVE: u64 = 0x15 << 16;

    /// Z register `n`, slice 0.
    pub(in crate::vmm) const fn z(n: u64) -> u64 {
        KVM_REG_ARM64 | KVM_REG_SIZE_U2048 | SVE | (n << 5)
    }

    /// P register `n`, slice 0.
    pub(in crate::vmm) const fn p(n: u64) -> u64 {
        KVM_REG_ARM64 | KVM_REG_SIZE_U256 | SVE | 0x400 | (n << 5)
    }

    /// FFR, slice 0.
    pub(in crate::vmm) const FFR: u64 = p(16);

    /// V register `n`, of a vCPU without SVE.
    pub(in crate::vmm) const fn v(n: u64) -> u64 {
        KVM_REG_ARM64 | KVM_REG_SIZE_U128 | CORE | (0x54 + 4 * n)
    }

    /// FPSR.
    pub(in crate::vmm) const FPSR: u64 = KVM_REG_ARM64 | KVM_REG_SIZE_U32 | CORE | 0xd4;
    /// FPCR.
    pub(in crate::vmm) const FPCR: u64 = KVM_REG_ARM64 | KVM_REG_SIZE_U32 | CORE | 0xd5;
    /// FPMR.
    pub(in crate::vmm) const FPMR: u64 = sys(3, 3, 4, 4, 2);
    /// MPIDR_EL1.
    pub(in crate::vmm) const MPIDR: u64 = sys(3, 0, 0, 0, 5);
    /// ZCR_EL1.
    pub(in crate::vmm) const ZCR_EL1: u64 = sys(3, 0, 1, 2, 0);
    /// ZCR_EL2.
    pub(in crate::vmm) const ZCR_EL2: u64 = sys(3, 4, 1, 2, 0);

    /// The same register as if it had `1 << size` bytes.
    pub(in crate::vmm) const fn with_size(id: u64, size: u64) -> u64 {
        id & !KVM_REG_SIZE_MASK | size << 52
    }

    /// A system register of AArch64.
    pub(in crate::vmm) const fn is_sys(id: u64) -> bool {
        id & 0xfff_0000 == SYSREG
    }

    /// The op1 of a system register.
    pub(in crate::vmm) const fn op1(id: u64) -> u64 {
        id >> 11 & 7
    }

    /// A register of the generic timer: op0 is 3, CRn is 14.
    pub(in crate::vmm) const fn is_timer(id: u64) -> bool {
        is_sys(id) && id >> 14 & 3 == 3 && id >> 7 & 0xf == 14
    }

    /// An id as people look it up: that of a system register with its encoding, as assemblers take it.
    pub(in crate::vmm) fn name(id: u64) -> String {
        let field = |low: u64, bits: u64| id >> low & ((1 << bits) - 1);
        match is_sys(id) {
            true => format!(
                "{id:#018x} (S{}_{}_C{}_C{}_{})",
                field(14, 2),
                field(11, 3),
                field(7, 4),
                field(3, 4),
                field(0, 3)
            ),
            false => format!("{id:#018x}"),
        }
    }

    /// General register `n`.
    pub(in crate::vmm) const fn x(n: u64) -> u64 {
        core(8 * n)
    }

    /// Bytes of the register with this id.
    pub(in crate::vmm) const fn size(id: u64) -> usize {
        1 << (id >> 52 & 0xf)
    }

    /// PC.
    pub(in crate::vmm) const PC: u64 = core(0x100);
    /// VBAR_EL2.
    pub(in crate::vmm) const VBAR_EL2: u64 = sys(3, 4, 12, 0, 0);
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
    pub(in crate::vmm) const ID_AA64ZFR0: u64 = id(4, 4);
    pub(in crate::vmm) const ID_AA64ISAR1: u64 = id(6, 1);
    pub(in crate::vmm) const ID_AA64ISAR2: u64 = id(6, 2);
    pub(in crate::vmm) const ID_AA64MMFR1: u64 = id(7, 1);
    pub(in crate::vmm) const ID_AA64MMFR3: u64 = id(7, 3);
    /// ID_AA64PFR0_EL1.SVE.
    pub(in crate::vmm) const PFR0_SVE: u64 = 0xf << 32;
    /// ID_AA64PFR1_EL1.SME.
    pub(in crate::vmm) const PFR1_SME: u64 = 0xf << 24;
    /// ID_AA64PFR2_EL1.FPMR.
    pub(in crate::vmm) const PFR2_FPMR: u64 = 0xf << 32;
    /// ID_AA64MMFR3_EL1.TCRX: TCR2_EL1 is there.
    pub(in crate::vmm) const MMFR3_TCRX: u64 = 0xf;
    /// That, and S1PIE and S1POE, which TCR2_EL1 turns on.
    pub(in crate::vmm) const MMFR3_TCR2: u64 = MMFR3_TCRX | 0xf << 8 | 0xf << 16;
}
