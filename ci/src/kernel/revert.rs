//! Reverts: published bugs of KVM, or bugs in their image, as data in `ci/kernels`.

use std::fmt;
use std::fs;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::edit::Edit;
use crate::project::Project;

/// Where they lie.
const FOLDER: &str = "ci/kernels";
const ENDING: &str = ".toml";

/// A bug to put back.
#[derive(Clone, Debug)]
pub(crate) struct Revert {
    /// Its name: that of its file.
    pub(crate) name: String,
    /// The series that it is for.
    pub(crate) versions: Vec<String>,
    /// The edits that make it.
    pub(crate) edits: Vec<Edit>,
    title: String,
    modes: Vec<Mode>,
    side: Side,
    rules: Vec<String>,
    shows: String,
    upstream: Option<Commit>,
}

/// A file of `ci/kernels`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the kernel does wrong, in a sentence.
    title: String,
    /// The series that the edits are for.
    versions: Vec<String>,
    /// The modes of KVM in which it shows.
    modes: Vec<Mode>,
    /// Who notices first.
    side: Side,
    /// The rules that it breaks; the first is the one that must catch it.
    rules: Vec<String>,
    /// What shows it.
    shows: String,
    /// The upstream commit that fixed it, or that introduced what the revert breaks.
    upstream: Option<Commit>,
    /// The edits.
    edit: Vec<Edit>,
}

/// A mode of KVM, as `kvm-arm.mode` has it; `vhe` is the one without that option.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Vhe,
    Nvhe,
    Protected,
    Nested,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Vhe => "vhe",
            Self::Nvhe => "nvhe",
            Self::Protected => "protected",
            Self::Nested => "nested",
        }
    }
}

/// Where a bug is seen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Side {
    /// In the guest.
    Guest,
    /// In the virtual machine monitor: its own registers, the ioctls, the log of the kernel.
    Host,
}

/// A commit of Linux.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Commit {
    commit: String,
    subject: String,
}

impl Revert {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// If it is no TOML of this form, or says what cannot be.
    pub(crate) fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let File { title, versions, modes, side, rules, shows, upstream, edit: edits } =
            toml::from_str(text)?;
        ensure!(!versions.is_empty(), "no version");
        ensure!(!modes.is_empty(), "no mode");
        ensure!(!rules.is_empty(), "no rule that must catch it");
        ensure!(!edits.is_empty(), "no edit");
        for rule in &rules {
            ensure!(model::rules::get(rule).is_some(), "there is no rule {rule}");
        }
        for edit in &edits {
            ensure!(!edit.find.is_empty(), "an edit finds nothing");
            ensure!(edit.find != edit.replace, "an edit replaces `{}` by itself", edit.find);
        }
        if let Some(Commit { commit, .. }) = &upstream {
            let hash = commit.len() >= 12 && commit.chars().all(|c| c.is_ascii_hexdigit());
            ensure!(hash, "`{commit}` is no hash of a commit of 12 digits or more");
        }
        Ok(Self { name: name.to_owned(), versions, edits, title, modes, side, rules, shows, upstream })
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modes: Vec<&str> = self.modes.iter().map(|mode| mode.name()).collect();
        let side = match self.side {
            Side::Guest => "guest",
            Side::Host => "host",
        };
        writeln!(f, "{}: {}", self.name, self.title)?;
        writeln!(
            f,
            "    {} | {} | {side} | {}",
            self.versions.join(" "),
            modes.join(" "),
            self.rules.join(" ")
        )?;
        writeln!(f, "    {}", self.shows)?;
        if let Some(Commit { commit, subject }) = &self.upstream {
            writeln!(f, "    {commit} \"{subject}\"")?;
        }
        Ok(())
    }
}

/// Every revert, by name.
///
/// # Errors
///
/// If a file cannot be read or is not right.
pub(crate) fn all(project: &Project) -> anyhow::Result<Vec<Revert>> {
    let mut reverts = Vec::new();
    for path in project.walk(FOLDER, ENDING)? {
        let text =
            fs::read_to_string(project.root().join(&path)).with_context(|| format!("cannot read {path}"))?;
        let name = path.trim_start_matches(FOLDER).trim_start_matches('/').trim_end_matches(ENDING);
        reverts.push(Revert::parse(name, &text).with_context(|| path.clone())?);
    }
    Ok(reverts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"title = "t"
versions = ["7.2"]
modes = ["vhe", "nvhe"]
side = "host"
rules = ["P-22", "P-21"]
shows = "s"

[upstream]
commit = "0123456789ab"
subject = "a: b"

[[edit]]
file = "f.c"
function = "f"
find = "a"
replace = "b"
"#;

    #[test]
    fn the_reverts_of_the_project_are_right() {
        let all = all(&Project::open().unwrap()).unwrap();
        assert!(all.len() >= 10);
        for revert in all {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(revert.name.chars().all(fits), "{} becomes a part of `uname -r`", revert.name);
            assert!(revert.name.len() <= 40, "{} is too long for `uname -r`", revert.name);
        }
    }

    #[test]
    fn a_revert_is_listed_with_what_must_catch_it() {
        assert_eq!(
            Revert::parse("x", FILE).unwrap().to_string(),
            "x: t\n    7.2 | vhe nvhe | host | P-22 P-21\n    s\n    0123456789ab \"a: b\"\n"
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (is, should_not, said) in [
            ("P-21", "P-9999", "there is no rule P-9999"),
            ("[\"P-22\", \"P-21\"]", "[]", "no rule that must catch it"),
            ("[\"7.2\"]", "[]", "no version"),
            ("[\"vhe\", \"nvhe\"]", "[]", "no mode"),
            ("find = \"a\"", "find = \"\"", "an edit finds nothing"),
            ("replace = \"b\"", "replace = \"a\"", "an edit replaces `a` by itself"),
            ("0123456789ab", "01234567", "`01234567` is no hash of a commit of 12 digits or more"),
        ] {
            let text = FILE.replace(is, should_not);
            assert_eq!(Revert::parse("x", &text).unwrap_err().to_string(), said);
        }
        for (is, should_not) in [("vhe\"]", "hvhe\"]"), ("host", "hots"), ("shows", "show")] {
            assert!(Revert::parse("x", &FILE.replace(is, should_not)).is_err(), "{should_not}");
        }
    }
}
