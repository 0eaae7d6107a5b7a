//! ESR_ELx for people.

use abi::sysreg::SysReg;
use arch::esr::{class, ec, iss};

/// The name of an exception class, as the Arm ARM has it.
#[must_use]
pub const fn class_name(class: u8) -> Option<&'static str> {
    Some(match class {
        ec::UNKNOWN => "unknown reason",
        ec::WFX => "WFI or WFE",
        ec::FP => "FP or AdvSIMD access",
        ec::PAUTH => "pointer authentication trap",
        0x0a => "other trapped instruction",
        0x0d => "branch target",
        ec::ILLEGAL => "illegal execution state",
        ec::SVC => "SVC",
        ec::HVC => "HVC",
        ec::SMC => "SMC",
        ec::SYSREG => "system register access",
        ec::SVE => "SVE access",
        ec::ERET => "ERET",
        ec::FPAC => "pointer authentication failure",
        ec::SME => "SME access",
        ec::IABORT_LOWER => "instruction abort",
        ec::IABORT_SAME => "instruction abort, same level",
        ec::PC_ALIGN => "PC alignment fault",
        ec::DABORT_LOWER => "data abort",
        ec::DABORT_SAME => "data abort, same level",
        ec::SP_ALIGN => "SP alignment fault",
        0x2c => "trapped floating-point exception",
        ec::SERROR => "SError",
        0x30 => "hardware breakpoint",
        0x31 => "hardware breakpoint, same level",
        ec::STEP_LOWER => "software step",
        0x33 => "software step, same level",
        0x34 => "watchpoint",
        0x35 => "watchpoint, same level",
        ec::BRK => "BRK",
        _ => return None,
    })
}

/// A syndrome in a line: class, and of the rest what is of use.
#[must_use]
pub fn describe(esr: u64) -> String {
    let class = class(esr);
    let name = class_name(class).unwrap_or("unallocated class");
    let detail = detail(class, iss(esr));
    if detail.is_empty() {
        format!("EC {class:#04x} {name}")
    } else {
        format!("EC {class:#04x} {name}, {detail}")
    }
}

/// The same, with those of IL, ISS and ISS2 in which it differs from `other`, a syndrome of the same class.
#[must_use]
pub fn describe_beside(esr: u64, other: u64) -> String {
    const IL_SHIFT: u32 = 25;
    const ISS2_SHIFT: u32 = 32;
    let mut words = describe(esr);
    if class(esr) != class(other) {
        return words;
    }
    let il = |esr: u64| esr >> IL_SHIFT & 1;
    if il(esr) != il(other) {
        words.push_str(&format!(", IL={}", il(esr)));
    }
    if iss(esr) != iss(other) {
        words.push_str(&format!(", ISS={:#x}", iss(esr)));
    }
    if esr >> ISS2_SHIFT != other >> ISS2_SHIFT {
        words.push_str(&format!(", ISS2={:#x}", esr >> ISS2_SHIFT));
    }
    words
}

fn detail(class: u8, iss: u64) -> String {
    match class {
        ec::WFX => if iss & 1 == 0 { "WFI" } else { "WFE" }.to_owned(),
        ec::SVC | ec::HVC | ec::SMC | ec::BRK => format!("#{:#x}", iss & 0xffff),
        ec::SYSREG => sysreg(iss),
        ec::ERET => match iss & 0b11 {
            0b10 => "ERETAA",
            0b11 => "ERETAB",
            _ => "",
        }
        .to_owned(),
        ec::SME => match iss & 0b111 {
            0 => "disabled by a trap",
            1 => "illegal in streaming mode",
            2 => "illegal outside streaming mode",
            3 => "ZA is off",
            4 => "ZT0 is disabled",
            _ => "",
        }
        .to_owned(),
        ec::IABORT_LOWER | ec::IABORT_SAME => fault_status(iss),
        ec::DABORT_LOWER | ec::DABORT_SAME => {
            let access = if iss & (1 << 6) == 0 { "read" } else { "write" };
            let walk = if iss & (1 << 7) == 0 { "" } else { ", on a stage 1 walk" };
            format!("{access}, {}{walk}", fault_status(iss))
        }
        _ => String::new(),
    }
}

