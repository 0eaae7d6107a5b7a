//! Operations: what an interpreter does to registers without leaving its place.

use abi::op::mask;
use abi::record::Kind;
use abi::sysreg::SysReg;

use super::Cpu;

impl Cpu {
    pub(super) fn fill(&mut self, what: u64, image: &[u8]) {
        let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        let v_only = what & mask::V_ONLY != 0;
        let vl = self.vl();
        let len = if v_only { 16 } else { vl };
        for reg in (0..32).filter(|reg| what >> reg & 1 != 0) {
            self.z[reg][..vl].fill(0);
            self.z[reg][..len].copy_from_slice(&image[576 + reg * len..][..len]);
        }
        for reg in (0..16).filter(|reg| what >> (32 + reg) & 1 != 0) {
            self.p[reg][..vl / 8].copy_from_slice(&image[64 + reg * vl / 8..][..vl / 8]);
        }
        if what & mask::FFR != 0 {
            self.ffr[..vl / 8].copy_from_slice(&image[32..32 + vl / 8]);
        }
        for (bit, to, at) in [
            (mask::FPSR, &mut self.fpsr, 0),
            (mask::FPCR, &mut self.fpcr, 8),
            (mask::FPMR, &mut self.fpmr, 16),
        ] {
            if what & bit != 0 {
                *to = word(at);
            }
        }
    }

    pub(super) fn dump(&mut self, what: u64, op: usize) {
        let v_only = what & mask::V_ONLY != 0;
        let vl = if v_only { 16 } else { self.vl() };
        let mut body = Vec::new();
        for word in [self.fpsr, self.fpcr, self.fpmr, vl as u64] {
            body.extend(word.to_le_bytes());
        }
        body.extend(&self.ffr[..if v_only { 0 } else { vl / 8 }]);
        body.resize(64, 0);
        for p in self.p.iter().filter(|_| !v_only) {
            body.extend(&p[..vl / 8]);
        }
        body.resize(576, 0);
        for z in &self.z {
            body.extend(&z[..vl]);
        }
        self.record(Kind::Dump, op, &body);
    }

    pub(super) fn churn(&mut self, rounds: u64, v_only: bool) {
        let vl = self.vl();
        let len = if v_only { 16 } else { vl };
        for _ in 0..rounds {
            for i in 0..32 {
                for lane in (0..len).step_by(8) {
                    let at = |z: &[u8; 256]| u64::from_le_bytes(z[lane..lane + 8].try_into().unwrap());
                    let sum = at(&self.z[i]).wrapping_add(at(&self.z[(i + 1) % 32]));
                    let new = sum ^ at(&self.z[(i + 7) % 32]);
                    self.z[i][lane..lane + 8].copy_from_slice(&new.to_le_bytes());
                }
            }
            for i in (0..16).filter(|_| !v_only) {
                for byte in 0..vl / 8 {
                    self.p[i][byte] ^= self.p[(i + 1) % 16][byte];
                }
            }
        }
    }

    fn storage(&mut self, reg: SysReg) -> &mut u64 {
        let host = self.el == 2 && self.e2h();
        match reg {
            SysReg::Fpsr => &mut self.fpsr,
            SysReg::Fpcr => &mut self.fpcr,
            SysReg::Fpmr => &mut self.fpmr,
            SysReg::CptrEl2 => &mut self.cptr,
            SysReg::CpacrEl1 if host => &mut self.cptr,
            SysReg::CpacrEl1 | SysReg::CpacrEl12 => &mut self.cpacr,
            SysReg::ZcrEl2 => &mut self.zcr2,
            SysReg::ZcrEl1 if host => &mut self.zcr2,
            SysReg::ZcrEl1 | SysReg::ZcrEl12 => &mut self.zcr1,
            SysReg::HcrEl2 => &mut self.hcr,
            SysReg::HcrxEl2 => &mut self.hcrx,
            SysReg::SctlrEl2 => &mut self.sctlr2,
            SysReg::SctlrEl1 if host => &mut self.sctlr2,
            SysReg::SctlrEl1 | SysReg::SctlrEl12 => &mut self.sctlr1,
            other => panic!("{} is not stored", other.name()),
        }
    }

    pub(super) fn read(&mut self, reg: SysReg) -> u64 {
        match reg {
            SysReg::CurrentEl => u64::from(self.el) << 2,
            SysReg::IdAa64Pfr0El1 => u64::from(self.sve) << 32 | 0x11_0000,
            reg => *self.storage(reg),
        }
    }

    pub(super) fn sys_write(&mut self, arg: [u64; 5]) {
        let reg = SysReg::from_u16(arg[0] as u16).unwrap();
        self.write(reg, arg[1], arg[2]);
    }

    pub(super) fn write(&mut self, reg: SysReg, value: u64, mask: u64) {
        let writable =
            if matches!(reg, SysReg::ZcrEl1 | SysReg::ZcrEl2 | SysReg::ZcrEl12) { 0xf } else { u64::MAX };
        let storage = self.storage(reg);
        *storage = (*storage & !mask | value & mask) & writable;
        self.pass_through();
    }

    pub(super) fn register(&mut self, op: usize, reg: u64, value: u64) {
        let body: Vec<u8> = [reg, value].into_iter().flat_map(u64::to_le_bytes).collect();
        self.record(Kind::Register, op, &body);
    }
}
