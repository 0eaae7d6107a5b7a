//! The doorbell: one page of MMIO that the hypervisor under test traps.
//!
//! The page has no device behind it. Each register is 64 bits wide and is accessed by one `str` or `ldr` of
//! an X register, so that the syndrome is valid (ESR_ELx.ISV). It can be reached from every place, EL0
//! included, and is answered by the outermost hypervisor: inner ones map it through.

/// The intermediate physical address that the bundled targets use: a hole of QEMU's `virt` machine.
pub const ADDRESS: u64 = 0x0db0_0000;
/// Size of the page in bytes.
pub const SIZE: u64 = 0x1000;

/// The doorbell by a call, where the target has that: SMC with this function in W0 (SMCCC, DEN0028: fast, 64 bits, a service of the
/// silicon partner's, which is nobody's here), the register's offset in X1 and the value in X2. What a register reads, else
/// 0, comes back in X0. SMC is UNDEFINED at EL0, and a guest hypervisor may trap that of its guest.
pub const CALL: u32 = 0xc200_0003;

/// Written: the case is over. The value is a [`crate::job::Status`].
pub const END: u64 = 0x00;
/// Written: be disturbed now. The value is a [`Disturbance`].
pub const DISTURB: u64 = 0x08;
/// Written: 1 opens the sweep window, 0 closes it. Only instructions inside a window are sweep points.
pub const WINDOW: u64 = 0x10;
/// Written: start a pass of a sweep: [`Sweep`] in bits 7:0, the point `k` in bits 63:8 (ignored by `step-all`).
pub const SWEEP_BEGIN: u64 = 0x18;
/// Read: end the pass; the value is the number of points that the windows of this pass had (`step-all`,
/// `step-each`), or 1 if the timer fired inside a window and 0 if it did not (`timer`).
pub const SWEEP_END: u64 = 0x20;
/// Written: make interrupts pending for the payload's highest level: bit 0 IRQ, bit 1 SError. Cleared bits
/// are withdrawn. The IRQ is pending until then; the SError is edge-triggered, and over once it is taken.
pub const IRQ: u64 = 0x28;
/// Written: reset this vCPU as at power-on and start it at the image's entry.
pub const RESET: u64 = 0x30;
/// Written: one character for the console.
pub const PUTC: u64 = 0x38;
/// Read: how many disturbances really happened in this case, however they were asked for.
pub const DISTURBED: u64 = 0x40;

/// Read, in jobs with [`crate::job::flag::PATIENT`]: 0 once the disturbance that was asked for last has happened, else for
/// how many rounds to spin before asking anew. The registers are live meanwhile, if nothing traps their use: a host can
/// only be made to preempt a guest that runs.
pub const PENDING: u64 = 0x48;
/// Written: look at this vCPU, or at yourself, now. The value is a [`Check`] in bits 7:0; bits 63:8 are the offset of its
/// image in the program's data, for one that takes an image.
pub const CHECK: u64 = 0x50;
/// Written: be disturbed while the vCPU waits in its next WFI. The value is [`Disturbance::Preempt`] or
/// [`Disturbance::OtherVcpu`]: whoever gets the CPU when a vCPU gives it up.
pub const DISTURB_WAITING: u64 = 0x58;

/// What the hypervisor or the host is made to do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u64)]
pub enum Disturbance {
    /// Every FP register of the machine is overwritten while the guest is out.
    Clobber = 1,
    /// The vCPU is put, a host task with FP state of its own runs, the vCPU is loaded.
    Preempt = 2,
    /// The hypervisor uses SIMD itself inside the exit, without a put.
    HostSimd = 3,
    /// Another guest, with other lengths and traps, runs on the CPU and fills every register.
    OtherVcpu = 4,
    /// The vCPU is moved to another physical CPU and back.
    Migrate = 5,
    /// Every register of the vCPU is read through the hypervisor's interface and written to the vCPU of a new VM, which
    /// goes on in its place.
    SaveRestore = 6,
}

impl Disturbance {
    /// Every disturbance, in the order of its value.
    pub const ALL: [Self; 6] =
        [Self::Clobber, Self::Preempt, Self::HostSimd, Self::OtherVcpu, Self::Migrate, Self::SaveRestore];

    /// The disturbance with this value, if there is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            1 => Some(Self::Clobber),
            2 => Some(Self::Preempt),
            3 => Some(Self::HostSimd),
            4 => Some(Self::OtherVcpu),
            5 => Some(Self::Migrate),
            6 => Some(Self::SaveRestore),
            _ => None,
        }
    }

    /// The name in scenarios and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clobber => "clobber",
            Self::Preempt => "preempt",
            Self::HostSimd => "host-simd",
            Self::OtherVcpu => "other-vcpu",
            Self::Migrate => "migrate",
            Self::SaveRestore => "save-restore",
        }
    }
}

macro_rules! checks {
    ($($(#[$doc:meta])* $variant:ident = $value:literal, $text:literal;)*) => {
        /// What a virtual machine monitor looks at, from outside of its guest. Nothing of it changes anything that the
        /// guest can see, but for [`Self::Write`].
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u64)]
        pub enum Check { $($(#[$doc])* $variant = $value,)* }

        impl Check {
            /// Every check, in the order of its value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The check with this value, if there is one.
            #[must_use]
            pub const fn from_u64(value: u64) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)* _ => None }
            }

            /// The name in scenarios and reports.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
        }
    };
}

