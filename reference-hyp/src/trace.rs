//! The trace: the last events of a case, readable by the harness at any time.

use abi::hyp::{Event, TRACE_LEN, TraceEvent, context};

use crate::Hyp;
use crate::bits::pstate;
use crate::fp::Owner;

/// Counts one. Without an overflow check: this is on the way of every exit, and 2^64 do not happen.
pub const fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}

impl Hyp {
    /// Records an event, if the case is traced.
    #[inline(always)]
    pub fn event(&mut self, event: Event, arg: [u64; 2]) {
        if self.config.trace() {
            let [first, second] = arg;
            self.record(event, first, second, arch::hyp::here());
        }
    }

    #[inline(never)]
    fn record(&mut self, event: Event, first: u64, second: u64, here: u64) {
        let frame = &self.vcpu.frame;
        let mut context = ((frame.pstate & pstate::MODE & 0xf) as u32) << context::MODE_SHIFT;
        if self.vcpu.in_el2 {
            context |= context::VEL2;
        }
        if self.fp.owner == Owner::Guest {
            context |= context::FP_LIVE;
        }
        context |= (((here - arch::boot::entry()) / 4) as u32) << context::SITE_SHIFT;
        let entry = TraceEvent { event: event as u64 as u32, context, pc: frame.pc, arg: [first, second] };
        let head = self.job.trace_head;
        if let Some(slot) = self.job.trace.get_mut(head as usize % TRACE_LEN) {
            *slot = entry;
        }
        self.job.trace_head = head + 1;
    }
}
