//! What the harness asks for: the job, checked.

use abi::doorbell::Disturbance;
use abi::fault::Fault;
use abi::hyp::{HypJob, MAGIC, Nested, Restore, Upper, flag};

/// One case's configuration. See [`HypJob`] for the meaning of each field.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    flags: u64,
    /// First instruction of the image above.
    pub guest_entry: u64,
    /// The guest's memory.
    pub guest_base: u64,
    /// Its size in bytes.
    pub guest_size: u64,
    /// How much of each image in it is read-only text.
    pub guest_text_size: u64,
    /// The guest's largest vector length in units of 128 bits; 0 for no SVE.
    pub vq_max: u64,
    /// When FP state is restored.
    pub restore: Restore,
    /// What nested transitions do to it.
    pub nested: Nested,
    /// What becomes of bits above a vector length passed through.
    pub upper: Upper,
    /// The fault to commit.
    pub fault: Option<Fault>,
    /// Ticks that the case may take.
    pub budget_ticks: u64,
    /// Ticks between preemptions, 0 for none.
    pub preempt_ticks: u64,
    /// What happens at a sweep point.
    pub sweep_disturbance: Disturbance,
}

impl Config {
    /// What holds while there is no case: nothing that runs.
    pub const fn none() -> Self {
        Self {
            flags: 0,
            guest_entry: 0,
            guest_base: 0,
            guest_size: 0,
            guest_text_size: 0,
            vq_max: 0,
            restore: Restore::Eager,
            nested: Nested::PutLoad,
            upper: Upper::Cpu,
            fault: None,
            budget_ticks: 0,
            preempt_ticks: 0,
            sweep_disturbance: Disturbance::Clobber,
        }
    }

    /// Reads a job; `None` if it makes no sense.
    pub fn read(job: &HypJob) -> Option<Self> {
        let fits = job.magic == MAGIC
            && job.version == u64::from(abi::ABI_VERSION)
            && job.guest_base.is_multiple_of(crate::stage2::BLOCK)
            && job.guest_size.is_multiple_of(crate::stage2::BLOCK)
            && job.vq_max <= 16;
        if !fits {
            return None;
        }
        Some(Self {
            flags: job.flags,
            guest_entry: job.guest_entry,
            guest_base: job.guest_base,
            guest_size: job.guest_size,
            guest_text_size: job.guest_text_size,
            vq_max: job.vq_max,
            restore: Restore::from_u64(job.restore)?,
            nested: Nested::from_u64(job.nested)?,
            upper: Upper::from_u64(job.upper)?,
            fault: if job.fault == 0 { None } else { Some(Fault::from_u64(job.fault)?) },
            budget_ticks: job.budget_ticks,
            preempt_ticks: job.preempt_ticks,
            sweep_disturbance: Disturbance::from_u64(job.sweep_disturbance)?,
        })
    }

    /// The guest has an EL2.
    pub const fn el2(&self) -> bool {
        self.flags & flag::EL2 != 0
    }

    /// The guest's EL2 has E2H = 1.
    pub const fn vhe(&self) -> bool {
        self.flags & flag::VHE != 0
    }

    /// This hypervisor owns the machine.
    pub const fn outermost(&self) -> bool {
        self.flags & flag::OUTERMOST != 0
    }

    /// Freed registers are poisoned.
    pub const fn poison(&self) -> bool {
        self.flags & flag::POISON != 0
    }

    /// Events are traced.
    pub const fn trace(&self) -> bool {
        self.flags & flag::TRACE != 0
    }

    /// Single steps are traced as well.
    pub const fn trace_steps(&self) -> bool {
        self.flags & flag::TRACE_STEPS != 0
    }

    /// The guest has FPMR.
    pub const fn fpmr(&self) -> bool {
        self.flags & flag::FPMR != 0
    }

    /// Stage 2 is filled on faults.
    pub const fn demand_map(&self) -> bool {
        self.flags & flag::DEMAND_MAP != 0
    }

    /// The guest has SVE.
    pub const fn sve(&self) -> bool {
        self.vq_max != 0
    }

    /// ZCR_EL2.LEN for the guest's largest vector length.
    pub const fn len_max(&self) -> u64 {
        self.vq_max.saturating_sub(1)
    }
}
