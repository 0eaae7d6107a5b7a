//! The report for people: what ran, a table by area, what did not pass, and a verdict as the last line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::clean::line;
use super::elsewhere::Elsewhere;
use super::style::{self, BAD, FAINT, GOOD, LABEL, STRONG, WARN};
use super::{Reporter, failure};
use crate::events::{Case, Environment, Summary, Witness};
use crate::result::State;

/// Names of further cases with the same fingerprint that are shown without `all`.
const NAMES_SHOWN: usize = 10;
/// Kinds of failure shown in full without `all`; of the others the headline.
const KINDS_SHOWN: usize = 10;

/// Collects the cases and prints everything at the end.
#[derive(Debug)]
pub struct Human<W> {
    to: W,
    all: bool,
    environment: Environment,
    areas: BTreeMap<String, Area>,
    /// Cases that were not run, by code and reason.
    skips: BTreeMap<(String, String), u64>,
    groups: Vec<Group>,
    elsewhere: Elsewhere,
    counts: Summary,
}

#[derive(Debug, Default)]
struct Area {
    counts: Summary,
    duration: Duration,
}

/// Cases that failed alike.
#[derive(Debug)]
struct Group {
    state: State,
    fingerprint: Option<String>,
    first: Case,
    /// Names of the others.
    others: Vec<String>,
}

impl<W: Write> Human<W> {
    /// Prints to `to`, with ANSI colors; `all` shows every failure in full and lists every name.
    pub fn new(to: W, all: bool) -> Self {
        Self {
            to,
            all,
            environment: Environment::default(),
            areas: BTreeMap::new(),
            skips: BTreeMap::new(),
            groups: Vec::new(),
            elsewhere: Elsewhere::default(),
            counts: Summary::default(),
        }
    }

    fn head(&mut self) -> io::Result<()> {
        let environment = &self.environment;
        let mut words = vec![environment.target.clone()];
        if let Some(kernel) = &environment.kernel {
            words.extend([kernel.release.clone(), format!("[{}]", kernel.kvm)]);
        }
        words.extend(environment.strategy.iter().cloned());
        if environment.depth > 1 {
            words.push(format!("depth {}", environment.depth));
        }
        words.extend(environment.doorbell.iter().map(|way| format!("doorbell {way}")));
        words.extend(environment.sweep.iter().map(|sweep| format!("sweep {sweep}")));
        words.extend(environment.disturbance.iter().map(|disturbance| format!("disturb {disturbance}")));
        words.extend(environment.fault.iter().map(|fault| format!("fault {fault}")));
        words.extend(environment.emulator.iter().map(|emulator| format!("({})", emulator.version)));
        let version = line(&environment.suite_version);
        writeln!(self.to, "{STRONG}Holdfast {version}{STRONG:#}  {}", line(&words.join(" ")))
    }

    fn table(&mut self) -> io::Result<()> {
        let used: Vec<usize> = (0..State::NAMES.len())
            .filter(|&index| self.counts.counts().get(index).is_some_and(|count| *count > 0))
            .collect();
        let width = self.areas.keys().map(|area| line(area).chars().count()).chain([5]).max().unwrap_or(5);
        write!(self.to, "\n{LABEL}{:<width$}{LABEL:#}", "area")?;
        for &index in &used {
            write!(self.to, "  {LABEL}{:>7}{LABEL:#}", State::NAMES.get(index).unwrap_or(&""))?;
        }
        let points = self.counts.sweep_points > 0;
        if points {
            write!(self.to, "  {LABEL}{:>9}{LABEL:#}", "points")?;
        }
        writeln!(self.to, "  {LABEL}{:>9}{LABEL:#}", "case time")?;
        let total: Duration = self.areas.values().map(|area| area.duration).sum();
        let total = ("all".to_owned(), Area { counts: self.counts, duration: total });
        let rows = self.areas.iter().chain([(&total.0, &total.1)]);
        for (name, area) in rows.collect::<Vec<_>>() {
            write!(self.to, "{:<width$}", line(name))?;
            let counts = area.counts.counts();
            for &index in &used {
                match counts.get(index) {
                    Some(0) | None => write!(self.to, "  {FAINT}{:>7}{FAINT:#}", "-")?,
                    Some(count) => write!(self.to, "  {count:>7}")?,
                }
            }
            match area.counts.sweep_points {
                0 if points => write!(self.to, "  {FAINT}{:>9}{FAINT:#}", "-")?,
                count if points => write!(self.to, "  {count:>9}")?,
                _ => {}
            }
            writeln!(self.to, "  {:>7.2} s", area.duration.as_secs_f64())?;
        }
        Ok(())
    }

    fn not_run(&mut self) -> io::Result<()> {
        for ((code, why), count) in &self.skips {
            writeln!(self.to, "{WARN}skipped{WARN:#} {count} {}: {}", line(code), line(why))?;
        }
        Ok(())
    }

