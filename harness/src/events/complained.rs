//! What KVM did wrong as its user sees it, as findings of the log.

use abi::pattern::Owner;
use model::judge::{Difference, RegisterName, difference, names};

use super::convert::{digest, lane, origin, rule, value};
use super::{Finding, Lane};
use crate::kvm::complaint::{Changed, Complaint, in_words};
use crate::result::CaseResult;

/// A complaint in words.
pub(super) fn finding(complaint: &Complaint) -> Finding {
    let of_kernel = complaint.rule == Complaint::OF_KERNEL;
    let finding = Finding {
        op: u32::try_from(complaint.op).unwrap_or(u32::MAX),
        line: complaint.line.unwrap_or(0),
        place: if of_kernel { Finding::KERNEL } else { Finding::VMM }.to_owned(),
        rules: vec![rule(&complaint.rule)],
        what: complaint.what.clone(),
        class: if of_kernel { "logged" } else { "answered" }.to_owned(),
        transition: complaint.call.clone(),
        expected: (!complaint.wanted.is_empty()).then(|| complaint.wanted.clone()).into_iter().collect(),
        actual: complaint.found.clone(),
        fingerprint: fingerprint(complaint),
        ..Finding::default()
    };
    match &complaint.register {
        Some(changed) => with_register(finding, changed),
        None => finding,
    }
}

/// With the value of the register that differs.
fn with_register(finding: Finding, changed: &Changed) -> Finding {
    let Changed { owner, register, wanted, found } = changed;
    let known = names(*register).first().copied();
    let holder = Owner::ALL.into_iter().find(|known| *known as u8 == *owner).unwrap_or(Owner::HostTask);
    // Of what is in no such register the lanes are words, and nobody's.
    let what = known.unwrap_or(RegisterName::Ffr);
    let Difference { class, origin: from, lanes } = difference(what, holder, wanted, found);
    let lanes: Vec<Lane> = lanes.iter().map(lane).collect();
    let class_words = known.map_or_else(String::new, |known| format!("{known} {class}"));
    Finding {
        class: class.name().to_owned(),
        class_words,
        origin: from.map_or_else(String::new, origin),
        expected: vec![value(what, wanted, found)],
        actual: value(what, found, wanted),
        lanes,
        ..finding
    }
}

/// Equal for equal failures.
pub(super) fn fingerprint(complaint: &Complaint) -> String {
    digest(&complaint.kind())
}

/// Why a case ended as it did, without what its complaints tell.
pub(super) fn why(result: &CaseResult) -> String {
    if let Some(rest) = result.why.strip_prefix(&in_words(&result.complaints)) {
        return rest.trim_start_matches("; ").to_owned();
    }
    let of_kernel = result.complaints.iter().find(|complaint| complaint.rule == Complaint::OF_KERNEL);
    of_kernel.map_or_else(
        || result.why.clone(),
        |complaint| result.why.replacen(&format!(": {}", complaint.what), "", 1),
    )
}

#[cfg(test)]
mod tests {
    use abi::op::mask;

    use super::*;
    use crate::result::State;

    fn told(complaint: Complaint, why: &str) -> CaseResult {
        CaseResult { complaints: vec![complaint], ..CaseResult::without_findings("a", State::Fail, why) }
    }

    #[test]
    fn a_complaint_has_its_rule_its_call_and_what_was_wanted() {
        let complaint = Complaint {
            line: Some(14),
            ..Complaint::new("P-97", "x0 as 4 bytes can be read")
                .by("KVM_GET_ONE_REG of 0x6")
                .wanted("EINVAL", "success")
        };
        let finding = finding(&complaint);
        assert_eq!((finding.line, finding.place.as_str()), (14, Finding::VMM));
        assert_eq!((finding.rules[0].id.as_str(), finding.rules[0].words.is_empty()), ("P-97", false));
        assert_eq!(finding.transition, "KVM_GET_ONE_REG of 0x6");
        assert_eq!(
            (finding.expected.as_slice(), finding.actual.as_str()),
            (&["EINVAL".to_owned()][..], "success")
        );
        assert_eq!(why(&told(complaint.clone(), &complaint.to_string())), "");
        let late = format!("{complaint}; and then the guest ran beyond its budget");
        assert_eq!(why(&told(complaint, &late)), "and then the guest ran beyond its budget");
    }

    #[test]
    fn a_register_has_lanes_and_a_class() {
        let word = |lane| abi::pattern::word(Owner::HostTask, 3, 0, lane).to_le_bytes();
        let wanted: Vec<u8> = (0..4).flat_map(word).collect();
        let mut found = wanted.clone();
        found[16..].fill(0);
        let changed = Changed { owner: Owner::HostTask as u8, register: mask::Z, wanted, found };
        let finding = finding(&Complaint::new("P-21", "Z changed").changed(changed));
        assert_eq!(finding.class_words, "z0 truncated to 128 bits");
        let lanes: Vec<_> = finding.lanes.iter().map(|lane| (lane.lane, lane.actual.0)).collect();
        assert_eq!(lanes, [(2, 0), (3, 0)]);
    }

    #[test]
    fn what_is_no_register_has_lanes_alone() {
        let changed = Changed { wanted: vec![1; 16], found: vec![0; 16], ..Changed::default() };
        let finding = finding(&Complaint::new("P-22", "ZT0 changed").changed(changed));
        assert_eq!((finding.class_words.as_str(), finding.lanes.len()), ("", 2));
    }

    #[test]
    fn a_dead_kernel_is_told_once() {
        let of_kernel = Complaint::of_kernel("kernel BUG at x.c:1");
        let why = why(&told(of_kernel, "the host kernel died: kernel BUG at x.c:1; QEMU ended"));
        assert_eq!(why, "the host kernel died; QEMU ended");
    }
}
