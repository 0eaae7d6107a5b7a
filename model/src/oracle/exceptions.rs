//! Where exceptions arrive and what the level reached finds.

use abi::op::Hole;
use abi::place::Place;

use super::controls::{Controls, El, el_of, hcr, under_el2};
use super::syndrome::{Syndrome, ec};
use super::traps::{Trap, own_level};

/// PSTATE and SPSR_ELx bits that a program of the payload sets and the oracle follows.
pub mod pstate {
    /// `M[3:0]` of EL0.
    pub const EL0T: u64 = 0b0000;
    /// `M[3:0]` of EL1 with SP_EL1.
    pub const EL1H: u64 = 0b0101;
    /// `M[3:0]` of EL2 with SP_EL0.
    pub const EL2T: u64 = 0b1000;
    /// `M[3:0]` of EL2 with SP_EL2.
    pub const EL2H: u64 = 0b1001;
    /// `M[3:0]` with the reserved value 0b0001: a mode that does not exist.
    pub const RESERVED: u64 = 0b0001;
    /// `M[4:0]`.
    pub const M: u64 = 0x1f;
    /// F.
    pub const F: u64 = 1 << 6;
    /// I.
    pub const I: u64 = 1 << 7;
    /// A.
    pub const A: u64 = 1 << 8;
    /// D.
    pub const D: u64 = 1 << 9;
    /// D, A, I and F, as every exception sets them.
    pub const DAIF: u64 = D | A | I | F;
    /// IL.
    pub const IL: u64 = 1 << 20;
    /// N, Z, C and V.
    pub const NZCV: u64 = 0xf << 28;
    /// SS, which no program sets: a hypervisor's single step is its own affair.
    pub const SS: u64 = 1 << 21;
    /// PAN. No ERET of a program sets it, nor does an exception with SCTLR_ELx.SPAN = 1.
    pub const PAN: u64 = 1 << 22;
    /// UAO, which an exception clears and no ERET of a program sets.
    pub const UAO: u64 = 1 << 23;
    /// DIT, which an exception leaves and no ERET of a program sets.
    pub const DIT: u64 = 1 << 24;
    /// What is compared of SPSR_ELx. The rest depends on features that no step turns on.
    pub const COMPARED: u64 = NZCV | DIT | UAO | PAN | SS | IL | DAIF | M;
}

/// Why an exception is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// An access was trapped or is UNDEFINED.
    Trap(Trap),
    /// HVC.
    Hvc(u16),
    /// SVC.
    Svc(u16),
    /// SMC, trapped by HCR_EL2.TSC.
    SmcTrapped(u16),
    /// BRK.
    Brk(u16),
    /// A read of a page that a stage does not map; the flag says that it was `ldr x0, [x1]`.
    Abort(Hole, bool),
    /// A write of such a page by an FP instruction.
    AbortWrite(Hole),
    /// WFI, trapped by HCR_EL2.TWI.
    WfiTrapped,
    /// PSTATE.IL was set by an illegal exception return.
    IllegalState,
    /// ERETAA or, with the flag, ERETAB failed to authenticate (FEAT_FPACCOMBINE).
    PacFail(bool),
    /// An interrupt.
    Interrupt(Interrupt),
}

/// An asynchronous exception, with its route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interrupt {
    /// A physical IRQ.
    Irq,
    /// A physical SError.
    SError,
    /// HCR_EL2.VI.
    VirtualIrq,
    /// HCR_EL2.VSE.
    VirtualSError,
}

/// Where the preferred exception return is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Return {
    /// At the instruction that the exception was taken on.
    At,
    /// After it.
    After,
}

/// Where an exception from `place` arrives.
#[must_use]
pub fn destination(cause: Cause, place: Place, controls: &Controls) -> Place {
    match cause {
        Cause::Trap(trap) => trap.to,
        Cause::Hvc(_) | Cause::SmcTrapped(_) | Cause::WfiTrapped => Place::L1,
        Cause::Abort(Hole::Stage2, _) | Cause::AbortWrite(Hole::Stage2) => Place::L1,
        Cause::Svc(_)
        | Cause::Brk(_)
        | Cause::Abort(Hole::Stage1, _)
        | Cause::AbortWrite(Hole::Stage1)
        | Cause::IllegalState
        | Cause::PacFail(_)
        | Cause::Interrupt(Interrupt::VirtualIrq | Interrupt::VirtualSError) => own_level(place),
        Cause::Interrupt(Interrupt::Irq) if routed_to_el2(hcr::IMO, place, controls) => Place::L1,
        Cause::Interrupt(Interrupt::SError) if routed_to_el2(hcr::AMO, place, controls) => Place::L1,
        Cause::Interrupt(_) => own_level(place),
    }
}

fn routed_to_el2(control: u64, place: Place, controls: &Controls) -> bool {
    under_el2(place) && (controls.hcr(control) || controls.hcr(hcr::TGE))
}

