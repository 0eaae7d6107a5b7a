//! `cargo ci bless`: the only way to change goldens.

use std::fs;

use xshell::cmd;

use crate::check::goldens::PENDING;
use crate::compared::Compared;
use crate::project::Project;
use crate::section::Section;

/// Runs the tests and makes what they print the goldens.
pub(crate) fn run(project: &Project, filter: Option<&str>) -> anyhow::Result<()> {
    let _section = Section::new("bless");
    let sh = &project.shell;
    let _update = sh.push_env("INSTA_UPDATE", "always");
    let compared = Compared::watch(sh)?;
    cmd!(sh, "cargo test --locked {filter...}").run()?;
    if filter.is_none() {
        for golden in compared.unreferenced(project)? {
            eprintln!("no test has {golden}: deleted");
            fs::remove_file(project.root().join(golden))?;
        }
    }
    for pending in project.walk("golden", PENDING)? {
        fs::remove_file(project.root().join(pending))?;
    }
    cmd!(sh, "git status --short golden").run()?;
    Ok(())
}
