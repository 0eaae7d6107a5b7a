//! VMs and vCPUs of the kinds that cases ask for.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, IntoRawFd as _};
use std::sync::atomic::{AtomicU32, Ordering};

use abi::doorbell;
use kvm_bindings::{
    KVM_ARM_VCPU_HAS_EL2, KVM_ARM_VCPU_HAS_EL2_E2H0, KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VCPU_PTRAUTH_ADDRESS,
    KVM_ARM_VCPU_PTRAUTH_GENERIC, KVM_ARM_VCPU_SVE, KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER,
    kvm_device_attr, kvm_smccc_filter, kvm_smccc_filter_action_KVM_SMCCC_FILTER_FWD_TO_USER as FORWARD,
    kvm_userspace_memory_region, kvm_vcpu_init,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use vm_memory::{Address as _, GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _};

use super::alarm;
use super::error::{VmError, failed};
use super::gic::Gic;
use super::raw::{self, reg};
use crate::kvm::sme;

/// What a VM is to be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Kind {
    /// The guest has SVE, to this many quadwords; 0 for none.
    pub(super) vq_max: u32,
    /// The guest has an EL2 of its own.
    pub(super) el2: bool,
    /// That EL2 has HCR_EL2.E2H fixed to 0.
    pub(super) e2h0: bool,
    /// FPMR is hidden.
    pub(super) without_fpmr: bool,
    /// The guest has a GICv3 of KVM's.
    pub(super) gic: bool,
    /// The VM is protected: its memory is not the host's, but what its guest shares.
    pub(super) protected: bool,
    /// The guest has SME, as it is planned ([`sme::FEATURE`]).
    pub(super) sme: bool,
    /// The guest has no pointer authentication, whatever KVM offers.
    pub(super) without_pauth: bool,
    /// The guest has no TCR2_EL1, nor what needs it, whatever KVM offers.
    pub(super) without_tcr2: bool,
    /// Calls of the doorbell ([`doorbell::CALL`]) come to the monitor.
    pub(super) calls: bool,
    /// The VM has a second vCPU, with the lengths of the first (rule P-57).
    pub(super) second: bool,
}

/// VMs that were left to the end of the host.
static LEFT: AtomicU32 = AtomicU32::new(0);

/// Whether those have left little of its memory: with pages of 64 KiB, each is megabytes of tables.
pub(super) fn left_little_memory() -> bool {
    /// Fewer are not the reason.
    const MANY: u32 = 16;
    /// A part of the memory that is little.
    const PART: u64 = 8;
    if LEFT.load(Ordering::Relaxed) < MANY {
        return false;
    }
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let sizes = kilobytes("MemTotal:").zip(kilobytes("MemAvailable:"));
    sizes.is_some_and(|(total, available)| available < total / PART)
}

/// A VM with a vCPU.
#[derive(Debug)]
pub(super) struct Vm {
    // The order is that of the drops.
    pub(super) vcpu: VcpuFd,
    /// [`Kind::second`].
    second: Option<VcpuFd>,
    pub(super) gic: Option<Gic>,
    pub(super) fd: VmFd,
    pub(super) init: kvm_vcpu_init,
}

impl Vm {
    /// A VM of this kind, without memory, whose vCPU has not been finalized.
    pub(super) fn bare(kvm: &Kvm, kind: Kind) -> Result<Self, VmError> {
        // Not the host's largest IPA size: with 52 bits the kernel takes seconds to take its stage 2 down.
        let protected = if kind.protected { raw::VM_PROTECTED } else { 0 };
        let fd = kvm.create_vm_with_type(raw::IPA_40_BITS | protected).map_err(failed("KVM_CREATE_VM"))?;
        let vcpu = fd.create_vcpu(0).map_err(failed("KVM_CREATE_VCPU"))?;
        let mut init = kvm_vcpu_init::default();
        fd.get_preferred_target(&mut init).map_err(failed("KVM_ARM_PREFERRED_TARGET"))?;
        init.features[0] = features(&fd, kind);
        vcpu.vcpu_init(&init).map_err(failed("KVM_ARM_VCPU_INIT"))?;
        alarm::let_through(&vcpu);
        let vm = Self { vcpu, second: None, gic: None, fd, init };
        if kind.without_tcr2 {
            let shown = vm.get(reg::ID_AA64MMFR3)?;
            vm.set(reg::ID_AA64MMFR3, shown & !reg::MMFR3_TCR2)?;
        }
        Ok(vm)
    }

