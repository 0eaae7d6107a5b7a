//! What a step says, after parsing and after the matrix has been filled in.

use abi::doorbell::{Check, Disturbance, Sweep};
use abi::op::{Auth, Hole, Idle, Touch};
use abi::place::Place;
use abi::sysreg::SysReg;

/// One line of a scenario.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Where it runs.
    pub place: Place,
    /// What it does.
    pub verb: Verb,
    /// Its line in the scenario file, counted from 1.
    pub line: u32,
}

/// What a step does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verb {
    /// Fills registers with patterns of a new generation.
    Fill(RegSet),
    /// Compares registers with what the architecture lets them be.
    Expect(Expect),
    /// Writes a control register, or a field of one.
    Set {
        /// The register as named at this place.
        reg: Control,
        /// The new value of the field, or of the register.
        value: u64,
    },
    /// Sets LEN of this level's own ZCR so that the vector length becomes this.
    Vl(Length),
    /// Traps a unit at the levels below, and nothing else: this level's own accesses stay open where the
    /// architecture has a setting for that (L1: CPTR_EL2 trapped for L2 means for L1 as well, since
    /// CPTR_EL2 has no such setting with TGE = 0).
    Trap(Unit),
    /// Opens a unit that [`Verb::Trap`] closed.
    Untrap(Unit),
    /// Runs instructions that must not trap.
    Touch(Vec<Touch>),
    /// Runs instructions that may trap; one that does is skipped by whoever gets the trap.
    Try(Vec<Touch>),
    /// Runs rounds of the vector computation of [`abi::op::churn`].
    Churn(u32),
    /// Returns from an exception.
    Eret {
        /// Where to.
        to: EretTarget,
        /// With which authentication.
        auth: Auth,
    },
    /// HVC with an immediate.
    Hvc(u16),
    /// SVC with an immediate.
    Svc(u16),
    /// SMC: a call of firmware.
    Smc(Call),
    /// An undefined instruction.
    Undef,
    /// BRK with an immediate.
    Brk(u16),
    /// A load from a page that the stage does not map.
    Abort(Hole),
    /// Unmaps a hole page (`unmap`) or maps it again (`map`).
    Map {
        /// Of which stage.
        hole: Hole,
        /// Mapped from now on.
        on: bool,
    },
    /// WFI with something pending: it does not wait.
    Wfi,
    /// WFI that waits for the virtual timer, which is set right before it. Its IRQ is pending afterwards. Meanwhile
    /// others get the CPU, if a disturbance is named.
    WfiTimer(Option<Disturbance>),
    /// Sets the virtual timer and waits for its IRQ, which is taken from the wait: an exit of the guest at an instruction
    /// that asked for none, with whatever it has in its registers.
    Timer(Idle),
    /// WFE.
    Wfe,
    /// A read of ACTLR_EL1, the system register that HCR_EL2.TACR traps.
    Actlr,
    /// Makes an IRQ or an SError pending for the highest level of the payload.
    Pend(Interrupt),
    /// Unmasks interrupts for one instruction: what is pending for this place is taken here.
    Unmask,
    /// Asks to be disturbed; `None` (the value `none` of a matrix) does nothing.
    Disturb(Option<Disturbance>),
    /// Asks the virtual machine monitor for a check.
    Vmm(Check),
    /// Resets the vCPU.
    Reset,
    /// Opens (`sweep on`) or closes (`sweep off`) an explicit sweep window.
    Window(bool),
}

/// What an SMC asks of firmware.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// PSCI_VERSION, by an SMC with this immediate: any firmware answers it, and it changes nothing.
    Version(u16),
    /// PSCI CPU_SUSPEND to a standby state: returns to the next instruction when the CPU wakes up.
    CpuSuspend,
}

/// A set of FP registers, written as `z`, `v0-7`, `p3`, `ffr`, `fpsr`, `all`.
///
/// Bits as in [`abi::op::mask`]; [`abi::op::mask::V_ONLY`] says that the author wrote `v`.
/// `all` stands for everything that the place has: it is resolved when the case is compiled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RegSet {
    /// Bits of [`abi::op::mask`].
    pub mask: u64,
    /// The author wrote `all`.
    pub all: bool,
}