/// The offset in the vector table of an exception from `from`, whose PSTATE.SP is `sp`, to `to`.
#[must_use]
pub fn vector(cause: Cause, from: Place, sp: bool, to: Place) -> u64 {
    let base = match (el_of(to) > el_of(from), sp) {
        (true, _) => 0x400,
        (false, true) => 0x200,
        (false, false) => 0x000,
    };
    base + match cause {
        Cause::Interrupt(Interrupt::Irq | Interrupt::VirtualIrq) => 0x080,
        Cause::Interrupt(Interrupt::SError | Interrupt::VirtualSError) => 0x180,
        _ => 0x000,
    }
}

/// ESR_ELx, if the exception writes it.
#[must_use]
pub fn syndrome(cause: Cause, from: Place, to: Place) -> Option<Syndrome> {
    let same = el_of(from) == el_of(to);
    let imm = |ec, imm: u16| Some(Syndrome::new(ec, u64::from(imm)));
    match cause {
        Cause::Trap(trap) => Some(trap.syndrome),
        Cause::Hvc(number) => imm(ec::HVC, number),
        Cause::Svc(number) => imm(ec::SVC, number),
        Cause::SmcTrapped(number) => imm(ec::SMC, number),
        Cause::Brk(number) => imm(ec::BRK, number),
        // ISV is for stage 2 faults of general-purpose loads and stores alone.
        Cause::Abort(Hole::Stage2, true) => Some(Syndrome::data_abort(same, Syndrome::ISV_LDR_X0)),
        Cause::Abort(..) => Some(Syndrome::data_abort(same, 0)),
        Cause::AbortWrite(_) => Some(Syndrome::data_abort(same, Syndrome::WNR)),
        Cause::WfiTrapped => Some(Syndrome::wfx(false)),
        Cause::IllegalState => Some(Syndrome::new(ec::ILLEGAL_STATE, 0)),
        Cause::PacFail(key_b) => Some(Syndrome::new(ec::PAC_FAIL, u64::from(key_b))),
        Cause::Interrupt(Interrupt::Irq | Interrupt::VirtualIrq) => None,
        Cause::Interrupt(Interrupt::SError | Interrupt::VirtualSError) => Some(Syndrome::serror()),
    }
}

/// Other values of ESR_ELx that a quirk of the machine accepts.
#[must_use]
pub const fn accepted_syndromes(cause: Cause) -> [Option<Syndrome>; 2] {
    match cause {
        Cause::Trap(trap) => trap.also,
        _ => [None; 2],
    }
}

/// The preferred exception return of a synchronous exception (rule P-71): a trapped instruction was not executed;
/// HVC and SVC were. A trapped SMC was not.
#[must_use]
pub const fn preferred_return(cause: Cause) -> Return {
    match cause {
        Cause::Hvc(_) | Cause::Svc(_) => Return::After,
        _ => Return::At,
    }
}

/// What is pending from outside.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pending {
    /// A physical IRQ.
    pub irq: bool,
    /// A physical SError.
    pub serror: bool,
}

/// The interrupts that are taken before the next instruction at `place`, where PSTATE.{A,I} are set as `masked`
/// says (`PendingUnmaskedPhysicalInterrupts` and `PendingUnmaskedVirtualInterrupts` of the manual).
#[must_use]
pub fn taken(pending: Pending, masked: bool, place: Place, controls: &Controls) -> Vec<Interrupt> {
    let mut taken = Vec::new();
    for (interrupt, pending, control) in
        [(Interrupt::Irq, pending.irq, hcr::IMO), (Interrupt::SError, pending.serror, hcr::AMO)]
    {
        if pending && physical_unmasked(masked, control, place, controls) {
            taken.push(interrupt);
        }
    }
    let below = under_el2(place) && el_of(place) != El::El2 && !controls.hcr(hcr::TGE);
    for (interrupt, pending, control) in
        [(Interrupt::VirtualIrq, hcr::VI, hcr::IMO), (Interrupt::VirtualSError, hcr::VSE, hcr::AMO)]
    {
        if below && !masked && controls.hcr(pending | control) {
            taken.push(interrupt);
        }
    }
    taken
}

fn physical_unmasked(masked: bool, control: u64, place: Place, controls: &Controls) -> bool {
    if !under_el2(place) {
        return !masked;
    }
    let tge = controls.hcr(hcr::TGE);
    match el_of(place) {
        // At EL2 with TGE = 0, what is not routed to EL2 stays pending.
        El::El2 => !masked && (tge || controls.hcr(control) || is_one_at_el2(control, controls)),
        // With {E2H, TGE} = {1, 1} nothing overrides the mask; TGE = 1 without E2H is no place of ours.
        _ if tge => !masked,
        // What is routed to EL2 from below cannot be masked there.
        _ => !masked || controls.hcr(control),
    }
}

