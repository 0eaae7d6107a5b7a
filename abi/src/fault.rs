//! The named bugs that the reference hypervisor can commit.
//!
//! Each is taken from a published one (`origin` is the catalogue's entry, or the commit that mends it) and does what that bug did. One
//! row here, one `fault!` at the line in the hypervisor: nothing else names a fault.

macro_rules! faults {
    ($($variant:ident = $id:literal, $name:literal, $origin:literal, [$($rule:literal),*], $what:literal;)*) => {
        /// A fault of the reference hypervisor.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u16)]
        pub enum Fault {
            $(#[doc = $what] $variant = $id,)*
        }

        impl Fault {
            /// Every fault, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The fault with this number, if there is one.
            #[must_use]
            pub const fn from_u64(value: u64) -> Option<Self> {
                match value { $($id => Some(Self::$variant),)* _ => None }
            }
            /// The name, as in the catalogue.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The catalogued bug or bugs it repeats, or the commit that mends it.
            #[must_use]
            pub const fn origin(self) -> &'static str { match self { $(Self::$variant => $origin,)* } }
            /// The rules it breaks.
            #[must_use]
            pub const fn rules(self) -> &'static [&'static str] { match self { $(Self::$variant => &[$($rule),*],)* } }
            /// What the hypervisor does wrong, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str { match self { $(Self::$variant => $what,)* } }
        }
    };
}

