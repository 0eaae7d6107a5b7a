//! What a case needs of a target, derived from its guest and its steps.

use std::fmt::{self, Display, Formatter};

use abi::op::{Auth, Hole, Touch, mask};
use abi::place::Place;
use abi::sysreg::SysReg;

use super::step::{
    Control, ControlReg, Cpu, EretTarget, Expect, GuestSpec, Interrupt, L1Mode, RegSet, Step, Unit, Verb,
};

/// One thing that not every target has.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Need {
    /// A guest with an EL2 of its own.
    El2,
    /// That EL2 with HCR_EL2.E2H = 1.
    Vhe,
    /// That EL2 with HCR_EL2.E2H = 0.
    Nvhe,
    /// A second guest of the same L1.
    SecondL2,
    /// SVE.
    Sve,
    /// Vector lengths that are no powers of two.
    AllLengths,
    /// FEAT_FPMR.
    Fpmr,
    /// ERETAA and ERETAB.
    Pauth,
    /// Somebody who answers the doorbell, to disturb or to reset.
    Doorbell,
    /// A reset of the vCPU.
    Reset,
    /// A source of IRQs.
    Irq,
    /// A source of SErrors.
    SError,
    /// A virtual machine monitor that can be asked for checks.
    Vmm,
}

impl Need {
    /// Every need, in the order in which they print.
    pub const ALL: [Self; 13] = [
        Self::El2,
        Self::Vhe,
        Self::Nvhe,
        Self::SecondL2,
        Self::Sve,
        Self::AllLengths,
        Self::Fpmr,
        Self::Pauth,
        Self::Doorbell,
        Self::Reset,
        Self::Irq,
        Self::SError,
        Self::Vmm,
    ];

    /// The name in lists and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::El2 => "el2",
            Self::Vhe => "vhe",
            Self::Nvhe => "nvhe",
            Self::SecondL2 => "second-l2",
            Self::Sve => "sve",
            Self::AllLengths => "all-lengths",
            Self::Fpmr => "fpmr",
            Self::Pauth => "pauth",
            Self::Doorbell => "doorbell",
            Self::Reset => "reset",
            Self::Irq => "irq",
            Self::SError => "serror",
            Self::Vmm => "vmm",
        }
    }
}

/// A set of [`Need`]s. Prints as their names, in the order of [`Need::ALL`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Needs {
    bits: u16,
}

impl Needs {
    /// What a case with this guest and these steps needs.
    #[must_use]
    pub fn of(guest: &GuestSpec, steps: &[Step]) -> Self {
        let mut needs = Self::default();
        match guest.l1 {
            Some(L1Mode::Vhe) => needs.add(&[Need::El2, Need::Vhe]),
            Some(L1Mode::Nvhe) => needs.add(&[Need::El2, Need::Nvhe]),
            None => {}
        }
        if guest.cpu == Cpu::AllLengths {
            needs.add(&[Need::AllLengths]);
        }
        for step in steps {
            if step.place == Place::L2b {
                needs.add(&[Need::SecondL2]);
            }
            needs.add(of_verb(&step.verb));
        }
        // Without SVE in the guest its instructions are there to be found undefined (rule P-72).
        if !guest.sve {
            needs.bits &= !(1 << Need::Sve as u16);
        }
        needs
    }

    /// Whether `need` is one of them.
    #[must_use]
    pub const fn contains(self, need: Need) -> bool {
        self.bits & (1 << need as u16) != 0
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Need> {
        Need::ALL.into_iter().filter(move |need| self.contains(*need))
    }

    /// Their names, in order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.iter().map(Need::name)
    }

    fn add(&mut self, needs: &[Need]) {
        for need in needs {
            self.bits |= 1 << *need as u16;
        }
    }
}

impl Display for Needs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(" "))
    }
}

