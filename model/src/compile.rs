//! From a case to the operations that the payload interprets, and what to check of what it records.
//!
//! The compiler walks the steps with the oracle: for each step it knows the place, the controls, the vector
//! length and what the registers may hold. What it emits is straight-line; where an exception arrives is decided
//! here and checked by [`crate::judge`].

mod arrive;
mod control;
mod eret;
mod hole;
mod leave;
mod outcome;
mod program;
mod prologue;
mod registers;
mod stub;

use abi::doorbell;
use abi::op::{self, Code, Op, Waiting};
use abi::place::Place;
use abi::skip;

pub use hole::{HOLE_LEN, hole_image};
pub use program::{
    Address, Arrival, Check, DumpCheck, ExceptionCheck, Expected, Item, Needs, Program, Relocation, StepNote,
    Transition,
};

use crate::machine::{Doorbell, IrqSource, Machine};
use crate::oracle::controls::Controls;
use crate::oracle::exceptions::{Pending, taken};
use crate::oracle::file::{Effect, RegisterFile};
use crate::oracle::length::effective_length;
use crate::oracle::traps::{Access, trap};
use crate::scenario::step::{EretTarget, Expect, GuestSpec, Interrupt, Step, SweepSpec, Verb};
use crate::scenario::{self, Case};
use arrive::Resume;
use hole::Holes;

/// Why there is no program.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// This machine cannot run the case.
    #[error("skipped ({code}): {why}")]
    Skip {
        /// A code of [`abi::skip`].
        code: &'static str,
        /// The reason in words.
        why: String,
    },
    /// The scenario asks for something that makes no sense.
    #[error("line {line}: {message}")]
    Scenario {
        /// The line of the step, counted from 1.
        line: u32,
        /// What is wrong with it.
        message: String,
    },
}

/// Compiles a case for a machine. With `sweep`, the windows of a sweep are marked.
///
/// # Errors
///
/// See [`CompileError`].
pub fn compile(case: &Case, machine: &Machine, sweep: Option<SweepSpec>) -> Result<Program, CompileError> {
    compile_steps(&case.guest, &case.steps, machine, sweep)
}

/// As [`compile`], from the parts of a case that matter.
///
/// # Errors
///
/// See [`CompileError`].
pub fn compile_steps(
    guest: &GuestSpec,
    steps: &[Step],
    machine: &Machine,
    sweep: Option<SweepSpec>,
) -> Result<Program, CompileError> {
    let mut compiler = Compiler::new(guest, steps, machine, sweep);
    compiler.preconditions(steps)?;
    compiler.prologue()?;
    for (index, step) in steps.iter().enumerate() {
        compiler.step = index;
        compiler.line = step.line;
        if step.place != compiler.place {
            return Err(compiler.wrong(format!(
                "this step is at {}, but the cursor is at {}",
                step.place.name(),
                compiler.place.name()
            )));
        }
        compiler.step(&step.verb, steps.get(index + 1))?;
    }
    compiler.go_home()?;
    compiler.emit(Code::End, [0; 5]);
    compiler.finish(steps)
}

/// What the compiler knows between two steps.
struct Compiler<'a> {
    guest: &'a GuestSpec,
    machine: &'a Machine,
    sweep: Option<SweepSpec>,
    explicit_windows: bool,
    home: Place,

    place: Place,
    controls: Controls,
    file: RegisterFile,
    pending: Pending,
    /// Where the timer was set whose IRQ is pending.
    timer: Option<Place>,
    /// An EL1 has entered its EL0, and with that let it use the timer.
    el0_has_timer: bool,
    holes: Holes,
    resume: [Option<Resume>; 4],
    /// PSTATE.SP at L1: clear in EL2t.
    sp_el: bool,
    /// The event register of WFE is surely set.
    event: bool,
    /// The compiler set HCR_EL2.TGE for L1.el0 and has to clear it.
    tge_set: bool,
    generation: u16,
    last_exception: Option<Option<u8>>,
    transition: Option<Transition>,

    step: usize,
    line: u32,
    ops: Vec<Op>,
    data: Vec<u8>,
    script: Vec<Item>,
    relocations: Vec<Relocation>,
    needs: Needs,
    windows: usize,
    /// [`doorbell::Check::Arrival`]: the next transition opens its window, sweep or not.
    stops_at_arrival: bool,
}

