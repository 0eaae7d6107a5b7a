//! `holdfast doctor`: what this machine can run, and why not the rest.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde_json::json;

use super::args::{Doctor, PlainFormat};
use super::exit::Exit;
use crate::doctor::{Check, Health, Report, Runnable, examine};
use crate::qemu::Settings;

/// Runs the command. It fails if some target cannot run.
pub(super) fn run(args: &Doctor, to: &mut dyn Write) -> Result<Exit> {
    let mut settings = Settings::from_env();
    settings.provision &= !args.provision.no_provision;
    settings.mirror = args.provision.debian_mirror.clone().or(settings.mirror);
    let report = examine(&settings);
    let exit = if report.is_healthy() { Exit::Success } else { Exit::Nonconformant };
    if args.format == PlainFormat::Json {
        lines(&report, to)?;
        return Ok(exit);
    }
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &report.checks {
        let style = style(check.health);
        writeln!(to, "{style}{:<8}{style:#} {:<width$}  {}", check.health.name(), check.name, check.found)?;
        if !check.mend.is_empty() {
            writeln!(to, "{:<8} {:<width$}  mend: {}", "", "", check.mend)?;
        }
    }
    writeln!(to)?;
    for target in &report.targets {
        let health = if target.runs { Health::Good } else { Health::Bad };
        let style = style(health);
        let runs = if target.runs { "runs" } else { "does not run" };
        let why = if target.why.is_empty() { String::new() } else { format!(": {}", target.why) };
        writeln!(to, "target {:<10} {style}{runs}{style:#}{why}", target.target.name())?;
    }
    Ok(exit)
}

/// The report as JSON lines.
fn lines(report: &Report, to: &mut dyn Write) -> Result<()> {
    for check in &report.checks {
        let Check { name, health, found, mend } = check;
        let health = health.name();
        let line = json!({"type": "check", "name": name, "health": health, "found": found, "mend": mend});
        writeln!(to, "{line}")?;
    }
    for Runnable { target, runs, why } in &report.targets {
        writeln!(to, "{}", json!({"type": "target", "target": target.name(), "runs": runs, "why": why}))?;
    }
    writeln!(to, "{}", json!({"type": "summary", "healthy": report.is_healthy()}))?;
    Ok(())
}

const fn style(health: Health) -> Style {
    match health {
        Health::Good => AnsiColor::Green.on_default(),
        Health::Limited => AnsiColor::Yellow.on_default(),
        Health::Absent => Style::new().dimmed(),
        Health::Bad => AnsiColor::Red.on_default().bold(),
    }
}