fn of_verb(verb: &Verb) -> &'static [Need] {
    match verb {
        Verb::Fill(set) | Verb::Expect(Expect::Registers(set)) => of_registers(*set),
        Verb::Expect(Expect::Control(control)) | Verb::Set { reg: control, .. } => of_control(control),
        Verb::Expect(Expect::Vl) | Verb::Vl(_) | Verb::Trap(Unit::Sve) | Verb::Untrap(Unit::Sve) => {
            &[Need::Sve]
        }
        Verb::Touch(touches) => of_touches(touches),
        // FPMR that is tried may well be undefined, and that may be the point of it.
        Verb::Try(touches) if touches.iter().any(is_sve) => &[Need::Sve],
        Verb::Eret { to: EretTarget::Place(Place::L2b), auth: Auth::None } => &[Need::SecondL2],
        Verb::Eret { to: EretTarget::Place(Place::L2b), .. } => &[Need::SecondL2, Need::Pauth],
        Verb::Eret { auth, .. } if *auth != Auth::None => &[Need::Pauth],
        Verb::Pend(Interrupt::Irq) | Verb::WfiTimer(None) | Verb::Timer(_) => &[Need::Irq],
        Verb::WfiTimer(Some(_)) => &[Need::Doorbell, Need::Irq],
        Verb::Pend(Interrupt::SError) => &[Need::SError],
        Verb::Disturb(Some(_)) => &[Need::Doorbell],
        Verb::Vmm(_) => &[Need::Doorbell, Need::Vmm],
        Verb::Reset => &[Need::Doorbell, Need::Reset],
        Verb::Try(_)
        | Verb::Expect(Expect::Trap { .. })
        | Verb::Trap(Unit::Fp)
        | Verb::Untrap(Unit::Fp)
        | Verb::Churn(_)
        | Verb::Eret { .. }
        | Verb::Hvc(_)
        | Verb::Svc(_)
        | Verb::Smc(_)
        | Verb::Undef
        | Verb::Brk(_)
        | Verb::Abort(Hole::Stage1 | Hole::Stage2)
        | Verb::Map { .. }
        | Verb::Wfi
        | Verb::Wfe
        | Verb::Actlr
        | Verb::Pend(Interrupt::VirtualIrq | Interrupt::VirtualSError)
        | Verb::Unmask
        | Verb::Disturb(None)
        | Verb::Window(_) => &[],
    }
}

const fn of_registers(set: RegSet) -> &'static [Need] {
    let v_only = set.mask & mask::V_ONLY != 0;
    let sve = set.mask & (mask::P | mask::FFR) != 0 || (set.mask & mask::Z != 0 && !v_only);
    match (sve, set.mask & mask::FPMR != 0) {
        (true, true) => &[Need::Sve, Need::Fpmr],
        (true, false) => &[Need::Sve],
        (false, true) => &[Need::Fpmr],
        (false, false) => &[],
    }
}

fn of_control(control: &Control) -> &'static [Need] {
    let (ControlReg::Named(reg) | ControlReg::OfL2(reg)) = control.reg;
    match (reg, control.field.as_deref()) {
        (SysReg::Fpmr, _) | (_, Some("enfpm")) => &[Need::Fpmr],
        (SysReg::ZcrEl1 | SysReg::ZcrEl12 | SysReg::ZcrEl2, _) | (_, Some("zen" | "tz")) => &[Need::Sve],
        _ => &[],
    }
}

fn of_touches(touches: &[Touch]) -> &'static [Need] {
    match (touches.iter().any(is_sve), touches.contains(&Touch::Fpmr)) {
        (true, true) => &[Need::Sve, Need::Fpmr],
        (true, false) => &[Need::Sve],
        (false, true) => &[Need::Fpmr],
        (false, false) => &[],
    }
}

const fn is_sve(touch: &Touch) -> bool {
    matches!(
        touch,
        Touch::Z
            | Touch::P
            | Touch::Ffr
            | Touch::Rdvl
            | Touch::ZcrEl1
            | Touch::ZcrEl1Write
            | Touch::ZcrEl2
            | Touch::ZcrEl2Write
            | Touch::ZcrEl12
            | Touch::LoadZ
            | Touch::LoadFirstFault
            | Touch::SetFfr
    )
}