/// Whether this route to EL2 is open at EL2 itself, whatever HCR_EL2 says: an implementation's choice for AMO.
const fn is_one_at_el2(control: u64, controls: &Controls) -> bool {
    control == hcr::AMO && controls.e2h() && controls.amo_is_one_at_vhe_el2
}

/// Whether something is pending that ends or prevents the wait of a WFI at `place`, masked or not.
#[must_use]
pub fn wakes(pending: Pending, place: Place, controls: &Controls) -> bool {
    !taken(pending, false, place, controls).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Machine, QemuCpu};
    use crate::scenario::step::{Cpu, GuestSpec, L1Mode};

    fn controls(bits: u64) -> Controls {
        let cpu = QemuCpu { cpu: Cpu::Max, sve: true, vl_max: 512, sme: false, fpmr: true, poe: false };
        let guest = GuestSpec { l1: Some(L1Mode::Vhe), ..GuestSpec::default() };
        let mut controls = Controls::new(&Machine::reference(&cpu, &guest).unwrap());
        controls.el2.hcr = controls.el2.hcr.written(bits, bits);
        controls
    }

    #[test]
    fn a_pending_irq_is_taken_before_the_first_instruction_of_l2() {
        let pending = Pending { irq: true, serror: false };
        let routed = controls(hcr::IMO | hcr::AMO);
        assert_eq!(taken(pending, true, Place::L2, &routed), [Interrupt::Irq]);
        assert_eq!(taken(pending, true, Place::L1, &routed), []);
        assert_eq!(taken(pending, false, Place::L1, &routed), [Interrupt::Irq]);
        assert_eq!(taken(pending, true, Place::L2, &controls(0)), []);
        assert_eq!(taken(pending, false, Place::L1, &controls(0)), []);
        assert_eq!(taken(pending, true, Place::L1El0, &controls(hcr::TGE | hcr::IMO)), []);
        let cause = Cause::Interrupt(Interrupt::Irq);
        assert_eq!(destination(cause, Place::L2, &routed), Place::L1);
        assert_eq!(destination(cause, Place::L2, &controls(0)), Place::L2);
        assert_eq!(vector(cause, Place::L2, true, Place::L1), 0x480);
    }

    #[test]
    fn amo_of_a_vhe_el2_is_the_implementations_choice_at_el2_alone() {
        let pending = Pending { irq: true, serror: true };
        let mut controls = controls(0);
        assert_eq!(taken(pending, false, Place::L1, &controls), []);
        controls.amo_is_one_at_vhe_el2 = true;
        assert_eq!(taken(pending, false, Place::L1, &controls), [Interrupt::SError]);
        assert_eq!(taken(pending, true, Place::L1, &controls), []);
        assert_eq!(taken(pending, true, Place::L2, &controls), []);
        controls.l1 = Some(L1Mode::Nvhe);
        assert_eq!(taken(pending, false, Place::L1, &controls), []);
    }

    #[test]
    fn a_virtual_interrupt_needs_its_route_and_its_mask_open() {
        let on = controls(hcr::VI | hcr::IMO);
        assert_eq!(taken(Pending::default(), false, Place::L2, &on), [Interrupt::VirtualIrq]);
        assert_eq!(taken(Pending::default(), true, Place::L2, &on), []);
        assert_eq!(taken(Pending::default(), false, Place::L1, &on), []);
        assert_eq!(taken(Pending::default(), false, Place::L2, &controls(hcr::VI)), []);
        let cause = Cause::Interrupt(Interrupt::VirtualSError);
        assert_eq!(destination(cause, Place::L2El0, &on), Place::L2);
        assert_eq!(vector(cause, Place::L2, true, Place::L2), 0x380);
    }

    #[test]
    fn vectors_and_destinations() {
        let none = controls(0);
        for (cause, from, to, offset) in [
            (Cause::Hvc(0), Place::L2, Place::L1, 0x400),
            (Cause::Hvc(0), Place::L1, Place::L1, 0x200),
            (Cause::Svc(0), Place::L2El0, Place::L2, 0x400),
            (Cause::Svc(0), Place::L1El0, Place::L1, 0x400),
            (Cause::Svc(0), Place::L1, Place::L1, 0x200),
            (Cause::Abort(Hole::Stage1, true), Place::L2El0, Place::L2, 0x400),
            (Cause::Abort(Hole::Stage2, true), Place::L2El0, Place::L1, 0x400),
            (Cause::Brk(0), Place::GEl0, Place::G, 0x400),
        ] {
            assert_eq!(destination(cause, from, &none), to);
            assert_eq!(vector(cause, from, true, to), offset);
        }
        assert_eq!(vector(Cause::Svc(0), Place::L1, false, Place::L1), 0);
    }
}
