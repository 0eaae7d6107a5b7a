//! The reference hypervisor's side of one case: what it is to be, and what it counted.
//!
//! The hypervisor's image holds one [`HypJob`] at the symbol [`SYMBOL`]. The harness writes the first part
//! before each case and reads the second part at any time: both lie in guest RAM that it maps.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The linker symbol of the [`HypJob`] in the hypervisor's ELF.
pub const SYMBOL: &str = "HYP_JOB";
/// [`HypJob::magic`]: "HOLDHYP1".
pub const MAGIC: u64 = 0x3150_5948_444c_4f48;
/// Events that the trace keeps; older ones are overwritten. A power of two.
pub const TRACE_LEN: usize = 512;

/// The argument of [`End::Payload`] when an inner hypervisor ended the case: its own job tells why.
pub const INNER_ENDED: u64 = 0xbad0_0100;

/// Configuration, counters and trace of one hypervisor for one case.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct HypJob {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`].
    pub version: u64,
    /// Bits of [`flag`].
    pub flags: u64,
    /// Address of the image that runs above: its first instruction is its entry.
    pub guest_entry: u64,
    /// First address of the guest's memory; a multiple of 2 MiB.
    pub guest_base: u64,
    /// Bytes of the guest's memory, a multiple of 2 MiB.
    pub guest_size: u64,
    /// Bytes at `guest_base` that the guest may execute but not write, a multiple of 4 KiB.
    pub guest_text_size: u64,
    /// The largest vector length that the guest may have, in units of 128 bits (1 to 16); 0 for no SVE.
    pub vq_max: u64,
    /// A [`Restore`].
    pub restore: u64,
    /// A [`Nested`].
    pub nested: u64,
    /// An [`Upper`].
    pub upper: u64,
    /// The number of the [`crate::fault::Fault`] to commit, 0 for none.
    pub fault: u64,
    /// Ticks of CNTPCT after which the case is ended as [`End::Budget`].
    pub budget_ticks: u64,
    /// Ticks of CNTPCT between preemptions by the timer, 0 for none.
    pub preempt_ticks: u64,
    /// The [`crate::doorbell::Disturbance`] that a sweep commits at each point.
    pub sweep_disturbance: u64,
    /// Zero.
    pub reserved: u64,

    // The rest is written by the hypervisor.
    /// An [`End`], written last. 0 while the case runs.
    pub end: u64,
    /// By kind of end: the payload's status, or the syndrome of the exit.
    pub end_arg: u64,
    /// Where the guest was when the case ended: PC, PSTATE, FAR, HPFAR.
    pub end_at: [u64; 4],
    /// How often the faulty line of the committed fault ran.
    pub fault_reached: u64,
    /// Disturbances that happened.
    pub disturbed: u64,
    /// Bit `n % 64` of word `n / 64`: the line of the [`crate::fault::Fault`] with number `n` ran, whether or not
    /// the case committed it. Builds without faults leave it zero.
    pub fault_lines: [u64; 2],
    /// The first harm that a neighbor found.
    pub harm: Harm,
    /// What was counted.
    pub counters: Counters,
    /// Events written since the case began; the last [`TRACE_LEN`] of them are in `trace`.
    pub trace_head: u64,
    /// A ring indexed by event number modulo [`TRACE_LEN`].
    pub trace: [TraceEvent; TRACE_LEN],
}

/// Bits of [`HypJob::flags`].
pub mod flag {
    /// The guest has an EL2 of its own (FEAT_NV2).
    pub const EL2: u64 = 1;
    /// The guest's EL2 has HCR_EL2.E2H = 1, and cannot clear it; else 0, and cannot set it.
    pub const VHE: u64 = 2;
    /// This hypervisor is the outermost one: it owns GIC, timer and single step, answers the doorbell and
    /// talks to the harness.
    pub const OUTERMOST: u64 = 4;
    /// Overwrite registers whenever they are marked free.
    pub const POISON: u64 = 8;
    /// Write the trace.
    pub const TRACE: u64 = 16;
    /// The guest may use FPMR.
    pub const FPMR: u64 = 32;
    /// Map guest pages into stage 2 only when they are touched.
    pub const DEMAND_MAP: u64 = 64;
    /// The next image up is another reference hypervisor.
    pub const RECURSES: u64 = 128;
    /// Write a trace event also for each single step.
    pub const TRACE_STEPS: u64 = 256;
    /// The doorbell is rung by [`crate::doorbell::CALL`] as well.
    pub const CALLS: u64 = 512;
}

macro_rules! switch {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u64)]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The variant with this value, if there is one.
            #[must_use]
            pub const fn from_u64(value: u64) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)* _ => None }
            }
            /// The name on the command line and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
        }
    };
}

switch! {
    /// When the guest's FP state is put into the registers.
    Restore {
        /// At each vCPU load.
        Eager = 0, "eager";
        /// At the first trapped use after a load.
        Lazy = 1, "lazy";
    }
}

switch! {
    /// What happens to live FP state on an emulated ERET or exception between L1 and L2.
    Nested {
        /// Saved, unbound and trapped again, as any other put and load.
        PutLoad = 0, "put-load";
        /// Left in the registers; only traps and lengths change.
        Elide = 1, "elide";
    }
}

switch! {
    /// What becomes of register bits above the vector length of a level passed through (rule P-55).
    Upper {
        /// Whatever the CPU does.
        Cpu = 0, "cpu";
        /// The value that they had.
        Keep = 1, "keep";
        /// Zero.
        Zero = 2, "zero";
        /// For each register one or the other.
        Random = 3, "random";
    }
}

