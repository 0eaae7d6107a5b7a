//! ERET.

use abi::op::{Auth, Go};
use abi::place::Place;

use super::arrive::{Resume, ResumeAt, level_index, mode_of};
use super::program::ExceptionCheck;
use super::stub::{Left, Operands, flags};
use super::{CompileError, Compiler, skip};
use crate::oracle::controls::{El, el_of, hcr};
use crate::oracle::exceptions::{Cause, destination, pstate, syndrome};
use crate::oracle::file::Bits;
use crate::oracle::traps::own_level;

impl Compiler<'_> {
    /// ERET to the entry of `to`; `sp_el` is PSTATE.SP there, if it is not EL0.
    pub(super) fn eret(&mut self, to: Place, sp_el: bool, auth: Auth) -> Result<(), CompileError> {
        self.can_return(auth)?;
        let reaches = match self.place {
            Place::L1 => !matches!(to, Place::G | Place::GEl0),
            Place::L2 => matches!(to, Place::L2 | Place::L2El0),
            Place::L2b => to == Place::L2b,
            Place::G => matches!(to, Place::G | Place::GEl0),
            _ => false,
        };
        if !reaches || (to == Place::L1El0 && !self.controls.e2h()) {
            return Err(self.wrong(format!("no ERET of {} reaches {}", self.place.name(), to.name())));
        }
        self.prepare(to)?;
        let nzcv = flags(self.ops.len(), 1);
        let spsr = mode_of(to, sp_el) | pstate::DAIF | nzcv;
        let left = self.depart(Go::Eret, [spsr, to as u64, auth as u64], Operands::default())?;
        if self.authentication_fails(auth, left)? {
            return Ok(());
        }
        // ELR_ELx holds what this ERET put there from now on.
        self.resume[level_index(self.place)] = None;
        self.event = true;
        self.last_exception = None;
        self.el0_has_timer |= el_of(self.place) == El::El1 && el_of(to) == El::El0;
        if let Some(interrupt) = self.interrupt(to, true)? {
            let resume = Resume { place: to, nzcv, sp_el, at: ResumeAt::Entry };
            return self.interrupted(Cause::Interrupt(interrupt), resume, left);
        }
        let what = match auth {
            Auth::Aa => "eretaa",
            Auth::Ab => "eretab",
            _ => "eret",
        };
        let x = left.x;
        self.arrive_without_exception(what, left, x, to, Some(nzcv), sp_el)
    }

    /// An illegal exception return: PSTATE.IL is set, the level stays, and the first instruction at the target
    /// takes the Illegal Execution state exception (`IllegalExceptionReturn`).
    pub(super) fn eret_illegal(&mut self, auth: Auth) -> Result<(), CompileError> {
        self.can_return(auth)?;
        let nzcv = flags(self.ops.len(), 1);
        let spsr = pstate::RESERVED | pstate::DAIF | nzcv;
        let here = self.place;
        let left = self.depart(Go::Eret, [spsr, here as u64, auth as u64], Operands::default())?;
        if self.authentication_fails(auth, left)? {
            return Ok(());
        }
        self.event = true;
        let cause = Cause::IllegalState;
        let esr = syndrome(cause, here, here);
        self.last_exception = Some(esr.map(|esr| esr.ec()));
        // Returning from this exception would be illegal again: SPSR_ELx has IL set.
        self.resume[level_index(here)] = None;
        let spsr = Bits { value: self.mode() | pstate::DAIF | pstate::IL | nzcv, known: pstate::COMPARED };
        let check = ExceptionCheck {
            esr,
            esr_accepted: [None; 2],
            elr_from_target: true,
            elr: vec![0],
            spsr,
            far: None,
            hpfar: None,
        };
        self.arrive_by_exception(cause, here, here, left, check)
    }

    /// ERET to where the last exception to this level came from; with `skip`, to the instruction after it.
    pub(super) fn eret_back(&mut self, skip: bool, auth: Auth) -> Result<(), CompileError> {
        self.can_return(auth)?;
        let Some(resume) = self.resume[level_index(self.place)] else {
            return Err(self.wrong("no exception to this level has left ELR and SPSR to return with"));
        };
        let (add, at) = match (resume.at, skip) {
            (ResumeAt::Instruction(..), true) => (4, ResumeAt::Behind),
            (at, false) => (0, at),
            (ResumeAt::Behind, true) => (0, ResumeAt::Behind),
            (ResumeAt::Entry | ResumeAt::Unmasked, true) => {
                return Err(self.wrong("the exception was an interrupt: there is no instruction to skip"));
            }
        };
        let to = resume.place;
        self.prepare(to)?;
        // Preparing may install another EL1 context, which takes nothing from this level's own registers.
        let operands = match at {
            ResumeAt::Instruction(_, operands) => operands,
            _ => Operands::default(),
        };
        let left = self.depart(Go::EretBack, [add, 0, auth as u64], operands)?;
        if self.authentication_fails(auth, left)? {
            return Ok(());
        }
        self.resume[level_index(self.place)] = None;
        self.event = true;
        self.last_exception = if skip { self.last_exception } else { None };
        let masked = at != ResumeAt::Unmasked;
        if let Some(interrupt) = self.interrupt(to, masked)? {
            if !masked {
                return Err(self.wrong("the interrupt is still pending there and would be taken again"));
            }
            return self.interrupted(Cause::Interrupt(interrupt), Resume { at, ..resume }, left);
        }
        let x = left.x;
        let ResumeAt::Instruction(insn, operands) = at else {
            return self.arrive_without_exception("eret back", left, x, to, Some(resume.nzcv), resume.sp_el);
        };
        // The instruction runs again, at its own place, with the registers of this stub.
        self.place = to;
        self.sp_el = resume.sp_el;
        self.settle()?;
        let left = Left { nzcv: resume.nzcv, ..left };
        self.execute(insn, left, operands, true).map(|_| ())
    }

    /// An interrupt that was pending is taken before the first instruction at the place returned to (rule P-82).
    fn interrupted(&mut self, cause: Cause, resume: Resume, left: Left) -> Result<(), CompileError> {
        let to = resume.place;
        self.place = to;
        self.sp_el = resume.sp_el;
        self.settle()?;
        let reached = destination(cause, to, &self.controls);
        let esr = syndrome(cause, to, reached);
        self.last_exception = Some(esr.map(|esr| esr.ec()));
        self.resume[level_index(reached)] = Some(resume);
        let spsr = Bits { value: self.mode() | pstate::DAIF | resume.nzcv, known: pstate::COMPARED };
        let check = ExceptionCheck {
            esr,
            esr_accepted: [None; 2],
            elr_from_target: true,
            elr: vec![0],
            spsr,
            far: None,
            hpfar: None,
        };
        self.arrive_by_exception(cause, to, reached, left, check)
    }

    /// Writes what L1 has to write before it enters `to`.
    fn prepare(&mut self, to: Place) -> Result<(), CompileError> {
        if self.place != Place::L1 || to == Place::L1 {
            return Ok(());
        }
        let tge = self.controls.hcr(hcr::TGE);
        match (to == Place::L1El0, tge) {
            (true, false) => {
                self.tge_set = true;
                self.write_hcr(hcr::TGE, hcr::TGE)?;
            }
            (false, true) => self.write_hcr(0, hcr::TGE)?,
            _ => {}
        }
        match to {
            Place::L2 | Place::L2El0 => self.install(Place::L2),
            Place::L2b => self.install(Place::L2b),
            _ => Ok(()),
        }
    }

    fn can_return(&self, auth: Auth) -> Result<(), CompileError> {
        if el_of(self.place) == El::El0 {
            return Err(self.wrong("ERET is undefined at EL0"));
        }
        let features = self.machine.features;
        match auth {
            Auth::None => Ok(()),
            _ if !features.pauth => Err(skip(skip::FEATURE_ABSENT, "the CPU has no ERETAA")),
            Auth::AaFailing | Auth::AbFailing if !features.fpac_combined => {
                Err(skip(skip::FEATURE_ABSENT, "without FEAT_FPACCOMBINE a failing ERETAA faults elsewhere"))
            }
            _ => Ok(()),
        }
    }

    /// The authentication fails, so the ERET is not made: EC 0x1c at the level itself.
    fn authentication_fails(&mut self, auth: Auth, left: Left) -> Result<bool, CompileError> {
        let key_b = match auth {
            Auth::AaFailing => false,
            Auth::AbFailing => true,
            _ => return Ok(false),
        };
        let here = own_level(self.place);
        let cause = Cause::PacFail(key_b);
        let esr = syndrome(cause, here, here);
        self.last_exception = Some(esr.map(|esr| esr.ec()));
        // The instruction to return to is the failing ERET, of which no step can make sense.
        self.resume[level_index(here)] = None;
        let spsr = Bits { value: self.mode() | pstate::DAIF | left.nzcv, known: pstate::COMPARED };
        let check = ExceptionCheck {
            esr,
            esr_accepted: [None; 2],
            elr_from_target: false,
            elr: vec![0],
            spsr,
            far: None,
            hpfar: None,
        };
        self.arrive_by_exception(cause, here, here, left, check)?;
        Ok(true)
    }
}
