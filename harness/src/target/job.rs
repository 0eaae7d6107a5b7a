//! Laying a job out in guest memory.

use std::mem::offset_of;

use abi::doorbell::{self, Disturbance, Sweep};
use abi::fault::Fault;
use abi::hyp::{self, HypJob};
use abi::job::{self, JobHeader};
use model::compile::Program;
use model::machine::Doorbell;
use model::scenario::step::{GuestSpec, L1Mode};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::{Layer, Target, TargetError, VL_MAX};
use crate::image::ALIGN;
use crate::kvm::mailbox;
use crate::memory::GuestMemory;
use crate::qemu::command::SLOT_SIZE;

/// Offsets in the job area are multiples of this.
const LINE: u64 = 64;
/// The largest length of a ring in bytes.
const RING_LEN_MAX: u64 = 2 << 20;

/// One job: a compiled program and how it is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The guest.
    pub guest: &'a GuestSpec,
    /// The program, linked.
    pub program: &'a Program,
    /// How it is swept.
    pub sweep: Option<SweepRun>,
    /// The fault that the outermost hypervisor commits, if its build can: see [`super::TargetConfig::faults`].
    pub fault: Option<Fault>,
    /// Ticks of 1 ns (under icount: instructions) after which the hypervisor ends the case.
    pub budget_ticks: u64,
}

/// A sweep, or what is left of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SweepRun {
    /// The kind.
    pub kind: Sweep,
    /// What happens at each point.
    pub disturbance: Disturbance,
    /// The first point.
    pub first: u64,
    /// The point after the last.
    pub end: u64,
}

/// What the outermost hypervisor finds if it boots before there is a job: that it is the outermost, and waits.
pub(super) fn idle_hypervisor() -> HypJob {
    let flags = hyp::flag::OUTERMOST;
    HypJob { magic: hyp::MAGIC, version: u64::from(abi::ABI_VERSION), flags, ..HypJob::new_zeroed() }
}

impl Target {
    /// Makes a fresh guest for a job: pristine data in every image but the outermost hypervisor, which waits.
    /// Returns the header that the payload finds.
    ///
    /// # Errors
    ///
    /// If the job does not fit.
    pub fn prepare(&self, memory: &GuestMemory, launch: &Launch<'_>) -> Result<JobHeader, TargetError> {
        // An agent restores its guest's memory itself.
        let restored = if self.kvm.is_some() { &[] } else { self.guest_layers() };
        for layer in restored {
            layer.image.restore(memory, layer.base)?;
        }
        let (area, _) = self.job_area;
        let header = self.header(launch)?;
        memory.write_value(area, &header)?;
        memory.write(area + u64::from(header.ops_offset), launch.program.ops.as_bytes())?;
        memory.write(area + u64::from(header.data_offset), &launch.program.data)?;
        for (number, address) in self.hyp_jobs.iter().enumerate() {
            let job = self.hyp_job(number, launch);
            // What follows is cleared by the hypervisor itself; `end` too, but it may never come to that.
            memory.write(*address, &job.as_bytes()[..offset_of!(HypJob, counters)])?;
        }
        if self.kvm.is_some() {
            memory.write_value(mailbox::ADDRESS, &self.case(u64::from(header.ring_offset)))?;
        }
        Ok(header)
    }

    /// The header by which a payload that is its own job server knows that there is no job yet.
    pub(super) fn idle_header(&self) -> JobHeader {
        let mut header = JobHeader::new_zeroed();
        header.flags = self.own_flags();
        header
    }

    /// The flags that tell the payload what runs it.
    fn own_flags(&self) -> u32 {
        if self.kvm.is_some() {
            job::flag::PATIENT
        } else if self.hyp_jobs.is_empty() {
            job::flag::SERVER
        } else {
            0
        }
    }

    /// The images that a case may change: all but that of the outermost hypervisor, which waits for the next job.
    fn guest_layers(&self) -> &[Layer] {
        self.layers.get(usize::from(self.layers.len() > 1)..).unwrap_or_default()
    }

