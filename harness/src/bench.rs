//! What a round trip from L1 into L2 and back costs, exactly.
//!
//! Under `-icount` the guest's counter counts instructions, and the hypervisor counts traps, saves and loads. Two
//! runs of the same program that differ by the number of round trips alone differ by what that many round trips
//! cost: no start, no end and no wall time is in the result, and a second run gives the same numbers.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use abi::hyp::{Counters, Nested, Restore};
use abi::job::Status;
use abi::op::{Code, Op, TICKS};
use abi::place::Place;
use abi::record::{Kind, RecordHeader, RegisterValue};
use arch::esr::ec;
use model::compile::{Program, compile};
use model::scenario::{Case, parse};
use serde::Serialize;
use zerocopy::{FromBytes as _, FromZeros as _};

use crate::options::{Options, Strategy, TargetKind};
use crate::qemu::Qemu;
use crate::qemu::machine::{JobEnd, Machine, MachineError};
use crate::target::{Launch, Outcome, OutcomeError, Ring, Target, TargetConfig, TargetError};

/// What is measured: one row for each combination.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// When FP state is restored.
    pub restore: Vec<Restore>,
    /// What nested transitions do to it.
    pub nested: Vec<Nested>,
    /// Copies of the reference hypervisor below L1.
    pub depths: Vec<u32>,
    /// The guest's largest vector lengths, in bits.
    pub vls: Vec<u32>,
}

impl Default for Matrix {
    fn default() -> Self {
        Self {
            restore: vec![Restore::Lazy],
            nested: vec![Nested::PutLoad, Nested::Elide],
            depths: vec![1, 2, 3, 4],
            vls: vec![128, 256, 512, 2048],
        }
    }
}

/// The cost of one round trip L1-L2-L1 in which both levels use SVE. All numbers are exact.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename = "bench")]
pub struct Row {
    /// The strategy's switches.
    pub strategy: String,
    /// `restore` of the strategy.
    pub restore: &'static str,
    /// `nested` of the strategy.
    pub nested: &'static str,
    /// Copies of the reference hypervisor below L1.
    pub depth: u32,
    /// The vector length in bits.
    pub vl: u32,
    /// The streaming vector length in bits; 0 without SME.
    pub svl: u32,
    /// Instructions of all levels.
    pub instructions: u64,
    /// Exits to the outermost hypervisor.
    pub traps: u64,
    /// Of these, ERETs (EC 0x1a).
    pub traps_eret: u64,
    /// HVCs (EC 0x16).
    pub traps_hvc: u64,
    /// FP, AdvSIMD and SVE accesses (EC 0x07, 0x19).
    pub traps_fp: u64,
    /// System registers (EC 0x18).
    pub traps_sysreg: u64,
    /// FP states that the outermost hypervisor saved.
    pub saves: u64,
    /// FP states that it loaded.
    pub loads: u64,
}

/// Why there is no row.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The images do not make a target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is no machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The outcome cannot be read.
    #[error("the outcome of a measurement cannot be read")]
    Outcome(#[from] OutcomeError),
    /// The target has not got what the program needs.
    #[error("the program does not compile: {0}")]
    Program(String),
    /// The job did not come to its end.
    #[error("depth {depth}, VL {vl}: the measurement ended with {how}")]
    Ended {
        /// The depth.
        depth: u32,
        /// The vector length in bits.
        vl: u32,
        /// How.
        how: String,
    },
    /// The numbers are not whole multiples: something else happened meanwhile.
    #[error("depth {depth}, VL {vl}: {what} is not the same in each round trip")]
    NotExact {
        /// The depth.
        depth: u32,
        /// The vector length in bits.
        vl: u32,
        /// Which number.
        what: &'static str,
    },
}

/// Round trips before what is counted, so that every translation is there and every state in its rhythm.
const WARM: u64 = 8;
/// Round trips counted.
const COUNTED: u64 = 64;
/// A measurement takes well under a second of wall time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Measures every combination, in the order of depth, length, restore, nested. `each` sees a row when it is there.
///
/// # Errors
///
/// If a machine or an image is missing, or a measurement is not exact.
pub fn measure(
    qemu: &Qemu,
    matrix: &Matrix,
    stop: &AtomicBool,
    each: &mut dyn FnMut(&Row),
) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    for &depth in &matrix.depths {
        let mut machine = None;
        for &vl in &matrix.vls {
            for &restore in &matrix.restore {
                for &nested in &matrix.nested {
                    let bench = Bench::new(qemu, depth, vl, restore, nested)?;
                    let machine = match &mut machine {
                        Some(machine) => machine,
                        none => none.insert(bench.boot(qemu)?),
                    };
                    let row = bench.row(machine, stop)?;
                    each(&row);
                    rows.push(row);
                }
            }
        }
    }
    Ok(rows)
}

struct Bench {
    target: Target,
    case: Case,
    program: Program,
    depth: u32,
    vl: u32,
    restore: Restore,
    nested: Nested,
}