/// What an `expect` compares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expect {
    /// FP registers.
    Registers(RegSet),
    /// A control register.
    Control(Control),
    /// The vector length, read by RDVL.
    Vl,
    /// The exception that brought the cursor here: an assertion on the scenario itself, checked against the
    /// model before the run. The run checks the syndrome anyway.
    Trap {
        /// ESR_ELx.EC.
        ec: u8,
    },
}

/// A control register, or one field of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Control {
    /// The register.
    pub reg: ControlReg,
    /// The field, by the Arm ARM's name in lower case (`fpen`, `zen`, `tcpac`, `len`, …); none for the whole.
    pub field: Option<String>,
}

/// Which control register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ControlReg {
    /// Through the accessor of this name at this place.
    Named(SysReg),
    /// The register of L2, from L1, by whatever accessor L1 has for it: `l2.zcr_el1` is ZCR_EL12 at a VHE L1
    /// and ZCR_EL1 at an nVHE one. Only CPACR_EL1, ZCR_EL1 and SCTLR_EL1.
    OfL2(SysReg),
}

/// A vector length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Length {
    /// 128 bits.
    Min,
    /// The middle one of the lengths that the guest has.
    Mid,
    /// The guest's largest.
    Max,
    /// This many bits.
    Bits(u32),
}

/// What [`Verb::Trap`] closes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// FP and AdvSIMD, and with them SVE (FPEN, TFP).
    Fp,
    /// SVE (ZEN, TZ).
    Sve,
}

/// Where an ERET goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EretTarget {
    /// The entry of a place.
    Place(Place),
    /// L1 itself with SP_EL0: EL2t.
    L1t,
    /// The instruction that the last exception to this level was taken from, or the one after it, by its
    /// preferred return address.
    Back,
    /// The instruction after the one that the last exception was taken from.
    Skip,
    /// A mode that does not exist: an illegal exception return.
    Illegal,
}

/// An asynchronous exception.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interrupt {
    /// A physical (or, under a hypervisor, virtual) IRQ for the highest level.
    Irq,
    /// An SError for the highest level.
    SError,
    /// HCR_EL2.VI, set by L1 for L2.
    VirtualIrq,
    /// HCR_EL2.VSE, set by L1 for L2.
    VirtualSError,
}

/// The guest that a case asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GuestSpec {
    /// How L1 runs; `None` for a plain guest.
    pub l1: Option<L1Mode>,
    /// The CPU that it asks for.
    pub cpu: Cpu,
    /// Whether the guest has SVE.
    pub sve: bool,
    /// The guest's largest vector length in bits (128 without SVE).
    pub vl_max: u32,
    /// Whether the guest has FPMR where the CPU has it.
    pub fpmr: bool,
    /// Stage 1 on at every level.
    pub mmu: bool,
    /// L1 runs L2 under a stage 2 of its own.
    pub stage2: bool,
    /// The program starts without the prologue that opens FP and SVE and raises ZCR: for first-use cases.
    pub cold: bool,
}

/// A plain guest that asks for nothing: what a scenario without an L1 and without `[machine]` gets.
impl Default for GuestSpec {
    fn default() -> Self {
        Self {
            l1: None,
            cpu: Cpu::Max,
            sve: true,
            vl_max: 512,
            fpmr: true,
            mmu: true,
            stage2: false,
            cold: false,
        }
    }
}

/// HCR_EL2.E2H of L1.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum L1Mode {
    /// E2H = 1.
    Vhe,
    /// E2H = 0.
    Nvhe,
}

/// A CPU configuration of the machine under everything.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cpu {
    /// All features; vector lengths are the powers of two up to 2048 bits, as the current manual has it.
    Max,
    /// All features; vector lengths are all multiples of 128 bits (a stress case outside the profiles).
    AllLengths,
}

/// How a scenario wants to be swept by default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SweepSpec {
    /// The kind.
    pub kind: Sweep,
    /// What happens at each point.
    pub disturbance: Disturbance,
}
