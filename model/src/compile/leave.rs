//! Instructions that may leave a place, and what the oracle says of each.

use abi::op::{Go, Hole, Touch};
use abi::place::Place;
use abi::record::{VECTOR_BOOT, VECTOR_NONE};

use super::hole::SECOND;
use super::program::{Address, Arrival, ExceptionCheck, Expected, Transition};
use super::stub::{Left, Operands};
use super::{CompileError, Compiler, skip};
use crate::oracle::controls::{Controls, El, el_of, el1_of, hcr};
use crate::oracle::exceptions::{
    Cause, Interrupt, Return, accepted_syndromes, destination, preferred_return, pstate, syndrome, taken,
    vector, wakes,
};
use crate::oracle::file::{Bits, Effect};
use crate::oracle::length::vector_length;
use crate::oracle::sysreg::{Storage, reach};
use crate::oracle::traps::{Access, Trap, trap, undefined};
use crate::oracle::value::{Kind, to_bytes};
use crate::scenario::step::{Call, Step, Verb};

/// PSCI_VERSION: the SMCCC function that every implementation has and that changes nothing.
const PSCI_VERSION: u64 = 0x8400_0000;
/// PSCI CPU_SUSPEND, called by SMC64. X1 is the power state: 0 is a standby state in both of its formats.
const PSCI_CPU_SUSPEND: u64 = 0xc400_0001;
/// PSCI's SUCCESS.
const PSCI_SUCCESS: u64 = 0;

/// An instruction of an entry stub.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Insn {
    /// HVC.
    Hvc(u16),
    /// SVC.
    Svc(u16),
    /// SMC.
    Smc(Call),
    /// A permanently undefined instruction.
    Udf,
    /// BRK.
    Brk(u16),
    /// `ldr x0, [x1]`.
    Load,
    /// WFI.
    Wfi,
    /// WFE.
    Wfe,
    /// `mrs x0, actlr_el1`.
    Actlr,
    /// Unmasks IRQ and SError for one instruction.
    Unmask,
    /// One of the touches.
    Touch(Touch),
}

/// Where ERET with the exception registers as an exception left them goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resume {
    /// The place that the exception was taken from.
    pub(super) place: Place,
    /// SPSR_ELx.NZCV.
    pub(super) nzcv: u64,
    /// PSTATE.SP there, if it is L1.
    pub(super) sp_el: bool,
    /// What ELR_ELx points at.
    pub(super) at: ResumeAt,
}

/// What ELR_ELx points at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ResumeAt {
    /// The entry of the place: an interrupt was taken at once.
    Entry,
    /// An instruction, with what it needs.
    Instruction(Insn, Operands),
    /// Right behind an instruction.
    Behind,
    /// Somewhere in the stub that unmasks interrupts, which are still unmasked.
    Unmasked,
}

/// What an instruction does.
enum Outcome {
    /// It takes an exception.
    Exception(Cause, Option<u64>),
    /// It falls through.
    Through(Box<Through>),
}

/// What an instruction that takes no exception leaves.
#[derive(Default)]
struct Through {
    /// X0, if it changes.
    x0: Option<Address>,
    /// As SMCCC: X0 to X17 and the flags are lost.
    smccc: bool,
    effect: Option<Effect>,
    write: Option<(Storage, u64)>,
    store: Option<(u64, Vec<u8>)>,
}

/// The slot of [`Compiler::resume`] for a level.
pub(super) const fn level_index(place: Place) -> usize {
    match place {
        Place::L1 | Place::L1El0 => 0,
        Place::L2 | Place::L2El0 => 1,
        Place::L2b => 2,
        Place::G | Place::GEl0 => 3,
    }
}