checks! {
    /// The list of registers: complete, stable, without doubles, each one readable (rules P-95, P-100).
    RegList = 1, "reg-list";
    /// Each listed register is written with what was read, and reads the same again (rule P-95).
    RoundTrip = 2, "round-trip";
    /// The FP registers read as the guest left them; others that are written read back, up to the guest's largest
    /// vector length and not above; then the guest's are put back (rules P-96, P-98, P-101). Takes an image: what the
    /// guest has.
    Values = 3, "values";
    /// The FP registers are written for the guest to find them (rule P-96). Takes an image: what it is to find.
    Write = 4, "write";
    /// Ids that stand for no register of this vCPU are refused, and ID registers that promise what it has not (rules P-73,
    /// P-97, P-98).
    BadIds = 5, "bad-ids";
    /// The set of vector lengths, before and after it is final, here and in vCPUs of their own (rules P-99, P-100).
    Lengths = 6, "lengths";
    /// Attempts to initialize a vCPU that have to fail, on this one and on new ones (rule P-103).
    Init = 7, "init";
    /// The vCPU's pending events are written with what was read (rule P-102).
    Events = 8, "events";
    /// The monitor enters the guest with ZA, ZT0 and TPIDR2_EL0 of its own (rule P-22).
    HostZa = 9, "host-za";
    /// It does so in streaming mode (rules P-20, P-25).
    HostStreaming = 10, "host-streaming";
    /// Its own vector length is the same after the guest ran (rule P-22).
    HostLength = 11, "host-length";
    /// After the guest ran it uses every register at once, and goes on until it was preempted (rule P-21).
    HostPreempted = 12, "host-preempted";
    /// Another thread of the monitor enters the guest once (rules P-01, P-20).
    HostThread = 13, "host-thread";
    /// A debugger writes its registers before the guest runs and after (rules P-20, P-23).
    HostDebugged = 14, "host-debugged";
    /// After the guest ran it uses every register at once, and goes on until it has handled a signal, whose handler uses them
    /// as well; from now on, the disturbance `preempt` is such a signal (rules P-20, P-21, P-24).
    HostSignal = 15, "host-signal";
    /// Between two runs, the CPU on which they are is taken offline and comes back (rules P-01, P-21).
    CpuOffline = 16, "cpu-offline";
    /// A guest of its own loads and stores a Q register where there is no memory (rules P-01, P-02).
    MmioQ = 17, "mmio-q";
    /// A guest of a protected VM finds no registers of others, and keeps its own (rules P-01, P-08, P-12).
    ProtectedVm = 18, "protected-vm";
    /// A guest of its own makes SMCCC calls that the kernel leaves to the monitor (rules P-01, P-02, P-17).
    Hypercall = 19, "hypercall";
    /// The registers of SME: refused of this vCPU, and of a new one with SME, where KVM has it, as planned (rules P-95 to
    /// P-101).
    Sme = 20, "sme";
    /// Opens the window of the next transition, with live registers, and stops the vCPU before the first instruction of its
    /// target, for a task and other guests to run (rules P-80, P-81, P-83).
    Arrival = 21, "arrival";
    /// From now on to the end of the case, the kernel uses SIMD in softirqs on the vCPU's CPU, whatever that does (rules
    /// P-11, P-83).
    HostSimd = 22, "host-simd";
    /// Before the guest runs and after, the monitor sleeps in a page fault with every register in use, and KVM_RUN in one on
    /// a page that a guest of its own stores its registers to (rules P-01, P-02, P-20, P-21).
    HostFault = 23, "host-fault";
    /// It does so with ZA, ZT0 and TPIDR2_EL0 of its own (rules P-21, P-22).
    HostFaultZa = 24, "host-fault-za";
    /// It does so in streaming mode as well (rules P-21, P-22).
    HostFaultStreaming = 25, "host-fault-streaming";
    /// Before the guest runs and after, the monitor has a signal, with ZA, ZT0 and TPIDR2_EL0 of its own, whose handler uses
    /// them as well (rules P-21, P-22).
    HostSignalZa = 26, "host-signal-za";
    /// It has so in streaming mode as well (rules P-21, P-22).
    HostSignalStreaming = 27, "host-signal-streaming";
    /// A debugger writes its ZA, ZT0 and TPIDR2_EL0 before the guest runs and after (rules P-20, P-22, P-23).
    HostDebuggedZa = 28, "host-debugged-za";
    /// A debugger makes it go on in streaming mode before the guest runs, and in or out of it after (rules P-20, P-22, P-23).
    HostDebuggedStreaming = 29, "host-debugged-streaming";
    /// The next reset is by CPU_ON: the vCPU is stopped, and the second one of its VM turns it on, so that it is reset in the
    /// midst of a KVM_RUN (rules P-13, P-16).
    CpuOn = 30, "cpu-on";
}

/// How preemption points are forced.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u64)]
pub enum Sweep {
    /// No sweep.
    Off = 0,
    /// A world switch after every instruction of the windows.
    StepAll = 1,
    /// One world switch, after the k-th instruction, for all k.
    StepEach = 2,
    /// One world switch at the N-th tick after a window opens, for all N. Needs `-icount`.
    Timer = 3,
}

impl Sweep {
    /// The sweep with this value, if there is one.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            0 => Some(Self::Off),
            1 => Some(Self::StepAll),
            2 => Some(Self::StepEach),
            3 => Some(Self::Timer),
            _ => None,
        }
    }

    /// The name in scenarios, on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::StepAll => "step-all",
            Self::StepEach => "step-each",
            Self::Timer => "timer",
        }
    }
}
