//! What the oracle says of an instruction: an exception, or what it changes.

use abi::op::{Idle, Touch};
use abi::place::Place;

use super::hole::SECOND;
use super::leave::{Insn, call_immediate};
use super::program::Address;
use super::stub::Operands;
use super::{CompileError, Compiler, skip};
use crate::oracle::controls::{El, el_of, hcr};
use crate::oracle::exceptions::{Cause, Interrupt, Pending, taken, wakes};
use crate::oracle::file::{Bits, Effect};
use crate::oracle::length::vector_length;
use crate::oracle::sysreg::{Storage, reach};
use crate::oracle::traps::{Access, trap, undefined};
use crate::oracle::value::{Kind, to_bytes};
use crate::scenario::step::Call;

/// PSCI's SUCCESS.
const PSCI_SUCCESS: u64 = 0;

/// What an instruction does.
pub(super) enum Outcome {
    /// It takes an exception.
    Exception(Cause, Option<u64>),
    /// It falls through.
    Through(Box<Through>),
}

/// What an instruction that takes no exception leaves.
#[derive(Default)]
pub(super) struct Through {
    /// X0, if it changes.
    pub(super) x0: Option<Address>,
    /// As SMCCC: X0 to X17 and the flags are lost.
    pub(super) smccc: bool,
    /// What it does to the registers.
    pub(super) effect: Option<Effect>,
    /// The control register that it writes, and the value.
    pub(super) write: Option<(Storage, u64)>,
    /// What it stores, and where in the hole pages.
    pub(super) store: Option<(u64, Vec<u8>)>,
}

