//! What a guest asks of its VMM: accesses to the page of the doorbell, and the same by calls.

use std::mem::offset_of;

use abi::doorbell::{self, Check, Disturbance};
use abi::hyp::End;
use abi::job::JobHeader;
use vm_memory::{Bytes as _, GuestAddress};

use super::super::arrival::Arrivals;
use super::super::error::VmError;
use super::super::raw::reg;
use super::super::sweep::Sweep;
use super::Case;

impl Case<'_> {
    pub(super) fn write(&mut self, address: u64, value: u64) -> Result<(), VmError> {
        let Some(offset) = doorbell_offset(address) else {
            self.end_by_exit(End::WildAccess, address);
            return Ok(());
        };
        self.job.counters.doorbells += 1;
        self.op = self.cursor(offset);
        match offset {
            doorbell::END => self.end(End::Payload, value),
            doorbell::DISTURB => match Disturbance::from_u64(value) {
                Some(kind) => self.disturb(kind)?,
                None => self.end_by_exit(End::UnknownExit, value),
            },
            doorbell::DISTURB_WAITING => match Disturbance::from_u64(value) {
                Some(kind) => self.disturb_waiting(kind),
                None => self.end_by_exit(End::UnknownExit, value),
            },
            doorbell::WINDOW => {
                self.vm.settle();
                self.sweep.set_open(value & 1 != 0);
                let watches = value & 1 != 0 && std::mem::take(&mut self.stops_at_arrival);
                self.arrivals =
                    if watches || self.sweep.steps() { Arrivals::of(self)? } else { Arrivals::default() };
                self.step_or_not()?;
            }
            doorbell::SWEEP_BEGIN => self.sweep = Sweep::begin(value),
            doorbell::IRQ => self.pend(value)?,
            doorbell::RESET => {
                // Some kernels let an access that is not complete move the PC of the vCPU that was reset.
                self.vm.settle();
                if std::mem::take(&mut self.by_cpu_on) {
                    self.turn_on()?;
                } else {
                    self.vm.reset(self.job.guest_entry)?;
                    self.check_new()?;
                }
            }
            doorbell::CHECK => match Check::from_u64(value & 0xff) {
                Some(check) => self.check(check, value >> 8)?,
                None => self.end_by_exit(End::UnknownExit, value),
            },
            doorbell::PUTC => {}
            _ => self.end_by_exit(End::UnknownExit, address),
        }
        Ok(())
    }

    /// The operation of the payload's that wrote to this register of the doorbell: that at the cursor, or where the place is
    /// left, the one before it.
    fn cursor(&self, offset: u64) -> u64 {
        let address = self.job_area + offset_of!(JobHeader, cursor) as u64;
        let cursor: u64 = self.memory.read_obj(GuestAddress(address)).unwrap_or(0);
        if offset == doorbell::RESET { cursor.saturating_sub(1) } else { cursor }
    }

    pub(super) fn read(&mut self, address: u64) {
        self.job.counters.doorbells += 1;
        match doorbell_offset(address).and_then(|offset| self.answer(offset)) {
            // Writing a member of a union of plain data is safe; the reason says that this one is in force.
            Some(answer) => {
                self.vm.vcpu.get_kvm_run().__bindgen_anon_1.mmio.data = answer.to_le_bytes();
            }
            None => self.end_by_exit(End::WildAccess, address),
        }
    }

    /// What a register of the doorbell reads, if it can be read.
    fn answer(&mut self, offset: u64) -> Option<u64> {
        match offset {
            doorbell::SWEEP_END => Some(self.sweep.end()),
            // The first that a payload does at its end.
            doorbell::DISTURBED => {
                if let Some(tracer) = self.tracer {
                    tracer.stop_at_end();
                }
                Some(self.job.disturbed)
            }
            doorbell::PENDING => Some(self.rounds()),
            _ => None,
        }
    }

    /// The doorbell was rung by a call: register and value are in X1 and X2, the answer is for X0. PC is behind it already
    /// (Documentation/virt/kvm/api.rst, KVM_EXIT_HYPERCALL).
    pub(super) fn called(&mut self) -> Result<(), VmError> {
        let (offset, value) = (self.vm.get(reg::x(1))?, self.vm.get(reg::x(2))?);
        if let Some(answer) = self.answer(offset) {
            self.job.counters.doorbells += 1;
            return self.vm.set(reg::x(0), answer);
        }
        // Before anything happens: who takes the vCPU over takes its registers as they are.
        self.vm.set(reg::x(0), 0)?;
        self.write(doorbell::ADDRESS.saturating_add(offset), value)
    }
}

fn doorbell_offset(address: u64) -> Option<u64> {
    address.checked_sub(doorbell::ADDRESS).filter(|offset| *offset < doorbell::SIZE)
}
