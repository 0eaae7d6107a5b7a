//! What happens on each kind of exit.

mod abort;
mod call;
mod fp;
mod sysreg;

pub use abort::Access;

use abi::fault::Fault;
use abi::hyp::{End, Event};
use arch::esr::{self, ec};

use crate::Hyp;
use crate::fp::Owner;
use crate::inject::Vector;
use crate::trace::count;

impl Hyp {
    /// An exit path that was compiled with FP, as a published bug had it.
    fn exit_path_uses_fp(&mut self) {
        if self.fp.owner != Owner::Guest {
            return;
        }
        if self.fault(Fault::XhHypClobbersV) {
            crate::fp::open();
            arch::hyp::clobber_q0_to_q3();
        }
        if self.fault(Fault::XhHypClobbersFpsr) {
            const QC: u64 = 1 << 27;
            crate::fp::open();
            arch::write!("S3_3_C4_C4_1", arch::read!("S3_3_C4_C4_1") | QC);
        }
    }

    /// Handles a synchronous exit. Whatever a guest does ends here in a decision, never in a panic.
    pub fn synchronous_exit(&mut self) {
        let esr = self.vcpu.frame.esr;
        let class = esr::class(esr);
        count(&mut self.job.counters.exits[usize::from(class)]);
        if class != ec::STEP_LOWER || self.config.trace_steps() {
            self.event(Event::Exit, [esr, self.vcpu.frame.far]);
        }
        self.exit_path_uses_fp();
        match class {
            ec::FP | ec::SVE | ec::SME => self.fp_trap(esr),
            ec::ERET if self.config.el2() && self.vcpu.in_el2 => self.nested_eret(esr),
            // A guest hypervisor one level up.
            ec::ERET if self.config.el2() => self.nested_exception(Vector::Sync, Some(esr), 0),
            ec::HVC => self.hypervisor_call(esr),
            ec::SMC => self.monitor_call(esr),
            ec::SYSREG => self.sysreg(esr),
            ec::WFX => self.wait(esr),
            ec::DABORT_LOWER | ec::IABORT_LOWER => self.stage2_abort(esr),
            ec::STEP_LOWER => self.stepped(),
            // Ours only because of single step (MDCR_EL2.TDE): it belongs to the guest.
            ec::BRK => self.take_exception(Vector::Sync, Some(esr), 0),
            _ => self.end(End::UnknownExit, esr),
        }
    }
}
