//! What a vCPU is, and how the EL1 registers of the CPU are shared between its levels.
//!
//! A guest with an EL2 runs both its EL2 and its EL1 at the CPU's EL1. The registers of the level that runs
//! are in the CPU; those of the other are in memory: EL1's in the page of VNCR_EL2, where FEAT_NV2 lets the
//! guest hypervisor reach them without a trap, and EL2's in [`Vcpu::bank`].

use arch::hyp::GuestFrame;
use arch::{read, write};

use crate::bits::{SCTLR_RESET, cptr, hcr, pstate, vncr};
use crate::config::Config;

/// The page that VNCR_EL2 points at.
#[repr(C, align(4096))]
pub struct VncrPage([u64; 512]);

impl VncrPage {
    /// All zero.
    pub const fn new() -> Self {
        Self([0; 512])
    }

    /// Its address.
    pub fn address(&self) -> u64 {
        self.0.as_ptr().addr() as u64
    }

    /// Reads the register at byte `offset`. The guest writes this page: every read is volatile.
    pub fn get(&self, offset: usize) -> u64 {
        // SAFETY: a reference to one element of the array, or to its first.
        unsafe { core::ptr::read_volatile(self.0.get(offset / 8).unwrap_or(&self.0[0])) }
    }

    /// Writes the register at byte `offset`.
    pub fn set(&mut self, offset: usize, value: u64) {
        if let Some(slot) = self.0.get_mut(offset / 8) {
            // SAFETY: an exclusive reference to one element.
            unsafe { core::ptr::write_volatile(slot, value) };
        }
    }
}

macro_rules! banked {
    ($($name:ident = $el12:literal, $offset:literal;)*) => {
        /// One level's values of the registers that the CPU holds at EL1.
        ///
        /// Those of an nVHE guest hypervisor's EL2 are translated to EL1's layouts (see [`crate::layout`]).
        #[derive(Clone, Copy, Debug)]
        pub struct Registers { $(pub $name: u64,)* }

        impl Vcpu {
            /// Moves EL2's registers from the CPU into the bank, and EL1's from memory into the CPU.
            pub fn switch_bank_to_el1(&mut self) {
                let el2 = Registers { $($name: read!($el12),)* };
                $(write!($el12, self.vncr.get($offset));)*
                self.bank = el2;
            }

            /// Moves EL1's registers from the CPU into memory, and EL2's from the bank into the CPU.
            pub fn switch_bank_to_el2(&mut self) {
                $(self.vncr.set($offset, read!($el12));)*
                let el2 = self.bank;
                $(write!($el12, el2.$name);)*
            }
        }

        impl Registers {
            /// All zero.
            pub const ZERO: Self = Self { $($name: 0,)* };

            /// Reads them from the CPU.
            pub fn save(&mut self) {
                $(self.$name = read!($el12);)*
            }

            /// Writes to the CPU those that it has not got. Where nobody else ran this spares it a flush of its TLB,
            /// which QEMU does for every write of TCR_EL1 (`vmsa_tcr_el12_write`).
            pub fn load(&self) {
                $(if read!($el12) != self.$name {
                    write!($el12, self.$name);
                })*
            }
        }
    };
}

banked! {
    sctlr = "S3_5_C1_C0_0", 0x110;
    cpacr = "S3_5_C1_C0_2", 0x100;
    ttbr0 = "S3_5_C2_C0_0", 0x200;
    ttbr1 = "S3_5_C2_C0_1", 0x210;
    tcr = "S3_5_C2_C0_2", 0x120;
    spsr = "S3_5_C4_C0_0", 0x160;
    elr = "S3_5_C4_C0_1", 0x230;
    afsr0 = "S3_5_C5_C1_0", 0x128;
    afsr1 = "S3_5_C5_C1_1", 0x130;
    esr = "S3_5_C5_C2_0", 0x138;
    far = "S3_5_C6_C0_0", 0x220;
    mair = "S3_5_C10_C2_0", 0x140;
    amair = "S3_5_C10_C3_0", 0x148;
    vbar = "S3_5_C12_C0_0", 0x250;
    contextidr = "S3_5_C13_C0_1", 0x108;
    sp = "S3_4_C4_C1_0", 0x240;
}

/// Registers of the guest's EL2 that only trapped accesses reach, as the guest sees them.
#[derive(Clone, Copy, Debug, Default)]
pub struct El2Only {
    /// MDCR_EL2.
    pub mdcr: u64,
    /// HPFAR_EL2.
    pub hpfar: u64,
    /// CNTHCTL_EL2.
    pub cnthctl: u64,
    /// SCTLR_EL2 of an nVHE guest hypervisor.
    pub sctlr: u64,
    /// TCR_EL2 of an nVHE guest hypervisor.
    pub tcr: u64,
    /// CPTR_EL2 of an nVHE guest hypervisor, in the layout of E2H = 0.
    pub cptr: u64,
}

