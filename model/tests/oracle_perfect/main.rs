//! The checker is checked: the judge accepts a CPU that is right, whichever way it uses its freedom, and names
//! what is wrong with one that is not.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod cpu;
mod doorbell;
mod refused;
mod right;
mod wrong;

use cpu::HOLE;
use model::compile::{CompileError, Program, compile_steps};
use model::machine::{Machine, QemuCpu};
use model::scenario::parse_step;
use model::scenario::step::{GuestSpec, L1Mode, Step};

const VHE: Option<L1Mode> = Some(L1Mode::Vhe);
const NVHE: Option<L1Mode> = Some(L1Mode::Nvhe);

fn guest(l1: Option<L1Mode>) -> GuestSpec {
    GuestSpec { l1, stage2: l1.is_some(), ..GuestSpec::default() }
}

fn machine(guest: &GuestSpec) -> Machine {
    let cpu = QemuCpu { cpu: guest.cpu, sve: true, vl_max: 2048, sme: false, fpmr: true, poe: false };
    let mut machine = Machine::reference(&cpu, guest).unwrap();
    machine.hooks.smccc = true;
    machine
}

fn steps(text: &str) -> Vec<Step> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let (place, verb) = parse_step(line.trim()).unwrap_or_else(|error| panic!("{line}: {error}"));
            Step { place, verb, line: u32::try_from(index + 1).unwrap() }
        })
        .collect()
}

fn program(guest: &GuestSpec, text: &str) -> Result<Program, CompileError> {
    let mut program = compile_steps(guest, &steps(text), &machine(guest), None)?;
    program.link(HOLE);
    Ok(program)
}