    fn failures(&mut self) -> io::Result<()> {
        // Worst last, so that it stands nearest to the prompt.
        self.groups.sort_by_key(|group| group.state.severity());
        if self.groups.is_empty() {
            return Ok(());
        }
        writeln!(self.to)?;
        let shown_in_full = if self.all { usize::MAX } else { KINDS_SHOWN };
        let brief = self.groups.len().saturating_sub(shown_in_full);
        let mut in_one_line = 0;
        for (index, group) in self.groups.iter().enumerate() {
            if index < brief || (group.state == State::Xfail && !self.all) {
                in_one_line += 1;
                let mark = style::of(&group.state);
                let (name, headline) = (line(&group.first.name), failure::headline(&group.first));
                let alike = match group.others.len() {
                    0 => String::new(),
                    others => format!("  {FAINT}and {others} alike{FAINT:#}"),
                };
                writeln!(self.to, "{mark}{}{mark:#} {name}: {headline}{alike}", group.state)?;
            } else {
                writeln!(self.to)?;
                failure::write(&mut self.to, &self.environment, &group.first)?;
                let answers = self.elsewhere.text(&self.environment, &group.first);
                if let Some(answers) = answers.filter(|_| group.state.is_nonconformant()) {
                    failure::label(&mut self.to, "also on", &answers.join(" "))?;
                }
                others(&mut self.to, &group.others)?;
            }
        }
        let kinds = match in_one_line {
            0 => return Ok(()),
            1 => "1 kind of failure in one line".to_owned(),
            many => format!("{many} kinds of failure in one line each"),
        };
        writeln!(self.to, "\n{FAINT}{kinds}: --all shows everything{FAINT:#}")
    }

    fn verdict(&mut self, summary: Option<&Summary>) -> io::Result<()> {
        let counts = self.counts;
        let listed: Vec<String> = State::NAMES
            .into_iter()
            .zip(counts.counts())
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let listed = if listed.is_empty() { "nothing ran".to_owned() } else { listed.join(", ") };
        writeln!(self.to)?;
        let Some(summary) = summary else {
            return writeln!(self.to, "{BAD}void: ended early{BAD:#}: {listed}");
        };
        let wall = summary.wall_s;
        let (style, word) = if counts.error + counts.miss > 0 {
            (BAD, "void")
        } else if counts.nonconformant() > 0 {
            (BAD, "not conformant")
        } else if summary.stopped {
            (BAD, "void: stopped")
        } else if counts.pass + counts.xfail == 0 {
            (WARN, "nothing ran")
        } else {
            (GOOD, "conformant")
        };
        writeln!(self.to, "{style}{word}{style:#}: {listed} in {wall:.2} s")
    }
}

impl<W: Write> Reporter for Human<W> {
    fn environment(&mut self, environment: &Environment) -> io::Result<()> {
        self.environment = environment.clone();
        Ok(())
    }

    fn case(&mut self, case: &Case) -> io::Result<()> {
        let state = case.verdict().unwrap_or(State::Error);
        let area = self.areas.entry(area(&case.name).to_owned()).or_default();
        area.counts.count(&state);
        self.counts.count(&state);
        area.duration = area.duration.saturating_add(Duration::from_micros(case.duration_us));
        let points = case.sweep.as_ref().map_or(0, |sweep| sweep.points);
        area.counts.sweep_points = area.counts.sweep_points.saturating_add(points);
        self.counts.sweep_points = self.counts.sweep_points.saturating_add(points);
        match &state {
            State::Pass => {}
            State::Skip(code) => {
                *self.skips.entry((code.clone(), case.why.clone())).or_default() += 1;
            }
            _ => {
                let alike = self.groups.iter_mut().find(|group| {
                    case.fingerprint.is_some()
                        && group.state == state
                        && group.fingerprint == case.fingerprint
                });
                match alike {
                    Some(group) if !self.all && case.is_traced() && !group.first.is_traced() => {
                        // The one of its kind that was traced tells most.
                        let first = std::mem::replace(&mut group.first, case.clone());
                        group.others.push(first.name);
                    }
                    Some(group) if !self.all => group.others.push(case.name.clone()),
                    _ => self.groups.push(Group {
                        state,
                        fingerprint: case.fingerprint.clone(),
                        first: case.clone(),
                        others: Vec::new(),
                    }),
                }
            }
        }
        Ok(())
    }

    fn witness(&mut self, witness: &Witness) -> io::Result<()> {
        self.elsewhere.hear(witness);
        Ok(())
    }

    fn end(&mut self, summary: Option<&Summary>) -> io::Result<()> {
        self.head()?;
        if !self.areas.is_empty() {
            self.table()?;
            self.not_run()?;
            self.failures()?;
        }
        self.verdict(summary)?;
        self.to.flush()
    }
}

/// Everything of a case's name but its last part and its matrix.
fn area(name: &str) -> &str {
    let scenario = name.split('[').next().unwrap_or_default();
    scenario.rsplit_once("::").map_or(scenario, |(area, _)| area)
}

fn others(to: &mut dyn Write, names: &[String]) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    writeln!(to, "  {LABEL}alike{LABEL:#}       {} more with this fingerprint", names.len())?;
    for name in names.iter().take(NAMES_SHOWN) {
        writeln!(to, "  {:<11} {}", "", line(name))?;
    }
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => Ok(()),
        hidden => writeln!(to, "  {:<11} {FAINT}and {hidden} more (--all shows them){FAINT:#}", ""),
    }
}