faults! {
    NvFlagSticky = 1, "nv-flag-sticky", "NV-00", ["P-83", "P-08"],
        "The mark of a nested transition is never cleared, so the next real put skips the save.";
    NvStaleOwner = 2, "nv-stale-owner", "NV-00", ["P-80", "P-83"],
        "SIMD used by the hypervisor inside the nested switch does not take the registers from their owner.";
    NvReloadOld = 3, "nv-reload-old", "NV-00", ["P-80"],
        "A nested exception reloads the registers from the memory image and loses the live values.";
    NvPreemptWindow = 4, "nv-preempt-window", "NV-00", ["P-83"],
        "A preemption inside the nested switch: its put is elided, so the registers are lost.";
    NvZcrUncapped = 5, "nv-zcr-uncapped", "NV-01", ["P-51", "P-86"],
        "L1's ZCR_EL2.LEN goes to the CPU without the vCPU's own maximum.";
    NvZcrClampStore = 6, "nv-zcr-clamp-store", "NV-01", ["P-54"],
        "A write of ZCR_EL2 stores the smaller of LEN and the vCPU's maximum, so that it does not read back.";
    NvZcrWriteAssert = 7, "nv-zcr-write-assert", "NV-02", ["P-26", "P-54"],
        "A LEN above the one in force is held to be impossible, and the hypervisor dies of it.";
    NvZcrMapped = 8, "nv-zcr-mapped", "NV-03", ["P-87"],
        "A read of ZCR_EL2 is answered from the CPU's ZCR_EL1 after another vCPU had the CPU.";
    NvZcrSkipInsn = 9, "nv-zcr-skip-insn", "NV-04", ["P-71"],
        "PC is advanced although the access to ZCR_EL2 is answered by an exception.";
    NvSaveSmallVl = 10, "nv-save-small-vl", "NV-05", ["P-02", "P-55"],
        "State is saved at the vector length that L1 chose for L2.";
    NvIgnoreL1Zcr = 11, "nv-ignore-l1-zcr", "NV-06", ["P-86"],
        "L2 runs with the vCPU's maximum, whatever L1's ZCR_EL2 says.";
    NvZcrSlotSwap = 12, "nv-zcr-slot-swap", "NV-07", ["P-87"],
        "L2's ZCR_EL1 is saved where L1's ZCR_EL2 belongs.";
    NvZcrSlotAfter = 13, "nv-zcr-slot-after", "NV-07", ["P-87"],
        "Where ZCR is saved is decided after the change of context, for the wrong one.";
    NvZcrBeforeLoad = 14, "nv-zcr-before-load", "NV-08", ["P-14", "P-87"],
        "A write of ZCR_EL2 that is the first use is lost when the state is loaded.";
    NvZcrEc18 = 15, "nv-zcr-ec18", "NV-09", ["P-70"],
        "A trapped ZCR_EL2 access reaches L1 with the raw EC 0x18 instead of 0x19.";
    NvEatFpTrap = 16, "nv-eat-fp-trap", "NV-10", ["P-84", "P-85"],
        "L2's FP trap is consumed although L1 asked for it.";
    NvEatSveTrap = 17, "nv-eat-sve-trap", "NV-10", ["P-84", "P-85"],
        "L2's SVE trap is consumed although L1 asked for it.";
    NvCptrNoMerge = 18, "nv-cptr-no-merge", "NV-11", ["P-84"],
        "L1's CPTR_EL2 is not merged into the CPU's.";
    NvCptr01Traps = 19, "nv-cptr-01-traps", "NV-11", ["P-68", "P-84"],
        "xEN = 01 in L1's CPTR_EL2 is taken for a trap.";
    NvCptr10Open = 20, "nv-cptr-10-open", "NV-11", ["P-68", "P-84"],
        "xEN = 10 in L1's CPTR_EL2 is taken for no trap.";
    NvFpTrapOpensSve = 21, "nv-fp-trap-opens-sve", "NV-12", ["P-84", "P-85"],
        "An FP trap of L2 opens SVE as well, behind L1's back.";
    NvNoUntrapOnExit = 22, "nv-no-untrap-on-exit", "NV-13", ["P-26"],
        "L1's traps are still in force when the hypervisor touches ZCR.";
    NvCpacrNoRecompute = 23, "nv-cpacr-no-recompute", "NV-14", ["P-84", "P-87"],
        "L1's CPTR_EL2 is read at its first ERET and not again.";
    NvSwitchAfterLoad = 24, "nv-switch-after-load", "LZ-20", ["P-75", "P-82"],
        "An interrupt changes L2 to L1 after traps and length were set for L2.";
    NvEretIgnoresPending = 25, "nv-eret-ignores-pending", "LZ-20", ["P-82"],
        "An interrupt pending for L1 at its ERET is delivered only after the next exit of L2.";
    NvEretaNoAuth = 26, "nv-eret-no-auth", "NV-00", ["P-82"],
        "ERETAA and ERETAB return without authentication, to the signed address.";
    NvFpenAsReported = 27, "nv-fpen-as-reported", "NV-11", ["P-66", "P-85"],
        "What arrived is injected: a lazy hypervisor hands L1 an EC 0x19 where it asked for 0x07.";
    NvOwnZcrWholeZen = 70, "nv-own-zcr-whole-zen", "NV-09, NV-11", ["P-70", "P-90"],
        "Whether L1 traps its own ZCR_EL2 is decided by ZEN as a whole, so that 0b10 is taken for no trap.";
    NvSpsrEl1NotSwapped = 71, "nv-spsr-el1-not-swapped", "NV-15, PK-09", ["P-82"],
        "A nested ERET leaves L1's ELR and SPSR in ELR_EL1 and SPSR_EL1, and L2's are lost.";
    NvImoIgnored = 72, "nv-imo-ignored", "LZ-20", ["P-82"],
        "An IRQ is given to an unmasked L1 although HCR_EL2.IMO does not route it there.";
    NvSErrorTwice = 73, "nv-serror-twice", "LZ-20, PK-09", ["P-82"],
        "An SError stays pending after it was injected into L1, which takes it again.";
    NvIrqReloadOld = 76, "nv-irq-reload-old", "NV-00", ["P-80", "P-82"],
        "An IRQ from L2 to L1 reloads the registers from the memory image; synchronous exceptions are right.";
    LzIrqSimdGuestVl = 28, "lz-irq-simd-guest-vl", "LZ-06", ["P-11", "P-02"],
        "SIMD in the exit saves the guest's state at the length that the guest left in force.";
    LzFlushNoForeign = 29, "lz-flush-no-foreign", "LZ-13", ["P-11", "P-12"],
        "After SIMD in the exit the guest is still taken for the owner.";
    LzDanglingOwner = 30, "lz-dangling-owner", "LZ-14, HK-22", ["P-12", "P-13"],
        "A vCPU that was reset is still the owner, and keeps the registers of its former life.";
    LzIrqWindowInSave = 31, "lz-irq-window-in-save", "LZ-15", ["P-01", "P-02"],
        "An interrupt's SIMD comes between the save of the first and the second half of the registers.";
    LzZcrSavedLate = 32, "lz-zcr-saved-late", "LZ-17", ["P-07"],
        "ZCR_EL1 is read after the save has raised the length.";
    LzZcr2Left = 33, "lz-zcr2-left", "LZ-18, SP-19", ["P-08", "P-51"],
        "ZCR_EL2 stays at the other guest's limit.";
    LzSaveIntoCurrent = 34, "lz-save-into-current", "LZ-11", ["P-01", "P-08"],
        "State is saved into the buffer of the task that comes next.";
    LzHostSaveVOnly = 35, "lz-host-save-v-only", "LZ-01", ["P-21"],
        "Of the host task only V is saved.";
    LzHostFpmrSkip = 74, "lz-host-fpmr-skip", "LZ-03", ["P-22"],
        "The host task's FPMR is saved only if the guest has one.";
    LzTrapBitsOfOther = 36, "lz-trap-bits-of-other", "LZ-12, SP-03", ["P-72", "P-75"],
        "CPTR_EL2 stays as the other guest had it.";
    TrFirstUseNotArmed = 37, "tr-first-use-not-armed", "TR-04", ["P-12", "P-13"],
        "The guest's first use is not trapped, and it runs on what the registers hold.";
    TrCptrCached = 38, "tr-cptr-cached", "TR-07", ["P-75"],
        "CPTR_EL2 is computed at the first use and not again.";
    TrE2hLayoutBoot = 39, "tr-e2h-layout-boot", "TR-02, RM-05, SP-07, XH-09", ["P-74"],
        "CPTR_EL2 is written in the layout of E2H = 0.";
    TrHideIdOnly = 40, "tr-hide-id-only", "TR-11", ["P-72"],
        "The ID register says that there is no SVE, but nothing traps it.";
    TrIdOverpromise = 41, "ua-idreg-overpromise", "UA-12, SP-06", ["P-73"],
        "The ID registers show SVE to a guest that has none.";
    TrFpmrOpen = 42, "tr-fpmr-open", "TR-10", ["P-72"],
        "FPMR is open to a guest that has none.";
    TrFpmrNotForwarded = 43, "tr-fpmr-not-forwarded", "TR-10", ["P-85"],
        "L1's HCRX_EL2.EnFPM does not reach L2.";
    TrResetLayout = 44, "tr-reset-layout", "TR-05", ["P-74", "P-16"],
        "After a reset of a vCPU CPTR_EL2 gets the value of the other layout.";
    HkElideAfterHypSimd = 45, "hk-elide-after-hyp-simd", "HK-16", ["P-11"],
        "After SIMD in the exit the reload is left out, since the owner seems the same.";
    HkReinitOnTrap = 46, "hk-reinit-on-trap", "HK-19", ["P-15"],
        "The second first-use trap makes the state new.";
    HkResetShort = 47, "hk-reset-short", "HK-20", ["P-12", "P-13"],
        "A reset zeroes only the first 128 bits of each register.";
    HkFormatFromTrapBit = 48, "hk-format-from-trap-bit", "HK-15", ["P-02"],
        "The format of the saved image follows the trap bit of the moment.";
    HkXcrRmw = 49, "hk-xcr-rmw", "HK-18", ["P-13", "P-16"],
        "A new vCPU's ZCR is what the hardware held.";
    HkPartialFpmr = 50, "pk-copy-misses-fpmr", "PK-09", ["P-05"],
        "FPMR is not part of the saved state.";
    RmStaleActive = 51, "rm-stale-active", "RM-01", ["P-75", "P-84"],
        "Traps are set for the context that was left.";
    RmTrapDropsFault = 52, "rm-trap-drops-fault", "RM-02", ["P-82"],
        "A stage 2 fault of an instruction that also made the first use of FP is dropped.";
    RmHypSimdNoSave = 53, "rm-hyp-simd-no-save", "RM-03", ["P-11", "P-17"],
        "A hypercall computes with V registers that are not saved.";
    RmPFfrLeak = 54, "rm-p-ffr-leak", "RM-04", ["P-02", "P-12"],
        "A load restores Z only: P and FFR are the last owner's.";
    RmHandlerTrapsAsLeft = 55, "rm-handler-traps-as-left", "RM-06", ["P-26"],
        "A handler uses SIMD under the traps that the guest left.";
    RmVlParamLost = 56, "rm-vl-param-lost", "RM-09, SP-04", ["P-51"],
        "The vCPU's maximum is never set: it gets the CPU's.";
    SpFpsrFpcrMissed = 57, "sp-fpsr-fpcr-missed", "SP-01", ["P-01"],
        "FPSR and FPCR are not part of the saved state.";
    SpIrqRestoreNoSave = 58, "sp-irq-restore-no-save", "SP-08", ["P-01", "P-82"],
        "The interrupt path gives the registers away without a save.";
    SpSaveBaseOff = 59, "sp-save-base-off", "SP-09", ["P-01"],
        "The save area is off by 512 bytes.";
    SpRestoreOneStored = 60, "sp-restore-one-stored", "SP-10", ["P-01"],
        "FPCR is stored where it should be loaded.";
    SpPanicOnEc19 = 61, "sp-panic-on-ec19", "SP-16", ["P-72", "P-26"],
        "EC 0x19 of a guest without SVE is held to be impossible.";
    SpPanicOnEc1d = 62, "sp-panic-on-ec1d", "SP-16", ["P-72", "P-26"],
        "EC 0x1d of a guest without SME is held to be impossible.";
    SpEntryCptr = 63, "sp-entry-cptr", "SP-17, XH-07", ["P-07"],
        "The guest starts with FP trapped in its own CPTR_EL2 or CPACR_EL1 after each load.";
    SpSuspendLoses = 64, "sp-hint-always", "SP-12", ["P-16", "P-17"],
        "A firmware call does not preserve SVE state.";
    WfTimerUnseen = 75, "wf-timer-unseen", "Linux 4ce98bf0865c", ["P-16"],
        "A vCPU that waits in WFI is not woken up by its own timer, but by the interrupt controller alone.";
    XhNoSwitch = 65, "xh-no-switch", "XH-01", ["P-01", "P-08"],
        "The registers are never switched.";
    XhOneRegPair = 66, "xh-one-reg-pair", "XH-02", ["P-01"],
        "One pair of registers is not stored.";
    XhHypClobbersV = 67, "xh-hyp-clobbers-v", "XH-06", ["P-11"],
        "The exit path uses Q0 to Q3.";
    XhHypClobbersFpsr = 68, "xh-hyp-clobbers-fpsr", "XH-06", ["P-01"],
        "The exit path sets FPSR.QC.";
    XhTcpacLostWrite = 69, "xh-tcpac-lost-write", "XH-08", ["P-07", "P-65"],
        "CPACR_EL1 is trapped and the write dropped.";
}
