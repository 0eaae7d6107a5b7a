//! KVM_GET_REG_LIST: what it lists, and what it does not.

use std::collections::BTreeSet;

use abi::pattern::Owner;
use kvm_ioctls::Cap;

use super::super::case::Case;
use super::super::error::VmError;
use super::super::raw::{self, reg};
use super::super::vm::{Kind, Vm};
use super::{Answer, get, getting, set, setting, some, unreadable};
use crate::kvm::complaint::{self, Changed, Complaint};

/// Registers of AArch32 that bear names of EL2 and are there without one.
const AARCH32: [u64; 4] =
    [reg::sys(2, 4, 0, 7, 0), reg::sys(3, 4, 3, 0, 0), reg::sys(3, 4, 5, 0, 1), reg::sys(3, 4, 5, 3, 0)];

impl Case<'_> {
    /// Rules P-95, P-100: complete, stable, without doubles, each register readable at its size.
    pub(super) fn check_list(&mut self) -> Result<(), VmError> {
        let ids = raw::reg_list(&self.vm.vcpu)?;
        if raw::reg_list(&self.vm.vcpu)? != ids {
            self.complain("P-95", "KVM_GET_REG_LIST gives another list the second time".to_owned());
        }
        // With too little room it tells how much it takes, and writes no id.
        for room in [0, ids.len().saturating_sub(1)] {
            let mut list = vec![u64::MAX; ids.len() + 2];
            list[0] = room as u64;
            let answer = raw::reg_list_into(&self.vm.vcpu, &mut list);
            self.demand("P-95", &format!("KVM_GET_REG_LIST of {room}"), answer, Err(libc::E2BIG));
            if list[0] != ids.len() as u64 || list[1..].iter().any(|id| *id != u64::MAX) {
                let complaint = Complaint::new("P-95", "KVM_GET_REG_LIST with too little room misleads");
                let wanted = format!("{} registers, none written", ids.len());
                let written = list[1..].iter().filter(|id| **id != u64::MAX).count();
                self.note(complaint.wanted(wanted, format!("{} registers, {written} written", list[0])));
            }
        }
        let set: BTreeSet<u64> = ids.iter().copied().collect();
        if set.len() != ids.len() {
            self.complain("P-95", format!("{} registers are listed twice", ids.len() - set.len()));
        }
        self.check_members(&set);
        for id in ids {
            self.check_readable(id);
        }
        Ok(())
    }

    /// What has to be in the list of such a vCPU, and what must not.
    fn check_members(&mut self, set: &BTreeSet<u64>) {
        let (sve, el2) = (self.kind.vq_max > 0, self.kind.el2);
        let promised = |id, field| self.vm.get(id).is_ok_and(|value| value & field != 0);
        let fpmr = promised(reg::ID_AA64PFR2, reg::PFR2_FPMR);
        let sme = promised(reg::ID_AA64PFR1, reg::PFR1_SME);
        let mut wanted: Vec<(String, u64, bool)> = vec![
            ("fpsr".to_owned(), reg::FPSR, true),
            ("fpcr".to_owned(), reg::FPCR, true),
            ("fpmr".to_owned(), reg::FPMR, fpmr),
            ("the set of vector lengths".to_owned(), reg::SVE_VLS, sve),
            ("ffr".to_owned(), reg::FFR, sve),
            ("zcr_el1".to_owned(), reg::ZCR_EL1, sve),
            ("zcr_el2".to_owned(), reg::ZCR_EL2, sve && el2),
            ("svcr".to_owned(), reg::sys(3, 3, 4, 2, 2), sme),
            ("smcr_el1".to_owned(), reg::sys(3, 0, 1, 2, 6), sme),
            ("cptr_el2".to_owned(), reg::sys(3, 4, 1, 1, 2), el2),
            ("hcr_el2".to_owned(), reg::sys(3, 4, 1, 1, 0), el2),
        ];
        wanted.extend((0..31).map(|n| (format!("x{n}"), reg::x(n), true)));
        wanted.extend((0..32).map(|n| (format!("z{n}"), reg::z(n), sve)));
        wanted.extend((0..16).map(|n| (format!("p{n}"), reg::p(n), sve)));
        wanted.extend((0..32).map(|n| (format!("v{n}"), reg::v(n), !sve)));
        let wrong = wanted.into_iter().filter(|(_, id, there)| set.contains(id) != *there);
        let wrong: Vec<String> = wrong
            .map(|(name, _, there)| format!("{name} is {}listed", if there { "not " } else { "" }))
            .collect();
        if !wrong.is_empty() {
            self.complain("P-95", some(&wrong));
        }
        let of_el2 = |id: &&u64| reg::is_sys(**id) && reg::op1(**id) == 4 && !AARCH32.contains(id);
        let of_el2: Vec<String> = set.iter().filter(of_el2).map(|id| format!("{id:#018x}")).collect();
        if !el2 && !of_el2.is_empty() {
            self.complain("P-95", format!("a guest without EL2 has {}", some(&of_el2)));
        }
    }

    /// The register can be read, and the kernel writes as many bytes as the id says.
    fn check_readable(&mut self, id: u64) {
        const BEHIND: usize = 16;
        let size = reg::size(id);
        let mut read = [0xa5, 0x5a].map(|filler| vec![filler; size + BEHIND]);
        for value in &mut read {
            if let Err(error) = self.vm.vcpu.get_one_reg(id, value) {
                self.note(unreadable(id, error.errno()));
                return;
            }
        }
        let [first, second] = read;
        let kept = first[size..].iter().all(|byte| *byte == 0xa5);
        let written = first.iter().zip(&second).take(size).all(|(a, b)| (*a, *b) != (0xa5, 0x5a));
        if !kept || !written {
            let what = format!("register {id:#018x} is not read as {size} bytes");
            self.note(Complaint::new("P-95", what).by(getting(id)));
        }
    }

    /// Rule P-95: each writable register takes what was read of it, and reads the same again.
    pub(super) fn check_round_trip(&mut self) -> Result<(), VmError> {
        let mut refused = Vec::new();
        let mut changed = Vec::new();
        // The set of lengths is final (P-99).
        for id in raw::reg_list(&self.vm.vcpu)?.into_iter().filter(|id| *id != reg::SVE_VLS) {
            let before = match get(&self.vm, id) {
                Ok(before) => before,
                Err(errno) => {
                    self.note(unreadable(id, errno));
                    continue;
                }
            };
            if let Err(errno) = set(&self.vm, id, &before) {
                refused.push((id, complaint::errno(errno)));
            }
            // Counters count, and conditions of timers follow them.
            let after = get(&self.vm, id);
            if !reg::is_timer(id) && after.as_ref() != Ok(&before) {
                changed.push((id, before, after.unwrap_or_default()));
            }
        }
        let ids = |ids: Vec<u64>| some(&ids.into_iter().map(|id| format!("{id:#018x}")).collect::<Vec<_>>());
        if let Some((id, errno)) = refused.first() {
            let what = ids(refused.iter().map(|(id, _)| *id).collect());
            let complaint = Complaint::new("P-95", format!("not writable with what was read: {what}"));
            self.note(complaint.by(setting(*id)).wanted("success", errno));
        }
        if let Some((id, before, after)) = changed.first() {
            let what = ids(changed.iter().map(|(id, ..)| *id).collect());
            let complaint = Complaint::new("P-95", format!("changed by writing what was read: {what}"));
            let value = Changed {
                owner: Owner::Scenario as u8,
                register: 0,
                wanted: before.clone(),
                found: after.clone(),
            };
            self.note(complaint.by(setting(*id)).changed(value));
        }
        Ok(())
    }

    /// Rule P-73: of a new vCPU without SVE and SME, no write makes its ID registers promise them.
    pub(super) fn check_promises(&mut self) -> Result<(), VmError> {
        let vm = Vm::bare(self.kvm, Kind::default())?;
        let fields = [
            ("ID_AA64PFR0_EL1.SVE", reg::ID_AA64PFR0, reg::PFR0_SVE),
            ("ID_AA64PFR1_EL1.SME", reg::ID_AA64PFR1, reg::PFR1_SME),
        ];
        for (name, id, field) in fields {
            let Ok(value) = vm.get(id) else { continue };
            let promise = value | field & field.wrapping_neg();
            // Which error it is has changed: E2BIG, once EINVAL.
            if promise != value && set(&vm, id, &promise.to_le_bytes()).is_ok() {
                let complaint = Complaint::new("P-73", format!("{name} of a vCPU without it can be set"));
                self.note(complaint.by(setting(id)).wanted("an error", "success"));
            }
            if let Some(value) = vm.get(id).ok().filter(|value| value & field != 0) {
                let complaint = Complaint::new("P-73", format!("{name} of a vCPU without it is not 0"));
                self.note(complaint.by(getting(id)).wanted("0", format!("{value:#018x}")));
            }
        }
        if self.kvm.check_extension(Cap::ArmSve) {
            for el2 in [false, true] {
                if el2 && self.kvm.check_extension_raw(raw::CAP_ARM_EL2) <= 0 {
                    continue;
                }
                let kind = Kind { vq_max: 16, el2, ..Kind::default() };
                let vm = Vm::bare(self.kvm, kind)?;
                if vm.get(reg::ID_AA64PFR0)? & reg::PFR0_SVE == 0 {
                    let complaint = Complaint::new("P-73", "ID_AA64PFR0_EL1.SVE of a vCPU with it is 0");
                    self.note(complaint.by(getting(reg::ID_AA64PFR0)));
                }
                vm.retire(kind);
            }
        }
        self.check_limits()
    }

    /// Rule P-73: no write makes ID registers of a vCPU promise more than KVM gave it. In these, each field is unsigned and
    /// a larger one means more (arch/arm64/tools/sysreg: UnsignedEnum), but for bits that are RES0.
    fn check_limits(&mut self) -> Result<(), VmError> {
        let vm = Vm::bare(self.kvm, Kind { vq_max: self.kind.vq_max, ..Kind::default() })?;
        for (name, id) in [("ID_AA64PFR2_EL1", reg::ID_AA64PFR2), ("ID_AA64ZFR0_EL1", reg::ID_AA64ZFR0)] {
            let Ok(given) = vm.get(id) else { continue };
            let raised = (0..16).map(|field| (field * 4, given | 0xf << (field * 4)));
            let raised: Vec<String> = raised
                .filter(|(_, value)| *value != given && set(&vm, id, &value.to_le_bytes()).is_ok())
                .map(|(low, _)| format!("{name}[{}:{low}]", low + 3))
                .collect();
            if !raised.is_empty() {
                let complaint = Complaint::new("P-73", format!("{} can be raised", some(&raised)));
                self.note(complaint.by(setting(id)).wanted("an error", "success"));
            }
        }
        Ok(())
    }

    /// Rules P-97, P-98: ids that stand for no register of this vCPU.
    pub(super) fn check_bad_ids(&mut self) {
        const EINVAL: &[i32] = &[libc::EINVAL];
        const ENOENT: &[i32] = &[libc::ENOENT];
        // Words behind the last register of a structure are no registers, and outside of it is nothing.
        const EITHER: &[i32] = &[libc::EINVAL, libc::ENOENT];
        let sve = self.kind.vq_max > 0;
        let mut ids: Vec<(&str, String, u64, &[i32])> = Vec::new();
        for n in [0, 1, 31] {
            if sve {
                ids.push(("P-97", format!("v{n} of a vCPU with SVE"), reg::v(n), EINVAL));
                for slice in [1, 31] {
                    ids.push(("P-98", format!("slice {slice} of z{n}"), reg::z(n) | slice, ENOENT));
                }
            } else {
                ids.push(("P-98", format!("z{n} of a vCPU without SVE"), reg::z(n), ENOENT));
            }
            for size in [2, 3, 5] {
                let id = reg::with_size(reg::v(n), size);
                ids.push(("P-97", format!("v{n} as {} bytes", 1 << size), id, EITHER));
            }
            ids.push(("P-97", format!("v{n} from its second word on"), reg::v(n) + 1, EINVAL));
        }
        if sve {
            ids.push(("P-98", "slice 1 of p15".to_owned(), reg::p(15) | 1, ENOENT));
            ids.push(("P-98", "slice 1 of ffr".to_owned(), reg::FFR | 1, ENOENT));
        } else {
            ids.push(("P-98", "p0 of a vCPU without SVE".to_owned(), reg::p(0), ENOENT));
            ids.push(("P-98", "ffr of a vCPU without SVE".to_owned(), reg::FFR, ENOENT));
            ids.push(("P-99", "lengths of a vCPU without SVE".to_owned(), reg::SVE_VLS, ENOENT));
        }
        let sizes = [
            ("z0 as 16 bytes", reg::z(0), 4),
            ("p0 as 256 bytes", reg::p(0), 8),
            ("ffr as 2 bytes", reg::FFR, 1),
            ("lengths as 8 bytes", reg::SVE_VLS, 3),
            ("x0 as 4 bytes", reg::x(0), 2),
            ("x30 as 16 bytes", reg::x(30), 4),
            ("PC as 4 bytes", reg::PC, 2),
            ("fpsr as 8 bytes", reg::FPSR, 3),
            ("fpcr as 1 byte", reg::FPCR, 0),
        ];
        let sizes = sizes.map(|(name, id, size)| (name, reg::with_size(id, size)));
        ids.extend(sizes.map(|(name, id)| ("P-97", name.to_owned(), id, EITHER)));
        let holes = [
            ("half of x0", reg::x(0) + 1),
            ("padding before v0", reg::with_size(reg::v(0) - 2, 2)),
            ("padding behind fpcr", reg::FPCR + 1),
            ("words behind the last one", reg::FPCR + 3),
            ("far words", reg::FPCR + 0x1000),
        ];
        ids.extend(holes.map(|(name, id)| ("P-97", name.to_owned(), id, EITHER)));
        for (rule, name, id, wanted) in ids {
            self.refused(rule, &name, id, wanted);
        }
    }

    fn refused(&mut self, rule: &str, name: &str, id: u64, wanted: &[i32]) {
        let is_right = |answer: Answer| answer.is_err_and(|errno| wanted.contains(&errno));
        let words = wanted.iter().map(|errno| complaint::errno(*errno)).collect::<Vec<_>>().join(" or ");
        let complain = |verb, call: String, answer: Answer| {
            let what = match answer {
                Ok(()) => format!("{name} can be {verb}"),
                Err(_) => format!("{name} is not {verb} for another reason"),
            };
            Complaint::new(rule, what).by(call).wanted(words.as_str(), complaint::answer(answer))
        };
        let read = get(&self.vm, id).map(drop);
        if !is_right(read) {
            self.note(complain("read", getting(id), read));
        }
        // What can be read would be changed by writing it.
        if read.is_err() {
            let written = set(&self.vm, id, &vec![0; reg::size(id)]);
            if !is_right(written) {
                self.note(complain("written", setting(id), written));
            }
        }
    }
}
