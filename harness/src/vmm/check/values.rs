//! The FP registers of a vCPU by KVM_GET_ONE_REG and KVM_SET_ONE_REG.

use std::io;
use std::ops::Range;

use abi::job::JobHeader;
use abi::op::mask;
use abi::pattern::Owner;
use arch::host::part::{FFR, FPCR, FPMR, FPSR, P, VL};
use arch::host::{HEADER, IMAGE};
use vm_memory::{Bytes as _, GuestAddress};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::super::case::Case;
use super::super::error::VmError;
use super::super::raw::reg;
use super::{get, getting, set, setting, some};
use crate::kvm::complaint::{Changed, Complaint};

/// A register, and where its value lies in an image.
#[derive(Clone, Debug)]
struct Register {
    name: String,
    id: u64,
    at: Range<usize>,
    /// Its bit of [`mask`].
    bit: u64,
    /// The bits, from the lowest byte on, that can be any; all of them if there are none.
    bits: u64,
}

/// What the registers hold of which every CPU has all bits.
const FPSR_BITS: u64 = 0x0800_009f;
const FPCR_BITS: u64 = 0x07c0_0000;
const FPMR_BITS: u64 = 0x3f_ff7f_c1ff;

/// The FP registers of a vCPU with this vector length, 0 for none with SVE.
fn registers(vl: usize, fpmr: bool) -> Vec<Register> {
    let control = |name: &str, id, at, (bit, bits)| Register { name: name.to_owned(), id, at, bit, bits };
    let mut all = vec![
        control("fpsr", reg::FPSR, FPSR..FPSR + 4, (mask::FPSR, FPSR_BITS)),
        control("fpcr", reg::FPCR, FPCR..FPCR + 4, (mask::FPCR, FPCR_BITS)),
    ];
    if fpmr {
        all.push(control("fpmr", reg::FPMR, FPMR..FPMR + 8, (mask::FPMR, FPMR_BITS)));
    }
    let mut any = |name: String, id: u64, bit: u64, start: usize, len: usize| {
        all.push(Register { name, id, at: start..start + len, bit, bits: 0 });
    };
    for n in 0..32 {
        let (name, id, len) = if vl > 0 { ("z", reg::z(n), vl) } else { ("v", reg::v(n), 16) };
        any(format!("{name}{n}"), id, 1 << n, HEADER + n as usize * len, len);
    }
    if vl > 0 {
        let pl = vl / 8;
        for n in 0..16 {
            any(format!("p{n}"), reg::p(n), 1 << (32 + n), P + n as usize * pl, pl);
        }
        any("ffr".to_owned(), reg::FFR, mask::FFR, FFR, pl);
    }
    all
}

impl Register {
    /// What the kernel is to answer if the register holds `bytes`: zero above them.
    fn padded(&self, bytes: &[u8], padding: u8) -> Vec<u8> {
        let mut value = vec![padding; reg::size(self.id)];
        value[..bytes.len()].copy_from_slice(bytes);
        value
    }

    /// Another value than this one, that the register can hold.
    fn other(&self, value: &[u8]) -> Vec<u8> {
        let mut other = value[..self.at.len()].to_vec();
        for (index, byte) in other.iter_mut().enumerate() {
            *byte ^= if self.bits == 0 { 0xff } else { (self.bits >> (8 * index)) as u8 };
        }
        other
    }
}