impl Bench {
    fn new(qemu: &Qemu, depth: u32, vl: u32, restore: Restore, nested: Nested) -> Result<Self, BenchError> {
        let options = Options {
            target: TargetKind::Reference,
            strategy: Strategy { restore, nested, ..Strategy::default() },
            depth,
            ..Options::default()
        };
        let config =
            TargetConfig { poison: false, trace: false, icount: true, ..TargetConfig::new(&options) };
        let target = Target::new(config, qemu.version())?;
        let text = format!(
            "title = \"round trips\"\nrules = [\"P-80\"]\n[machine]\nmax_vl = {vl}\nstage2 = false\nsteps = \"\"\"\nL1 expect vl\n\"\"\"\n"
        );
        let scenario = parse("bench::round_trips", "bench", &text)
            .map_err(|error| BenchError::Program(error.to_string()))?;
        let case =
            scenario.cases().into_iter().next().ok_or_else(|| BenchError::Program("no case".to_owned()))?;
        let machine = target.machine(&case.guest).map_err(|error| BenchError::Program(error.to_string()))?;
        let mut program =
            compile(&case, &machine, None).map_err(|error| BenchError::Program(error.to_string()))?;
        program.link(target.hole());
        Ok(Self { target, case, program, depth, vl, restore, nested })
    }

    fn boot(&self, qemu: &Qemu) -> Result<Machine, BenchError> {
        let config = self.target.machine_config(&self.case.guest, abi::doorbell::Sweep::Off);
        let memory = Machine::new_memory()?;
        self.target.load(&memory)?;
        Ok(Machine::start(&(qemu, config), memory)?)
    }

    fn row(&self, machine: &mut Machine, stop: &AtomicBool) -> Result<Row, BenchError> {
        let (few_ticks, few) = self.run(machine, WARM, stop)?;
        let (many_ticks, many) = self.run(machine, WARM + COUNTED, stop)?;
        let per = |what, few: u64, many: u64| {
            let difference = many.wrapping_sub(few);
            if difference.is_multiple_of(COUNTED) {
                Ok(difference / COUNTED)
            } else {
                Err(BenchError::NotExact { depth: self.depth, vl: self.vl, what })
            }
        };
        let exits = |counters: &Counters, classes: &[u8]| -> u64 {
            classes.iter().map(|class| counters.exits.get(usize::from(*class)).copied().unwrap_or(0)).sum()
        };
        let class = |what, classes: &[u8]| per(what, exits(&few, classes), exits(&many, classes));
        let all: fn(&Counters) -> u64 = |counters| counters.exits.iter().sum();
        Ok(Row {
            strategy: format!("restore={} nested={}", self.restore.name(), self.nested.name()),
            restore: self.restore.name(),
            nested: self.nested.name(),
            depth: self.depth,
            vl: self.vl,
            svl: 0,
            instructions: per("the number of instructions", few_ticks, many_ticks)?,
            traps: per("the number of traps", all(&few), all(&many))?,
            traps_eret: class("the number of ERETs", &[ec::ERET])?,
            traps_hvc: class("the number of HVCs", &[ec::HVC])?,
            traps_fp: class("the number of FP traps", &[ec::FP, ec::SVE])?,
            traps_sysreg: class("the number of trapped registers", &[ec::SYSREG])?,
            saves: per("the number of saves", few.fp_saves, many.fp_saves)?,
            loads: per("the number of loads", few.fp_loads, many.fp_loads)?,
        })
    }

    /// Runs `count` round trips; the instructions that they took, and what the outermost hypervisor counted in
    /// the whole job.
    fn run(
        &self,
        machine: &mut Machine,
        count: u64,
        stop: &AtomicBool,
    ) -> Result<(u64, Counters), BenchError> {
        let mut program = self.program.clone();
        let end = program.ops.len().saturating_sub(1);
        let trips = Op {
            code: Code::RoundTrips as u16,
            place: Place::L1 as u8,
            arg: [count, 0, 0, 0, 0],
            ..Op::new_zeroed()
        };
        program.ops.insert(end, trips);
        let launch = Launch {
            guest: &self.case.guest,
            program: &program,
            sweep: None,
            fault: None,
            budget_ticks: u64::MAX / 4,
        };
        self.target.prepare(machine.memory(), &launch)?;
        let ended = machine.run(TIMEOUT, stop)?;
        let failed = |how: String| BenchError::Ended { depth: self.depth, vl: self.vl, how };
        if ended != JobEnd::Answered {
            return Err(failed(format!("{ended:?}")));
        }
        let outcome = self.target.collect(machine.memory())?;
        if Status::from_u64(outcome.header.status) != Some(Status::Done) {
            return Err(failed(format!("status {:#x}", outcome.header.status)));
        }
        self.read(machine, &outcome).ok_or_else(|| failed("no count of instructions".to_owned()))
    }

    fn read(&self, machine: &Machine, outcome: &Outcome) -> Option<(u64, Counters)> {
        let ring = self.target.ring(machine.memory(), &outcome.header, Ring::First).ok()?;
        let mut rest = ring.as_slice();
        while let Ok((header, after)) = RecordHeader::read_from_prefix(rest) {
            let len = usize::try_from(header.len).ok()?;
            let body = after.get(..len)?;
            if header.kind == Kind::Register as u16
                && let Ok((value, _)) = RegisterValue::read_from_prefix(body)
                && value.reg == u64::from(TICKS)
            {
                return Some((value.value, outcome.hyp.as_ref()?.counters));
            }
            rest = after.get(len..)?;
        }
        None
    }
}
