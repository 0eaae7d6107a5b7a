//! Reading a job's outcome back. All of it lies in guest memory, so all of it may be a lie.

use abi::hyp::{End, HypJob, INNER_ENDED, TRACE_LEN, TraceEvent};
use abi::job::{JobHeader, Status};

use super::Target;
use crate::kvm::mailbox::CaseText;
use crate::memory::{GuestMemory, OutOfRange};
use crate::result::HypReport;

/// What a job left behind.
#[derive(Debug)]
pub struct Outcome {
    /// The payload's header, as it is now.
    pub header: JobHeader,
    /// What the outermost hypervisor says; none on `bare`.
    pub hyp: Option<Box<HypReport>>,
    /// What the hypervisors above it say, the outermost of them first.
    pub inner: Vec<HypReport>,
    /// What an agent says in words.
    pub said: CaseText,
}

/// Which ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ring {
    /// That of the unswept pass.
    First,
    /// That of the last swept pass.
    Swept,
}

/// An outcome that contradicts itself. The case is ERROR, whatever its records say.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum OutcomeError {
    /// The payload changed what only the harness writes.
    #[error("the payload overwrote its job header")]
    Header,
    /// The status is none.
    #[error("the payload's status {0:#x} is unknown")]
    Status(u64),
    /// The payload and the hypervisor tell different stories.
    #[error("the hypervisor tells of status {hyp:#x}, the payload of {payload:#x}")]
    Disagree {
        /// By the doorbell.
        hyp: u64,
        /// In the header.
        payload: u64,
    },
    /// More bytes than the ring has.
    #[error("the payload claims {used} bytes in a ring of {len}")]
    Ring {
        /// Bytes claimed.
        used: u64,
        /// Bytes that there are.
        len: u32,
    },
    /// A sweep that stopped at a point that it was not to visit.
    #[error("the payload tells of a difference at point {0}, which was not asked for")]
    Point(u64),
    /// The hypervisor did not end the case and yet answered.
    #[error("the hypervisor's end {0} is unknown")]
    End(u64),
    /// The agent could not do its work.
    #[error("the agent on the host under test: {0}")]
    Agent(String),
    /// An address is outside guest memory.
    #[error(transparent)]
    Memory(#[from] OutOfRange),
}

/// How a case ended, agreed upon by all that took part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CaseEnd {
    /// By the payload.
    Payload(Status),
    /// By the hypervisor; not [`End::Payload`].
    Hypervisor(End),
    /// By a hypervisor above the outermost one, which says why.
    Inner(End),
}

impl Target {
    /// Copies everything but the rings out of guest memory.
    ///
    /// # Errors
    ///
    /// If guest memory is smaller than the images claim, or an agent failed.
    pub fn collect(&self, memory: &GuestMemory) -> Result<Outcome, OutcomeError> {
        let said = if self.kvm.is_some() { super::kvm::case_text(memory)? } else { CaseText::default() };
        let header = memory.read_value(self.job_area.0)?;
        let mut reports = Vec::new();
        for address in &self.hyp_jobs {
            reports.push(report(&memory.read_value(*address)?));
        }
        let mut reports = reports.into_iter();
        Ok(Outcome { header, hyp: reports.next().map(Box::new), inner: reports.collect(), said })
    }

    /// The bytes that a pass wrote into its ring.
    ///
    /// # Errors
    ///
    /// If the payload claims more than there can be.
    pub fn ring(
        &self,
        memory: &GuestMemory,
        header: &JobHeader,
        ring: Ring,
    ) -> Result<Vec<u8>, OutcomeError> {
        let (offset, used) = match ring {
            Ring::First => (header.ring_offset, header.ring_used),
            Ring::Swept => (header.sweep_ring_offset, header.sweep_ring_used),
        };
        if used > u64::from(header.ring_len) || u64::from(header.ring_len) > self.job_area.1 {
            return Err(OutcomeError::Ring { used, len: header.ring_len });
        }
        let mut bytes = vec![0; usize::try_from(used).unwrap_or(0)];
        memory.read(self.job_area.0 + u64::from(offset), &mut bytes)?;
        Ok(bytes)
    }
}

impl Outcome {
    /// How the case ended. `sent` is the header that it began with.
    ///
    /// # Errors
    ///
    /// If payload and hypervisor contradict each other, or make no sense.
    pub fn end(&self, sent: &JobHeader) -> Result<CaseEnd, OutcomeError> {
        if !sent_part_equal(&self.header, sent) {
            return Err(OutcomeError::Header);
        }
        let status = self.header.status;
        if let Some(hyp) = &self.hyp {
            match hyp.end {
                None => return Err(OutcomeError::End(0)),
                Some(End::Payload) if hyp.end_arg == INNER_ENDED => return Ok(self.inner_end()),
                Some(End::Payload) if hyp.end_arg != status => {
                    return Err(OutcomeError::Disagree { hyp: hyp.end_arg, payload: status });
                }
                Some(End::Payload) => {}
                Some(end) => return Ok(CaseEnd::Hypervisor(end)),
            }
        }
        Status::from_u64(status).map(CaseEnd::Payload).ok_or(OutcomeError::Status(status))
    }

    /// The end that the innermost hypervisor with a reason of its own gives.
    fn inner_end(&self) -> CaseEnd {
        let mut ends = self.inner.iter().filter_map(|inner| inner.end);
        CaseEnd::Inner(ends.next_back().unwrap_or(End::Broken))
    }
}

/// Whether the part of the header that only the harness writes is as it was.
fn sent_part_equal(now: &JobHeader, sent: &JobHeader) -> bool {
    let part = |header: &JobHeader| {
        (
            (header.magic, header.version, header.flags, header.home, header.doorbell),
            (header.ops_offset, header.ops_count, header.data_offset, header.data_len),
            (header.ring_offset, header.sweep_ring_offset, header.ring_len),
            (header.sweep, header.sweep_end, header.irq_source),
        )
    };
    part(now) == part(sent)
}

fn report(job: &HypJob) -> HypReport {
    HypReport {
        end: End::from_u64(job.end),
        end_arg: job.end_arg,
        end_at: job.end_at,
        fault_reached: job.fault_reached,
        fault_lines: job.fault_lines,
        disturbed: job.disturbed,
        harm: job.harm,
        counters: job.counters,
        trace: trace(job),
    }
}

/// The last events, oldest first.
fn trace(job: &HypJob) -> Vec<TraceEvent> {
    let kept = job.trace_head.min(TRACE_LEN as u64);
    (job.trace_head - kept..job.trace_head)
        .filter_map(|number| job.trace.get((number % TRACE_LEN as u64) as usize).copied())
        .collect()
}
