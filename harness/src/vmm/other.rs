//! Another guest, with registers of its own: a VM at other lengths and traps than those of the guest under test, or a second
//! vCPU of that guest's VM.

use abi::pattern::Owner;
use arch::host::{self, Image};
use kvm_ioctls::{Kvm, VcpuExit};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryError, GuestMemoryMmap};

use super::alarm;
use super::error::VmError;
use super::raw::reg;
use super::task::{Report, Unit, image, look};
use super::vm::{Kind, Vm};
use crate::kvm::claims::Claims;

/// Its memory: in a VM of its own, or beside that of the guest under test.
pub(super) const BASE: u64 = 0x8000_0000;
/// Bytes of it.
pub(super) const SIZE: usize = 0x20_0000;
/// Where in it the registers are loaded from and stored to.
const LOAD: u64 = BASE + 0x10_0000;
const STORE: u64 = BASE + 0x18_0000;
/// What it makes a call with.
const CALLER: u64 = BASE + 0x2000;
/// No memory: each store to it is an exit.
const DOORBELL: u64 = 0x0db0_0000;

/// The guest.
#[derive(Debug)]
pub(super) struct OtherGuest {
    vm: Vm,
    memory: GuestMemoryMmap,
    unit: Unit,
    generation: u16,
    left: Box<Image>,
    found: Box<Image>,
    /// What it does next is to store them.
    has_loaded: bool,
}

impl OtherGuest {
    /// Makes it, and leaves it with registers of its own. `also` is [`host::Q_ACCESS`], [`host::LOADS_ANEW`] or 0.
    pub(super) fn new(kvm: &Kvm, claims: &Claims, also: u64) -> Result<Self, VmError> {
        let mut guest = Self::unused(kvm, claims, also)?;
        guest.load();
        Ok(guest)
    }

    /// Makes it, and does not enter it: with SVE at half of the largest length if there is SVE. `also` may be
    /// [`host::CALLS`] as well, or [`host::SHARES`]: its VM is a protected one, without SVE, which a hypervisor that
    /// protects VMs hides from them.
    pub(super) fn unused(kvm: &Kvm, claims: &Claims, also: u64) -> Result<Self, VmError> {
        let protected = also & host::SHARES != 0;
        let lengths = claims.sve.map_or(0, |sve| if protected { 0 } else { sve.vls & 0xffff });
        let largest = 64 - lengths.leading_zeros();
        let vq = (1..=(largest / 2).max(1)).rev().find(|vq| lengths >> (vq - 1) & 1 != 0).unwrap_or(0);
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(BASE), SIZE)])
            .map_err(|error| VmError { call: "guest memory", source: std::io::Error::other(error) })?;
        let without_pauth = claims.plain.is_some_and(|plain| plain.pauth_is_broken);
        let without_tcr2 = claims.plain.is_some_and(|plain| plain.tcr2_is_broken);
        let kind = Kind { vq_max: vq, without_pauth, without_tcr2, protected, ..Kind::default() };
        let vm = Vm::new(kvm, kind, &memory, BASE)?;
        Self::with(vm, memory, vq, also)
    }

    /// As the second vCPU of a VM that has `memory`, its own part of it included, and SVE to `vq` quadwords.
    pub(super) fn beside(vm: Vm, memory: &GuestMemoryMmap, vq: u32) -> Result<Self, VmError> {
        vm.set(reg::PC, BASE)?;
        let mut guest = Self::with(vm, memory.clone(), vq, 0)?;
        guest.load();
        Ok(guest)
    }

    fn with(vm: Vm, memory: GuestMemoryMmap, vq: u32, also: u64) -> Result<Self, VmError> {
        let wrote = memory.write_slice(host::other_guest(), GuestAddress(BASE));
        wrote.map_err(|error| VmError { call: "guest memory", source: std::io::Error::other(error) })?;
        let unit = Unit { vl: vq as usize * 16, fpmr: false };
        for (n, value) in [LOAD, STORE, DOORBELL, unit.uses() | also].into_iter().enumerate() {
            vm.set(reg::x(n as u64), value)?;
        }
        let left = Box::new(Image::ZERO);
        Ok(Self { vm, memory, unit, generation: 1, left, found: Box::new(Image::ZERO), has_loaded: false })
    }

    /// Enters it once: it stores the registers that it was left with, which are looked at, or it loads others. Either takes
    /// the CPU's.
    pub(super) fn round(&mut self, report: &mut Report) {
        if !std::mem::take(&mut self.has_loaded) {
            self.load();
        } else if self.ring() {
            self.look(report);
        }
    }

    /// Its vCPU.
    pub(super) fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// Where it stores its registers to.
    pub(super) fn stores_to(&self) -> Result<*mut u8, GuestMemoryError> {
        self.memory.get_host_address(GuestAddress(STORE))
    }

    /// It is not needed any more.
    pub(super) fn retire(self, kind: Kind) {
        self.vm.retire(kind);
    }

    /// Looks at what it stored.
    pub(super) fn look(&mut self, report: &mut Report) {
        if self.memory.read_slice(&mut self.found.0, GuestAddress(STORE)).is_ok() {
            look(&self.left, &self.found, self.unit, false, Owner::OtherVcpu, report);
        }
    }

    /// Lets it load registers, and leaves it with them.
    pub(super) fn load(&mut self) {
        self.give();
        self.has_loaded = self.ring();
    }

    /// Looks at what it stored before it loaded any.
    pub(super) fn look_for_zero(&mut self, report: &mut Report) {
        if self.memory.read_slice(&mut self.found.0, GuestAddress(STORE)).is_ok() {
            look(&Image::ZERO, &self.found, self.unit, false, Owner::OtherVcpu, report);
        }
    }

    /// Puts registers where it loads them from.
    pub(super) fn give(&mut self) {
        self.generation = 3 - self.generation;
        *self.left = image(Owner::OtherVcpu, self.generation, self.unit.vl, false);
        // What cannot be written is not there to be found.
        let _ = self.memory.write_slice(&self.left.0, GuestAddress(LOAD));
    }

    /// Has it make an SMCCC call at its highest level, and go on behind that as if it had not. Returns the call's X0, or nothing if
    /// it does not return.
    pub(super) fn call(&mut self, call: [u64; 4]) -> Result<Option<u64>, VmError> {
        let wrote = self.memory.write_slice(host::caller(), GuestAddress(CALLER));
        wrote.map_err(|error| VmError { call: "guest memory", source: std::io::Error::other(error) })?;
        self.vm.settle();
        let own = [reg::PC, reg::x(0), reg::x(1), reg::x(2), reg::x(3), reg::x(4)];
        let kept = own.map(|id| self.vm.get(id));
        let [function, first, second, third] = call;
        for (id, value) in own.into_iter().zip([CALLER, function, first, second, third, DOORBELL]) {
            self.vm.set(id, value)?;
        }
        let answer = self.ring().then(|| {
            // SAFETY: it rang, so the exit is an access's.
            u64::from_le_bytes(unsafe { self.vm.vcpu.get_kvm_run().__bindgen_anon_1.mmio }.data)
        });
        self.vm.settle();
        for (id, value) in own.into_iter().zip(kept) {
            self.vm.set(id, value?)?;
        }
        Ok(answer)
    }

    /// Runs it until it rings, for as long as the case has time.
    fn ring(&mut self) -> bool {
        loop {
            match self.vm.vcpu.run() {
                Ok(VcpuExit::MmioWrite(..)) => return true,
                Err(error) if error.errno() == libc::EINTR && !alarm::forget() => {}
                _ => return false,
            }
        }
    }
}
