//! Changes of the kernel's source that are taken back, at the latest before the next build.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Files as they were, kept beside the source: a build that was killed is undone by the next.
#[derive(Debug)]
pub(crate) struct Undo {
    source: PathBuf,
    kept: PathBuf,
}

/// The folders of what was there and of what was not.
const WAS: &str = "was";
const WAS_NOT: &str = "was-not";

impl Undo {
    /// Takes back what an interrupted build left.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub(crate) fn open(work: &Path, source: &Path) -> anyhow::Result<Self> {
        let undo = Self { source: source.to_owned(), kept: work.join("undo") };
        undo.all()?;
        Ok(undo)
    }

    /// Changes one file.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written, or the change fails.
    pub(crate) fn edit(
        &self,
        file: &str,
        change: impl FnOnce(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let path = self.keep(file)?;
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        fs::write(&path, change(&text)?).with_context(|| format!("cannot write {file}"))
    }

    /// Applies a patch by `patch -p1`: wholly or not at all.
    ///
    /// # Errors
    ///
    /// If it does not apply.
    pub(crate) fn patch(&self, patch: &Path) -> anyhow::Result<()> {
        let text = fs::read(patch).with_context(|| format!("cannot read {}", patch.display()))?;
        for file in touched(&String::from_utf8_lossy(&text)) {
            self.keep(&file)?;
        }
        for try_only in [true, false] {
            let mut command = Command::new("patch");
            command.args(["-p1", "--forward", "--batch", "--no-backup-if-mismatch", "--reject-file=-"]);
            command.args(try_only.then_some("--dry-run")).arg("--input").arg(patch);
            let output = command.current_dir(&self.source).stdin(Stdio::null()).output();
            let output = output.context("cannot run `patch`")?;
            if !output.status.success() {
                eprint!("{}", String::from_utf8_lossy(&output.stdout));
                bail!("{} does not apply", patch.display());
            }
        }
        Ok(())
    }

    /// Makes every file what it was.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub(crate) fn all(&self) -> anyhow::Result<()> {
        for file in below(&self.kept.join(WAS))? {
            let path = self.source.join(&file);
            // Written anew, not moved: the build tells what changed by the times of files.
            fs::write(&path, fs::read(self.kept.join(WAS).join(&file))?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        for file in below(&self.kept.join(WAS_NOT))? {
            let path = self.source.join(&file);
            if path.exists() {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        if self.kept.exists() {
            fs::remove_dir_all(&self.kept).context("cannot remove what was kept")?;
        }
        Ok(())
    }

    /// Keeps a file as it is, unless it was kept before.
    fn keep(&self, file: &str) -> anyhow::Result<PathBuf> {
        let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(inside && !file.is_empty(), "`{file}` is no path in the kernel's source");
        let path = self.source.join(file);
        let [was, was_not] = [WAS, WAS_NOT].map(|folder| self.kept.join(folder).join(file));
        if was.exists() || was_not.exists() {
            return Ok(path);
        }
        let there = path.exists();
        let kept = if there { was } else { was_not };
        let folder = kept.parent().context("a path without a folder")?;
        fs::create_dir_all(folder)?;
        // Written under another name first: a half of a file is never taken for the whole.
        let half = folder.join(".half");
        fs::write(&half, if there { fs::read(&path)? } else { Vec::new() })?;
        fs::rename(half, kept)?;
        Ok(path)
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Err(error) = self.all() {
            eprintln!("warning: the kernel's source stays changed: {error:#}");
        }
    }
}

/// The files below a folder, relative to it; none if there is no such folder.
fn below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", next.display())),
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != ".half") {
                found.push(path.strip_prefix(folder)?.to_owned());
            }
        }
    }
    Ok(found)
}

