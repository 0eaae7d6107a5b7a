//! The single instructions that the payload's boot and end need.

use core::arch::asm;

use crate::sysreg::{dsb, isb};

macro_rules! tlbi {
    ($($(#[$doc:meta])* $name:ident = $operation:literal;)*) => {
        $(
            $(#[$doc])*
            pub fn $name() {
                dsb();
                // SAFETY: forgetting translations changes none: the tables are the truth.
                unsafe { asm!(concat!("tlbi ", $operation), options(nostack)) };
                dsb();
                isb();
            }
        )*
    };
}

tlbi! {
    /// Forgets the translations of EL2's own regime, EL2 or EL2&0.
    invalidate_el2 = "alle2is";
    /// Forgets every translation of EL1&0, of either stage and of every VMID. At EL2.
    invalidate_guests = "alle1is";
    /// Forgets the stage 1 translations of EL1&0 with the present VMID. At EL1.
    invalidate_el1 = "vmalle1is";
}

/// Forgets what the guest with the present VMID has for this IPA, of either stage. At EL2.
pub fn invalidate_guest_page(ipa: u64) {
    dsb();
    // SAFETY: as for the others.
    unsafe { asm!("tlbi ipas2e1is, {}", in(reg) ipa >> 12, options(nostack)) };
    dsb();
    // What was combined from both stages is found by the address of stage 1 alone.
    // SAFETY: as for the others.
    unsafe { asm!("tlbi vmalle1is", options(nostack)) };
    dsb();
    isb();
}

/// Writes a 64-bit device register by a store that has a valid syndrome (ESR_ELx.ISV).
///
/// # Safety
///
/// `address` is mapped, and the write does not touch Rust's memory.
pub unsafe fn mmio_write(address: u64, value: u64) {
    // SAFETY: the caller's.
    unsafe { asm!("str {}, [{}]", in(reg) value, in(reg) address, options(nostack)) };
}

/// Reads a 64-bit device register by a load that has a valid syndrome (ESR_ELx.ISV).
///
/// # Safety
///
/// `address` is mapped.
#[must_use]
pub unsafe fn mmio_read(address: u64) -> u64 {
    let value;
    // SAFETY: the caller's.
    unsafe { asm!("ldr {}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Writes a 32-bit device register.
///
/// # Safety
///
/// As for [`mmio_write`].
pub unsafe fn mmio_write32(address: u64, value: u32) {
    // SAFETY: the caller's.
    unsafe { asm!("str {:w}, [{}]", in(reg) value, in(reg) address, options(nostack)) };
}

/// Reads a 32-bit device register.
///
/// # Safety
///
/// As for [`mmio_read`].
#[must_use]
pub unsafe fn mmio_read32(address: u64) -> u32 {
    let value;
    // SAFETY: the caller's.
    unsafe { asm!("ldr {:w}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Passes time, without an exit and without a register but one.
pub fn spin(rounds: u64) {
    // SAFETY: it counts down.
    unsafe { asm!("1: subs {0}, {0}, #1", "b.hi 1b", inout(reg) rounds => _, options(nomem, nostack)) };
}

/// Waits for an interrupt that need not come.
pub fn wfi() {
    // SAFETY: waiting changes nothing.
    unsafe { asm!("wfi", options(nostack)) };
}

/// Makes a call by SMC, with two arguments (SMCCC 1.1: X4 on are kept). Returns X0.
pub fn call(function: u32, first: u64, second: u64) -> u64 {
    let mut x0 = u64::from(function);
    // SAFETY: the FP registers are kept as well, without the hint that they are not in use (SMCCC 1.3).
    unsafe { asm!("smc #0", inout("x0") x0, inout("x1") first => _, inout("x2") second => _, out("x3") _) };
    x0
}

/// Goes from EL0 to the level above, for good: its arrival handler finds the case over.
pub fn up_from_el0() -> ! {
    // SAFETY: whoever takes the exception does not come back.
    unsafe { asm!("svc #0", "1: b 1b", options(nostack, noreturn)) }
}

/// Goes from EL1 to EL2, for good: its arrival handler finds the case over.
pub fn up_from_el1() -> ! {
    // SAFETY: whoever takes the exception does not come back.
    unsafe { asm!("hvc #0", "1: b 1b", options(nostack, noreturn)) }
}

/// PSCI SYSTEM_OFF, by SMC at EL2 and by HVC at EL1 (without an EL2 of its own the conduit is HVC).
pub fn system_off(el2: bool) -> ! {
    const SYSTEM_OFF: u64 = 0x8400_0008;
    loop {
        if el2 {
            // SAFETY: the machine ends.
            unsafe { asm!("smc #0", inout("x0") SYSTEM_OFF => _, out("x1") _, out("x2") _, out("x3") _) };
        } else {
            // SAFETY: the machine ends.
            unsafe { asm!("hvc #0", inout("x0") SYSTEM_OFF => _, out("x1") _, out("x2") _, out("x3") _) };
        }
    }
}

/// Turns stage 1 off at this level, EL2 or EL1, and enters the image anew with `x0`.
///
/// # Safety
///
/// Nothing of this run is used again.
pub unsafe fn restart(el2: bool, x0: u64) -> ! {
    /// SCTLR_ELx.{M, C, I}.
    const ON: u64 = 1 | 1 << 2 | 1 << 12;
    if el2 {
        crate::write!("sctlr_el2", crate::read!("sctlr_el2") & !ON);
    } else {
        crate::write!("sctlr_el1", crate::read!("sctlr_el1") & !ON);
    }
    isb();
    // The address is formed here: the global offset table is data, which may have been written anew.
    // SAFETY: the image's entry, a multiple of 4 KiB, expects nothing but X0.
    unsafe { asm!("adrp x1, __image_start", "br x1", in("x0") x0, options(nostack, noreturn)) }
}