impl<'a> Compiler<'a> {
    fn new(guest: &'a GuestSpec, steps: &[Step], machine: &'a Machine, sweep: Option<SweepSpec>) -> Self {
        let home = if guest.l1.is_some() { Place::L1 } else { Place::G };
        Self {
            guest,
            machine,
            sweep,
            explicit_windows: steps.iter().any(|step| matches!(step.verb, Verb::Window(_))),
            home,
            place: home,
            controls: Controls::new(machine),
            file: RegisterFile::new(machine),
            pending: Pending::default(),
            timer: None,
            el0_has_timer: false,
            holes: Holes::new(),
            resume: [const { None }; 4],
            sp_el: true,
            event: false,
            tge_set: false,
            generation: 0,
            last_exception: None,
            transition: None,
            step: 0,
            line: steps.first().map_or(0, |step| step.line),
            ops: Vec::new(),
            data: Vec::new(),
            script: Vec::new(),
            relocations: Vec::new(),
            needs: Needs { sweep: sweep.is_some(), ..Needs::default() },
            windows: 0,
            stops_at_arrival: false,
        }
    }

    fn preconditions(&mut self, steps: &[Step]) -> Result<(), CompileError> {
        // A guest from which FPMR is hidden may be about what its accesses do; any other asks for a CPU that has it.
        let lacks_fpmr = self.guest.fpmr && !self.machine.features.fpmr;
        if lacks_fpmr && scenario::Needs::of(self.guest, steps).contains(scenario::Need::Fpmr) {
            return Err(skip(skip::FEATURE_ABSENT, "the CPU has no FPMR"));
        }
        if self.machine.features.el2 != self.guest.l1 {
            return Err(skip(skip::NO_EL2, "the machine has no EL2 of the kind that the guest asks for"));
        }
        if self.sweep.is_some() && self.machine.hooks.doorbell.is_none() {
            return Err(skip(skip::NO_DOORBELL, "a sweep needs a doorbell"));
        }
        if let Some(sweep) = self.sweep {
            self.need_disturbance(sweep.disturbance)?;
        }
        if self.sweep.is_some() && self.guest.cold && !self.machine.hooks.reset {
            return Err(skip(skip::NO_HOOK, "each pass of a cold program starts with a reset"));
        }
        Ok(())
    }

    fn step(&mut self, verb: &Verb, next: Option<&Step>) -> Result<(), CompileError> {
        match verb {
            Verb::Fill(set) => self.fill(*set),
            Verb::Expect(Expect::Registers(set)) => self.dump(*set),
            Verb::Expect(Expect::Control(control)) => self.expect_control(control),
            Verb::Expect(Expect::Vl) => self.expect_length(),
            Verb::Expect(Expect::Trap { ec }) => self.expect_trap(*ec),
            Verb::Set { reg, value } => self.set(reg, *value),
            Verb::Vl(length) => self.set_length(*length),
            Verb::Trap(unit) => self.trap_unit(*unit, true),
            Verb::Untrap(unit) => self.trap_unit(*unit, false),
            Verb::Touch(touches) => self.touch(touches, next),
            Verb::Try(touches) => self.try_touch(touches),
            Verb::Churn(rounds) => self.churn(*rounds),
            Verb::Eret { to, auth } => match to {
                EretTarget::Place(place) => self.eret(*place, true, *auth),
                EretTarget::L1t => self.eret(Place::L1, false, *auth),
                EretTarget::Illegal => self.eret_illegal(*auth),
                EretTarget::Back => self.eret_back(false, *auth),
                EretTarget::Skip => self.eret_back(true, *auth),
            },
            Verb::Disturb(disturbance) => self.disturb(*disturbance),
            Verb::Vmm(check) => self.vmm(*check),
            Verb::Reset => self.reset(),
            Verb::Window(on) => self.window(*on),
            Verb::Pend(interrupt) => self.pend(*interrupt),
            Verb::Map { hole, on } => self.map(*hole, *on),
            Verb::Hvc(_)
            | Verb::Svc(_)
            | Verb::Smc(_)
            | Verb::Undef
            | Verb::Brk(_)
            | Verb::Abort(_)
            | Verb::Wfi
            | Verb::Wfe
            | Verb::Actlr
            | Verb::Unmask => self.instruction(verb),
            Verb::WfiTimer(disturbance) => self.wait(*disturbance),
            Verb::Timer(idle) => self.wait_unmasked(*idle),
        }
    }

    fn disturb(&mut self, disturbance: Option<doorbell::Disturbance>) -> Result<(), CompileError> {
        match disturbance {
            Some(disturbance) => self.ask_to_disturb(doorbell::DISTURB, disturbance),
            None => Ok(()),
        }
    }