    /// A VM of this kind that can run what is in `memory`, from `entry` on.
    pub(super) fn new(kvm: &Kvm, kind: Kind, memory: &GuestMemoryMmap, entry: u64) -> Result<Self, VmError> {
        let mut vm = Self::bare(kvm, kind)?;
        for (slot, region) in memory.iter().enumerate() {
            let address = memory.get_host_address(region.start_addr());
            let userspace_addr =
                address.map_err(|error| VmError { call: "guest memory", source: io::Error::other(error) })?;
            let region = kvm_userspace_memory_region {
                slot: slot as u32,
                flags: 0,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: userspace_addr as u64,
            };
            // SAFETY: the memory outlives every VM: the agent keeps it until it ends.
            unsafe { vm.fd.set_user_memory_region(region) }.map_err(failed("KVM_SET_USER_MEMORY_REGION"))?;
        }
        if kind.vq_max > 0 {
            limit_lengths(&vm.vcpu, kind.vq_max)?;
        }
        if kind.calls {
            forward_calls(&vm.fd, doorbell::CALL, 1)?;
        }
        if kind.second {
            // Before the GIC, which is made for the vCPUs that there are.
            let vcpu = vm.fd.create_vcpu(1).map_err(failed("KVM_CREATE_VCPU"))?;
            vcpu.vcpu_init(&vm.init).map_err(failed("KVM_ARM_VCPU_INIT"))?;
            alarm::let_through(&vcpu);
            if kind.vq_max > 0 {
                limit_lengths(&vcpu, kind.vq_max)?;
            }
            vm.second = Some(vcpu);
        }
        if kind.gic {
            vm.gic = Some(Gic::new(&vm.fd)?);
        }
        if kind.without_fpmr {
            let shown = vm.get(reg::ID_AA64PFR2)?;
            vm.set(reg::ID_AA64PFR2, shown & !reg::PFR2_FPMR)?;
        }
        vm.set(reg::PC, entry)?;
        Ok(vm)
    }

    /// The second vCPU, if there is one that was not taken yet, as a VM whose first it is: the kernel keeps the VM for as long
    /// as one of the two is there.
    pub(super) fn take_second(&mut self, kvm: &Kvm) -> Result<Option<Self>, VmError> {
        let Some(vcpu) = self.second.take() else { return Ok(None) };
        // SAFETY: the descriptor is open for as long as this VM is there.
        let fd = unsafe { BorrowedFd::borrow_raw(self.fd.as_raw_fd()) };
        let fd = fd.try_clone_to_owned().map_err(|source| VmError { call: "dup", source })?;
        // SAFETY: the descriptor is a VM's, and nobody else's.
        let fd = unsafe { kvm.create_vmfd_from_rawfd(fd.into_raw_fd()) }
            .map_err(failed("KVM_GET_VCPU_MMAP_SIZE"))?;
        Ok(Some(Self { vcpu, second: None, gic: None, fd, init: self.init }))
    }

