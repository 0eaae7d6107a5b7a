//! A guest that is run before there are cases, to find out what no capability tells.
//!
//! Nothing that a case judges is found out in this way: pointer authentication has no FP state, but the payload and every
//! case of its own could not run where KVM offers it and does not let a guest have it.

use std::time::Duration;

use arch::host;
use kvm_ioctls::{Kvm, VcpuExit};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

use super::case::Alarm;
use super::raw::reg;
use super::vm::{Kind, Vm};

const BASE: u64 = 0x8000_0000;
const SIZE: usize = 0x1000;
/// No memory: a store to it is an exit.
const DOORBELL: u64 = 0x0db0_0000;
/// Some thousand times what it takes. A guest whose write is UNDEFINED never ends: it has no vectors.
const PATIENCE: Duration = Duration::from_millis(200);

/// Whether a guest that is offered pointer authentication can write its keys. Not in protected mode before Linux 6.14:
/// `kvm_arch_vcpu_load()` leaves HCR_EL2.{API, APK} to a hypervisor that does not set them.
pub(super) fn keys_can_be_written(kvm: &Kvm) -> bool {
    let Ok(memory) = GuestMemoryMmap::from_ranges(&[(GuestAddress(BASE), SIZE)]) else { return true };
    let Ok(vm) = Vm::new(kvm, Kind::default(), &memory, BASE) else { return true };
    if memory.write_slice(host::key_guest(), GuestAddress(BASE)).is_err()
        || vm.set(reg::x(2), DOORBELL).is_err()
    {
        return true;
    }
    let Vm { mut vcpu, .. } = vm;
    let _alarm = Alarm::set(PATIENCE);
    matches!(vcpu.run(), Ok(VcpuExit::MmioWrite(..)))
}
