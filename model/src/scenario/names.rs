//! The words of the language for values that have no name in `abi`.
//!
//! Parser and printer use the same tables.

use abi::doorbell::{Check, Disturbance, Sweep};
use abi::op::{Auth, Hole, Idle};

use super::step::{Call, Cpu, Interrupt, L1Mode, Unit};

/// Names and what they stand for.
pub(super) type Table<T> = [(&'static str, T)];

/// HCR_EL2.E2H of L1.
pub(super) const L1_MODES: &Table<L1Mode> = &[("vhe", L1Mode::Vhe), ("nvhe", L1Mode::Nvhe)];
/// CPU configurations.
pub(super) const CPUS: &Table<Cpu> = &[("max", Cpu::Max), ("all-lengths", Cpu::AllLengths)];
/// Kinds of sweep that a scenario can ask for.
pub(super) const SWEEPS: &Table<Sweep> = &[
    (Sweep::StepAll.name(), Sweep::StepAll),
    (Sweep::StepEach.name(), Sweep::StepEach),
    (Sweep::Timer.name(), Sweep::Timer),
];
/// Disturbances, and none.
pub(super) const DISTURBANCES: &Table<Option<Disturbance>> = &[
    ("none", None),
    (Disturbance::Clobber.name(), Some(Disturbance::Clobber)),
    (Disturbance::Preempt.name(), Some(Disturbance::Preempt)),
    (Disturbance::HostSimd.name(), Some(Disturbance::HostSimd)),
    (Disturbance::OtherVcpu.name(), Some(Disturbance::OtherVcpu)),
    (Disturbance::Migrate.name(), Some(Disturbance::Migrate)),
    (Disturbance::SaveRestore.name(), Some(Disturbance::SaveRestore)),
];
/// What ends a WFI that waits.
pub(super) const TIMER: &str = "timer";
/// How to wait for the timer's interrupt.
pub(super) const IDLES: &Table<Idle> = &[("spin", Idle::Spin), ("wfi", Idle::Wfi)];
/// What a virtual machine monitor can be asked for.
pub(super) const CHECKS: &Table<Check> = &[
    (Check::RegList.name(), Check::RegList),
    (Check::RoundTrip.name(), Check::RoundTrip),
    (Check::Values.name(), Check::Values),
    (Check::Write.name(), Check::Write),
    (Check::BadIds.name(), Check::BadIds),
    (Check::Lengths.name(), Check::Lengths),
    (Check::Init.name(), Check::Init),
    (Check::Events.name(), Check::Events),
    (Check::HostZa.name(), Check::HostZa),
    (Check::HostStreaming.name(), Check::HostStreaming),
    (Check::HostLength.name(), Check::HostLength),
    (Check::HostPreempted.name(), Check::HostPreempted),
    (Check::HostThread.name(), Check::HostThread),
    (Check::HostDebugged.name(), Check::HostDebugged),
    (Check::HostSignal.name(), Check::HostSignal),
    (Check::CpuOffline.name(), Check::CpuOffline),
    (Check::MmioQ.name(), Check::MmioQ),
    (Check::ProtectedVm.name(), Check::ProtectedVm),
    (Check::Hypercall.name(), Check::Hypercall),
    (Check::Sme.name(), Check::Sme),
    (Check::Arrival.name(), Check::Arrival),
    (Check::HostSimd.name(), Check::HostSimd),
    (Check::HostFault.name(), Check::HostFault),
    (Check::HostFaultZa.name(), Check::HostFaultZa),
    (Check::HostFaultStreaming.name(), Check::HostFaultStreaming),
    (Check::HostSignalZa.name(), Check::HostSignalZa),
    (Check::HostSignalStreaming.name(), Check::HostSignalStreaming),
    (Check::HostDebuggedZa.name(), Check::HostDebuggedZa),
    (Check::HostDebuggedStreaming.name(), Check::HostDebuggedStreaming),
    (Check::CpuOn.name(), Check::CpuOn),
];
/// Authentication of an ERET.
pub(super) const AUTHS: &Table<Auth> = &[
    ("plain", Auth::None),
    ("aa", Auth::Aa),
    ("ab", Auth::Ab),
    ("aa-bad", Auth::AaFailing),
    ("ab-bad", Auth::AbFailing),
];
/// Pages that can be unmapped.
pub(super) const HOLES: &Table<Hole> = &[("stage1", Hole::Stage1), ("stage2", Hole::Stage2)];
/// Asynchronous exceptions.
pub(super) const INTERRUPTS: &Table<Interrupt> = &[
    ("irq", Interrupt::Irq),
    ("serror", Interrupt::SError),
    ("virq", Interrupt::VirtualIrq),
    ("vserror", Interrupt::VirtualSError),
];
/// Calls of firmware; one that is not named is PSCI_VERSION.
pub(super) const CALLS: &Table<Call> = &[("cpu-suspend", Call::CpuSuspend)];
/// Units that can be trapped.
pub(super) const UNITS: &Table<Unit> = &[("fp", Unit::Fp), ("sve", Unit::Sve)];
/// States of an explicit window.
pub(super) const SWITCH: &Table<bool> = &[("on", true), ("off", false)];

/// What `name` stands for.
pub(super) fn find<T: Copy>(table: &Table<T>, name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// The name of `value`; every table names every value of its type that a scenario can hold.
pub(super) fn name_of<T: PartialEq>(table: &Table<T>, value: &T) -> &'static str {
    table.iter().find(|(_, known)| known == value).map_or("?", |(name, _)| *name)
}

/// All names, for messages.
pub(super) fn all<T>(table: &'static Table<T>) -> impl Iterator<Item = &'static str> + Clone {
    table.iter().map(|(name, _)| *name)
}