    /// Reads a register of 64 bits.
    pub(super) fn get(&self, id: u64) -> Result<u64, VmError> {
        let mut bytes = [0; 8];
        self.vcpu.get_one_reg(id, &mut bytes).map_err(failed("KVM_GET_ONE_REG"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes a register of 64 bits.
    pub(super) fn set(&self, id: u64, value: u64) -> Result<(), VmError> {
        self.vcpu.set_one_reg(id, &value.to_le_bytes()).map(drop).map_err(failed("KVM_SET_ONE_REG"))
    }

    /// Lets KVM complete the access that the vCPU left with, so that its registers are those after the instruction.
    pub(super) fn settle(&mut self) {
        self.vcpu.set_kvm_immediate_exit(1);
        // It fails with EINTR, always.
        let _ = self.vcpu.run();
        self.vcpu.set_kvm_immediate_exit(0);
    }

    /// It is not needed any more.
    pub(super) fn retire(self, kind: Kind) {
        if kind.el2 {
            // Taking its shadow stages 2 down takes seconds on some kernels: it is left to the end of the host.
            LEFT.fetch_add(1, Ordering::Relaxed);
            std::mem::forget(self);
        }
    }

    /// The vCPU as at power-on, to go on at `entry`.
    pub(super) fn reset(&self, entry: u64) -> Result<(), VmError> {
        self.vcpu.vcpu_init(&self.init).map_err(failed("KVM_ARM_VCPU_INIT"))?;
        self.set(reg::PC, entry)
    }
}

/// Has `count` SMCCC functions from `base` on forwarded to the monitor (Documentation/virt/kvm/devices/vm.rst,
/// KVM_ARM_VM_SMCCC_FILTER), before any vCPU of the VM has run.
pub(super) fn forward_calls(vm: &VmFd, base: u32, count: u32) -> Result<(), VmError> {
    let filter = kvm_smccc_filter { base, nr_functions: count, action: FORWARD as u8, ..Default::default() };
    let attribute = kvm_device_attr {
        group: KVM_ARM_VM_SMCCC_CTRL,
        attr: u64::from(KVM_ARM_VM_SMCCC_FILTER),
        addr: (&raw const filter).expose_provenance() as u64,
        ..Default::default()
    };
    vm.set_device_attr(&attribute).map_err(failed("KVM_SET_DEVICE_ATTR(KVM_ARM_VM_SMCCC_FILTER)"))
}

/// Takes the lengths above `vq_max` from a vCPU, and finalizes its SVE.
fn limit_lengths(vcpu: &VcpuFd, vq_max: u32) -> Result<(), VmError> {
    let mut lengths = [0u8; 64];
    vcpu.get_one_reg(reg::SVE_VLS, &mut lengths).map_err(failed("KVM_GET_ONE_REG(SVE_VLS)"))?;
    for vq in vq_max + 1..=512 {
        let bit = vq as usize - 1;
        lengths[bit / 8] &= !(1 << (bit % 8));
    }
    vcpu.set_one_reg(reg::SVE_VLS, &lengths).map_err(failed("KVM_SET_ONE_REG(SVE_VLS)"))?;
    vcpu.vcpu_finalize(&(KVM_ARM_VCPU_SVE as i32)).map_err(failed("KVM_ARM_VCPU_FINALIZE"))
}

fn features(vm: &VmFd, kind: Kind) -> u32 {
    let mut features = 1 << KVM_ARM_VCPU_PSCI_0_2;
    if kind.vq_max > 0 {
        features |= 1 << KVM_ARM_VCPU_SVE;
    }
    let pauth = vm.check_extension(Cap::ArmPtrAuthAddress) && vm.check_extension(Cap::ArmPtrAuthGeneric);
    if pauth && !kind.without_pauth {
        features |= 1 << KVM_ARM_VCPU_PTRAUTH_ADDRESS | 1 << KVM_ARM_VCPU_PTRAUTH_GENERIC;
    }
    if kind.sme {
        features |= 1 << sme::FEATURE;
    }
    if kind.el2 {
        features |= 1 << KVM_ARM_VCPU_HAS_EL2;
    }
    if kind.e2h0 {
        features |= 1 << KVM_ARM_VCPU_HAS_EL2_E2H0;
    }
    features
}
