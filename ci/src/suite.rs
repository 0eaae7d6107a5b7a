//! `cargo ci test`.

use xshell::cmd;

use crate::compared::Compared;
use crate::project::Project;
use crate::section::Section;

/// Runs everything that runs. `cargo test` comes last: its closing line is what a reader of the log looks for.
pub(crate) fn run(project: &Project) -> anyhow::Result<()> {
    conformance(project)?;
    mutants(project)?;
    tests(project)
}

/// What the suite runs on in turn, as arguments of `holdfast run`; each must pass.
const RUNS: [&[&str]; 10] = [
    &["--target", "bare"],
    &["--set", "restore=lazy", "--set", "nested=elide"],
    &["--set", "restore=lazy", "--set", "nested=put-load"],
    &["--set", "restore=eager", "--set", "nested=elide"],
    &["--set", "restore=eager", "--set", "nested=put-load"],
    // The architecture leaves open what becomes of the bits above a smaller vector length.
    &["--set", "upper=keep"],
    &["--set", "upper=zero"],
    &["--set", "upper=random"],
    &["--depth", "2"],
    &["--sweep", "step-all"],
];

fn conformance(project: &Project) -> anyhow::Result<()> {
    let sh = &project.shell;
    for arguments in RUNS {
        let _section = Section::new(format!("holdfast run {}", arguments.join(" ")));
        cmd!(sh, "cargo holdfast run {arguments...}").run()?;
    }
    Ok(())
}

fn mutants(project: &Project) -> anyhow::Result<()> {
    let _section = Section::new("holdfast mutants");
    cmd!(project.shell, "cargo holdfast mutants").run()?;
    Ok(())
}

/// `cargo test`, after which each golden must have had its test.
fn tests(project: &Project) -> anyhow::Result<()> {
    let sh = &project.shell;
    let _section = Section::new("cargo test");
    let _goldens = sh.push_env("INSTA_UPDATE", "no");
    let compared = Compared::watch(sh)?;
    cmd!(sh, "cargo test --locked").run()?;
    let unreferenced = compared.unreferenced(project)?;
    anyhow::ensure!(unreferenced.is_empty(), "no test has these goldens: {}", unreferenced.join(", "));
    Ok(())
}