impl Compiler<'_> {
    pub(super) fn outcome(&self, insn: Insn, operands: Operands) -> Result<Outcome, CompileError> {
        let place = self.place;
        let el = el_of(place);
        let through = || Ok(Outcome::Through(Box::default()));
        let exception = |cause| Ok(Outcome::Exception(cause, None));
        match insn {
            Insn::Hvc(imm) => match place {
                _ if el == El::El0 => exception(Cause::Trap(undefined(place))),
                Place::G => Err(self.wrong("HVC at G belongs to the hypervisor under test")),
                _ => exception(Cause::Hvc(imm)),
            },
            Insn::Svc(imm) => exception(Cause::Svc(imm)),
            Insn::Brk(imm) => exception(Cause::Brk(imm)),
            Insn::Udf => exception(Cause::Trap(undefined(place))),
            Insn::Smc(call) => self.smc(call),
            Insn::Load => match self.unmapped_at(place) {
                Some(hole) => Ok(Outcome::Exception(Cause::Abort(hole, true), operands.x1)),
                None => {
                    let low = self.holes.load(operands.x1.unwrap_or(SECOND), 8)[0] as u64;
                    let x0 = Some(Address::Bits(Bits::all(low)));
                    Ok(Outcome::Through(Box::new(Through { x0, ..Through::default() })))
                }
            },
            Insn::Wfi | Insn::WfiTimer | Insn::Wfe if el == El::El0 => {
                Err(self.wrong("whether EL0 may wait is SCTLR_ELx.nTWI and nTWE, which no step sets"))
            }
            Insn::Wfi if wakes(self.pending, place, &self.controls) => through(),
            Insn::Wfi if el == El::El1 && place != Place::G && self.controls.hcr(hcr::TWI) => {
                exception(Cause::WfiTrapped)
            }
            Insn::Wfi => Err(self.wrong("WFI would wait for an interrupt that nothing makes pending")),
            Insn::WfiTimer => self.wait_outcome(),
            Insn::Timer(idle) => self.timer_outcome(idle),
            Insn::Wfe if el == El::El1 && place != Place::G && self.controls.hcr(hcr::TWE) => {
                // The event register may be set at any time, and then WFE completes instead of trapping.
                Err(self.wrong("whether WFE is trapped depends on the event register, which anybody may set"))
            }
            Insn::Wfe if self.machine.quirks.eret_sets_no_event => {
                Err(skip(skip::FEATURE_ABSENT, "ERET sets no event here, so WFE may wait for ever"))
            }
            Insn::Wfe if !self.event => {
                Err(self.wrong("WFE would wait for an event; an ERET before it is one"))
            }
            Insn::Wfe => through(),
            Insn::Actlr => {
                let access = Access::SysReg { reg: abi::sysreg::SysReg::ActlrEl1, write: false };
                match trap(access, place, &self.controls, self.machine) {
                    Some(trap) => exception(Cause::Trap(trap)),
                    None => {
                        let x0 = Some(Address::ANY);
                        Ok(Outcome::Through(Box::new(Through { x0, ..Through::default() })))
                    }
                }
            }
            Insn::Unmask if el == El::El0 => Err(self.wrong("EL0 may not write DAIF")),
            Insn::Unmask => match self.interrupt(place, false)? {
                Some(interrupt) => exception(Cause::Interrupt(interrupt)),
                None => through(),
            },
            Insn::Touch(touch) => self.touch_outcome(touch, operands),
        }
    }

    /// The one interrupt that is taken at `place`, if any.
    pub(super) fn interrupt(&self, place: Place, masked: bool) -> Result<Option<Interrupt>, CompileError> {
        match taken(self.pending, masked, place, &self.controls).as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(self.wrong("two interrupts are pending, and their order is the implementation's")),
        }
    }

    /// Whether L1 traps an SMC of this place, if the machine lets it.
    fn traps_smc(&self) -> bool {
        matches!(self.place, Place::L2 | Place::L2b) && self.controls.hcr(hcr::TSC)
    }

    /// Whether a call by SMC gets from here to whom L1 has above it.
    pub(super) fn smc_gets_through(&self) -> bool {
        el_of(self.place) != El::El0 && !self.traps_smc()
    }

    fn smc(&self, call: Call) -> Result<Outcome, CompileError> {
        let place = self.place;
        if el_of(place) == El::El0 {
            return Ok(Outcome::Exception(Cause::Trap(undefined(place)), None));
        }
        match (self.traps_smc(), self.machine.hooks) {
            (true, hooks) if hooks.tsc => {
                Ok(Outcome::Exception(Cause::SmcTrapped(call_immediate(call)), None))
            }
            (true, _) => Err(skip(skip::FEATURE_ABSENT, "HCR_EL2.TSC has no effect without EL3")),
            (false, _) if call == Call::CpuSuspend && !self.wakes_firmware() => {
                Err(self.wrong("CPU_SUSPEND would wait for a physical interrupt that nothing makes pending"))
            }
            (false, hooks) if call == Call::CpuSuspend && hooks.smccc && !hooks.suspend => {
                Err(skip(skip::NO_HOOK, "CPU_SUSPEND is not supported here by SMC"))
            }
            (false, hooks) if hooks.smccc => {
                // A standby state is left by returning; what CPU_SUSPEND gives is known, the version is not.
                let suspends = call == Call::CpuSuspend;
                let x0 = suspends.then_some(Address::Bits(Bits::all(PSCI_SUCCESS)));
                Ok(Outcome::Through(Box::new(Through { smccc: true, x0, ..Through::default() })))
            }
            (false, _) => Err(skip(skip::FEATURE_ABSENT, "nobody answers an SMC here")),
        }
    }

    /// A WFI during which a physical IRQ becomes pending, at any time: what happens must not depend on when.
    fn wait_outcome(&self) -> Result<Outcome, CompileError> {
        let (place, controls) = (self.place, &self.controls);
        let fired = Pending { irq: true, ..self.pending };
        if wakes(self.pending, place, controls) {
            return Err(self.wrong("something is pending, so WFI need not wait for the timer"));
        }
        if !taken(fired, true, place, controls).is_empty() {
            return Err(
                self.wrong("the timer's IRQ would be taken at whatever instruction it comes: mask it here")
            );
        }
        if !wakes(fired, place, controls) {
            return Err(self.wrong("the timer's IRQ is not routed to where it would end this WFI"));
        }
        if el_of(place) == El::El1 && place != Place::G && controls.hcr(hcr::TWI) {
            return Err(self.wrong("whether WFI is trapped depends on whether the timer has fired by then"));
        }
        Ok(Outcome::Through(Box::default()))
    }

    /// A wait that ends by the timer's IRQ alone: that it is taken, and where, must be certain.
    fn timer_outcome(&self, idle: Idle) -> Result<Outcome, CompileError> {
        let (place, controls) = (self.place, &self.controls);
        let el = el_of(place);
        if wakes(self.pending, place, controls) {
            return Err(self.wrong("something else is pending, which would be taken before the timer's IRQ"));
        }
        if place == Place::L1 && !controls.e2h() {
            // FEAT_NV2: VNCR_EL2 has CNTV_CTL_EL0 and CNTV_CVAL_EL0 with HCR_EL2.NV1 = 1.
            return Err(self.wrong(
                "the virtual timer of an nVHE L1 is L2's, which may be in memory: nobody sees it turned on",
            ));
        }
        if idle == Idle::Wfi && el == El::El1 && place != Place::G && controls.hcr(hcr::TWI) {
            return Err(self.wrong("whether WFI is trapped depends on whether the timer has fired by then"));
        }
        let fired = Pending { irq: true, ..self.pending };
        match taken(fired, el == El::El0, place, controls).as_slice() {
            [Interrupt::Irq] if el == El::El0 && !self.el0_has_timer => {
                Err(self.wrong("EL0 may not use the timer before EL1 has entered it (CNTKCTL_EL1)"))
            }
            [irq @ Interrupt::Irq] => Ok(Outcome::Exception(Cause::Interrupt(*irq), None)),
            _ => {
                Err(self.wrong("the timer's IRQ would never be taken from here: it is masked, or not routed"))
            }
        }
    }

    /// Whether something is pending that ends a standby state. That is the WFI of whoever answers the call, and no
    /// virtual interrupt of this place need show there.
    fn wakes_firmware(&self) -> bool {
        let pending = taken(self.pending, false, self.place, &self.controls);
        pending.iter().any(|interrupt| matches!(interrupt, Interrupt::Irq | Interrupt::SError))
    }

    fn touch_outcome(&self, touch: Touch, operands: Operands) -> Result<Outcome, CompileError> {
        let place = self.place;
        if let Touch::SmcrEl1 | Touch::Tpidr2El0 = touch
            && self.machine.features.sme
        {
            let why = format!("the CPU has SME, so {} is not undefined", touch.name());
            return Err(skip(skip::FEATURE_ABSENT, why));
        }
        if touch == Touch::Fpmr && !self.machine.features.fpmr {
            let cause = Cause::Trap(undefined(place));
            return Ok(Outcome::Exception(cause, None));
        }
        let access = Access::of(touch);
        if let Some(trap) = trap(access, place, &self.controls, self.machine) {
            return Ok(Outcome::Exception(Cause::Trap(trap), None));
        }
        let vq = if self.controls.sve_enabled(place, self.machine) {
            vector_length(place, &self.controls, self.machine)
        } else {
            1
        };
        let x1 = operands.x1.unwrap_or(SECOND);
        let mut through = Box::new(Through::default());
        match touch {
            Touch::LoadQ | Touch::LoadZ => {
                if let Some(hole) = self.unmapped_at(place) {
                    return Ok(Outcome::Exception(Cause::Abort(hole, false), Some(x1)));
                }
                let len = if touch == Touch::LoadQ { 16 } else { 16 * vq };
                through.effect = Some(Effect::Load { data: Box::new(self.holes.load(x1, len)), vq });
            }
            Touch::StoreQ => {
                if let Some(hole) = self.unmapped_at(place) {
                    return Ok(Outcome::Exception(Cause::AbortWrite(hole), Some(x1)));
                }
                let low = self.file.z[30].single(1).ok_or_else(|| {
                    self.wrong("nobody knows what v30 holds, so it is no source until it is filled")
                })?;
                through.store = Some((x1, to_bytes(Kind::Vector, &low, 1)));
            }
            Touch::LoadFirstFault => return self.first_fault(vq, x1),
            Touch::Rdvl => through.x0 = Some(Address::Bits(Bits::all(16 * vq as u64))),
            Touch::VRead => {
                let low = self.file.z[30].single(1).map(|value| value[0] as u64);
                through.x0 = Some(low.map_or(Address::ANY, |low| Address::Bits(Bits::all(low))));
            }
            Touch::V | Touch::Z | Touch::P | Touch::Ffr | Touch::SetFfr => {
                through.effect = Some(Effect::Touch(touch, vq));
            }
            _ => {
                let Access::SysReg { reg, write } = access else {
                    return Ok(Outcome::Through(through));
                };
                let Some(storage) = reach(reg, place, &self.controls, self.machine) else {
                    return Ok(Outcome::Exception(Cause::Trap(undefined(place)), None));
                };
                if write {
                    through.write = Some((storage, operands.x0.unwrap_or(0)));
                } else {
                    through.x0 = Some(Address::Bits(storage.read(&self.controls, &self.file)));
                }
            }
        }
        Ok(Outcome::Through(through))
    }

    fn first_fault(&self, vq: usize, x1: u64) -> Result<Outcome, CompileError> {
        let elements = 2 * vq;
        let governing = self.file.p[0].single(vq).ok_or_else(|| {
            self.wrong("p0 may hold more than one value here, so it governs nothing until it is filled again")
        })?;
        let active = |element: &usize| governing[element / 2] >> (8 * (element % 2)) & 1 != 0;
        let hole = self.unmapped_at(self.place);
        let fault = if hole.is_some() { elements / 2 } else { elements };
        let first = (0..elements).find(active);
        if let (Some(hole), Some(first)) = (hole, first)
            && first >= fault
        {
            // The first active element faults as any load does.
            return Ok(Outcome::Exception(Cause::Abort(hole, false), Some(x1 + 8 * first as u64)));
        }
        let data = Box::new(self.holes.load(x1, 8 * fault));
        // The page boundary lies in the middle.
        let beyond = first.is_some_and(|first| first >= elements / 2);
        let first_may_fail = beyond && self.machine.quirks.first_fault_stops_at_page;
        let effect = Some(Effect::FirstFault { data, fault, first_may_fail, vq });
        Ok(Outcome::Through(Box::new(Through { effect, ..Through::default() })))
    }
}
