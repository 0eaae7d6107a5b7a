//! What the values of options may be. An option with few says which there are.

use abi::doorbell::{Disturbance, Sweep};
use abi::fault::Fault;
use abi::hyp::{Nested, Restore};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use model::machine::Doorbell;

use crate::debian;
use crate::kvm::boot::KvmMode;
use crate::options::{SetError, Strategy, TargetKind};

pub(super) fn target() -> impl TypedValueParser<Value = TargetKind> {
    PossibleValuesParser::new(TargetKind::ALL.map(TargetKind::name))
        .try_map(|name| TargetKind::from_name(&name).ok_or("no such target"))
}

const SWEEPS: [Sweep; 4] = [Sweep::Off, Sweep::StepAll, Sweep::StepEach, Sweep::Timer];

pub(super) fn sweep() -> impl TypedValueParser<Value = Sweep> {
    PossibleValuesParser::new(SWEEPS.map(Sweep::name))
        .try_map(|name| SWEEPS.into_iter().find(|sweep| sweep.name() == name).ok_or("no such sweep"))
}

pub(super) fn doorbell() -> impl TypedValueParser<Value = Doorbell> {
    PossibleValuesParser::new(Doorbell::ALL.map(Doorbell::name))
        .try_map(|name| Doorbell::from_name(&name).ok_or("no such way"))
}

pub(super) fn disturbance() -> impl TypedValueParser<Value = Disturbance> {
    PossibleValuesParser::new(Disturbance::ALL.map(Disturbance::name)).try_map(|name| {
        Disturbance::ALL.into_iter().find(|what| what.name() == name).ok_or("no such disturbance")
    })
}

pub(super) fn fault() -> impl TypedValueParser<Value = Fault> {
    PossibleValuesParser::new(Fault::ALL.iter().map(|fault| fault.name()))
        .try_map(|name| Fault::ALL.iter().copied().find(|fault| fault.name() == name).ok_or("no such fault"))
}

pub(super) fn kvm_mode() -> impl TypedValueParser<Value = KvmMode> {
    PossibleValuesParser::new(KvmMode::ALL.map(KvmMode::name))
        .try_map(|name| KvmMode::ALL.into_iter().find(|mode| mode.name() == name).ok_or("no such mode"))
}

/// What the kernel is given beside its own parameters: it cuts all of it at 2048 bytes (COMMAND_LINE_SIZE), without a word.
pub(super) fn cmdline(text: &str) -> Result<String, String> {
    const MOST: usize = 1500;
    if text.len() > MOST {
        return Err(format!("{} bytes, and there is room for {MOST}", text.len()));
    }
    Ok(text.to_owned())
}

pub(super) fn sve_max(text: &str) -> Result<u32, String> {
    if text == "0" {
        Ok(0)
    } else {
        vector_length(text).map_err(|expected| format!("{expected}, or 0 for none"))
    }
}

pub(super) fn restore() -> impl TypedValueParser<Value = Restore> {
    PossibleValuesParser::new(Restore::ALL.iter().map(|value| value.name())).try_map(|name| {
        Restore::ALL.iter().copied().find(|value| value.name() == name).ok_or("no such value")
    })
}

pub(super) fn nested() -> impl TypedValueParser<Value = Nested> {
    PossibleValuesParser::new(Nested::ALL.iter().map(|value| value.name()))
        .try_map(|name| Nested::ALL.iter().copied().find(|value| value.name() == name).ok_or("no such value"))
}

pub(super) fn vector_length(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bits) if bits.is_power_of_two() && (128..=2048).contains(&bits) => Ok(bits),
        _ => Err("expected 128, 256, 512, 1024 or 2048".to_owned()),
    }
}

pub(super) fn setting(text: &str) -> Result<String, SetError> {
    Strategy::default().set(text).map(|()| text.to_owned())
}

pub(super) fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(factor),
        _ => Err("expected a number greater than 0".to_owned()),
    }
}

/// Refuses at once what cannot be a mirror, whether or not anything will be fetched.
pub(super) fn mirror(text: &str) -> Result<String, String> {
    if debian::is_address(text) {
        Ok(text.to_owned())
    } else {
        Err("give the address of a Debian mirror, like http://HOST/debian".to_owned())
    }
}
