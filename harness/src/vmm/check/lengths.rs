//! KVM_REG_ARM64_SVE_VLS, KVM_ARM_VCPU_INIT and KVM_ARM_VCPU_FINALIZE where they have to fail.

use abi::op::mask;
use kvm_bindings::{KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VCPU_SVE, kvm_vcpu_init};
use kvm_ioctls::Cap;

use super::super::case::Case;
use super::super::error::{VmError, failed};
use super::super::raw::{self, IPA_40_BITS, reg};
use super::super::vm::{Kind, Vm};
use super::values::not_zero;
use super::{Answer, answer, get, getting, set, setting, some};
use crate::kvm::complaint::{self, Complaint};

/// A feature of vCPUs, and of KVM_ARM_VCPU_FINALIZE, that there is not.
const UNKNOWN: u32 = 31;

/// KVM_ARM_VCPU_FINALIZE.
fn finalize(vm: &Vm, what: u32) -> Answer {
    answer(vm.vcpu.vcpu_finalize(&what.cast_signed()))
}

/// The set of lengths with (`on`) or without `vq`.
fn with(lengths: &[u8], vq: usize, on: bool) -> Vec<u8> {
    let mut lengths = lengths.to_vec();
    let bit = vq - 1;
    if let Some(byte) = lengths.get_mut(bit / 8) {
        *byte = *byte & !(1 << (bit % 8)) | u8::from(on) << (bit % 8);
    }
    lengths
}

fn has(lengths: &[u8], vq: usize) -> bool {
    lengths.get((vq - 1) / 8).is_some_and(|byte| byte >> ((vq - 1) % 8) & 1 != 0)
}

/// A set of lengths, in bits.
fn in_words(lengths: std::result::Result<impl AsRef<[u8]>, i32>) -> String {
    match lengths {
        Ok(lengths) => {
            let there = (1..=512).filter(|vq| has(lengths.as_ref(), *vq)).map(|vq| (vq * 128).to_string());
            there.collect::<Vec<_>>().join(" ")
        }
        Err(errno) => complaint::errno(errno),
    }
}

