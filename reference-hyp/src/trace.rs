//! The trace: the last events of a case, readable by the harness at any time.

use abi::hyp::{Event, TRACE_LEN, TraceEvent, context};

use crate::Hyp;
use crate::bits::pstate;
use crate::fp::Owner;

impl Hyp {
    /// Records an event, if the case is traced.
    #[inline(always)]
    pub fn event(&mut self, event: Event, arg: [u64; 2]) {
        if self.config.trace() {
            self.record(event, arg, arch::hyp::here());
        }
    }

    #[inline(never)]
    fn record(&mut self, event: Event, arg: [u64; 2], here: u64) {
        let frame = &self.vcpu.frame;
        let mut context = ((frame.pstate & pstate::MODE & 0xf) as u32) << context::MODE_SHIFT;
        if self.vcpu.in_el2 {
            context |= context::VEL2;
        }
        if self.fp.owner == Owner::Guest {
            context |= context::FP_LIVE;
        }
        context |= (((here - arch::boot::entry()) / 4) as u32) << context::SITE_SHIFT;
        let entry = TraceEvent { event: event as u64 as u32, context, pc: frame.pc, arg };
        let head = self.job.trace_head;
        if let Some(slot) = self.job.trace.get_mut(head as usize % TRACE_LEN) {
            *slot = entry;
        }
        self.job.trace_head = head + 1;
    }
}