impl Compiler<'_> {
    /// A step of one instruction that is there to leave the place, or not to.
    pub(super) fn instruction(&mut self, verb: &Verb) -> Result<(), CompileError> {
        let insn = match verb {
            Verb::Hvc(imm) => Insn::Hvc(*imm),
            Verb::Svc(imm) => Insn::Svc(*imm),
            Verb::Smc(call) => Insn::Smc(*call),
            Verb::Brk(imm) => Insn::Brk(*imm),
            Verb::Undef => Insn::Udf,
            Verb::Abort(hole) => {
                if self.unmapped_at(self.place) != Some(*hole) {
                    return Err(self.wrong("the page is mapped at this stage: `unmap` it first"));
                }
                Insn::Load
            }
            Verb::Wfi => Insn::Wfi,
            Verb::Wfe => Insn::Wfe,
            Verb::Actlr => Insn::Actlr,
            Verb::Unmask => Insn::Unmask,
            other => return Err(self.wrong(format!("{other:?} is no instruction"))),
        };
        if let Verb::Hvc(imm) | Verb::Svc(imm) | Verb::Smc(Call::Version(imm)) | Verb::Brk(imm) = verb
            && u64::from(*imm) > abi::op::IMMEDIATE_MAX
        {
            return Err(self.wrong(format!("immediates go to {}", abi::op::IMMEDIATE_MAX)));
        }
        self.leave(insn).map(|_| ())
    }

    /// Touches that must not trap, but for the last one if the next step is where it arrives.
    pub(super) fn touch(&mut self, touches: &[Touch], next: Option<&Step>) -> Result<(), CompileError> {
        for (index, touch) in touches.iter().enumerate() {
            let from = self.place;
            let Some(cause) = self.leave(Insn::Touch(*touch))? else { continue };
            let to = self.place;
            let last = index + 1 == touches.len();
            let handled = last
                && next.is_some_and(|step| {
                    let asserts =
                        matches!(step.verb, Verb::Expect(crate::scenario::step::Expect::Trap { .. }));
                    step.place == to && (to != from || asserts)
                });
            if !handled {
                let ec = syndrome(cause, from, to).map_or(0, |esr| esr.ec());
                return Err(self.wrong(format!(
                    "`{}` traps at {} to {} with EC {ec:#04x}, and no step follows there: `try` skips it",
                    touch.name(),
                    from.name(),
                    to.name()
                )));
            }
        }
        Ok(())
    }

    /// Touches that may trap; whoever gets the trap skips the instruction.
    pub(super) fn try_touch(&mut self, touches: &[Touch]) -> Result<(), CompileError> {
        for touch in touches {
            if self.leave(Insn::Touch(*touch))?.is_some() {
                self.eret_back(true, abi::op::Auth::None)?;
            }
        }
        Ok(())
    }

    /// Emits the instruction and follows it. Gives the exception, if it takes one.
    fn leave(&mut self, insn: Insn) -> Result<Option<Cause>, CompileError> {
        let operands = self.operands(insn)?;
        let (go, arg) = match insn {
            Insn::Hvc(imm) => (Go::Hvc, u64::from(imm)),
            Insn::Svc(imm) => (Go::Svc, u64::from(imm)),
            Insn::Smc(call) => (Go::Smc, u64::from(call_immediate(call))),
            Insn::Udf => (Go::Udf, 0),
            Insn::Brk(imm) => (Go::Brk, u64::from(imm)),
            Insn::Load => (Go::Load, 0),
            Insn::Wfi => (Go::Wfi, 0),
            Insn::Wfe => (Go::Wfe, 0),
            Insn::Actlr => (Go::Actlr, 0),
            Insn::Unmask => (Go::Unmask, 0),
            Insn::Touch(touch) => (Go::Touch, touch as u64),
        };
        let left = self.depart(go, [arg, 0, 0], operands)?;
        self.last_exception = None;
        self.execute(insn, left, operands, false)
    }

    /// The instruction runs at the current place, reached by its own `Go` or, with `returned`, by an ERET.
    pub(super) fn execute(
        &mut self,
        insn: Insn,
        left: Left,
        operands: Operands,
        returned: bool,
    ) -> Result<Option<Cause>, CompileError> {
        match self.outcome(insn, operands)? {
            Outcome::Exception(cause, far) => {
                self.take(cause, Taken { insn, operands, far, returned }, left)?;
                Ok(Some(cause))
            }
            Outcome::Through(through) => {
                self.fall_through(insn, &through, left)?;
                Ok(None)
            }
        }
    }

    /// What the instruction needs in X0 and X1.
    fn operands(&self, insn: Insn) -> Result<Operands, CompileError> {
        let x1 = |offset| Ok(Operands { x1: Some(offset), ..Operands::default() });
        let x0 = |value| Ok(Operands { x0: Some(value), ..Operands::default() });
        match insn {
            Insn::Load | Insn::Touch(Touch::LoadQ | Touch::LoadZ | Touch::StoreQ) => x1(SECOND),
            Insn::Touch(Touch::LoadFirstFault) => {
                // Half of the elements lie in the first page, the others in the second.
                self.need_normal_memory()?;
                let vq = vector_length(self.place, &self.controls, self.machine) as u64;
                x1(SECOND - 8 * vq)
            }
            Insn::Touch(touch @ (Touch::ZcrEl1Write | Touch::ZcrEl2Write)) => x0(self.zcr_to_write(touch)),
            Insn::Touch(Touch::CpacrEl1Write) => {
                let reached = reach(abi::sysreg::SysReg::CpacrEl1, self.place, &self.controls, self.machine);
                x0(reached.map_or(0, |storage| storage.read(&self.controls, &self.file).value))
            }
            Insn::Smc(Call::Version(_)) => x0(PSCI_VERSION),
            Insn::Smc(Call::CpuSuspend) => {
                Ok(Operands { x0: Some(PSCI_CPU_SUSPEND), x1: None, x1_zero: true })
            }
            _ => Ok(Operands::default()),
        }
    }

    /// A LEN that shows whether the write was made but leaves the longest vectors possible: 15, or the length of
    /// the longest one if it is 15 already.
    fn zcr_to_write(&self, touch: Touch) -> u64 {
        let Access::SysReg { reg, .. } = Access::of(touch) else { return 0xf };
        let now = reach(reg, self.place, &self.controls, self.machine)
            .map_or(0, |storage| storage.read(&self.controls, &self.file).value);
        match self.machine.lengths.max() {
            Some(vq) if now == 0xf => u64::from(vq) - 1,
            _ => 0xf,
        }
    }

    fn outcome(&self, insn: Insn, operands: Operands) -> Result<Outcome, CompileError> {
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
            Insn::Wfi | Insn::Wfe if el == El::El0 => {
                Err(self.wrong("whether EL0 may wait is SCTLR_ELx.nTWI and nTWE, which no step sets"))
            }
            Insn::Wfi if wakes(self.pending, place, &self.controls) => through(),
            Insn::Wfi if el == El::El1 && place != Place::G && self.controls.hcr(hcr::TWI) => {
                exception(Cause::WfiTrapped)
            }
            Insn::Wfi => Err(self.wrong("WFI would wait for an interrupt that nothing makes pending")),
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

    fn smc(&self, call: Call) -> Result<Outcome, CompileError> {
        let place = self.place;
        if el_of(place) == El::El0 {
            return Ok(Outcome::Exception(Cause::Trap(undefined(place)), None));
        }
        let trapped = matches!(place, Place::L2 | Place::L2b) && self.controls.hcr(hcr::TSC);
        match (trapped, self.machine.hooks) {
            (true, hooks) if hooks.tsc => {
                Ok(Outcome::Exception(Cause::SmcTrapped(call_immediate(call)), None))
            }
            (true, _) => Err(skip(skip::FEATURE_ABSENT, "HCR_EL2.TSC has no effect without EL3")),
            (false, _) if call == Call::CpuSuspend && !self.wakes_firmware() => {
                Err(self.wrong("CPU_SUSPEND would wait for a physical interrupt that nothing makes pending"))
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

    /// Whether something is pending that ends a standby state. That is the WFI of whoever answers the call, and no
    /// virtual interrupt of this place need show there.
    fn wakes_firmware(&self) -> bool {
        let pending = taken(self.pending, false, self.place, &self.controls);
        pending.iter().any(|interrupt| matches!(interrupt, Interrupt::Irq | Interrupt::SError))
    }

    fn touch_outcome(&self, touch: Touch, operands: Operands) -> Result<Outcome, CompileError> {
        let place = self.place;
        if touch == Touch::SmcrEl1 && self.machine.features.sme {
            return Err(skip(skip::FEATURE_ABSENT, "the CPU has SME, so SMCR_EL1 is not undefined"));
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

    fn fall_through(&mut self, insn: Insn, through: &Through, left: Left) -> Result<(), CompileError> {
        if let Some(effect) = &through.effect {
            self.effect(effect.clone())?;
        }
        if let Some((storage, value)) = through.write {
            storage.write(value, u64::MAX, &mut self.controls, self.machine);
        }
        if let Some((offset, bytes)) = &through.store {
            self.holes.store(*offset, bytes);
        }
        if insn == Insn::Wfe {
            self.event = false;
        }
        let mut x = left.x;
        if through.smccc {
            // SMCCC 1.0 lets a callee change X0 to X17.
            x[..18].fill(Address::ANY);
        }
        if let Some(x0) = through.x0 {
            x[0] = x0;
        }
        let nzcv = if through.smccc { None } else { Some(left.nzcv) };
        let what = name(insn);
        self.arrive_without_exception(what, left, x, self.place, nzcv, self.sp_el)
    }

    /// Arrives at `to` by an ERET or by going on.
    pub(super) fn arrive_without_exception(
        &mut self,
        what: &'static str,
        left: Left,
        x: [Address; 31],
        to: Place,
        nzcv: Option<u64>,
        sp_el: bool,
    ) -> Result<(), CompileError> {
        self.transition = Some(Transition { what, from: left.from, to });
        let arrival =
            Arrival { vector: VECTOR_NONE, x, sp: true, pstate: pstate_at(to, nzcv, sp_el), exception: None };
        self.place = to;
        self.sp_el = sp_el;
        self.check(left.op, Expected::Arrival(Box::new(arrival)));
        self.settle()
    }

    /// Takes an exception at the current place.
    pub(super) fn take(&mut self, cause: Cause, taken: Taken, left: Left) -> Result<(), CompileError> {
        let from = self.place;
        let to = destination(cause, from, &self.controls);
        let esr = syndrome(cause, from, to);
        self.last_exception = Some(esr.map(|esr| esr.ec()));
        self.narrow_on_the_way_up(from, to)?;

        let unmasked = matches!(cause, Cause::Interrupt(_)) && taken.insn == Insn::Unmask && !taken.returned;
        let after = preferred_return(cause) == Return::After;
        // The interrupt is taken on the ISB behind the unmasking MSR, or after it.
        let elr = if unmasked { vec![0, 4] } else { vec![if after { 4 } else { 0 }] };
        let daif = if unmasked { pstate::D | pstate::F } else { pstate::DAIF };
        let spsr = Bits { value: self.mode() | daif | left.nzcv, known: pstate::COMPARED };
        let far = taken.far.map(Address::Hole);
        let hpfar = match cause {
            Cause::Abort(Hole::Stage2, _) | Cause::AbortWrite(Hole::Stage2) => far,
            _ => None,
        };
        let at = match (unmasked, after) {
            (true, _) => ResumeAt::Unmasked,
            (_, true) => ResumeAt::Behind,
            _ => ResumeAt::Instruction(taken.insn, taken.operands),
        };
        let sp_el = self.sp_el;
        self.resume[level_index(to)] = Some(Resume { place: from, nzcv: left.nzcv, sp_el, at });
        let check = ExceptionCheck {
            esr,
            esr_accepted: accepted_syndromes(cause),
            elr_from_target: taken.returned,
            elr,
            spsr,
            far,
            hpfar,
        };
        self.arrive_by_exception(cause, from, to, left, check)
    }

    /// Arrives at `to` by an exception from `from`.
    pub(super) fn arrive_by_exception(
        &mut self,
        cause: Cause,
        from: Place,
        to: Place,
        left: Left,
        check: ExceptionCheck,
    ) -> Result<(), CompileError> {
        self.transition = Some(Transition { what: cause_name(cause), from, to });
        let arrival = Arrival {
            vector: vector(cause, from, self.sp_el, to),
            x: left.x,
            sp: true,
            // An exception leaves the flags alone (AArch64.TakeException writes SPSR and does not touch them), but
            // QEMU clears them on its own exceptions. Nothing rests on them: SPSR has them, and is compared.
            pstate: pstate_at(to, None, true),
            exception: Some(check),
        };
        self.place = to;
        self.sp_el = true;
        self.check(left.op, Expected::Arrival(Box::new(arrival)));
        match cause {
            // The payload withdraws a physical interrupt when it has recorded its arrival.
            Cause::Interrupt(Interrupt::Irq) => self.pending.irq = false,
            Cause::Interrupt(Interrupt::SError) => self.pending.serror = false,
            // Taking a virtual SError clears HCR_EL2.VSE.
            Cause::Interrupt(Interrupt::VirtualSError) => {
                self.controls.el2.hcr = self.controls.el2.hcr.written(0, hcr::VSE);
            }
            _ => {}
        }
        self.settle()?;
        if self.tge_set && to == Place::L1 {
            self.tge_set = false;
            self.write_hcr(0, hcr::TGE)?;
        }
        Ok(())
    }

    /// `MaybeZeroSVEUppers` asks IsFPEnabled(EL1) also when an exception goes from EL0 straight to EL2, so a task
    /// with FP disabled may lose upper bits on that way (rule P-60 holds where FP is disabled at EL1 too).
    fn narrow_on_the_way_up(&mut self, from: Place, to: Place) -> Result<(), CompileError> {
        let Some(el1) = el1_of(from) else { return Ok(()) };
        if el_of(from) != El::El0 || el_of(to) != El::El2 || !self.controls.fp_enabled(el1) {
            return Ok(());
        }
        let vq = if self.controls.sve_enabled(from, self.machine) {
            vector_length(from, &self.controls, self.machine)
        } else {
            1
        };
        self.effect(Effect::Narrow(vq))
    }

    /// `M[4:0]` where the cursor is.
    pub(super) const fn mode(&self) -> u64 {
        mode_of(self.place, self.sp_el)
    }

    pub(super) fn reset(&mut self) -> Result<(), CompileError> {
        self.need_doorbell()?;
        if !self.machine.hooks.reset {
            return Err(skip(skip::NO_HOOK, "the target cannot reset a vCPU"));
        }
        if !self.holes.all_mapped() {
            return Err(
                self.wrong("a page is unmapped, and what a reset makes of that is open: map it first")
            );
        }
        self.needs.reset = true;
        let left = self.depart(Go::Reset, [0; 3], Operands::default())?;
        let from = self.place;
        self.effect(Effect::Reset)?;
        self.controls = Controls::new(self.machine);
        self.pending = Default::default();
        self.resume = [const { None }; 4];
        self.sp_el = true;
        self.event = false;
        self.tge_set = false;
        self.last_exception = None;
        self.place = self.home;
        self.transition = Some(Transition { what: "reset", from, to: self.home });
        let arrival = Arrival {
            vector: VECTOR_BOOT,
            x: [Address::ANY; 31],
            sp: false,
            pstate: Bits::UNKNOWN,
            exception: None,
        };
        self.check(left.op, Expected::Arrival(Box::new(arrival)));
        self.prologue()
    }
}

/// The immediate of an SMC; the functions of firmware have 0.
const fn call_immediate(call: Call) -> u16 {
    match call {
        Call::Version(imm) => imm,
        Call::CpuSuspend => 0,
    }
}

/// How an exception came about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// The instruction.
    pub(super) insn: Insn,
    /// What it needs to run again.
    pub(super) operands: Operands,
    /// The faulting address, as an offset into the hole pages.
    pub(super) far: Option<u64>,
    /// It was reached by an ERET.
    pub(super) returned: bool,
}

/// `M[4:0]` of a place; `sp_el` is PSTATE.SP at L1.
pub(super) const fn mode_of(place: Place, sp_el: bool) -> u64 {
    match (el_of(place), sp_el) {
        (El::El0, _) => pstate::EL0T,
        (El::El1, _) => pstate::EL1H,
        (El::El2, true) => pstate::EL2H,
        (El::El2, false) => pstate::EL2T,
    }
}

/// NZCV, DAIF, CurrentEL and SPSel, as far as the arrival stub of a place can read them.
fn pstate_at(place: Place, nzcv: Option<u64>, sp_el: bool) -> Bits {
    const CURRENT_EL_SHIFT: u32 = 2;
    let (level, read) = match el_of(place) {
        El::El0 => (0, 0),
        El::El1 => (1 << CURRENT_EL_SHIFT, pstate::DAIF | 0b1101),
        El::El2 => (2 << CURRENT_EL_SHIFT, pstate::DAIF | 0b1101),
    };
    let flags = if nzcv.is_some() { pstate::NZCV } else { 0 };
    let value = nzcv.unwrap_or(0) | pstate::DAIF | level | u64::from(sp_el);
    let known = read | flags;
    Bits { value: value & known, known }
}

const fn name(insn: Insn) -> &'static str {
    match insn {
        Insn::Hvc(_) => "hvc",
        Insn::Svc(_) => "svc",
        Insn::Smc(Call::Version(_)) => "smc",
        Insn::Smc(Call::CpuSuspend) => "cpu-suspend",
        Insn::Udf => "udf",
        Insn::Brk(_) => "brk",
        Insn::Load => "load",
        Insn::Wfi => "wfi",
        Insn::Wfe => "wfe",
        Insn::Actlr => "actlr",
        Insn::Unmask => "unmask",
        Insn::Touch(touch) => touch.name(),
    }
}

fn cause_name(cause: Cause) -> &'static str {
    use crate::oracle::syndrome::ec;
    match cause {
        Cause::Trap(Trap { syndrome, .. }) => match syndrome.ec() {
            ec::FP => "fp trap",
            ec::SVE => "sve trap",
            ec::SYSREG => "sysreg trap",
            _ => "undefined",
        },
        Cause::Hvc(_) => "hvc",
        Cause::Svc(_) => "svc",
        Cause::SmcTrapped(_) => "smc trap",
        Cause::Brk(_) => "brk",
        Cause::Abort(Hole::Stage1, _) | Cause::AbortWrite(Hole::Stage1) => "stage 1 abort",
        Cause::Abort(Hole::Stage2, _) | Cause::AbortWrite(Hole::Stage2) => "stage 2 abort",
        Cause::WfiTrapped => "wfi trap",
        Cause::IllegalState => "illegal return",
        Cause::PacFail(_) => "authentication failure",
        Cause::Interrupt(Interrupt::Irq) => "irq",
        Cause::Interrupt(Interrupt::SError) => "serror",
        Cause::Interrupt(Interrupt::VirtualIrq) => "virtual irq",
        Cause::Interrupt(Interrupt::VirtualSError) => "virtual serror",
    }
}
