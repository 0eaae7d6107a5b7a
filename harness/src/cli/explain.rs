//! `holdfast explain`: what a case, a rule or a fault is about. Starts nothing.

use std::io::Write;
use std::sync::Arc;

use abi::fault::Fault;
use anyhow::{Result, bail};
use model::rules::{self, Rule};
use model::scenario::Case;
use model::scenario::step::Step;
use serde_json::json;

use super::args::{Explain, PlainFormat};
use super::exit::Exit;
use crate::suite::{Suite, select};

/// Names shown of a long list.
const NAMES_SHOWN: usize = 12;

/// Runs the command.
pub(super) fn run(args: &Explain, to: &mut dyn Write) -> Result<Exit> {
    let suite = Suite::embedded()?;
    let what = args.what.as_str();
    if args.format == PlainFormat::Json {
        return lines(what, &suite.cases(), to);
    }
    if let Some(rule) = rules::get(&what.to_ascii_uppercase()) {
        explain_rule(rule, &suite.cases(), to)?;
    } else if let Some(fault) = Fault::ALL.iter().find(|fault| fault.name() == what) {
        explain_fault(*fault, &suite.cases(), to)?;
    } else {
        let cases = select(&suite.cases(), &[what.to_owned()]);
        let Some(first) = cases.first() else {
            bail!(
                "no case, rule or fault is called `{what}`: see `holdfast list`, `list --rules`, `list --faults`"
            );
        };
        if cases.iter().any(|case| case.scenario_name != first.scenario_name) {
            writeln!(to, "`{what}` is in the names of {} cases:", cases.len())?;
            names(&cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), to)?;
        } else {
            explain_case(first, cases.len(), to)?;
        }
    }
    Ok(Exit::Success)
}

/// The same as JSON lines: one for the rule or the fault, or one for each case.
fn lines(what: &str, cases: &[Arc<Case>], to: &mut dyn Write) -> Result<Exit> {
    let mut told = Vec::new();
    let checking = |ids: &[&str]| -> Vec<&str> {
        let checks = |case: &&Arc<Case>| case.rules.iter().any(|id| ids.contains(&id.as_str()));
        cases.iter().filter(checks).map(|case| case.name.as_str()).collect()
    };
    if let Some(rule) = rules::get(&what.to_ascii_uppercase()) {
        let Rule { id, text, follows, bugs, area, scope } = rule;
        told.push(json!({
            "type": "rule", "id": id, "text": text, "follows": follows, "bugs": bugs, "area": area.name(),
            "cases": checking(&[*id]), "why_not": scope.why_not(),
        }));
    } else if let Some(fault) = Fault::ALL.iter().find(|fault| fault.name() == what) {
        told.push(json!({
            "type": "fault", "name": what, "what": fault.what(), "origin": fault.origin(),
            "rules": fault.rules(), "cases": checking(fault.rules()),
        }));
    } else {
        told.extend(select(cases, &[what.to_owned()]).iter().map(|case| {
            let step = |step: &Step| format!("{} {}", step.place.name(), step.verb);
            json!({
                "type": "case", "name": case.name, "title": case.title, "why": case.why, "path": case.path,
                "rules": case.rules, "needs": case.needs().to_string(),
                "steps": case.steps.iter().map(step).collect::<Vec<_>>(),
            })
        }));
    }
    if told.is_empty() {
        bail!("no case, rule or fault is called `{what}`");
    }
    for line in &told {
        writeln!(to, "{line}")?;
    }
    writeln!(to, "{}", json!({"type": "summary", "told": told.len()}))?;
    Ok(Exit::Success)
}

