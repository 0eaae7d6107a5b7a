//! The in-kernel GICv3 of a guest (`Documentation/virt/kvm/devices/arm-vgic-v3.rst`).

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS,
    KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, KVM_DEV_ARM_VGIC_GRP_NR_IRQS,
    KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST,
    kvm_create_device, kvm_device_attr, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
};
use kvm_ioctls::{DeviceFd, VmFd};

use super::error::{VmError, failed};

/// Where the payload looks for the GIC: as on QEMU's `virt`.
const GICD: u64 = 0x0800_0000;
const GICR: u64 = 0x080a_0000;
/// The fewest interrupts that KVM accepts.
const IRQS: u32 = 64;

/// What the payload sets up, by group and offset or number: GICD_CTLR; GICR_IGROUPR0, GICR_ISENABLER0 and the priorities of
/// 32 interrupts; ICC_PMR_EL1 and ICC_IGRPEN1_EL1, by op0 to op2. It leaves nothing active from one exit to the next.
const STATE: [(u32, u64); 13] = [
    (KVM_DEV_ARM_VGIC_GRP_DIST_REGS, 0),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_0080),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_0100),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_0400),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_0404),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_0408),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_040c),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_0410),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_0414),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_0418),
    (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, 0x1_041c),
    (KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, 0xc230),
    (KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, 0xc667),
];

/// A GIC that is initialized.
#[derive(Debug)]
pub(super) struct Gic(DeviceFd);

impl Gic {
    /// That of a VM whose vCPU exists.
    pub(super) fn new(vm: &VmFd) -> Result<Self, VmError> {
        let mut device =
            kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3, fd: 0, flags: 0 };
        let gic = Self(vm.create_device(&mut device).map_err(failed("KVM_CREATE_DEVICE(VGIC_V3)"))?);
        gic.set(KVM_DEV_ARM_VGIC_GRP_ADDR, u64::from(KVM_VGIC_V3_ADDR_TYPE_DIST), Some(&GICD))?;
        gic.set(KVM_DEV_ARM_VGIC_GRP_ADDR, u64::from(KVM_VGIC_V3_ADDR_TYPE_REDIST), Some(&GICR))?;
        // The kernel reads 32 bits of it.
        gic.set(KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, Some(&u64::from(IRQS)))?;
        gic.set(KVM_DEV_ARM_VGIC_GRP_CTRL, u64::from(KVM_DEV_ARM_VGIC_CTRL_INIT), None)?;
        Ok(gic)
    }

    /// Takes over what a guest has set up in another one.
    pub(super) fn take_over(&self, old: &Self) -> Result<(), VmError> {
        for (group, attr) in STATE {
            let value = old.get(group, attr)?;
            self.set(group, attr, Some(&value))?;
        }
        Ok(())
    }

    fn set(&self, group: u32, attr: u64, value: Option<&u64>) -> Result<(), VmError> {
        let addr = value.map_or(0, |value| std::ptr::from_ref(value).expose_provenance() as u64);
        let attribute = kvm_device_attr { flags: 0, group, attr, addr };
        self.0.set_device_attr(&attribute).map_err(failed("KVM_SET_DEVICE_ATTR(VGIC_V3)"))
    }

    /// A register of 32 or 64 bits.
    fn get(&self, group: u32, attr: u64) -> Result<u64, VmError> {
        let mut value = 0u64;
        let addr = (&raw mut value).expose_provenance() as u64;
        let mut attribute = kvm_device_attr { flags: 0, group, attr, addr };
        // SAFETY: the kernel writes 64 bits at most, to where there are as many.
        unsafe { self.0.get_device_attr(&mut attribute) }.map_err(failed("KVM_GET_DEVICE_ATTR(VGIC_V3)"))?;
        Ok(value)
    }
}
