//! `holdfast bench`: what each strategy costs for each L1-L2-L1 round trip.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use super::args::{Bench, PlainFormat};
use super::exit::Exit;
use super::session;
use crate::bench::{Matrix, Row, measure};
use crate::options::Options;

/// Runs the command.
pub(super) fn run(args: &Bench, to: &mut dyn Write) -> Result<Exit> {
    let matrix = matrix(args);
    let options = Options {
        provision: !args.provision.no_provision,
        mirror: args.provision.debian_mirror.clone(),
        ..Options::default()
    };
    let qemu = session::find_qemu(&options)?;
    let stop = session::stop_on_signal()?;
    let begun = Instant::now();
    let mut written = Ok(());
    let table = args.format != PlainFormat::Json;
    if table {
        writeln!(to, "one round trip L1-L2-L1, SVE used by both; {}", qemu.banner())?;
        writeln!(to, "{HEAD}")?;
    }
    let rows = measure(&qemu, &matrix, &stop, &mut |row| {
        if written.is_ok() {
            written = write_row(row, table, to);
        }
    })?;
    written?;
    let summary = Summary { rows: rows.len(), wall_s: begun.elapsed().as_secs_f64() };
    if table {
        writeln!(to, "{} rows in {:.2} s", summary.rows, summary.wall_s)?;
    } else {
        writeln!(to, "{}", serde_json::to_string(&summary)?)?;
    }
    Ok(Exit::Success)
}

const HEAD: &str = "depth    VL  restore  nested    instructions  traps  eret  hvc  fp  sysreg  saves  loads";

fn write_row(row: &Row, table: bool, to: &mut dyn Write) -> Result<()> {
    if !table {
        writeln!(to, "{}", serde_json::to_string(row)?)?;
        return Ok(());
    }
    writeln!(
        to,
        "{:>5}  {:>4}  {:<7}  {:<8}  {:>12}  {:>5}  {:>4}  {:>3}  {:>2}  {:>6}  {:>5}  {:>5}",
        row.depth,
        row.vl,
        row.restore,
        row.nested,
        row.instructions,
        row.traps,
        row.traps_eret,
        row.traps_hvc,
        row.traps_fp,
        row.traps_sysreg,
        row.saves,
        row.loads
    )?;
    Ok(())
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "summary")]
struct Summary {
    rows: usize,
    wall_s: f64,
}

/// What the command line asks for, in place of the defaults.
fn matrix(args: &Bench) -> Matrix {
    let mut matrix = Matrix::default();
    if !args.restore.is_empty() {
        matrix.restore.clone_from(&args.restore);
    }
    if !args.nested.is_empty() {
        matrix.nested.clone_from(&args.nested);
    }
    if !args.depth.is_empty() {
        matrix.depths.clone_from(&args.depth);
    }
    if !args.vl.is_empty() {
        matrix.vls.clone_from(&args.vl);
    }
    matrix
}