switch! {
    /// Why a case ended. Where the argument is ESR_EL2, a monitor that runs the guest by KVM has what KVM_RUN gave instead:
    /// an `errno`, negative, or a reason to exit (the harness's `kvm::exit`).
    End {
        /// The payload said so; the argument is its [`crate::job::Status`].
        Payload = 1, "payload";
        /// The budget ran out.
        Budget = 2, "budget";
        /// An exit that the hypervisor does not know; the argument is ESR_EL2.
        UnknownExit = 3, "unknown exit";
        /// An access outside the guest's memory; the argument is ESR_EL2.
        WildAccess = 4, "wild access";
        /// The guest waits for an interrupt that cannot come.
        Idle = 5, "idle";
        /// The job makes no sense to the hypervisor.
        BadJob = 6, "bad job";
        /// The hypervisor met an exception or a panic of its own; the argument is ESR_EL2 or 0.
        Broken = 7, "hypervisor broken";
    }
}

/// What the host task or the other guest found changed in its own registers.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Harm {
    /// The [`crate::pattern::Owner`] who found it; 0 if nobody did.
    pub neighbor: u64,
    /// The number of the disturbance at which it was found, from 1.
    pub disturbance: u64,
    /// Every register that differs, as bits of [`crate::op::mask`].
    pub registers: u64,
    /// The length of the first of them in bytes.
    pub len: u64,
    /// What the neighbor had left in that one.
    pub expected: [u8; crate::VL_BYTES_MAX],
    /// What it found there.
    pub found: [u8; crate::VL_BYTES_MAX],
}

impl Harm {
    /// Nobody found anything.
    pub const NONE: Self = Self {
        neighbor: 0,
        disturbance: 0,
        registers: 0,
        len: 0,
        expected: [0; crate::VL_BYTES_MAX],
        found: [0; crate::VL_BYTES_MAX],
    };
}

/// Exact counts of one case.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Counters {
    /// Synchronous exits by exception class (ESR_EL2.EC).
    pub exits: [u64; 64],
    /// Exits by IRQ.
    pub irqs: u64,
    /// FP states saved to memory.
    pub fp_saves: u64,
    /// FP states loaded from memory.
    pub fp_loads: u64,
    /// vCPU puts.
    pub puts: u64,
    /// vCPU loads.
    pub loads: u64,
    /// ERETs of the guest's EL2 emulated.
    pub nested_erets: u64,
    /// Exceptions to the guest's EL2 emulated.
    pub nested_exceptions: u64,
    /// Exceptions to the guest's EL1 (or its virtual EL2, from there) emulated.
    pub injected: u64,
    /// System register accesses emulated.
    pub sysregs: u64,
    /// Stage 2 entries made on a fault, shadow ones included.
    pub stage2_fills: u64,
    /// Single steps taken.
    pub steps: u64,
    /// Sweep points: world switches forced inside a window.
    pub sweep_points: u64,
    /// Of these, with guest FP state live in the registers.
    pub sweep_points_live: u64,
    /// Doorbell accesses.
    pub doorbells: u64,
    /// Preemptions by the timer.
    pub preemptions: u64,
    /// How often the host task or the other guest found its own registers changed.
    pub neighbors_harmed: u64,
}

/// One event of the trace.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct TraceEvent {
    /// An [`Event`].
    pub event: u32,
    /// Bits of [`context`].
    pub context: u32,
    /// The guest's PC.
    pub pc: u64,
    /// By event.
    pub arg: [u64; 2],
}

/// Bits of [`TraceEvent::context`]: the state as the event was recorded, which is after the change that it tells of.
pub mod context {
    /// The guest was in its virtual EL2 (else in its EL1 or EL0).
    pub const VEL2: u32 = 1;
    /// The guest's FP state was live in the registers.
    pub const FP_LIVE: u32 = 2;
    /// Bits 7:4: `PSTATE.M[3:0]` of the guest.
    pub const MODE_SHIFT: u32 = 4;
    /// Bits 31:8: where in the hypervisor the event was written: the offset of the instruction in its image,
    /// in units of 4 bytes; 0 if it does not tell.
    pub const SITE_SHIFT: u32 = 8;
}

switch! {
    /// What a trace event tells.
    Event {
        /// A synchronous exit: ESR_EL2, FAR_EL2.
        Exit = 1, "exit";
        /// An exit by IRQ: the interrupt's number.
        Irq = 2, "irq";
        /// An emulated ERET: SPSR_EL2, ELR_EL2 of the guest.
        NestedEret = 3, "nested-eret";
        /// An emulated exception to the guest's EL2: its ESR_EL2, the new PC.
        NestedException = 4, "nested-exception";
        /// An exception injected into the guest's EL1, or from virtual EL2 into itself: its ESR, the new PC.
        Inject = 5, "inject";
        /// FP state saved: vector length in bytes.
        FpSave = 6, "fp-save";
        /// FP state loaded: vector length in bytes.
        FpLoad = 7, "fp-load";
        /// Traps programmed for an entry: CPTR_EL2, ZCR_EL2.
        Traps = 8, "traps";
        /// A vCPU put.
        Put = 9, "put";
        /// A vCPU load.
        Load = 10, "load";
        /// A disturbance: its number.
        Disturb = 11, "disturb";
        /// A sweep point: its number.
        Point = 12, "point";
        /// A doorbell access: register offset, value.
        Doorbell = 13, "doorbell";
        /// A system register emulated: its encoding as in ISS, the value.
        Sysreg = 14, "sysreg";
        /// A stage 2 entry made: IPA, descriptor.
        Stage2 = 15, "stage2";
        /// The fault's line ran: its number.
        Fault = 16, "fault";
        /// The case ended: an [`End`], its argument.
        End = 17, "end";
        /// The vCPU was reset.
        Reset = 18, "reset";
    }
}