    /// Rings for a disturbance, at once or later as this register of the doorbell has it.
    fn ask_to_disturb(
        &mut self,
        register: u64,
        disturbance: doorbell::Disturbance,
    ) -> Result<(), CompileError> {
        self.need_doorbell()?;
        self.need_disturbance(disturbance)?;
        self.needs.disturbances += 1;
        self.ring([register, disturbance as u64, self.waiting(disturbance) as u64, 0, 0]);
        Ok(())
    }

    /// Whether such an instruction traps nowhere, here and now.
    fn is_open(&self, access: Access) -> bool {
        trap(access, self.place, &self.controls, self.machine).is_none()
    }

    /// What can be done to the registers here without a trap and without a trace.
    fn waiting(&self, disturbance: doorbell::Disturbance) -> Waiting {
        // Of a cold program, registers that nobody has used are the point.
        if self.guest.cold || !self.is_open(Access::Fp) {
            Waiting::Leaves
        } else if self.is_open(Access::Sve)
            && self.place == Place::L1
            && disturbance == doorbell::Disturbance::OtherVcpu
        {
            // The other one has a ZCR of its own.
            Waiting::Rewrites
        } else if self.is_open(Access::Sve) {
            Waiting::Flips
        } else if self.machine.features.sve {
            Waiting::Reads
        } else {
            Waiting::FlipsV
        }
    }

    fn need_disturbance(&mut self, disturbance: doorbell::Disturbance) -> Result<(), CompileError> {
        self.needs.other_vcpu |= disturbance == doorbell::Disturbance::OtherVcpu;
        if self.machine.hooks.disturbances.contains(&disturbance) {
            return Ok(());
        }
        Err(skip(skip::NO_HOOK, format!("the target cannot {}", disturbance.name())))
    }

    /// Rings for a check, and gives it its image. The FP registers are the same afterwards, or those of the image.
    fn vmm(&mut self, check: doorbell::Check) -> Result<(), CompileError> {
        self.need_doorbell()?;
        if !self.machine.hooks.checks.contains(&check) {
            return Err(skip(skip::NO_HOOK, "the target has no virtual machine monitor to ask"));
        }
        let image = match check {
            doorbell::Check::Values => self.known_image()?,
            doorbell::Check::Write => self.image_from_outside()?,
            // As in a disturbance, what is asked for has to happen: the monitor tells when the case is over.
            doorbell::Check::HostSimd
            | doorbell::Check::HostPreempted
            | doorbell::Check::HostSignal
            | doorbell::Check::HostFault
            | doorbell::Check::HostFaultZa
            | doorbell::Check::HostFaultStreaming
            | doorbell::Check::HostSignalZa
            | doorbell::Check::HostSignalStreaming => {
                self.needs.disturbances += 1;
                0
            }
            doorbell::Check::Arrival => {
                self.stops_at_arrival = true;
                self.needs.disturbances += 1;
                self.needs.other_vcpu = true;
                0
            }
            doorbell::Check::CpuOn => {
                self.needs.other_vcpu = true;
                0
            }
            _ => 0,
        };
        self.ring([doorbell::CHECK, check as u64 | u64::from(image) << 8, 0, 0, 0]);
        Ok(())
    }

    fn window(&mut self, on: bool) -> Result<(), CompileError> {
        if self.sweep.is_some() {
            self.need_doorbell()?;
            self.windows += usize::from(on);
            self.emit(Code::Doorbell, [doorbell::WINDOW, u64::from(on), 0, 0, 0]);
        }
        Ok(())
    }

    fn need_doorbell(&mut self) -> Result<(), CompileError> {
        if self.machine.hooks.doorbell.is_none() {
            return Err(skip(skip::NO_DOORBELL, "the target answers no doorbell"));
        }
        self.needs.doorbell = true;
        Ok(())
    }

    /// Rings the doorbell, in the target's way from here.
    fn ring(&mut self, arg: [u64; 5]) {
        let calls = self.machine.hooks.doorbell == Some(Doorbell::Smc) && self.smc_gets_through();
        self.emit_with_data(Code::Doorbell, arg, if calls { op::flag::CALL } else { 0 }, 0, 0);
    }

