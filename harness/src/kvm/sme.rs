//! The register ABI of a vCPU with SME, as it is planned for Linux and not yet there (7.3).
//!
//! The source is the series "KVM: arm64: Implement support for SME" (Documentation/virt/kvm/api.rst and guest.c in its
//! versions 8 to 13): only that is asked of a vCPU in which all of them agree. It is written against [`Vcpu`], so that it can
//! be seen to find something before there is a kernel for it.

use super::complaint::{self, Complaint};

/// A value, or an `errno`.
pub type Read = Result<Vec<u8>, i32>;
/// Nothing, or an `errno`.
pub type Answer = Result<(), i32>;

/// A vCPU as its user sees it.
pub trait Vcpu {
    /// KVM_GET_ONE_REG.
    fn get(&self, id: u64) -> Read;
    /// KVM_SET_ONE_REG.
    fn set(&self, id: u64, value: &[u8]) -> Answer;
    /// KVM_GET_REG_LIST.
    fn list(&self) -> Result<Vec<u64>, i32>;
    /// KVM_ARM_VCPU_FINALIZE of KVM_ARM_VCPU_VEC, which is KVM_ARM_VCPU_SVE's number.
    fn finalize(&self) -> Answer;
}

/// Bit of `kvm_vcpu_init::features` that gives a vCPU SME: KVM_ARM_VCPU_SME.
pub const FEATURE: u32 = 9;

/// Register ids, `KVM_REG_ARM64 | size | class | number`.
mod id {
    const ARM64: u64 = 0x6000 << 48;
    const U64: u64 = 3 << 52;
    const U512: u64 = 6 << 52;
    const U2048: u64 = 8 << 52;
    const SME: u64 = 0x17 << 16;
    const SYSREG: u64 = 0x13 << 16;

    /// KVM_REG_ARM64_SME_ZAHREG: slice 0 of a row of ZA.
    pub(super) const fn za(row: u64) -> u64 {
        ARM64 | U2048 | SME | row << 5
    }

    /// KVM_REG_ARM64_SME_ZTREG of ZT0.
    pub(super) const ZT0: u64 = ARM64 | U512 | SME | 0x100;
    /// KVM_REG_ARM64_SME_VLS: eight words, bit `n` for `n + 1` quadwords.
    pub(super) const VLS: u64 = ARM64 | U512 | SME | 0xfffe;
    /// SVCR: op0 3, op1 3, CRn 4, CRm 2, op2 2.
    pub(super) const SVCR: u64 = ARM64 | U64 | SYSREG | 3 << 14 | 3 << 11 | 4 << 7 | 2 << 3 | 2;
    /// ID_AA64PFR1_EL1: op0 3, op1 0, CRn 0, CRm 4, op2 1.
    pub(super) const PFR1: u64 = ARM64 | U64 | SYSREG | 3 << 14 | 4 << 3 | 1;

    pub(super) const fn is_sme(id: u64) -> bool {
        id & (ARM64 | 0xfff_0000) == ARM64 | SME
    }
}

/// Bytes of a slice of ZA.
const SLICE: usize = 256;
/// Bytes of ZT0.
const ZT0: usize = 64;
/// Bytes of a set of lengths.
const LENGTHS: usize = 64;
/// SVCR.ZA.
const SVCR_ZA: u64 = 2;
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;

/// ID_AA64PFR1_EL1.SME of the vCPU.
fn version(vcpu: &impl Vcpu) -> u64 {
    vcpu.get(id::PFR1).ok().and_then(|value| value.first_chunk().copied()).map_or(0, u64::from_le_bytes) >> 24
        & 0xf
}

/// Whether a vCPU for which [`FEATURE`] was asked has SME, with the interface that is checked here.
pub fn is_there(vcpu: &impl Vcpu) -> bool {
    version(vcpu) != 0 && vcpu.get(id::VLS).is_ok()
}

/// A vCPU that was not given SME has none of its registers (rule P-98).
pub fn check_absent(vcpu: &impl Vcpu) -> Vec<Complaint> {
    let mut check = Check { vcpu, complaints: Vec::new() };
    for (name, id, len) in
        [("za row 0", id::za(0), SLICE), ("zt0", id::ZT0, ZT0), ("the lengths of SME", id::VLS, LENGTHS)]
    {
        for (verb, answer) in [("reading", vcpu.get(id).map(drop)), ("writing", vcpu.set(id, &vec![0; len]))]
        {
            let what = format!("{verb} {name} of a vCPU without SME");
            check.demand("P-98", &what, answer, |answer| matches!(answer, Err(EINVAL | ENOENT)));
        }
    }
    if vcpu.list().is_ok_and(|ids| ids.into_iter().any(id::is_sme)) {
        check.complain("P-95", "registers of SME are listed for a vCPU without it".to_owned());
    }
    check.complaints
}