    fn header(&self, launch: &Launch<'_>) -> Result<JobHeader, TargetError> {
        let (_, room) = self.job_area;
        let ops_offset = (size_of::<JobHeader>() as u64).next_multiple_of(LINE);
        let data_offset = ops_offset + size_of_val(&*launch.program.ops) as u64;
        let ring_offset = (data_offset + launch.program.data.len() as u64).next_multiple_of(LINE);
        let ring_len = (room.saturating_sub(ring_offset) / 2 / LINE * LINE).min(RING_LEN_MAX);
        let too_large = TargetError::JobTooLarge { needed: ring_offset + 2 * LINE, room };
        if ring_len == 0 {
            return Err(too_large);
        }
        // Offsets within `room`, which is less than a slot, fit into 32 bits.
        let narrow = |offset: u64| u32::try_from(offset).ok();
        let (Some(ops_offset), Some(ops_count), Some(data_offset), Some(data_len)) = (
            narrow(ops_offset),
            narrow(launch.program.ops.len() as u64),
            narrow(data_offset),
            narrow(launch.program.data.len() as u64),
        ) else {
            return Err(too_large);
        };
        let (Some(sweep_ring_offset), Some(ring_offset), Some(ring_len)) =
            (narrow(ring_offset + ring_len), narrow(ring_offset), narrow(ring_len))
        else {
            return Err(too_large);
        };

        let program = launch.program;
        Ok(JobHeader {
            magic: job::MAGIC,
            version: abi::ABI_VERSION,
            flags: program.flags | self.own_flags(),
            ops_offset,
            ops_count,
            data_offset,
            data_len,
            ring_offset,
            sweep_ring_offset,
            ring_len,
            home: u32::from(program.home as u8),
            doorbell: if program.machine.hooks.doorbell.is_some() { doorbell::ADDRESS } else { 0 },
            sweep: launch.sweep.map_or(Sweep::Off, |sweep| sweep.kind) as u64,
            sweep_first: launch.sweep.map_or(0, |sweep| sweep.first),
            sweep_end: launch.sweep.map_or(0, |sweep| sweep.end),
            irq_source: program.irq_source,
            ..JobHeader::new_zeroed()
        })
    }

    /// What hypervisor `number`, counted from the outermost, is to be.
    fn hyp_job(&self, number: usize, launch: &Launch<'_>) -> HypJob {
        let config = &self.config;
        let guest = launch.guest;
        let (outermost, innermost) = (number == 0, number + 1 == self.hyp_jobs.len());
        // A VMM has no image in guest memory.
        let below = if self.kvm.is_some() { 0 } else { number + 1 };
        let above = self.layers.get(below..).unwrap_or_default();
        let base = above.first().map_or(0, |layer| layer.base);

        let mut flags = 0;
        let mut set = |flag, on| flags |= if on { flag } else { 0 };
        // The reference hypervisor itself needs a VHE EL2.
        set(hyp::flag::EL2, guest.l1.is_some() || !innermost);
        set(hyp::flag::VHE, guest.l1 == Some(L1Mode::Vhe) || !innermost);
        set(hyp::flag::RECURSES, !innermost);
        set(hyp::flag::OUTERMOST, outermost);
        set(hyp::flag::POISON, config.poison);
        set(hyp::flag::TRACE, config.trace);
        set(hyp::flag::TRACE_STEPS, config.trace_steps);
        set(hyp::flag::DEMAND_MAP, config.demand_map);
        set(hyp::flag::CALLS, launch.program.machine.hooks.doorbell == Some(Doorbell::Smc));
        set(hyp::flag::FPMR, launch.program.machine.features.fpmr);
        // The limit is the innermost one's to set: then it differs from that of the hypervisor below.
        let vl_max = match (innermost, guest.sve) {
            (true, true) => guest.vl_max,
            (true, false) => 0,
            (false, _) => VL_MAX,
        };
        HypJob {
            magic: hyp::MAGIC,
            version: u64::from(abi::ABI_VERSION),
            flags,
            guest_entry: base,
            guest_base: base,
            guest_size: above.len() as u64 * SLOT_SIZE,
            guest_text_size: ALIGN,
            vq_max: u64::from(vl_max / 128),
            restore: config.strategy.restore as u64,
            nested: config.strategy.nested as u64,
            upper: config.strategy.upper as u64,
            fault: launch.fault.filter(|_| outermost).map_or(0, |fault| fault as u64),
            budget_ticks: if outermost { launch.budget_ticks } else { u64::MAX / 2 },
            preempt_ticks: if outermost { config.preempt_ticks } else { 0 },
            sweep_disturbance: launch.sweep.map_or(Disturbance::Clobber, |sweep| sweep.disturbance) as u64,
            ..HypJob::new_zeroed()
        }
    }
}