fn explain_case(case: &Case, of: usize, to: &mut dyn Write) -> Result<()> {
    writeln!(to, "{}\n  {}", case.name, case.title)?;
    if of > 1 {
        writeln!(to, "  the first of {of} cases of {}", case.scenario_name)?;
    }
    if let Some(why) = &case.why {
        writeln!(to, "\nWhy\n  {}", why.trim().replace('\n', "\n  "))?;
    }
    let needs = case.needs().to_string();
    writeln!(to, "\nNeeds\n  {}", if needs.is_empty() { "nothing" } else { &needs })?;
    if let Some(sweep) = case.sweep {
        writeln!(to, "\nSweep\n  {}, {} at each point", sweep.kind.name(), sweep.disturbance.name())?;
    }
    writeln!(to, "\nRules")?;
    for rule in case.rules.iter().filter_map(|id| rules::get(id)) {
        writeln!(to, "  {:<6} {}\n         follows from {}", rule.id, rule.text, rule.follows)?;
    }
    writeln!(to, "\nSteps, in {}", case.path)?;
    for step in &case.steps {
        writeln!(to, "  {:>4} | {} {}", step.line, step.place.name(), step.verb)?;
    }
    let faults: Vec<&Fault> = Fault::ALL
        .iter()
        .filter(|fault| fault.rules().iter().any(|id| case.rules.iter().any(|rule| rule == id)))
        .collect();
    if !faults.is_empty() {
        writeln!(to, "\nFaults that break one of its rules")?;
        for fault in faults {
            writeln!(to, "  {:<28} {}", fault.name(), fault.what())?;
        }
    }
    writeln!(to, "\nRun it\n  holdfast run '{}'", case.name)?;
    Ok(())
}

fn explain_rule(rule: &Rule, cases: &[Arc<Case>], to: &mut dyn Write) -> Result<()> {
    writeln!(to, "{} ({})\n  {}", rule.id, rule.area.name(), rule.text)?;
    writeln!(to, "\nFollows from\n  {}", rule.follows)?;
    if !rule.bugs.is_empty() {
        writeln!(to, "\nCatalogued bugs that break it\n  {}", rule.bugs.join(" "))?;
    }
    let faults: Vec<&Fault> = Fault::ALL.iter().filter(|fault| fault.rules().contains(&rule.id)).collect();
    if !faults.is_empty() {
        writeln!(to, "\nFaults that break it")?;
        for fault in faults {
            writeln!(to, "  {:<28} {}", fault.name(), fault.what())?;
        }
    }
    let checking: Vec<&str> = cases
        .iter()
        .filter(|case| case.rules.iter().any(|id| id == rule.id))
        .map(|case| case.name.as_str())
        .collect();
    writeln!(to, "\nCases that check it")?;
    if checking.is_empty() {
        writeln!(
            to,
            "  no case: {}",
            rule.scope.why_not().unwrap_or("nobody has written a scenario for it")
        )?;
    }
    names(&checking, to)
}

fn explain_fault(fault: Fault, cases: &[Arc<Case>], to: &mut dyn Write) -> Result<()> {
    writeln!(to, "{}\n  {}", fault.name(), fault.what())?;
    let from = fault.origin();
    let catalogue = if from.starts_with("Linux ") { "" } else { " of the catalogue" };
    writeln!(to, "\nTaken from\n  {from}{catalogue}")?;
    writeln!(to, "\nRules that it breaks")?;
    for rule in fault.rules().iter().filter_map(|id| rules::get(id)) {
        writeln!(to, "  {:<6} {}", rule.id, rule.text)?;
    }
    let concerned: Vec<&str> = cases
        .iter()
        .filter(|case| case.rules.iter().any(|id| fault.rules().contains(&id.as_str())))
        .map(|case| case.name.as_str())
        .collect();
    writeln!(to, "\nCases that check one of these rules")?;
    names(&concerned, to)?;
    writeln!(to, "\nWhich cases notice it\n  holdfast mutants {}", fault.name())?;
    Ok(())
}

fn names(names: &[&str], to: &mut dyn Write) -> Result<()> {
    for name in names.iter().take(NAMES_SHOWN) {
        writeln!(to, "  {name}")?;
    }
    if names.len() > NAMES_SHOWN {
        writeln!(to, "  and {} more", names.len() - NAMES_SHOWN)?;
    }
    Ok(())
}
