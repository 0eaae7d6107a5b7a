//! Guests that are run before there are cases, to find out what no capability tells.
//!
//! Nothing that a case judges is found out in this way: pointer authentication and TCR2_EL1 have no FP state, but the payload
//! and every case of its own could not run where KVM offers them and does not let a guest have them.

use std::time::Duration;

use arch::host;
use kvm_ioctls::{Kvm, VcpuExit};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

use super::alarm::Alarm;
use super::raw::reg;
use super::vm::{Kind, Vm};

const BASE: u64 = 0x8000_0000;
const SIZE: usize = 0x1000;
/// No memory: a store to it is an exit.
const DOORBELL: u64 = 0x0db0_0000;
/// Some thousand times what it takes. A guest whose instruction is UNDEFINED never ends: it has no vectors.
const PATIENCE: Duration = Duration::from_millis(200);

/// Whether a guest that is offered pointer authentication can write its keys. Not in protected mode before Linux 6.14:
/// `kvm_arch_vcpu_load()` leaves HCR_EL2.{API, APK} to a hypervisor that does not set them.
pub(super) fn keys_can_be_written(kvm: &Kvm) -> bool {
    answer(kvm, host::key_guest(), |_| true).is_none_or(|answer| answer.is_some())
}

/// Whether a guest that is offered TCR2_EL1 finds its own there, which KVM resets to 0. In protected mode from Linux 6.15 on it
/// is the host's: HCRX_EL2 lets the guest have the register, and the world switch leaves it out, since `kvm_has_feat()` finds
/// no ID registers in the hypervisor's copy of the VM. What the host has there (PIE) turns the payload's page tables into
/// others. Mended by 7e7c2cf0024d ("KVM: arm64: Fix ID register initialization for non-protected pKVM guests", 7.0, 6.19.7,
/// 6.18.17; CVE-2026-23425).
pub(super) fn tcr2_is_the_guests(kvm: &Kvm) -> bool {
    let has_tcr2 = |vm: &Vm| vm.get(reg::ID_AA64MMFR3).is_ok_and(|shown| shown & reg::MMFR3_TCRX != 0);
    answer(kvm, host::tcr2_guest(), has_tcr2).is_none_or(|answer| answer.is_none_or(|value| value == 0))
}

/// What a guest with this code stores to its doorbell, and nothing if it never does. Without such a guest, or one that is as
/// asked for, there is no answer at all.
fn answer(kvm: &Kvm, code: &[u8], asked_for: impl FnOnce(&Vm) -> bool) -> Option<Option<u64>> {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(BASE), SIZE)]).ok()?;
    let vm = Vm::new(kvm, Kind::default(), &memory, BASE).ok()?;
    memory.write_slice(code, GuestAddress(BASE)).ok()?;
    vm.set(reg::x(2), DOORBELL).ok()?;
    if !asked_for(&vm) {
        return None;
    }
    let Vm { mut vcpu, .. } = vm;
    let _alarm = Alarm::set(PATIENCE);
    Some(match vcpu.run() {
        Ok(VcpuExit::MmioWrite(_, data)) => data.first_chunk().copied().map(u64::from_le_bytes),
        _ => None,
    })
}
