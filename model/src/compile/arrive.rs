//! Where an instruction led: the arrival that is checked, and the way back from it.

use abi::op::{Go, Hole, Idle};
use abi::place::Place;
use abi::record::{VECTOR_BOOT, VECTOR_NONE};

use super::leave::Insn;
use super::program::{Address, Arrival, ExceptionCheck, Expected, Transition};
use super::stub::{Left, Operands};
use super::{CompileError, Compiler, skip};
use crate::oracle::controls::{Controls, El, el_of, el1_of, hcr};
use crate::oracle::exceptions::{
    Cause, Interrupt, Return, accepted_syndromes, destination, preferred_return, pstate, syndrome, vector,
};
use crate::oracle::file::{Bits, Effect};
use crate::oracle::length::vector_length;
use crate::oracle::traps::Trap;

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
        self.transition = Some(Transition { what, from: left.from, to, stopped: left.stops });
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
        let (elr, daif) = match taken.insn {
            // The interrupt is taken on the ISB behind the unmasking MSR, or after it.
            _ if unmasked => (vec![0, 4], pstate::D | pstate::F),
            // On the branch to itself, or on WFI and on the branch behind it.
            Insn::Timer(idle) => {
                let elr = if idle == Idle::Spin { vec![0] } else { vec![0, 4] };
                (elr, if el_of(from) == El::El0 { pstate::DAIF } else { pstate::DAIF & !pstate::I })
            }
            _ => (vec![if after { 4 } else { 0 }], pstate::DAIF),
        };
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
        let resume = Resume { place: from, nzcv: left.nzcv, sp_el, at };
        // Whoever returns into the loop of a timer that is off stays there.
        self.resume[level_index(to)] = if matches!(taken.insn, Insn::Timer(_)) { None } else { Some(resume) };
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
        self.transition = Some(Transition { what: cause_name(cause), from, to, stopped: left.stops });
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
            Cause::Interrupt(Interrupt::Irq) => {
                self.pending.irq = false;
                // A VHE L1 names its own timer as L2 does L2's; that one it has another name for.
                if self.timer.take() == Some(Place::L1) && to != Place::L1 {
                    return Err(self.wrong("L1 set the timer: it has to take the IRQ"));
                }
            }
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
        self.timer = None;
        self.el0_has_timer = false;
        self.resume = [const { None }; 4];
        self.sp_el = true;
        self.event = false;
        self.tge_set = false;
        self.last_exception = None;
        self.place = self.home;
        self.transition = Some(Transition { what: "reset", from, to: self.home, stopped: false });
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
