//! Accesses to registers and memory that may trap or abort.

use abi::op::Touch;
use abi::place::Place;
use abi::sysreg::SysReg;

use super::{Cpu, Exception, HOLE};

impl Cpu {
    pub(super) fn touch(&mut self, touch: Touch) -> Result<(), Exception> {
        let up = if self.in_host(self.el) { 2 } else { self.el.max(1) };
        let exception = |el, ec: u64, iss: u64| Exception {
            el,
            offset: 0,
            esr: Some(ec << 26 | 1 << 25 | iss),
            after: false,
            far: None,
        };
        let undefined = exception(up, 0, 0);
        let sysreg = |el, op1: u64, crn: u64, crm: u64, op2: u64, read: bool| {
            exception(el, 0x18, 3 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1 | u64::from(read))
        };
        let (sve, fp, reg) = match touch {
            Touch::V | Touch::LoadQ | Touch::StoreQ | Touch::VRead => (false, true, None),
            Touch::Fpsr => (false, true, Some((SysReg::Fpsr, false))),
            Touch::Fpcr => (false, true, Some((SysReg::Fpcr, false))),
            Touch::Fpmr => (false, true, Some((SysReg::Fpmr, false))),
            Touch::ZcrEl1 => (true, self.quirk, Some((SysReg::ZcrEl1, false))),
            Touch::ZcrEl1Write => (true, self.quirk, Some((SysReg::ZcrEl1, true))),
            Touch::ZcrEl2 => (true, self.quirk, Some((SysReg::ZcrEl2, false))),
            Touch::ZcrEl2Write => (true, self.quirk, Some((SysReg::ZcrEl2, true))),
            Touch::ZcrEl12 => (true, self.quirk, Some((SysReg::ZcrEl12, false))),
            Touch::CpacrEl1 => (false, false, Some((SysReg::CpacrEl1, false))),
            Touch::CpacrEl1Write => (false, false, Some((SysReg::CpacrEl1, true))),
            Touch::SmcrEl1 | Touch::Tpidr2El0 => return Err(undefined),
            _ => (true, true, None),
        };
        let privileged = !matches!(reg, None | Some((SysReg::Fpsr | SysReg::Fpcr | SysReg::Fpmr, _)));
        let of_el2 = matches!(touch, Touch::ZcrEl2 | Touch::ZcrEl2Write | Touch::ZcrEl12);
        if (privileged && self.el == 0)
            || (of_el2 && self.el != 2)
            || (touch == Touch::ZcrEl12 && !self.e2h())
            || (sve && !self.sve)
            || (touch == Touch::Fpmr && !self.fpmr_there)
        {
            return Err(undefined);
        }
        if touch == Touch::Fpmr {
            let sctlr = if self.in_host(self.el) { self.sctlr2 } else { self.sctlr1 };
            if self.el == 0 && sctlr >> 34 & 1 == 0 {
                return Err(sysreg(up, 3, 4, 4, 2, true));
            }
            if !self.guest && self.el < 2 && !self.in_host(self.el) && self.hcrx >> 23 & 1 == 0 {
                return Err(sysreg(2, 3, 4, 4, 2, true));
            }
        }
        if matches!(touch, Touch::CpacrEl1 | Touch::CpacrEl1Write)
            && self.el == 1
            && !self.guest
            && self.cptr >> 31 & 1 != 0
        {
            return Err(sysreg(2, 0, 1, 0, 2, touch == Touch::CpacrEl1));
        }
        if let Some((el, ec)) = self.closed(self.el, sve, fp) {
            return Err(exception(el, ec, if ec == 0x07 { 0x1e << 20 } else { 0 }));
        }
        if let Some((reg, write)) = reg {
            if write {
                self.write(reg, self.x[0], u64::MAX);
            } else {
                self.x[0] = self.read(reg);
            }
            return Ok(());
        }
        let vl = self.vl();
        match touch {
            Touch::V => {
                let low = self.z[30];
                self.z[31][..vl].fill(0);
                self.z[31][..16].copy_from_slice(&low[..16]);
            }
            Touch::Z => {
                let value = self.z[30];
                self.z[31][..vl].copy_from_slice(&value[..vl]);
            }
            Touch::P => {
                let value = self.p[14];
                self.p[15][..vl / 8].copy_from_slice(&value[..vl / 8]);
            }
            Touch::Ffr => self.p[15][..vl / 8].copy_from_slice(&self.ffr[..vl / 8]),
            Touch::SetFfr => self.ffr[..vl / 8].fill(0xff),
            Touch::Rdvl => self.x[0] = vl as u64,
            Touch::VRead => self.x[0] = u64::from_le_bytes(self.z[30][..8].try_into().unwrap()),
            Touch::LoadQ | Touch::LoadZ => {
                let at = self.translate(self.x[1], 0)?;
                let len = if touch == Touch::LoadQ { 16 } else { vl };
                let data = self.memory[at..at + len].to_vec();
                self.z[0][..vl].fill(0);
                self.z[0][..len].copy_from_slice(&data);
            }
            Touch::StoreQ => {
                let at = self.translate(self.x[1], 1 << 6)?;
                let low: Vec<u8> = self.z[30][..16].to_vec();
                self.memory[at..at + 16].copy_from_slice(&low);
            }
            Touch::LoadFirstFault => self.first_fault(vl)?,
            _ => unreachable!(),
        }
        Ok(())
    }

    fn first_fault(&mut self, vl: usize) -> Result<(), Exception> {
        let mut result = [0; 256];
        let (mut first, mut faulted) = (true, false);
        for element in 0..vl / 8 {
            let active = self.p[0][element] & 1 != 0;
            let mut data = [0; 8];
            if active {
                match self.translate(self.x[1] + 8 * element as u64, 0) {
                    Ok(at) => data.copy_from_slice(&self.memory[at..at + 8]),
                    Err(abort) if first => return Err(abort),
                    Err(_) => faulted = true,
                }
                first = false;
            }
            if faulted {
                self.ffr[element] = 0;
            }
            if self.ffr[element] & 1 == 0 {
                // Merging is one of the three choices.
                data.copy_from_slice(&self.z[0][8 * element..8 * element + 8]);
            }
            result[8 * element..8 * element + 8].copy_from_slice(&data);
        }
        self.z[0][..vl].copy_from_slice(&result[..vl]);
        Ok(())
    }

    /// Where an address lies in the hole pages, or the abort. `iss` is for a stage 2 fault (or WnR for both).
    pub(super) fn translate(&self, address: u64, iss: u64) -> Result<usize, Exception> {
        let offset = (address - HOLE) as usize;
        if offset < 0x1000 {
            return Ok(offset);
        }
        let owner = match self.place() {
            Place::L1El0 => Place::L1,
            Place::L2El0 => Place::L2,
            Place::GEl0 => Place::G,
            place => place,
        };
        let abort = |el: u8, iss: u64| {
            let ec = if el == self.el { 0x25 } else { 0x24 };
            Exception {
                el,
                offset: 0,
                esr: Some(ec << 26 | 1 << 25 | iss | 7),
                after: false,
                far: Some(address),
            }
        };
        if self.unmapped.contains(&(0, owner)) {
            let el = if self.in_host(self.el) { 2 } else { self.el.max(1) };
            return Err(abort(el, iss & 1 << 6));
        }
        if self.unmapped.contains(&(1, Place::L1)) && self.el < 2 && !self.in_host(self.el) {
            return Err(abort(2, iss));
        }
        Ok(offset)
    }
}
