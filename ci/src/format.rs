//! `cargo ci fmt`.

use std::fs;

use xshell::cmd;

use crate::check::suites::{canonical, is_scenario};
use crate::project::{File, Project};
use crate::section::Section;

/// Writes every source and every scenario as `cargo ci lint` wants them.
///
/// The canonical printer keeps the comments of the steps, and no others.
pub(crate) fn run(project: &Project) -> anyhow::Result<()> {
    let _section = Section::new("fmt");
    let sh = &project.shell;
    cmd!(sh, "cargo fmt --all").run()?;
    cmd!(sh, "cargo fmt --manifest-path fuzz/Cargo.toml").run()?;
    let files = project.files()?.into_iter().filter_map(File::into_text);
    for file in files.filter(|file| is_scenario(&file.path)) {
        let text = canonical(&file.path, &file.text).map_err(|complaint| anyhow::anyhow!("{complaint}"))?;
        if text != file.text {
            fs::write(project.root().join(&file.path), text)?;
        }
    }
    Ok(())
}