impl Case<'_> {
    /// Rules P-99, P-100.
    pub(super) fn check_lengths(&mut self) -> Result<(), VmError> {
        if self.kind.vq_max == 0 {
            self.skip("the guest has no vector lengths");
            return Ok(());
        }
        self.check_final_lengths();
        let vm = Vm::bare(self.kvm, Kind { vq_max: 16, ..Kind::default() })?;
        self.check_not_finalized(&vm);
        self.check_sets(&vm);
        self.demand("P-99", "KVM_ARM_VCPU_FINALIZE of a new vCPU", finalize(&vm, KVM_ARM_VCPU_SVE), Ok(()));
        let again = finalize(&vm, KVM_ARM_VCPU_SVE);
        self.demand("P-99", "a second KVM_ARM_VCPU_FINALIZE", again, Err(libc::EPERM));
        let registers =
            [("z0", reg::z(0), 1), ("p15", reg::p(15), 1 << (32 + 15)), ("ffr", reg::FFR, mask::FFR)];
        for (name, id, bit) in registers {
            if let Some(changed) = get(&vm, id).ok().and_then(|value| not_zero(bit, value)) {
                let complaint = Complaint::new("P-13", format!("{name} of a new vCPU is not zero"));
                self.note(complaint.by(getting(id)).changed(changed));
            }
        }
        Ok(())
    }

    /// Those of this vCPU, which has run.
    fn check_final_lengths(&mut self) {
        let lengths = match get(&self.vm, reg::SVE_VLS) {
            Ok(lengths) => lengths,
            Err(errno) => {
                let what = "the lengths of a vCPU that has run cannot be read";
                return self.demand_of(&getting(reg::SVE_VLS), "P-99", what, Err(errno), Ok(()));
            }
        };
        let largest = (1..=512).rev().find(|vq| has(&lengths, *vq)).unwrap_or(0);
        if largest != self.kind.vq_max as usize {
            let bits = |vq: usize| format!("{} bits", vq * 128);
            let complaint = Complaint::new("P-99", "the largest length is not that of the vCPU");
            let wanted = bits(self.kind.vq_max as usize);
            self.note(complaint.by(getting(reg::SVE_VLS)).wanted(wanted, bits(largest)));
        }
        for set_to in [lengths.clone(), with(&[0; 64], 1, true), vec![0; 64]] {
            let answer = set(&self.vm, reg::SVE_VLS, &set_to);
            let what = "lengths of a vCPU that is final are set";
            self.demand_of(&setting(reg::SVE_VLS), "P-99", what, answer, Err(libc::EPERM));
        }
        let answer = finalize(&self.vm, KVM_ARM_VCPU_SVE);
        self.demand("P-99", "KVM_ARM_VCPU_FINALIZE of a vCPU that is final", answer, Err(libc::EPERM));
        let now = get(&self.vm, reg::SVE_VLS);
        if now.as_ref() != Ok(&lengths) {
            let complaint = Complaint::new("P-99", "attempts to set the final lengths changed them");
            let complaint = complaint.by(getting(reg::SVE_VLS));
            self.note(complaint.wanted(in_words(Ok(&lengths)), in_words(now)));
        }
    }

    /// What has to wait for KVM_ARM_VCPU_FINALIZE.
    fn check_not_finalized(&mut self, vm: &Vm) {
        const EPERM: Answer = Err(libc::EPERM);
        let mut vcpu_list = vec![0; 2];
        let list = raw::reg_list_into(&vm.vcpu, &mut vcpu_list);
        self.demand("P-100", "KVM_GET_REG_LIST before KVM_ARM_VCPU_FINALIZE", list, EPERM);
        let run = raw::run(&vm.vcpu);
        self.demand("P-100", "KVM_RUN before KVM_ARM_VCPU_FINALIZE", run, EPERM);
        for (name, id) in [("z0", reg::z(0)), ("p0", reg::p(0)), ("ffr", reg::FFR)] {
            let what = |verb| format!("{verb} {name} before KVM_ARM_VCPU_FINALIZE");
            self.demand_of(&getting(id), "P-100", &what("reading"), get(vm, id).map(drop), EPERM);
            let written = set(vm, id, &vec![0; reg::size(id)]);
            self.demand_of(&setting(id), "P-100", &what("writing"), written, EPERM);
        }
        for (name, what) in [("0", 0), ("a feature that there is not", UNKNOWN)] {
            let answer = finalize(vm, what);
            self.demand("P-103", &format!("KVM_ARM_VCPU_FINALIZE of {name}"), answer, Err(libc::EINVAL));
        }
    }

    /// Sets of lengths that a vCPU that is not final can take, and others. Leaves it with the first one.
    fn check_sets(&mut self, vm: &Vm) {
        let all = match get(vm, reg::SVE_VLS) {
            Ok(all) => all,
            Err(errno) => {
                let what = "the lengths of a new vCPU cannot be read";
                return self.demand_of(&getting(reg::SVE_VLS), "P-99", what, Err(errno), Ok(()));
            }
        };
        let there: Vec<usize> = (1..=512).filter(|vq| has(&all, *vq)).collect();
        let largest = there.last().copied().unwrap_or(0);
        let up_to = |vq: usize| {
            there.iter().filter(|it| **it <= vq).fold(vec![0; 64], |set, it| with(&set, *it, true))
        };
        let mut bad = vec![("none", vec![0; 64]), ("one too many above", with(&all, largest + 1, true))];
        bad.push(("the 512th", with(&all, 512, true)));
        if largest > 1 {
            bad.push(("none of 128 bits", with(&all, 1, false)));
        }
        if let Some(hole) = (1..largest).find(|vq| !has(&all, *vq)) {
            bad.push(("one that the CPU has not", with(&all, hole, true)));
        }
        if let Some(inner) = there.iter().rev().nth(1).filter(|vq| **vq > 1) {
            bad.push(("a hole", with(&all, *inner, false)));
        }
        for (name, lengths) in bad {
            let answer = set(vm, reg::SVE_VLS, &lengths);
            let call = setting(reg::SVE_VLS);
            self.demand_of(&call, "P-99", &format!("setting lengths: {name}"), answer, Err(libc::EINVAL));
            let now = get(vm, reg::SVE_VLS);
            if now.as_ref() != Ok(&all) {
                let what = format!("a refused set of lengths ({name}) changed them");
                self.note(Complaint::new("P-99", what).by(call).wanted(in_words(Ok(&all)), in_words(now)));
            }
        }
        let mut wrong = Vec::new();
        for vq in there.iter().copied().chain([largest]) {
            let wanted = up_to(vq);
            if set(vm, reg::SVE_VLS, &wanted).is_err() || get(vm, reg::SVE_VLS).as_ref() != Ok(&wanted) {
                wrong.push((vq * 128).to_string());
            }
        }
        if !wrong.is_empty() {
            let what = format!("lengths up to {} bits do not read as set", some(&wrong));
            self.note(Complaint::new("P-99", what).by(setting(reg::SVE_VLS)));
        }
    }

    /// Rule P-103.
    pub(super) fn check_init(&mut self) -> Result<(), VmError> {
        // This vCPU, which has run: the scenario sees that it goes on as it was.
        let mut init = self.vm.init;
        init.features[0] ^= 1 << KVM_ARM_VCPU_PSCI_0_2;
        let other = answer(self.vm.vcpu.vcpu_init(&init));
        self.demand("P-103", "KVM_ARM_VCPU_INIT with other features", other, Err(libc::EINVAL));
        init = self.vm.init;
        init.features[0] |= 1 << UNKNOWN;
        let unknown = answer(self.vm.vcpu.vcpu_init(&init));
        self.demand("P-103", "KVM_ARM_VCPU_INIT with an unknown feature", unknown, Err(libc::ENOENT));
        let answered = finalize(&self.vm, UNKNOWN);
        self.demand("P-103", "KVM_ARM_VCPU_FINALIZE of an unknown feature", answered, Err(libc::EINVAL));

        // Two new ones: the second fails, and both can be used.
        let fd = self.kvm.create_vm_with_type(IPA_40_BITS).map_err(failed("KVM_CREATE_VM"))?;
        let mut vcpus = Vec::new();
        for n in 0..2 {
            vcpus.push(fd.create_vcpu(n).map_err(failed("KVM_CREATE_VCPU"))?);
        }
        let mut right = self.vm.init;
        // As for a plain guest: one with EL2 takes seconds to go.
        right.features[0] &= 1 << KVM_ARM_VCPU_PSCI_0_2 | 1 << KVM_ARM_VCPU_SVE;
        let mut wrong = right;
        wrong.features[0] |= 1 << UNKNOWN;
        let sve = right.features[0] >> KVM_ARM_VCPU_SVE & 1 != 0;
        let pc = |value: u64| value.to_le_bytes();
        let (first, second) = (&vcpus[0], &vcpus[1]);
        self.demand("P-103", "KVM_ARM_VCPU_INIT of the first", answer(first.vcpu_init(&right)), Ok(()));
        let written = answer(first.set_one_reg(reg::PC, &pc(0x1234_5678)));
        self.demand_of(&setting(reg::PC), "P-103", "writing the first one's PC", written, Ok(()));
        let refused = answer(second.vcpu_init(&wrong));
        self.demand("P-103", "KVM_ARM_VCPU_INIT of the second", refused, Err(libc::ENOENT));
        let early = answer(second.get_one_reg(reg::PC, &mut [0; 8]));
        let what = "reading PC of one that is not initialized";
        self.demand_of(&getting(reg::PC), "P-103", what, early, Err(libc::ENOEXEC));
        let mut read = pc(0);
        let answered = answer(first.get_one_reg(reg::PC, &mut read));
        self.demand_of(&getting(reg::PC), "P-103", "reading the first one's PC", answered, Ok(()));
        let read = u64::from_le_bytes(read);
        if read != 0x1234_5678 {
            let complaint =
                Complaint::new("P-103", "a KVM_ARM_VCPU_INIT that failed changed another vCPU's PC");
            self.note(complaint.by(getting(reg::PC)).wanted("0x12345678", format!("{read:#x}")));
        }
        for vcpu in [second, first] {
            let answered = answer(vcpu.vcpu_init(&right));
            self.demand("P-103", "KVM_ARM_VCPU_INIT after one that failed", answered, Ok(()));
            if sve {
                let answered = answer(vcpu.vcpu_finalize(&KVM_ARM_VCPU_SVE.cast_signed()));
                self.demand("P-103", "KVM_ARM_VCPU_FINALIZE after that", answered, Ok(()));
            }
            if raw::reg_list(vcpu).is_err() {
                self.complain("P-103", "a vCPU cannot be used after a failed KVM_ARM_VCPU_INIT".to_owned());
            }
        }
        if self.kvm.check_extension(Cap::ArmSve) {
            for sve in [false, true] {
                self.check_other_features(right, sve)?;
            }
        }
        Ok(())
    }

    /// Rule P-103: a second vCPU that is to have SVE unlike the first is refused (since Linux 6.5: features are the VM's), or
    /// both have what they were asked for.
    fn check_other_features(&mut self, mut init: kvm_vcpu_init, sve: bool) -> Result<(), VmError> {
        let fd = self.kvm.create_vm_with_type(IPA_40_BITS).map_err(failed("KVM_CREATE_VM"))?;
        let mut usable = Vec::new();
        for (n, sve) in [(0, sve), (1, !sve)] {
            let vcpu = fd.create_vcpu(n).map_err(failed("KVM_CREATE_VCPU"))?;
            init.features[0] &= !(1 << KVM_ARM_VCPU_SVE);
            init.features[0] |= u32::from(sve) << KVM_ARM_VCPU_SVE;
            if let Err(errno) = answer(vcpu.vcpu_init(&init)) {
                let wanted = if n == 0 { Ok(()) } else { Err(libc::EINVAL) };
                let what = "KVM_ARM_VCPU_INIT of one with and one without SVE";
                self.demand("P-103", what, Err(errno), wanted);
                continue;
            }
            if sve {
                let answered = answer(vcpu.vcpu_finalize(&KVM_ARM_VCPU_SVE.cast_signed()));
                self.demand("P-103", "KVM_ARM_VCPU_FINALIZE of one with SVE", answered, Ok(()));
            }
            usable.push((vcpu, sve));
        }
        for (vcpu, sve) in usable {
            if !raw::reg_list(&vcpu).is_ok_and(|ids| ids.contains(&reg::z(0)) == sve) {
                let asked = if sve { "with" } else { "without" };
                let what = format!("a vCPU {asked} SVE is not so once KVM_ARM_VCPU_INIT of another differs");
                self.complain("P-103", what);
            }
        }
        Ok(())
    }
}
