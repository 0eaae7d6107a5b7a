//! Which goldens the tests compare with.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use xshell::Shell;

use crate::check::goldens::unreferenced;
use crate::project::Project;

/// Notes which goldens are compared with while this lives.
#[derive(Debug)]
pub(crate) struct Compared<'a> {
    list: PathBuf,
    _folder: xshell::TempDir,
    _variable: xshell::PushEnv<'a>,
}

impl<'a> Compared<'a> {
    /// Tells insta, by its environment variable, where to note each snapshot that a test compares with.
    pub(crate) fn watch(shell: &'a Shell) -> anyhow::Result<Self> {
        let folder = shell.create_temp_dir()?;
        let list = folder.path().join("compared");
        let variable = shell.push_env("INSTA_SNAPSHOT_REFERENCES_FILE", &list);
        Ok(Self { list, _folder: folder, _variable: variable })
    }

    /// The goldens, relative to the project, that nothing was compared with.
    pub(crate) fn unreferenced(&self, project: &Project) -> anyhow::Result<Vec<String>> {
        let compared = fs::read_to_string(&self.list).context("no test compared anything with a golden")?;
        let mut known = String::new();
        for path in compared.lines() {
            // insta writes the path as the test gave it, with `..` in it.
            let path = fs::canonicalize(path).with_context(|| format!("cannot find {path}"))?;
            if let Some(path) = path.strip_prefix(fs::canonicalize(project.root())?)?.to_str() {
                known.push_str(path);
                known.push('\n');
            }
        }
        Ok(unreferenced(&project.walk("golden", ".snap")?, &known))
    }
}