/// Asynchronous exceptions pending for the guest's highest level.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    /// An IRQ.
    pub irq: bool,
    /// An SError.
    pub serror: bool,
}

/// A vCPU.
pub struct Vcpu {
    /// General registers, and the last exit.
    pub frame: GuestFrame,
    /// The guest's EL2 runs (or its EL0 with TGE), else its EL1 or EL0. False for a guest without EL2.
    pub in_el2: bool,
    /// The instruction of the last exit was emulated: it counts as executed.
    pub emulated: bool,
    /// The last exit was an emulated ERET: nothing has run since.
    #[cfg(feature = "faults")]
    pub arrived_by_eret: bool,
    /// The guest's VNCR page.
    pub vncr: VncrPage,
    /// EL2's registers while EL1 runs.
    pub bank: Registers,
    /// EL2's other registers.
    pub el2: El2Only,
    /// ZCR_EL2 of the guest while its EL1 runs. While its EL2 runs it is in the CPU's ZCR_EL1.
    pub zcr_el2: u64,
    /// The EL1 registers while the vCPU is put.
    pub el1: Registers,
    /// ZCR_EL1 of the CPU while the vCPU is put.
    pub zcr_el1: u64,
    /// What is pending.
    pub pending: Pending,
    vhe: bool,
}

impl Vcpu {
    /// Nothing yet: [`Vcpu::reset`] makes it a vCPU.
    pub const fn new() -> Self {
        Self {
            frame: GuestFrame::new(),
            in_el2: false,
            emulated: false,
            #[cfg(feature = "faults")]
            arrived_by_eret: false,
            vncr: VncrPage::new(),
            bank: Registers::ZERO,
            el2: El2Only { mdcr: 0, hpfar: 0, cnthctl: 0, sctlr: 0, tcr: 0, cptr: 0 },
            zcr_el2: 0,
            el1: Registers::ZERO,
            zcr_el1: 0,
            pending: Pending { irq: false, serror: false },
            vhe: false,
        }
    }

    /// The state after power-on, at the guest's entry. The EL1 registers go into the CPU with the next load.
    pub fn reset(&mut self, config: &Config) {
        self.vhe = config.vhe();
        self.frame = GuestFrame::new();
        self.frame.pc = config.guest_entry;
        self.frame.pstate = pstate::DAIF | pstate::EL1H;
        self.in_el2 = config.el2();
        self.emulated = false;
        #[cfg(feature = "faults")]
        {
            self.arrived_by_eret = false;
        }
        self.vncr.0.fill(0);
        self.vncr.set(vncr::HCR_EL2, hcr::RW | if self.vhe { hcr::E2H } else { 0 });
        self.vncr.set(vncr::SCTLR_EL1, SCTLR_RESET);
        self.bank = Registers::ZERO;
        self.el1 = Registers { sctlr: SCTLR_RESET, ..Registers::ZERO };
        self.el2 = El2Only { sctlr: SCTLR_RESET, cptr: cptr::RES1_NVHE, ..Default::default() };
        if config.el2() && !config.vhe() {
            // CPTR_EL2 resets to 0 but for its RES1 bits: nothing is trapped.
            self.el1.cpacr = crate::layout::cptr_to_e2h(self.el2.cptr);
        }
        if !config.sve() {
            self.el1.cpacr |= cptr::ZEN;
        }
        (self.zcr_el1, self.zcr_el2) = (0, 0);
        self.pending = Pending::default();
    }

    /// HCR_EL2 as the guest hypervisor has it. E2H is what the VM was made with, whatever was written.
    pub fn hcr_el2(&self) -> u64 {
        let value = self.vncr.get(vncr::HCR_EL2);
        if self.vhe { value | hcr::E2H } else { value & !hcr::E2H }
    }

    /// CPTR_EL2 of the guest hypervisor in the layout of E2H = 1, while its guest runs.
    pub const fn l1_cptr(&self) -> u64 {
        if self.vhe { self.bank.cpacr } else { crate::layout::cptr_to_e2h(self.el2.cptr) }
    }

    /// A guest without SVE: EL1's CPACR_EL1, just loaded, gets the ZEN that the guest does not see.
    pub fn open_hidden_zen(&self) {
        write!("S3_5_C1_C0_2", read!("S3_5_C1_C0_2") | cptr::ZEN);
    }

    /// The reverse, where the guest can read the saved CPACR_EL1.
    pub fn hide_zen(&mut self) {
        let seen = self.vncr.get(vncr::CPACR_EL1) & !cptr::ZEN;
        self.vncr.set(vncr::CPACR_EL1, seen);
    }

    /// The guest's EL0 belongs to its EL2.
    pub fn tge(&self) -> bool {
        self.hcr_el2() & hcr::TGE != 0
    }
}