/// The system register access of an ISS, or of a trace event that carries one: `read zcr_el1`.
#[must_use]
pub fn sysreg(iss: u64) -> String {
    let field = |shift: u32, bits: u32| ((iss >> shift) & ((1 << bits) - 1)) as u8;
    let encoding = (field(20, 2), field(14, 3), field(10, 4), field(1, 4), field(17, 3));
    let access = if iss & 1 == 0 { "write" } else { "read" };
    match SysReg::ALL.iter().find(|reg| reg.encoding() == encoding) {
        Some(reg) => format!("{access} {}", reg.name()),
        None => {
            let (op0, op1, crn, crm, op2) = encoding;
            format!("{access} s{op0}_{op1}_c{crn}_c{crm}_{op2}")
        }
    }
}

/// IFSC or DFSC, bits 5:0.
fn fault_status(iss: u64) -> String {
    let status = iss & 0x3f;
    let level = status & 0b11;
    match status {
        0x00..=0x03 => format!("address size fault, level {level}"),
        0x04..=0x07 => format!("translation fault, level {level}"),
        0x08..=0x0b => format!("access flag fault, level {level}"),
        0x0c..=0x0f => format!("permission fault, level {level}"),
        0x10 => "synchronous external abort".to_owned(),
        0x14..=0x17 => format!("external abort on a walk, level {level}"),
        0x21 => "alignment fault".to_owned(),
        0x30 => "TLB conflict".to_owned(),
        other => format!("fault status {other:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(esr: u64, expected: &str) {
        assert_eq!(describe(esr), expected);
    }

    #[test]
    fn classes_and_their_details() {
        check(0x6600_0000, "EC 0x19 SVE access");
        check(0x1fe0_0000, "EC 0x07 FP or AdvSIMD access");
        check(0x5a00_0003, "EC 0x16 HVC, #0x3");
        check(0x0600_0001, "EC 0x01 WFI or WFE, WFE");
        check(0x6a00_0002, "EC 0x1a ERET, ERETAA");
        check(0x6a00_0000, "EC 0x1a ERET");
        check(0x9200_0047, "EC 0x24 data abort, write, translation fault, level 3");
        check(0x9200_0087, "EC 0x24 data abort, read, translation fault, level 3, on a stage 1 walk");
        check(0xffff_ffff, "EC 0x3f unallocated class");
    }

    #[test]
    fn of_two_syndromes_of_a_class_il_and_iss_are_told() {
        assert_eq!(describe_beside(0x6600_0000, 0x6400_0000), "EC 0x19 SVE access, IL=1");
        assert_eq!(describe_beside(0x6400_0000, 0x6600_0000), "EC 0x19 SVE access, IL=0");
        assert_eq!(describe_beside(0x1fe0_0000, 0x1e00_0000), "EC 0x07 FP or AdvSIMD access, ISS=0x1e00000");
        assert_eq!(describe_beside(0x1_6600_0000, 0x6600_0000), "EC 0x19 SVE access, ISS2=0x1");
        assert_eq!(describe_beside(0x6600_0000, 0x1fe0_0000), "EC 0x19 SVE access");
    }

    #[test]
    fn system_registers_have_names() {
        // MRS X0, ZCR_EL1: op0 3, op1 0, CRn 1, CRm 2, op2 0, a read.
        check(0x6200_0000 | 3 << 20 | 1 << 10 | 2 << 1 | 1, "EC 0x18 system register access, read zcr_el1");
        // MSR CNTV_CTL_EL0, X0 is not in the table.
        assert_eq!(sysreg(3 << 20 | 1 << 17 | 3 << 14 | 14 << 10 | 3 << 1), "write s3_3_c14_c3_1");
    }
}