    fn pend(&mut self, interrupt: Interrupt) -> Result<(), CompileError> {
        use crate::oracle::controls::hcr;
        let hooks = self.machine.hooks;
        match interrupt {
            Interrupt::VirtualIrq => return self.write_hcr(hcr::VI, hcr::VI),
            Interrupt::VirtualSError => return self.write_hcr(hcr::VSE, hcr::VSE),
            Interrupt::Irq if hooks.irq == IrqSource::None => {
                return Err(skip(skip::NO_HOOK, "the target has no source of IRQs"));
            }
            Interrupt::SError if !hooks.serror => {
                return Err(skip(skip::NO_HOOK, "the target has no source of SErrors"));
            }
            Interrupt::Irq => {
                self.pending.irq = true;
                self.needs.irq = true;
            }
            Interrupt::SError => {
                self.pending.serror = true;
                self.needs.serror = true;
            }
        }
        if !taken(self.pending, true, self.place, &self.controls).is_empty() {
            return Err(
                self.wrong("the interrupt would be taken inside this very step: make it pending at L1")
            );
        }
        if hooks.irq == IrqSource::Gic && self.place != self.home {
            return Err(skip(skip::NO_HOOK, "the interrupt comes from the GIC, which only L1 or G reaches"));
        }
        let bits = u64::from(self.pending.irq) | u64::from(self.pending.serror) << 1;
        self.emit(Code::Pend, [bits, 0, 0, 0, 0]);
        Ok(())
    }

    /// Hidden steps after the last one: back to where the program ends.
    fn go_home(&mut self) -> Result<(), CompileError> {
        while self.place != self.home {
            let verb = match self.place {
                Place::L2 | Place::L2b => Verb::Hvc(0),
                _ => Verb::Svc(0),
            };
            self.instruction(&verb)?;
        }
        Ok(())
    }

    /// Adds an effect to the script and lets the oracle follow it.
    fn effect(&mut self, effect: Effect) -> Result<(), CompileError> {
        self.file.apply(&effect, self.machine).map_err(|ambiguous| self.wrong(ambiguous.to_string()))?;
        self.script.push(Item::Effect(effect));
        Ok(())
    }

    /// The place runs now with its controls: what lies above its vector length may be lost.
    fn settle(&mut self) -> Result<(), CompileError> {
        match effective_length(self.place, &self.controls, self.machine) {
            Some(vq) => self.effect(Effect::Narrow(vq)),
            None => Ok(()),
        }
    }

    fn check(&mut self, op: usize, expected: Expected) {
        self.script.push(Item::Check(Box::new(Check {
            op,
            step: self.step,
            line: self.line,
            place: self.place,
            transition: self.transition,
            expected,
        })));
    }

    fn emit(&mut self, code: Code, arg: [u64; 5]) -> usize {
        self.emit_with_data(code, arg, 0, 0, 0)
    }

    fn emit_with_data(&mut self, code: Code, arg: [u64; 5], flags: u8, data: u32, data_len: u32) -> usize {
        self.ops.push(Op {
            code: code as u16,
            place: self.place as u8,
            flags,
            step: u16::try_from(self.step).unwrap_or(u16::MAX),
            reserved: 0,
            arg,
            data,
            data_len,
            pad: 0,
        });
        self.ops.len() - 1
    }

    /// Adds an image to the data area, aligned to a cache line.
    fn add_data(&mut self, bytes: &[u8]) -> Result<(u32, u32), CompileError> {
        let offset = self.data.len().next_multiple_of(64);
        self.data.resize(offset, 0);
        self.data.extend_from_slice(bytes);
        match (u32::try_from(offset), u32::try_from(bytes.len())) {
            (Ok(offset), Ok(len)) => Ok((offset, len)),
            _ => Err(self.wrong("the case needs more than 4 GiB of data")),
        }
    }

    fn wrong(&self, message: impl Into<String>) -> CompileError {
        CompileError::Scenario { line: self.line, message: message.into() }
    }

    fn finish(self, steps: &[Step]) -> Result<Program, CompileError> {
        if self.ops.len() > usize::from(u16::MAX) || steps.len() > usize::from(u16::MAX) {
            return Err(self.wrong(format!("{} operations are more than a program can have", self.ops.len())));
        }
        let note = |step: &Step| StepNote { line: step.line, place: step.place };
        Ok(Program {
            flags: prologue::job_flags(self.guest, self.machine, self.needs),
            irq_source: self.machine.hooks.irq.abi(),
            home: self.home,
            ops: self.ops,
            data: self.data,
            script: self.script,
            relocations: self.relocations,
            needs: self.needs,
            windows: self.windows,
            steps: steps.iter().map(note).collect(),
            machine: self.machine.clone(),
            hole: None,
        })
    }
}

fn skip(code: &'static str, why: impl Into<String>) -> CompileError {
    CompileError::Skip { code, why: why.into() }
}
