//! Fields of the control registers, by name.

use abi::place::Place;
use abi::sysreg::SysReg;

use super::step::{ControlReg, L1Mode};

/// A field that a step can name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field {
    /// The Arm ARM's name in lower case.
    pub name: &'static str,
    /// Its lowest bit.
    pub lsb: u8,
    /// Its width in bits.
    pub width: u8,
}

impl Field {
    const fn new(name: &'static str, lsb: u8, width: u8) -> Self {
        Self { name, lsb, width }
    }

    /// The bits of the register that the field covers.
    #[must_use]
    pub const fn mask(self) -> u64 {
        self.max() << self.lsb
    }

    /// The largest value that fits.
    #[must_use]
    pub const fn max(self) -> u64 {
        (1 << self.width) - 1
    }
}

const CPACR: &[Field] = &[
    Field::new("zen", 16, 2),
    Field::new("fpen", 20, 2),
    Field::new("smen", 24, 2),
    Field::new("tta", 28, 1),
    Field::new("e0poe", 29, 1),
];
const CPTR_E2H: &[Field] = &[
    Field::new("zen", 16, 2),
    Field::new("fpen", 20, 2),
    Field::new("smen", 24, 2),
    Field::new("tta", 28, 1),
    Field::new("e0poe", 29, 1),
    Field::new("tcpac", 31, 1),
];
const CPTR_NO_E2H: &[Field] = &[
    Field::new("tz", 8, 1),
    Field::new("tfp", 10, 1),
    Field::new("tsm", 12, 1),
    Field::new("tta", 20, 1),
    Field::new("tcpac", 31, 1),
];
const ZCR: &[Field] = &[Field::new("len", 0, 4)];
const HCR: &[Field] = &[
    Field::new("fmo", 3, 1),
    Field::new("imo", 4, 1),
    Field::new("amo", 5, 1),
    Field::new("vi", 7, 1),
    Field::new("vse", 8, 1),
    Field::new("twi", 13, 1),
    Field::new("twe", 14, 1),
    Field::new("tsc", 19, 1),
    Field::new("tacr", 21, 1),
    Field::new("tge", 27, 1),
];
const HCRX: &[Field] = &[Field::new("enfpm", 23, 1)];
const SCTLR: &[Field] = &[Field::new("enfpm", 34, 1)];

/// The fields of what the accessor `reg` reaches at `place` of a guest with this L1.
///
/// CPTR_EL2 has two layouts, by HCR_EL2.E2H, and a VHE L1 reaches it as CPACR_EL1 too (rules P-58, P-74).
#[must_use]
pub const fn fields(reg: ControlReg, place: Place, l1: Option<L1Mode>) -> &'static [Field] {
    let vhe = matches!(l1, Some(L1Mode::Vhe));
    match reg {
        ControlReg::Named(SysReg::CpacrEl1) if vhe && matches!(place, Place::L1) => CPTR_E2H,
        ControlReg::Named(SysReg::CptrEl2) if vhe => CPTR_E2H,
        ControlReg::Named(SysReg::CptrEl2) => CPTR_NO_E2H,
        ControlReg::Named(reg) | ControlReg::OfL2(reg) => match reg {
            SysReg::CpacrEl1 | SysReg::CpacrEl12 => CPACR,
            SysReg::ZcrEl1 | SysReg::ZcrEl12 | SysReg::ZcrEl2 => ZCR,
            SysReg::HcrEl2 => HCR,
            SysReg::HcrxEl2 => HCRX,
            SysReg::SctlrEl1 | SysReg::SctlrEl12 | SysReg::SctlrEl2 => SCTLR,
            _ => &[],
        },
    }
}

/// The field `name` of what the accessor reaches, if it has one.
#[must_use]
pub fn field(reg: ControlReg, place: Place, l1: Option<L1Mode>, name: &str) -> Option<Field> {
    fields(reg, place, l1).iter().copied().find(|field| field.name == name)
}

/// The fields of `reg` in any of its layouts; those of the same name are equally wide.
pub(super) fn fields_of_any_layout(reg: ControlReg, place: Place) -> impl Iterator<Item = Field> + Clone {
    let vhe = fields(reg, place, Some(L1Mode::Vhe));
    let nvhe = fields(reg, place, Some(L1Mode::Nvhe));
    let only_nvhe = nvhe.iter().filter(|field| vhe.iter().all(|other| other.name != field.name));
    vhe.iter().chain(only_nvhe).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cptr_el2_has_the_layout_of_e2h() {
        let cptr = ControlReg::Named(SysReg::CptrEl2);
        let mask = |l1, name| field(cptr, Place::L1, Some(l1), name).map(Field::mask);
        assert_eq!(mask(L1Mode::Vhe, "fpen"), Some(0x0030_0000));
        assert_eq!(mask(L1Mode::Vhe, "zen"), Some(0x0003_0000));
        assert_eq!(mask(L1Mode::Vhe, "tz"), None);
        assert_eq!(mask(L1Mode::Nvhe, "tz"), Some(0x100));
        assert_eq!(mask(L1Mode::Nvhe, "tfp"), Some(0x400));
        assert_eq!(mask(L1Mode::Nvhe, "fpen"), None);
        assert_eq!(mask(L1Mode::Vhe, "tta"), Some(1 << 28));
        assert_eq!(mask(L1Mode::Nvhe, "tta"), Some(1 << 20));
    }

    #[test]
    fn cpacr_el1_of_a_vhe_l1_is_cptr_el2() {
        let cpacr = ControlReg::Named(SysReg::CpacrEl1);
        assert!(field(cpacr, Place::L1, Some(L1Mode::Vhe), "tcpac").is_some());
        assert!(field(cpacr, Place::L1, Some(L1Mode::Nvhe), "tcpac").is_none());
        assert!(field(cpacr, Place::L2, Some(L1Mode::Vhe), "tcpac").is_none());
        assert!(field(ControlReg::OfL2(SysReg::CpacrEl1), Place::L1, Some(L1Mode::Vhe), "tcpac").is_none());
    }

    #[test]
    fn fields_of_one_register_do_not_overlap() {
        for table in [CPACR, CPTR_E2H, CPTR_NO_E2H, ZCR, HCR, HCRX, SCTLR] {
            let mut seen = 0;
            for field in table {
                assert_eq!(seen & field.mask(), 0, "{}", field.name);
                seen |= field.mask();
            }
        }
    }
}
