//! Instructions that may leave a place: what they need, and what comes of them.

use abi::doorbell::{self, Disturbance};
use abi::op::{Code, Go, Idle, Touch};

use super::arrive::Taken;
use super::hole::SECOND;
use super::outcome::{Outcome, Through};
use super::program::Address;
use super::stub::{Left, Operands};
use super::{CompileError, Compiler, skip};
use crate::machine::IrqSource;
use crate::oracle::exceptions::{Cause, syndrome};
use crate::oracle::length::vector_length;
use crate::oracle::sysreg::reach;
use crate::oracle::traps::Access;
use crate::scenario::step::{Call, Step, Verb};

/// PSCI_VERSION: the SMCCC function that every implementation has and that changes nothing.
const PSCI_VERSION: u64 = 0x8400_0000;
/// PSCI CPU_SUSPEND, called by SMC64. X1 is the power state: 0 is a standby state in both of its formats.
const PSCI_CPU_SUSPEND: u64 = 0xc400_0001;
/// CNTV_CTL_EL0.ENABLE, with IMASK clear.
const CNTV_CTL_ENABLE: u64 = 1;

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
    /// WFI with the virtual timer set.
    WfiTimer,
    /// A wait that the virtual timer's IRQ is taken from.
    Timer(Idle),
    /// WFE.
    Wfe,
    /// `mrs x0, actlr_el1`.
    Actlr,
    /// Unmasks IRQ and SError for one instruction.
    Unmask,
    /// One of the touches.
    Touch(Touch),
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

    /// A WFI that waits for the virtual timer. Where it goes on the interrupt is pending: WFI may complete for any reason
    /// (DDI0487, "Wait for Interrupt mechanism"), so the timer is waited for.
    pub(super) fn wait(&mut self, meanwhile: Option<Disturbance>) -> Result<(), CompileError> {
        if self.machine.hooks.irq == IrqSource::None {
            return Err(skip(skip::NO_HOOK, "the target has no source of IRQs"));
        }
        if let Some(disturbance) = meanwhile {
            self.ask_to_disturb(doorbell::DISTURB_WAITING, disturbance)?;
        }
        self.leave(Insn::WfiTimer)?;
        self.emit(Code::Fired, [0; 5]);
        self.pending.irq = true;
        self.timer = Some(self.place);
        self.needs.irq = true;
        Ok(())
    }

    /// A wait, with the virtual timer set, that its interrupt is taken from: at the one instruction, or the two, of a loop.
    pub(super) fn wait_unmasked(&mut self, idle: Idle) -> Result<(), CompileError> {
        if self.machine.hooks.irq == IrqSource::None {
            return Err(skip(skip::NO_HOOK, "the target has no source of IRQs"));
        }
        self.timer = Some(self.place);
        self.needs.irq = true;
        self.leave(Insn::Timer(idle)).map(|_| ())
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
            Insn::WfiTimer => (Go::WfiTimer, 0),
            Insn::Timer(idle) => (Go::Timer, idle as u64),
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
            Insn::Timer(_) => x0(CNTV_CTL_ENABLE),
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
}

/// The immediate of an SMC; the functions of firmware have 0.
pub(super) const fn call_immediate(call: Call) -> u16 {
    match call {
        Call::Version(imm) => imm,
        Call::CpuSuspend => 0,
    }
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
        Insn::Wfi | Insn::WfiTimer => "wfi",
        Insn::Timer(_) => "timer",
        Insn::Wfe => "wfe",
        Insn::Actlr => "actlr",
        Insn::Unmask => "unmask",
        Insn::Touch(touch) => touch.name(),
    }
}