/// A new vCPU with SME (rules P-95, P-96, P-98 to P-101 as they are for SVE), which has not been finalized.
pub fn check_present(vcpu: &impl Vcpu) -> Vec<Complaint> {
    let mut check = Check { vcpu, complaints: Vec::new() };
    let largest = check.lengths();
    check.list();
    check.array(largest);
    check.complaints
}

struct Check<'a, V> {
    vcpu: &'a V,
    complaints: Vec<Complaint>,
}

impl<V: Vcpu> Check<'_, V> {
    fn complain(&mut self, rule: &str, what: String) {
        self.complaints.push(Complaint::new(rule, what));
    }

    fn demand(&mut self, rule: &str, what: &str, answer: Answer, is_right: impl Fn(Answer) -> bool) {
        if !is_right(answer) {
            self.complaints.push(Complaint::new(rule, what).wanted("", complaint::answer(answer)));
        }
    }

    /// Lengths can be chosen up to KVM_ARM_VCPU_FINALIZE, which nothing of ZA comes before. Returns the largest in quadwords.
    fn lengths(&mut self) -> u64 {
        let vcpu = self.vcpu;
        let list = vcpu.list().map(drop);
        self.demand("P-100", "KVM_GET_REG_LIST before KVM_ARM_VCPU_FINALIZE", list, |answer| {
            answer == Err(EPERM)
        });
        let za = vcpu.get(id::za(0)).map(drop);
        self.demand("P-100", "reading ZA before KVM_ARM_VCPU_FINALIZE", za, |answer| answer.is_err());
        let all = vcpu.get(id::VLS).unwrap_or_default();
        let has = |bit: usize| all.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 != 0);
        let Some(last) = (0..LENGTHS * 8).rev().find(|bit| has(*bit)) else {
            self.complain("P-99", "a vCPU with SME has no streaming vector length".to_owned());
            return 0;
        };
        let up_to = |last: usize| {
            let mut set = all.clone();
            for bit in last + 1..set.len() * 8 {
                set[bit / 8] &= !(1 << (bit % 8));
            }
            set
        };
        let mut above = all.clone();
        above[(last + 1) / 8] |= 1 << ((last + 1) % 8);
        let answer = vcpu.set(id::VLS, &above);
        self.demand("P-99", "setting a length that is not there", answer, |answer| answer == Err(EINVAL));
        for bit in (0..=last).filter(|bit| has(*bit)) {
            let wanted = up_to(bit);
            let answer = vcpu.set(id::VLS, &wanted);
            self.demand(
                "P-99",
                &format!("setting lengths up to {} bits", (bit + 1) * 128),
                answer,
                |answer| answer.is_ok(),
            );
            if vcpu.get(id::VLS).as_ref() != Ok(&wanted) {
                self.complain("P-99", format!("lengths up to {} bits do not read as set", (bit + 1) * 128));
            }
        }
        self.demand("P-99", "KVM_ARM_VCPU_FINALIZE", vcpu.finalize(), |answer| answer.is_ok());
        self.demand("P-99", "a second KVM_ARM_VCPU_FINALIZE", vcpu.finalize(), |answer| answer == Err(EPERM));
        let answer = vcpu.set(id::VLS, &all);
        self.demand("P-99", "setting lengths that are final", answer, |answer| answer == Err(EPERM));
        if vcpu.get(id::VLS).as_ref() != Ok(&all) {
            self.complain("P-99", "the final lengths are not those that were set".to_owned());
        }
        last as u64 + 1
    }

    fn list(&mut self) {
        let ids = self.vcpu.list().unwrap_or_default();
        for (name, id) in [("SVCR", id::SVCR), ("the lengths of SME", id::VLS)] {
            if !ids.contains(&id) {
                self.complain("P-95", format!("{name} of a vCPU with SME: not listed"));
            }
        }
    }

    fn svcr(&mut self, value: u64) {
        let answer = self.vcpu.set(id::SVCR, &value.to_le_bytes());
        self.demand("P-96", &format!("writing {value} to SVCR"), answer, |answer| answer.is_ok());
        if self.vcpu.get(id::SVCR).as_deref() != Ok(&value.to_le_bytes()) {
            self.complain("P-96", format!("SVCR does not read as {value}, which was written"));
        }
    }

    /// ZA and ZT0 are there while SVCR.ZA is 1, zero at first, and keep what is written to them.
    fn array(&mut self, vq: u64) {
        let vl = usize::try_from(vq * 16).unwrap_or(0);
        let mut registers: Vec<(String, u64, usize, usize)> =
            (0..vq * 16).map(|row| (format!("za row {row}"), id::za(row), SLICE, vl)).collect();
        if version(self.vcpu) >= 2 {
            registers.push(("zt0".to_owned(), id::ZT0, ZT0, ZT0));
        }
        self.svcr(0);
        for (name, id, size, _) in &registers {
            let read = self.vcpu.get(*id).map(drop);
            self.demand("P-98", &format!("reading {name} with SVCR.ZA = 0"), read, |answer| answer.is_err());
            let written = self.vcpu.set(*id, &vec![0; *size]);
            self.demand("P-98", &format!("writing {name} with SVCR.ZA = 0"), written, |answer| {
                answer.is_err()
            });
        }
        // The second round finds what a change of SVCR.ZA has to clear.
        for round in 0..2_u8 {
            self.svcr(SVCR_ZA);
            for (name, id, size, _) in &registers {
                if self.vcpu.get(*id) != Ok(vec![0; *size]) {
                    self.complain("P-13", format!("{name} is not zero once SVCR.ZA is 1"));
                }
            }
            let filled = |id: u64, len: usize| -> Vec<u8> {
                (0..len).map(|byte| (id >> 5) as u8 ^ byte as u8 ^ round.wrapping_mul(0x55) ^ 0xa5).collect()
            };
            // Each before any is looked at: two may be one.
            for (name, id, size, _) in &registers {
                let answer = self.vcpu.set(*id, &filled(*id, *size));
                self.demand("P-96", &format!("writing {name}"), answer, |answer| answer.is_ok());
            }
            for (name, id, size, used) in &registers {
                let mut wanted = filled(*id, *used);
                wanted.resize(*size, 0);
                match self.vcpu.get(*id) {
                    Ok(read) if read == wanted => {}
                    Ok(read) if read.get(..*used) == wanted.get(..*used) => {
                        self.complain("P-101", format!("{name} is not zero above the largest length"));
                    }
                    _ => self.complain("P-96", format!("{name} does not read as written")),
                }
            }
            self.svcr(0);
        }
        self.svcr(SVCR_ZA);
        for (name, id) in [("a row behind the last", id::za(vq * 16)), ("slice 1 of za row 0", id::za(0) | 1)]
        {
            let answer = self.vcpu.get(id).map(drop);
            self.demand("P-98", &format!("reading {name}"), answer, |answer| answer == Err(ENOENT));
        }
        self.svcr(0);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    /// What a kernel can get wrong.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Bug {
        None,
        ListedEarly,
        LengthsStayOpen,
        LengthsIgnored,
        LengthAccepted,
        NotListed,
        ZaWithoutSvcr,
        ZaKept,
        PaddingKept,
        RowsShared,
        RowTooMany,
        NoZt0,
        SvcrIgnored,
    }

    /// A vCPU of a kernel to come, with lengths of 128 to 512 bits.
    struct Planned {
        bug: Bug,
        state: RefCell<State>,
    }

    #[derive(Default)]
    struct State {
        lengths: Vec<u8>,
        is_final: bool,
        svcr: u64,
        registers: BTreeMap<u64, Vec<u8>>,
    }

    const ALL: u8 = 0b1011;
    const VL: usize = 64;
    const EBUSY: i32 = 16;

    impl Planned {
        fn new(bug: Bug) -> Self {
            let mut lengths = vec![0; LENGTHS];
            lengths[0] = ALL;
            Self { bug, state: RefCell::new(State { lengths, ..State::default() }) }
        }

        /// Which register an id is, with the bytes of it that there are.
        fn region(&self, id: u64) -> Result<(u64, usize), i32> {
            let state = self.state.borrow();
            let rows = VL as u64 + u64::from(self.bug == Bug::RowTooMany);
            let region = if id == id::ZT0 {
                if self.bug == Bug::NoZt0 {
                    return Err(ENOENT);
                }
                (id, ZT0)
            } else if (id::za(0)..id::za(rows)).contains(&id) && id & 0x1f == 0 {
                (if self.bug == Bug::RowsShared { id & !(1 << 5) } else { id }, VL)
            } else if (id::za(0)..id::za(256) + 32).contains(&id) {
                return Err(ENOENT);
            } else {
                return Err(EINVAL);
            };
            if state.svcr & SVCR_ZA == 0 && self.bug != Bug::ZaWithoutSvcr {
                return Err(EBUSY);
            }
            if state.is_final { Ok(region) } else { Err(EPERM) }
        }
    }

    impl Vcpu for Planned {
        fn get(&self, id: u64) -> Read {
            match id {
                id::PFR1 => return Ok((2_u64 << 24).to_le_bytes().to_vec()),
                id::VLS => return Ok(self.state.borrow().lengths.clone()),
                id::SVCR => return Ok(self.state.borrow().svcr.to_le_bytes().to_vec()),
                _ => {}
            }
            let (register, _) = self.region(id)?;
            let size = if id == id::ZT0 { ZT0 } else { SLICE };
            Ok(self.state.borrow().registers.get(&register).cloned().unwrap_or_else(|| vec![0; size]))
        }

        fn set(&self, id: u64, value: &[u8]) -> Answer {
            let region = self.region(id);
            let mut state = self.state.borrow_mut();
            match id {
                id::VLS if state.is_final && self.bug != Bug::LengthsStayOpen => Err(EPERM),
                id::VLS if value[0] & !ALL != 0 && self.bug != Bug::LengthAccepted => Err(EINVAL),
                id::VLS => {
                    if self.bug != Bug::LengthsIgnored {
                        state.lengths = value.to_vec();
                    }
                    Ok(())
                }
                id::SVCR => {
                    let new = u64::from_le_bytes(*value.first_chunk().unwrap());
                    if new & SVCR_ZA > state.svcr & SVCR_ZA && self.bug != Bug::ZaKept {
                        state.registers.clear();
                    }
                    if self.bug != Bug::SvcrIgnored {
                        state.svcr = new;
                    }
                    Ok(())
                }
                _ => {
                    let (register, used) = region?;
                    let mut value = value.to_vec();
                    if self.bug != Bug::PaddingKept {
                        value[used..].fill(0);
                    }
                    state.registers.insert(register, value);
                    Ok(())
                }
            }
        }

        fn list(&self) -> Result<Vec<u64>, i32> {
            if !self.state.borrow().is_final && self.bug != Bug::ListedEarly {
                return Err(EPERM);
            }
            Ok(if self.bug == Bug::NotListed { Vec::new() } else { vec![id::SVCR, id::VLS] })
        }

        fn finalize(&self) -> Answer {
            let mut state = self.state.borrow_mut();
            if std::mem::replace(&mut state.is_final, true) { Err(EPERM) } else { Ok(()) }
        }
    }

    /// A vCPU of today's kernels, which know nothing of SME; or one that has its registers all the same.
    struct Today {
        leaks: bool,
    }

    impl Vcpu for Today {
        fn get(&self, id: u64) -> Read {
            match id {
                id::PFR1 => Ok(vec![0; 8]),
                _ if self.leaks => Ok(vec![0; SLICE]),
                _ => Err(EINVAL),
            }
        }

        fn set(&self, _: u64, _: &[u8]) -> Answer {
            if self.leaks { Ok(()) } else { Err(EINVAL) }
        }

        fn list(&self) -> Result<Vec<u64>, i32> {
            Ok(if self.leaks { vec![id::VLS] } else { Vec::new() })
        }

        fn finalize(&self) -> Answer {
            Err(EINVAL)
        }
    }

    #[test]
    fn a_kernel_as_planned_is_found_right_and_each_bug_is_found() {
        let vcpu = Planned::new(Bug::None);
        assert!(is_there(&vcpu));
        assert_eq!(check_present(&vcpu), []);
        for (bug, rule) in [
            (Bug::ListedEarly, "P-100"),
            (Bug::LengthsStayOpen, "P-99"),
            (Bug::LengthsIgnored, "P-99"),
            (Bug::LengthAccepted, "P-99"),
            (Bug::NotListed, "P-95"),
            (Bug::ZaWithoutSvcr, "P-98"),
            (Bug::ZaKept, "P-13"),
            (Bug::PaddingKept, "P-101"),
            (Bug::RowsShared, "P-96"),
            (Bug::RowTooMany, "P-98"),
            (Bug::NoZt0, "P-96"),
            (Bug::SvcrIgnored, "P-96"),
        ] {
            let complaints = check_present(&Planned::new(bug));
            assert!(complaints.iter().any(|complaint| complaint.rule == rule), "{bug:?}: {complaints:?}");
        }
    }

    #[test]
    fn a_vcpu_without_sme_has_none_of_its_registers() {
        let right = Today { leaks: false };
        assert!(!is_there(&right));
        assert_eq!(check_absent(&right), []);
        let rules: Vec<String> = check_absent(&Today { leaks: true }).into_iter().map(|it| it.rule).collect();
        assert_eq!(rules, ["P-98", "P-98", "P-98", "P-98", "P-98", "P-98", "P-95"]);
    }
}
