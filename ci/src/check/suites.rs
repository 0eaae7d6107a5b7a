//! Every scenario file parses and is written in the one way.

use super::Complaint;
use crate::project::TextFile;
use model::scenario::{name_of_path, parse};

/// Files below here are no scenarios.
const EXPECT: &str = "suites/expect/";

/// Whether a path is that of a scenario of the suite.
pub(crate) fn is_scenario(path: &str) -> bool {
    path.starts_with("suites/") && path.ends_with(".toml") && !path.starts_with(EXPECT)
}

/// Complains of every scenario that does not parse or is not equal to its own canonical print.
pub(crate) fn check(files: &[TextFile]) -> Vec<Complaint> {
    let scenarios = files.iter().filter(|file| is_scenario(&file.path));
    scenarios.filter_map(|file| check_one(&file.path, &file.text)).collect()
}

fn check_one(path: &str, text: &str) -> Option<Complaint> {
    let canonical = match canonical(path, text) {
        Ok(canonical) => canonical,
        Err(complaint) => return Some(complaint),
    };
    if canonical == text {
        return None;
    }
    let line = 1 + text.lines().zip(canonical.lines()).take_while(|(is, should)| is == should).count();
    let should = canonical.lines().nth(line - 1).unwrap_or("<end of the file>");
    let what = format!("not as `cargo ci fmt` writes it, which is: {should}");
    Some(Complaint::line(path, line, what))
}

/// A scenario as the canonical printer writes it.
///
/// # Errors
///
/// If it does not parse.
pub(crate) fn canonical(path: &str, text: &str) -> Result<String, Complaint> {
    match parse(&name_of_path(path), path, text) {
        Ok(scenario) => Ok(scenario.print()),
        Err(error) => Err(Complaint::file(path, format!("does not parse: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: &str = "title = \"t\"\nrules = [\"P-81\"]\n\nsteps = \"\"\"\nL1  fill z\n\"\"\"\n";

    #[track_caller]
    fn complaints(path: &str, text: &str) -> Vec<String> {
        let file = TextFile { path: path.to_owned(), text: text.to_owned() };
        check(&[file]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_canonical_file_is_no_complaint() {
        assert_eq!(complaints("suites/a/b.toml", CANONICAL), [""; 0]);
    }

    #[test]
    fn the_first_other_line_is_named() {
        assert_eq!(
            complaints("suites/a/b.toml", &CANONICAL.replace("L1  fill", "L1 fill")),
            ["suites/a/b.toml:5: not as `cargo ci fmt` writes it, which is: L1  fill z"]
        );
        assert_eq!(
            complaints("suites/a/b.toml", &format!("{CANONICAL}\n")),
            ["suites/a/b.toml:7: not as `cargo ci fmt` writes it, which is: <end of the file>"]
        );
    }

    #[test]
    fn a_file_that_does_not_parse_is_a_complaint() {
        let complaints = complaints("suites/a/b.toml", &CANONICAL.replace("fill", "fil"));
        assert!(
            complaints[0].starts_with("suites/a/b.toml: does not parse: suites/a/b.toml:5:5:"),
            "{complaints:?}"
        );
    }

    #[test]
    fn other_files_are_none_of_its_business() {
        for path in ["model/tests/data/b.toml", "suites/expect/bare.toml", "suites/README.md"] {
            assert_eq!(complaints(path, "no scenario"), [""; 0], "{path}");
        }
    }
}
