//! Every scenario file parses and is written in the one way.

use super::Complaint;
use crate::project::TextFile;
use model::scenario::{name_of_path, parse};

/// Complains of every file below `suites/` that does not parse or is not equal to its own canonical print.
pub(crate) fn check(files: &[TextFile]) -> Vec<Complaint> {
    let scenarios =
        files.iter().filter(|file| file.path.starts_with("suites/") && file.path.ends_with(".toml"));
    scenarios.filter_map(|file| check_one(&file.path, &file.text)).collect()
}

fn check_one(path: &str, text: &str) -> Option<Complaint> {
    let scenario = match parse(&name_of_path(path), path, text) {
        Ok(scenario) => scenario,
        Err(error) => return Some(Complaint::file(path, format!("does not parse: {error}"))),
    };
    let canonical = scenario.print();
    if canonical == text {
        return None;
    }
    let line = 1 + text.lines().zip(canonical.lines()).take_while(|(is, should)| is == should).count();
    let should = canonical.lines().nth(line - 1).unwrap_or("<end of the file>");
    Some(Complaint::line(path, line, format!("not as the canonical printer writes it, which is: {should}")))
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
            ["suites/a/b.toml:5: not as the canonical printer writes it, which is: L1  fill z"]
        );
        assert_eq!(
            complaints("suites/a/b.toml", &format!("{CANONICAL}\n")),
            ["suites/a/b.toml:7: not as the canonical printer writes it, which is: <end of the file>"]
        );
    }

    #[test]
    fn a_file_that_does_not_parse_is_a_complaint() {
        let complaints = complaints("suites/a/b.toml", &CANONICAL.replace("fill", "fil"));
        assert!(
            complaints[0].starts_with("suites/a/b.toml: does not parse: suites/a/b.toml:5:5:"),
            "{complaints:?}"
        );
        assert_eq!(self::complaints("model/b.toml", "no scenario"), [""; 0]);
    }
}
