//! What the payload's entry stubs load: general-purpose registers and flags.

use abi::doorbell::Sweep;
use abi::op::{Code, Go, GprImage, flag};
use abi::pattern;
use abi::place::Place;

use super::program::{Address, Relocation};
use super::{CompileError, Compiler};
use crate::oracle::exceptions::pstate;
use crate::oracle::file::Bits;
use crate::oracle::traps::Access;

/// A register that an instruction needs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Operands {
    /// X0, a plain value.
    pub(super) x0: Option<u64>,
    /// X1: the hole pages plus this.
    pub(super) x1: Option<u64>,
    /// X1 is 0 instead.
    pub(super) x1_zero: bool,
}

/// What a place left behind when its entry stub ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// Index of the operation.
    pub(super) op: usize,
    /// The place that was left.
    pub(super) from: Place,
    /// X0 to X30.
    pub(super) x: [Address; 31],
    /// PSTATE.NZCV, in bits 31:28.
    pub(super) nzcv: u64,
    /// The vCPU is stopped where it arrives.
    pub(super) stops: bool,
}

impl Compiler<'_> {
    /// Emits a `Go` with registers that no other has.
    pub(super) fn depart(&mut self, go: Go, arg: [u64; 3], operands: Operands) -> Result<Left, CompileError> {
        let op = self.ops.len();
        let mut image = GprImage { x: std::array::from_fn(|reg| general(op, reg)), nzcv: flags(op, 0) };
        let mut x = image.x.map(|value| Address::Bits(Bits::all(value)));
        if let Some(value) = operands.x0 {
            image.x[0] = value;
            x[0] = Address::Bits(Bits::all(value));
        }
        if operands.x1_zero {
            image.x[1] = 0;
            x[1] = Address::Bits(Bits::all(0));
        }
        if let Some(offset) = operands.x1 {
            image.x[1] = 0;
            x[1] = Address::Hole(offset);
        }
        let bytes: Vec<u8> =
            image.x.iter().chain([&image.nzcv]).flat_map(|word| word.to_le_bytes()).collect();
        let (data, data_len) = self.add_data(&bytes)?;
        if let Some(addend) = operands.x1 {
            self.relocations.push(Relocation { offset: data as usize + 8, addend });
        }
        let swept = !self.explicit_windows && self.can_be_swept(go);
        self.windows += usize::from(swept);
        let stops = std::mem::take(&mut self.stops_at_arrival);
        let flags = match (stops, self.is_open(Access::Fp)) {
            (true, true) => flag::WINDOW | flag::LIVE,
            (true, false) => flag::WINDOW,
            (false, _) if swept => flag::WINDOW,
            (false, _) => 0,
        };
        self.emit_with_data(Code::Go, [go as u64, arg[0], arg[1], arg[2], 0], flags, data, data_len);
        Ok(Left { op, from: self.place, x, nzcv: image.nzcv, stops })
    }

    /// Whether a window can hold this transition. A reset ends every window, and a wait has no points. WFI and WFE trap only if they would
    /// wait (HCR_EL2.TWI, TWE), and need not wait: single-stepped, QEMU's complete (`target/arm/tcg/translate-a64.c`,
    /// `aarch64_tr_tb_stop`), which the architecture allows at any time.
    fn can_be_swept(&self, go: Go) -> bool {
        match self.sweep.map(|sweep| sweep.kind) {
            None => false,
            _ if matches!(go, Go::WfiTimer | Go::Timer) => false,
            Some(Sweep::StepAll | Sweep::StepEach) => !matches!(go, Go::Reset | Go::Wfi | Go::Wfe),
            Some(Sweep::Off | Sweep::Timer) => go != Go::Reset,
        }
    }
}

/// A value for a general-purpose register: unique, and no address (bits 63:56 are 0xa5).
fn general(op: usize, reg: usize) -> u64 {
    0xa5 << 56 | pattern::mix((op as u64) << 8 | reg as u64) >> 8
}

/// Condition flags, neither all clear nor all set.
pub(super) fn flags(op: usize, salt: u64) -> u64 {
    (pattern::mix((op as u64) << 8 | 0x80 | salt) % 14 + 1) << 28 & pstate::NZCV
}
