//! The working copy that the commands are about.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use xshell::{Shell, cmd};

/// The working copy, and a shell in its root.
#[derive(Debug)]
pub(crate) struct Project {
    /// Runs commands in the root.
    pub(crate) shell: Shell,
    root: PathBuf,
}

/// A file of the project.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Its path, relative to the root, with `/`.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
}

/// A file whose bytes are UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    /// See [`File::path`].
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

impl File {
    /// What is in it, if that is UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        str::from_utf8(&self.bytes).ok()
    }

    /// The same as a text, if it is one.
    pub(crate) fn into_text(self) -> Option<TextFile> {
        let Self { path, bytes } = self;
        Some(TextFile { path, text: String::from_utf8(bytes).ok()? })
    }
}

impl Project {
    /// The working copy that this program was built from.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("ci/ has no parent folder")?;
        let shell = Shell::new()?;
        shell.change_dir(root);
        Ok(Self { shell, root: root.to_owned() })
    }

    /// The root of the working copy.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The files that are committed, or new and not ignored, in the order of their paths.
    pub(crate) fn files(&self) -> anyhow::Result<Vec<File>> {
        let listing = cmd!(self.shell, "git ls-files -z --cached --others --exclude-standard").read()?;
        let mut paths: Vec<&str> = listing.split('\0').filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut files = Vec::new();
        for path in paths {
            match fs::read(self.root.join(path)) {
                Ok(bytes) => files.push(File { path: path.to_owned(), bytes }),
                // Deleted, and the deletion not yet committed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
            }
        }
        Ok(files)
    }

    /// Paths below `folder` whose names end with `ending`, relative to the root and sorted.
    pub(crate) fn walk(&self, folder: &str, ending: &str) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        walk(&self.root.join(folder), ending, &mut found)?;
        let mut paths = Vec::new();
        for path in found {
            let path = path.strip_prefix(&self.root)?;
            paths.push(path.to_str().ok_or_else(|| anyhow!("{} is not UTF-8", path.display()))?.to_owned());
        }
        paths.sort();
        Ok(paths)
    }
}

fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, ending, found)?;
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    Ok(())
}
