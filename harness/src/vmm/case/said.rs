//! What the VMM has to say of a case.

use abi::skip;

use super::Case;
use crate::kvm::complaint::Complaint;
use crate::kvm::mailbox::Skipped;

/// What the VMM has to say of a case.
#[derive(Debug, Default)]
pub(in crate::vmm) struct Said {
    /// What KVM did wrong as its user sees it.
    pub(in crate::vmm) complaints: Vec<Complaint>,
    /// Why a check could not be made.
    pub(in crate::vmm) skipped: Option<Skipped>,
}

impl Case<'_> {
    /// Notes what KVM did wrong, and which rule that breaks.
    pub(in crate::vmm) fn complain(&mut self, rule: &str, what: impl Into<String>) {
        self.note(Complaint::new(rule, what));
    }

    /// Notes what KVM did wrong, once.
    pub(in crate::vmm) fn note(&mut self, complaint: Complaint) {
        const MOST: usize = 32;
        self.stop_trace();
        let complaints = &mut self.said.complaints;
        let is_known = complaints.iter().any(|it| (&it.rule, &it.what) == (&complaint.rule, &complaint.what));
        if complaints.len() < MOST && !is_known {
            complaints.push(Complaint { op: self.op, ..complaint });
        }
    }

    /// The events up to here are those that matter.
    pub(super) fn stop_trace(&self) {
        if let Some(tracer) = self.tracer {
            tracer.stop();
        }
    }

    /// Notes what a check lacks.
    pub(in crate::vmm) fn skip(&mut self, why: &str) {
        self.skip_as(skip::FEATURE_ABSENT, why);
    }

    /// Notes what a disturbance lacks.
    pub(in crate::vmm) fn cannot_disturb(&mut self, why: &str) {
        self.skip_as(skip::NOT_DISTURBED, why);
    }

    fn skip_as(&mut self, code: &str, why: &str) {
        self.said.skipped.get_or_insert_with(|| Skipped { code: code.to_owned(), why: why.to_owned() });
    }
}
