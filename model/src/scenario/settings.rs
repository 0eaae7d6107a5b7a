//! The settings of a guest, from `[machine]` or from an axis of the matrix.

use super::document::Value;
use super::names::{self, CPUS, L1_MODES, name_of};
use super::operand::is_length;
use super::step::{Cpu, GuestSpec, L1Mode};
use super::suggest;

/// The names of all settings, in the order in which they print.
pub const NAMES: [&str; 8] = ["l1", "cpu", "sve", "max_vl", "fpmr", "mmu", "stage2", "cold"];

/// The largest vector length of a guest that does not say, in bits.
const VL_DEFAULT: u32 = 512;
/// The vector length without SVE, in bits.
const VL_NO_SVE: u32 = 128;

/// What a scenario fixes of its guest; the rest is by default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// `l1`: `vhe` or `nvhe`.
    pub l1: Option<L1Mode>,
    /// `cpu`: `max` or `all-lengths`.
    pub cpu: Option<Cpu>,
    /// `sve`: whether the guest has SVE.
    pub sve: Option<bool>,
    /// `max_vl`: the guest's largest vector length in bits.
    pub max_vl: Option<u32>,
    /// `fpmr`: whether the guest has FPMR where the CPU has it.
    pub fpmr: Option<bool>,
    /// `mmu`: stage 1 on.
    pub mmu: Option<bool>,
    /// `stage2`: L1 runs L2 under a stage 2 of its own.
    pub stage2: Option<bool>,
    /// `cold`: the program starts without the prologue that opens FP and SVE.
    pub cold: Option<bool>,
}

/// Which kind of guest a case's places make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    /// L1 and what it runs.
    Nested,
    /// G and its tasks.
    Plain,
}

impl Settings {
    /// Sets `name`, which is one of [`NAMES`].
    ///
    /// # Errors
    ///
    /// Returns what was found and expected if the setting has no such value.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match name {
            "l1" => self.l1 = Some(word(value, "a mode of L1", L1_MODES)?),
            "cpu" => self.cpu = Some(word(value, "a CPU", CPUS)?),
            "sve" => self.sve = Some(flag(value)?),
            "max_vl" => self.max_vl = Some(length(value)?),
            "fpmr" => self.fpmr = Some(flag(value)?),
            "mmu" => self.mmu = Some(flag(value)?),
            "stage2" => self.stage2 = Some(flag(value)?),
            "cold" => self.cold = Some(flag(value)?),
            _ => return Err(suggest::unknown(name, "a setting", NAMES)),
        }
        Ok(())
    }

    /// The settings that are there, in the order of [`NAMES`].
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, Value)> {
        let text = |name: &str| Value::Text(name.to_owned());
        let values = [
            self.l1.map(|l1| text(name_of(L1_MODES, &l1))),
            self.cpu.map(|cpu| text(name_of(CPUS, &cpu))),
            self.sve.map(Value::Flag),
            self.max_vl.map(|bits| Value::Number(bits.into())),
            self.fpmr.map(Value::Flag),
            self.mmu.map(Value::Flag),
            self.stage2.map(Value::Flag),
            self.cold.map(Value::Flag),
        ];
        NAMES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// The guest, or the name of the setting that makes none, and why.
    pub(super) fn guest(&self, family: Family) -> Result<GuestSpec, (&'static str, String)> {
        let nested = family == Family::Nested;
        let alien = [("l1", self.l1.is_some()), ("stage2", self.stage2.is_some())];
        if let Some((name, _)) = alien.into_iter().find(|(_, set)| *set && !nested) {
            return Err((name, format!("`{name}` is a setting of L1, and this scenario has none")));
        }
        let sve = self.sve.unwrap_or(true);
        let cpu = self.cpu.unwrap_or(Cpu::Max);
        let vl_max = self.max_vl.unwrap_or(if sve { VL_DEFAULT } else { VL_NO_SVE });
        if !sve && vl_max != VL_NO_SVE {
            return Err(("max_vl", format!("without SVE the vector length is {VL_NO_SVE}, not {vl_max}")));
        }
        if !has_length(cpu, vl_max) {
            return Err(("max_vl", format!("no CPU but `all-lengths` has the vector length {vl_max}")));
        }
        Ok(GuestSpec {
            l1: nested.then(|| self.l1.unwrap_or(L1Mode::Vhe)),
            cpu,
            sve,
            vl_max,
            fpmr: self.fpmr.unwrap_or(true),
            mmu: self.mmu.unwrap_or(true),
            stage2: nested && self.stage2.unwrap_or(true),
            cold: self.cold.unwrap_or(false),
        })
    }

    /// The settings that say what `guest` is, without those that are by default.
    pub(super) fn of(guest: &GuestSpec) -> Self {
        let GuestSpec { l1, cpu, sve, vl_max, fpmr, mmu, stage2, cold } = *guest;
        let vl_default = if sve { VL_DEFAULT } else { VL_NO_SVE };
        Self {
            l1,
            cpu: (cpu != Cpu::Max).then_some(cpu),
            sve: (!sve).then_some(sve),
            max_vl: (vl_max != vl_default).then_some(vl_max),
            fpmr: (!fpmr).then_some(fpmr),
            mmu: (!mmu).then_some(mmu),
            stage2: (l1.is_some() && !stage2).then_some(stage2),
            cold: cold.then_some(cold),
        }
    }
}

/// Whether a CPU has a vector length: the current manual has powers of two alone (rule P-52).
pub(super) const fn has_length(cpu: Cpu, bits: u32) -> bool {
    is_length(bits as u64) && (matches!(cpu, Cpu::AllLengths) || bits.is_power_of_two())
}

fn word<T: Copy>(value: &Value, what: &str, table: &'static names::Table<T>) -> Result<T, String> {
    match value {
        Value::Text(text) => {
            names::find(table, text).ok_or_else(|| suggest::unknown(text, what, names::all(table)))
        }
        other => Err(format!("found `{other}`, expected {what} as a string")),
    }
}

fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        other => Err(format!("found {}, expected true or false", suggest::quote(&other.to_string()))),
    }
}

fn length(value: &Value) -> Result<u32, String> {
    let bits = match value {
        Value::Number(bits) if is_length(*bits) => u32::try_from(*bits).ok(),
        _ => None,
    };
    let found = suggest::quote(&value.to_string());
    bits.ok_or_else(|| format!("found {found}, expected a multiple of 128 bits up to 2048"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_follow_the_family() {
        let guest = Settings::default().guest(Family::Nested).unwrap();
        assert_eq!((guest.l1, guest.vl_max, guest.stage2, guest.cold), (Some(L1Mode::Vhe), 512, true, false));
        let guest = Settings::default().guest(Family::Plain).unwrap();
        assert_eq!(guest, GuestSpec::default());
        let guest = Settings { sve: Some(false), ..Settings::default() }.guest(Family::Plain).unwrap();
        assert_eq!((guest.sve, guest.vl_max), (false, 128));
    }

    #[test]
    fn a_guest_s_settings_make_the_same_guest() {
        for l1 in [L1Mode::Vhe, L1Mode::Nvhe] {
            for sve in [true, false] {
                let settings = Settings {
                    l1: Some(l1),
                    sve: Some(sve),
                    stage2: Some(sve),
                    cold: Some(sve),
                    ..Settings::default()
                };
                let guest = settings.guest(Family::Nested).unwrap();
                assert_eq!(Settings::of(&guest).guest(Family::Nested).unwrap(), guest);
            }
        }
    }
}