/// The files that a patch names, each without its first folder.
fn touched(patch: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut lines = patch.lines().peekable();
    while let Some(line) = lines.next() {
        let git = ["rename from ", "rename to ", "copy from ", "copy to "];
        if let Some(file) = git.iter().find_map(|key| line.strip_prefix(key)) {
            files.push(file.to_owned());
        }
        let (Some(old), Some(new)) =
            (line.strip_prefix("--- "), lines.peek().and_then(|line| line.strip_prefix("+++ ")))
        else {
            continue;
        };
        for file in [old, new] {
            // A time may stand behind a tabulator.
            let file = file.split('\t').next().unwrap_or(file).trim_end();
            files.extend(
                file.split_once('/').filter(|_| file != "/dev/null").map(|(_, file)| file.to_owned()),
            );
        }
    }
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A work folder with a source of two files.
    fn work() -> (xshell::TempDir, PathBuf) {
        let folder = xshell::Shell::new().unwrap().create_temp_dir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir_all(source.join("kvm")).unwrap();
        fs::write(source.join("kvm/a.c"), "one\ntwo\nthree\n").unwrap();
        fs::write(source.join("b.c"), "b\n").unwrap();
        (folder, source)
    }

    fn read(source: &Path, file: &str) -> String {
        fs::read_to_string(source.join(file)).unwrap()
    }

    const PATCH: &str = "--- a/kvm/a.c\t2026-01-01\n+++ b/kvm/a.c\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n\
                         --- /dev/null\n+++ b/new/c.c\n@@ -0,0 +1 @@\n+c\n";

    #[test]
    fn edits_are_undone_when_the_build_is_over() {
        let (folder, source) = work();
        let undo = Undo::open(folder.path(), &source).unwrap();
        undo.edit("kvm/a.c", |text| Ok(text.replace("one", "1"))).unwrap();
        undo.edit("kvm/a.c", |text| Ok(text.replace("two", "2"))).unwrap();
        assert_eq!(read(&source, "kvm/a.c"), "1\n2\nthree\n");
        drop(undo);
        assert_eq!(read(&source, "kvm/a.c"), "one\ntwo\nthree\n");
        assert!(!folder.path().join("undo").exists());
    }

    #[test]
    fn the_next_build_undoes_one_that_was_killed() {
        let (folder, source) = work();
        let killed = Undo::open(folder.path(), &source).unwrap();
        killed.edit("b.c", |_| Ok("x\n".to_owned())).unwrap();
        std::mem::forget(killed);
        assert_eq!(read(&source, "b.c"), "x\n");
        let _next = Undo::open(folder.path(), &source).unwrap();
        assert_eq!(read(&source, "b.c"), "b\n");
    }

    #[test]
    fn an_edit_that_fails_changes_nothing() {
        let (folder, source) = work();
        let undo = Undo::open(folder.path(), &source).unwrap();
        undo.edit("b.c", |_| anyhow::bail!("no")).unwrap_err();
        assert_eq!(read(&source, "b.c"), "b\n");
        assert!(undo.edit("none.c", |text| Ok(text.to_owned())).is_err());
        for outside in ["../b.c", "/b.c", "", "kvm/../../b.c"] {
            let error = undo.edit(outside, |_| Ok(String::new())).unwrap_err();
            assert_eq!(error.to_string(), format!("`{outside}` is no path in the kernel's source"));
        }
    }

    #[test]
    fn a_patch_names_its_files() {
        assert_eq!(touched(PATCH), ["kvm/a.c", "new/c.c"]);
        assert_eq!(touched("rename from x/a\nrename to x/b\n--- no header\n"), ["x/a", "x/b"]);
    }

    #[test]
    fn a_patch_is_applied_wholly_or_not_at_all_and_undone() {
        let (folder, source) = work();
        let undo = Undo::open(folder.path(), &source).unwrap();
        let patch = folder.path().join("p.diff");
        fs::write(&patch, PATCH).unwrap();
        undo.patch(&patch).unwrap();
        assert_eq!(read(&source, "kvm/a.c"), "one\n2\nthree\n");
        assert_eq!(read(&source, "new/c.c"), "c\n");
        undo.patch(&patch).unwrap_err();
        undo.all().unwrap();
        assert_eq!(read(&source, "kvm/a.c"), "one\ntwo\nthree\n");
        assert!(!source.join("new/c.c").exists());

        fs::write(&patch, PATCH.replace("-two", "-zwei").replace("a.c", "z.c")).unwrap();
        undo.patch(&patch).unwrap_err();
        assert!(!source.join("new/c.c").exists(), "the half that would apply is not applied");
    }
}
