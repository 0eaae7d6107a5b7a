//! What this KVM says that its guests have.

use std::fs;

use kvm_bindings::{KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER, kvm_device_attr};
use kvm_ioctls::Kvm;
use rustix::system::uname;

use super::error::VmError;
use super::kernel_log;
use super::probe;
use super::raw::{self, reg};
use super::vm::{Kind, Vm};
use crate::kvm::claims::{Claims, GuestClaims};

/// Why there is no guest with an EL2.
const NO_EL2: &str = "it takes the kernel parameter kvm-arm.mode=nested, and Linux 6.16 or later";
/// Why there is none with SVE.
const NO_SVE: &str = "the CPU has no SVE, or the kernel no use for it";

/// Asks the kernel.
pub(super) fn claims(kvm: &Kvm) -> Claims {
    let name = uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let mut claims = Claims {
        release: text(name.release()),
        version: text(name.version()),
        cpus: online_cpus(),
        mode: kernel_log::kvm_mode(),
        cmdline: fs::read_to_string("/proc/cmdline").unwrap_or_default(),
        ..Claims::default()
    };
    let has = |capability| kvm.check_extension_raw(capability) > 0;
    let sve = kvm.check_extension(kvm_ioctls::Cap::ArmSve);
    let with_sve = |kind: Kind| Kind { vq_max: if sve { 16 } else { 0 }, ..kind };
    let plain = Kind {
        gic: claims.is_protected(),
        without_pauth: !probe::keys_can_be_written(kvm),
        without_tcr2: claims.tcr2_can_be_probed() && !probe::tcr2_is_the_guests(kvm),
        ..Kind::default()
    };
    let el2 = with_sve(Kind { el2: true, gic: true, ..plain });
    let mut ask = |name: &str, there: bool, kind: Kind| {
        if !there {
            let why = if kind.el2 { NO_EL2 } else { NO_SVE };
            claims.refused.push((name.to_owned(), why.to_owned()));
            return None;
        }
        guest(kvm, kind).map_err(|error| claims.refused.push((name.to_owned(), error.to_string()))).ok()
    };
    let guests = [
        ask("plain", true, plain),
        ask("sve", sve, with_sve(plain)),
        ask("el2", has(raw::CAP_ARM_EL2), el2),
        ask("el2-e2h0", has(raw::CAP_ARM_EL2_E2H0), Kind { e2h0: true, ..el2 }),
    ];
    [claims.plain, claims.sve, claims.el2, claims.el2_e2h0] = guests;
    claims
}

fn guest(kvm: &Kvm, kind: Kind) -> Result<GuestClaims, VmError> {
    let vm = Vm::bare(kvm, kind)?;
    let mut vls = [0u8; 64];
    if kind.vq_max > 0 {
        vm.vcpu
            .get_one_reg(reg::SVE_VLS, &mut vls)
            .map_err(|error| VmError { call: "KVM_GET_ONE_REG(SVE_VLS)", source: error.into() })?;
    }
    let pfr2 = vm.get(reg::ID_AA64PFR2).unwrap_or(0);
    let smccc_filter = kvm_device_attr {
        group: KVM_ARM_VM_SMCCC_CTRL,
        attr: u64::from(KVM_ARM_VM_SMCCC_FILTER),
        ..Default::default()
    };
    let claims = GuestClaims {
        pfr0: vm.get(reg::ID_AA64PFR0)?,
        pfr1: vm.get(reg::ID_AA64PFR1)?,
        pfr2,
        isar1: vm.get(reg::ID_AA64ISAR1)?,
        isar2: vm.get(reg::ID_AA64ISAR2)?,
        mmfr1: vm.get(reg::ID_AA64MMFR1)?,
        mmfr3: vm.get(reg::ID_AA64MMFR3).unwrap_or(0),
        vls: u64::from_le_bytes(vls.first_chunk().copied().unwrap_or_default()),
        fpmr_hides: vm.set(reg::ID_AA64PFR2, pfr2 & !reg::PFR2_FPMR).is_ok(),
        smc: vm.fd.has_device_attr(&smccc_filter).is_ok(),
        gic: kind.gic,
        pauth_is_broken: kind.without_pauth,
        tcr2_is_broken: kind.without_tcr2,
    };
    vm.retire(kind);
    Ok(claims)
}

/// Counted by the kernel: musl's own count is that of this thread's affinity.
fn online_cpus() -> u32 {
    let list = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<u32>().ok()?.saturating_sub(first.parse().ok()?) + 1)
    };
    list.trim().split(',').filter_map(count).sum::<u32>().max(1)
}
