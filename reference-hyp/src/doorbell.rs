//! The doorbell page: what the payload asks of the outermost hypervisor.

use abi::doorbell::{self, Disturbance};
use abi::hyp::{End, Event};

use crate::Hyp;
use crate::exit::Access;

impl Hyp {
    /// An access to the page. False if the syndrome does not describe it.
    pub fn doorbell(&mut self, esr: u64, offset: u64, access: Access) -> bool {
        const ISV: u64 = 1 << 24;
        if esr & ISV == 0 {
            return false;
        }
        let rt = ((esr >> 16) & 31) as usize;
        let value = self.vcpu.frame.x.get(rt).copied().unwrap_or(0);
        self.job.counters.doorbells += 1;
        let answer =
            if access.write { self.doorbell_write(offset, value) } else { self.doorbell_read(offset) };
        let Some(answer) = answer else { return false };
        if !access.write
            && let Some(x) = self.vcpu.frame.x.get_mut(rt)
        {
            *x = answer;
        }
        // The doorbell itself is not a point: it opens and closes windows.
        self.advance();
        self.vcpu.emulated = false;
        true
    }

    /// The same by a call ([`doorbell::CALL`]): register and value are in X1 and X2. The answer is for X0. An offset that is none
    /// is as an unknown function.
    pub fn doorbell_call(&mut self) -> Option<u64> {
        let [_, offset, value, ..] = self.vcpu.frame.x;
        self.job.counters.doorbells += 1;
        self.doorbell_read(offset).or_else(|| self.doorbell_write(offset, value))
    }

    fn doorbell_read(&mut self, offset: u64) -> Option<u64> {
        match offset {
            doorbell::SWEEP_END => Some(self.sweep_end()),
            doorbell::DISTURBED => Some(self.job.disturbed),
            _ => None,
        }
    }

    fn doorbell_write(&mut self, offset: u64, value: u64) -> Option<u64> {
        if offset != doorbell::WINDOW {
            self.event(Event::Doorbell, [offset, value]);
        }
        match offset {
            doorbell::END => self.end(End::Payload, value),
            doorbell::DISTURB => self.disturb(Disturbance::from_u64(value)?),
            doorbell::DISTURB_WAITING => self.at_next_wait = Some(Disturbance::from_u64(value)?),
            doorbell::WINDOW => self.sweep_window(value & 1 != 0),
            doorbell::SWEEP_BEGIN => self.sweep_begin(value),
            doorbell::IRQ => {
                self.vcpu.pending.irq = value & 1 != 0;
                self.vcpu.pending.serror = value & 2 != 0;
                self.rearm_guest_timer();
            }
            doorbell::RESET => {
                self.reset_vcpu();
                // The doorbell advances PC; the first instruction is the entry.
                self.vcpu.frame.pc = self.vcpu.frame.pc.wrapping_sub(4);
            }
            doorbell::PUTC => {}
            _ => return None,
        }
        Some(0)
    }
}
