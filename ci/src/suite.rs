//! `cargo ci test`.

use xshell::{Shell, cmd};

use crate::compared::Compared;
use crate::project::Project;
use crate::section::Section;

/// Runs everything that runs: the test command of the README first, then what takes longer.
pub(crate) fn run(project: &Project) -> anyhow::Result<()> {
    let sh = &project.shell;
    tests(project)?;
    for arguments in RUNS {
        let _section = Section::new(format!("cargo holdfast run {}", arguments.join(" ")));
        cmd!(sh, "cargo holdfast run {arguments...}").run()?;
    }
    mutants(sh)?;
    bench(sh)?;
    for strategy in STRATEGIES {
        let _section = Section::new(format!("the suite as a libtest, {strategy}"));
        let _set = sh.push_env("HOLDFAST_SET", strategy);
        cmd!(sh, "cargo test --locked --package harness --test conformance -- --quiet").run()?;
    }
    Ok(())
}

/// The strategies of the reference hypervisor that give FP state to and fro.
const STRATEGIES: [&str; 4] = [
    "restore=lazy,nested=elide",
    "restore=lazy,nested=put-load",
    "restore=eager,nested=elide",
    "restore=eager,nested=put-load",
];

/// What else the suite runs on, as arguments of `holdfast run`.
const RUNS: [&[&str]; 12] = [
    &["--target", "bare"],
    // The architecture leaves open what becomes of the bits above a smaller vector length.
    &["--set", "upper=keep"],
    &["--set", "upper=zero"],
    &["--set", "upper=random"],
    &["--depth", "2"],
    &["--doorbell", "smc"],
    // A world switch after every instruction of every transition.
    &["--sweep", "step-all"],
    &["--sweep", "step-all", "--set", "nested=put-load"],
    &["--sweep", "step-all", "--set", "restore=eager"],
    &["--sweep", "step-all", "--set", "restore=eager", "--set", "nested=put-load"],
    &["--sweep", "step-all", "--depth", "2"],
    // Real KVM; guests with an EL2 of their own are part of `cargo test`, and of `cargo ci kvm-matrix`.
    &["--target", "kvm-qemu"],
];

/// `cargo test`, after which each golden must have had its test.
fn tests(project: &Project) -> anyhow::Result<()> {
    let sh = &project.shell;
    let _section = Section::new("cargo test");
    let _update = sh.push_env("INSTA_UPDATE", "no");
    let compared = Compared::watch(sh)?;
    cmd!(sh, "cargo test --locked").run()?;
    let unreferenced = compared.unreferenced(project)?;
    anyhow::ensure!(unreferenced.is_empty(), "no test has these goldens: {}", unreferenced.join(", "));
    Ok(())
}

/// Every fault must be reached and killed.
fn mutants(sh: &Shell) -> anyhow::Result<()> {
    let _section = Section::new("cargo holdfast mutants");
    cmd!(sh, "cargo holdfast mutants").run()?;
    Ok(())
}

/// The counts are exact: a second run gives the same.
fn bench(sh: &Shell) -> anyhow::Result<()> {
    let _section = Section::new("cargo holdfast bench, twice");
    let first = rows(&cmd!(sh, "cargo holdfast bench --format json").read()?)?;
    let second = rows(&cmd!(sh, "cargo holdfast bench --format json").read()?)?;
    anyhow::ensure!(!first.is_empty(), "holdfast bench has no rows");
    anyhow::ensure!(first == second, "holdfast bench counted differently the second time");
    Ok(())
}

/// The rows of `bench --format json`: all lines but the summary, which has the time that it took.
fn rows(json: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let lines: Vec<serde_json::Value> = json.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line["type"] != "summary").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_no_row() {
        let json = "{\"type\":\"row\",\"vl\":128}\n{\"type\":\"summary\",\"wall_s\":1.5}\n";
        assert_eq!(rows(json).unwrap(), [serde_json::json!({"type": "row", "vl": 128})]);
        assert!(rows("no json").is_err());
    }
}
