//! System registers by the number that a compiled program gives them.

use abi::job::Status;
use abi::sysreg::SysReg;
use arch::payload::control;
use arch::sysreg::isb;
use arch::{read, write};

/// One list for both directions: the generic name of each accessor, as [`SysReg::encoding`] has it.
macro_rules! accessors {
    ($($reg:ident $name:literal;)*) => {
        fn read_by_name(reg: SysReg) -> u64 {
            match reg {
                SysReg::CurrentEl => read!("S3_0_C4_C2_2"),
                $(SysReg::$reg => read!($name),)*
            }
        }

        fn write_by_name(reg: SysReg, value: u64) -> Result<(), Status> {
            match reg {
                SysReg::CurrentEl => return Err(Status::BadJob),
                $(SysReg::$reg => write!($name, value),)*
            }
            Ok(())
        }
    };
}

accessors! {
    CpacrEl1 "S3_0_C1_C0_2";
    CpacrEl12 "S3_5_C1_C0_2";
    CptrEl2 "S3_4_C1_C1_2";
    ZcrEl1 "S3_0_C1_C2_0";
    ZcrEl12 "S3_5_C1_C2_0";
    ZcrEl2 "S3_4_C1_C2_0";
    HcrEl2 "S3_4_C1_C1_0";
    HcrxEl2 "S3_4_C1_C2_2";
    SctlrEl1 "S3_0_C1_C0_0";
    SctlrEl12 "S3_5_C1_C0_0";
    SctlrEl2 "S3_4_C1_C0_0";
    Fpcr "S3_3_C4_C4_0";
    Fpsr "S3_3_C4_C4_1";
    Fpmr "S3_3_C4_C4_2";
    IdAa64Pfr0El1 "S3_0_C0_C4_0";
    IdAa64Pfr1El1 "S3_0_C0_C4_1";
    IdAa64Pfr2El1 "S3_0_C0_C4_2";
    IdAa64Zfr0El1 "S3_0_C0_C4_4";
    ActlrEl1 "S3_0_C1_C0_1";
    SmcrEl1 "S3_0_C1_C2_6";
    Tpidr2El0 "S3_3_C13_C0_5";
}

/// The register with this number.
fn by_number(number: u64) -> Result<SysReg, Status> {
    u16::try_from(number).ok().and_then(SysReg::from_u16).ok_or(Status::BadJob)
}

/// Reads the register with this number.
pub(crate) fn read(number: u64) -> Result<u64, Status> {
    by_number(number).map(read_by_name)
}

/// Replaces the bits of `mask`; with all of them, without reading. The new value is in force on return.
pub(crate) fn write(number: u64, value: u64, mask: u64) -> Result<(), Status> {
    let reg = by_number(number)?;
    let kept = if mask == u64::MAX { 0 } else { read_by_name(reg) & !mask };
    write_by_name(reg, kept | value & mask)?;
    isb();
    Ok(())
}

/// Passes time as [`control::spin`] does, and now and then writes the register with what it reads of it.
pub(crate) fn rewrite(reg: SysReg, rounds: u64) -> Result<(), Status> {
    /// Most of the time is then spent in the accesses, where a hypervisor emulates them.
    const PAUSE: u64 = 500;
    for _ in 0..rounds / PAUSE {
        write_by_name(reg, read_by_name(reg))?;
        control::spin(PAUSE);
    }
    isb();
    Ok(())
}
