//! System registers by name or encoding, and barriers.
//!
//! Register crates know neither ZCR_EL2 nor any `_EL12` accessor, and the generic name of an encoding works
//! everywhere, so one macro per direction serves all.

/// Reads a system register by its name or generic encoding (`"S3_4_C1_C2_0"`).
#[macro_export]
macro_rules! read {
    ($reg:literal) => {{
        let value: u64;
        // SAFETY: reading a system register changes no memory; where it traps, the trap is the caller's aim.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $reg), out(reg) value, options(nostack)) };
        value
    }};
}

/// Writes a system register by its name or generic encoding. The write takes effect for later instructions
/// only after an [`isb`], unless the register says otherwise.
///
/// This is safe to call because every address space of these programs is an identity map that no register
/// written through here can turn against Rust's memory: registers that could (SCTLR, TCR, TTBR) are written
/// by the boot code alone.
#[macro_export]
macro_rules! write {
    ($reg:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: see the macro's documentation.
        unsafe { core::arch::asm!(concat!("msr ", $reg, ", {}"), in(reg) value, options(nostack)) };
    }};
}

/// Makes earlier writes of system registers take effect.
pub fn isb() {
    // SAFETY: a barrier changes nothing.
    unsafe { core::arch::asm!("isb", options(nostack)) };
}

/// Completes all earlier accesses to memory.
pub fn dsb() {
    // SAFETY: a barrier changes nothing.
    unsafe { core::arch::asm!("dsb sy", options(nostack)) };
}