impl Case<'_> {
    /// The FP registers of this vCPU.
    fn registers(&self) -> Vec<Register> {
        let vl = self.kind.vq_max as usize * 16;
        registers(vl, self.vm.get(reg::FPMR).is_ok())
    }

    /// The image that the program has at this offset of its data.
    fn image(&self, offset: u64) -> Result<Vec<u8>, VmError> {
        let failed = |source| VmError { call: "a check's image", source };
        let read = |bytes: &mut [u8], address| {
            let read = self.memory.read_slice(bytes, GuestAddress(address));
            read.map_err(|error| failed(io::Error::other(error)))
        };
        let mut header = JobHeader::new_zeroed();
        read(header.as_mut_bytes(), self.job_area)?;
        let mut image = vec![0; IMAGE];
        read(&mut image, self.job_area + u64::from(header.data_offset) + (offset & u64::from(u32::MAX)))?;
        let vl = image.get(VL..VL + 2).map_or(0, |vl| usize::from(vl[0]) | usize::from(vl[1]) << 8);
        if vl != (self.kind.vq_max as usize).max(1) * 16 {
            return Err(failed(io::Error::other(format!("it is for vectors of {vl} bytes"))));
        }
        Ok(image)
    }

    /// Complains about the registers that do not read as `wanted` says.
    fn compare(&mut self, when: &str, registers: &[Register], wanted: impl Fn(&Register) -> Vec<u8>) {
        let (mut wrong, mut above) = (Vec::new(), Vec::new());
        for register in registers {
            let (found, wanted) = (get(&self.vm, register.id), wanted(register));
            let len = register.at.len();
            match found {
                Err(errno) => {
                    let what = format!("{when}, {} cannot be read", register.name);
                    self.demand_of(&getting(register.id), "P-96", &what, Err(errno), Ok(()));
                }
                Ok(found) if found[..len] != wanted[..len] => {
                    wrong.push((register, wanted[..len].to_vec(), found[..len].to_vec()));
                }
                Ok(found) if found != wanted => above.push((register, wanted, found)),
                Ok(_) => {}
            }
        }
        self.tell("P-96", wrong, |names| format!("{when}, {names} read otherwise"));
        self.tell("P-101", above, |names| {
            format!("{when}, {names} are not zero above the largest vector length")
        });
    }

    /// Complains about registers with what each had to be and is, if there are any.
    fn tell(
        &mut self,
        rule: &str,
        wrong: Vec<(&Register, Vec<u8>, Vec<u8>)>,
        what: impl FnOnce(&str) -> String,
    ) {
        let names: Vec<String> = wrong.iter().map(|(register, ..)| register.name.clone()).collect();
        let Some((register, wanted, found)) = wrong.into_iter().next() else { return };
        let changed = Changed { owner: Owner::Scenario as u8, register: register.bit, wanted, found };
        self.note(Complaint::new(rule, what(&some(&names))).by(getting(register.id)).changed(changed));
    }

    fn write_all(&mut self, when: &str, registers: &[Register], value: impl Fn(&Register) -> Vec<u8>) {
        for register in registers {
            let answer = set(&self.vm, register.id, &value(register));
            let what = format!("{when}, writing {}", register.name);
            self.demand_of(&setting(register.id), "P-96", &what, answer, Ok(()));
        }
    }

    /// Rules P-96, P-98, P-101.
    pub(super) fn check_values(&mut self, image: u64) -> Result<(), VmError> {
        let image = self.image(image)?;
        let registers = self.registers();
        self.compare("after the guest ran", &registers, |register| {
            register.padded(&image[register.at.clone()], 0)
        });
        // What was read, whatever it was, is what is to be put back.
        let kept: Vec<_> = registers
            .iter()
            .filter_map(|register| Some((register, get(&self.vm, register.id).ok()?)))
            .collect();
        let others: Vec<_> = kept.iter().map(|(register, value)| register.other(value)).collect();
        for ((register, _), other) in kept.iter().zip(&others) {
            let answer = set(&self.vm, register.id, &register.padded(other, 0xc3));
            let what = format!("writing {}", register.name);
            self.demand_of(&setting(register.id), "P-96", &what, answer, Ok(()));
        }
        for ((register, _), other) in kept.iter().zip(&others) {
            self.compare("after a write", std::slice::from_ref(register), |it| it.padded(other, 0));
        }
        for (register, value) in &kept {
            let answer = set(&self.vm, register.id, value);
            let what = format!("writing {} back", register.name);
            self.demand_of(&setting(register.id), "P-96", &what, answer, Ok(()));
        }
        for (register, value) in &kept {
            self.compare("after it was put back", std::slice::from_ref(register), |_| value.clone());
        }
        Ok(())
    }

    /// Rule P-96: what is written reads back; that the guest finds it is for the scenario to see.
    pub(super) fn write_values(&mut self, image: u64) -> Result<(), VmError> {
        let image = self.image(image)?;
        let registers = self.registers();
        let value = |register: &Register, padding| register.padded(&image[register.at.clone()], padding);
        self.write_all("for the guest", &registers, |register| value(register, 0xc3));
        self.compare("after a write for the guest", &registers, |register| value(register, 0));
        Ok(())
    }

    /// Rule P-13: KVM_ARM_VCPU_INIT has zeroed every FP register.
    pub(super) fn check_zero(&mut self) {
        let registers = self.registers();
        let wrong = registers.iter().filter_map(|register| {
            let Changed { wanted, found, .. } = not_zero(register.bit, get(&self.vm, register.id).ok()?)?;
            Some((register, wanted, found))
        });
        let wrong = wrong.collect();
        self.tell("P-13", wrong, |names| format!("after KVM_ARM_VCPU_INIT, {names} are not zero"));
    }
}

/// The register of this bit of [`mask`], if it is not zero as it has to be.
pub(super) fn not_zero(bit: u64, found: Vec<u8>) -> Option<Changed> {
    let wanted = vec![0; found.len()];
    (found != wanted).then_some(Changed { owner: Owner::Scenario as u8, register: bit, wanted, found })
}
