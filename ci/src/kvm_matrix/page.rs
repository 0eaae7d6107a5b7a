//! The page: a table, and what is behind its numbers.

use std::fmt::Write as _;

use super::row::{Case, Counts, Outcome, Row, Suite};

const TITLE: &str = "# Holdfast on the KVM of real kernels\n";

const HEAD: &str = "
Written by `cargo ci kvm-matrix`, which boots each kernel under QEMU TCG and runs the whole suite on its KVM. *fail* counts \
every verdict that is neither good nor expected: FAIL, CRASH, TIMEOUT, XPASS, FLAKY and ERROR. *xfail* are failures that an \
entry of [suites/expect/](../suites/expect/) names with its cause; each is listed below the table. What is skipped, a kernel or \
its CPU has not got, or (modes but nested) it needs a guest with an EL2.

| kernel | mode | pass | fail | xfail | skip | wall | KVM says | release | QEMU |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |
";

/// Cases of one cause that are named: where there are more, a whole mode fails.
const NAMES: usize = 60;

/// The page of these rows, all of one suite with so many cases.
pub(super) fn page(suite: Option<(&Suite, usize)>, rows: &[Row]) -> String {
    let mut page = TITLE.to_owned();
    if let Some((suite, cases)) = suite {
        let _ = writeln!(page, "\nEvery row: {cases} cases, {suite}.");
    }
    page.push_str(HEAD);
    for row in rows {
        let Row { kernel, mode, kvm, release, qemu, .. } = row;
        let numbers = match &row.outcome {
            Outcome::Lacks(_) => "— | — | — | — | —".to_owned(),
            Outcome::Ran { counts: Counts { pass, fail, xfail, skip }, wall_s, .. } => {
                format!("{pass} | {fail} | {xfail} | {skip} | {wall_s:.0} s")
            }
        };
        let _ = writeln!(page, "| {kernel} | {mode} | {numbers} | {kvm} | {release} | {qemu} |");
    }
    for row in rows {
        let _ = writeln!(page, "\n## {}\n\n```console\n$ {}\n```", row.name(), row.command());
        match &row.outcome {
            Outcome::Lacks(why) => {
                let _ = writeln!(page, "\nNot run: {why}.");
            }
            Outcome::Ran { cases, .. } if cases.is_empty() => page.push_str("\nNothing failed.\n"),
            Outcome::Ran { cases, .. } => page.push_str(&causes(cases)),
        }
    }
    page
}

/// The rows that a page has: kernel and mode.
pub(super) fn rows(page: &str) -> Vec<(&str, &str)> {
    fn cells(line: &str) -> Option<(&str, &str)> {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?, cells.next()?))
    }
    // The first two are the head and the line below it.
    page.lines().filter_map(cells).skip(2).collect()
}

/// The cases that did not pass, by state and explanation, what nobody expects first.
fn causes(cases: &[Case]) -> String {
    let mut groups: Vec<(&Case, Vec<&str>)> = Vec::new();
    for case in cases {
        let alike =
            groups.iter_mut().find(|(first, _)| (&first.state, &first.why) == (&case.state, &case.why));
        match alike {
            Some((_, names)) => names.push(&case.name),
            None => groups.push((case, vec![&case.name])),
        }
    }
    groups.sort_by_key(|(first, names)| (first.state == "xfail", names.iter().min().copied()));
    let mut text = String::new();
    for (Case { state, why, url, .. }, mut names) in groups {
        names.sort_unstable();
        let url = url.as_ref().map(|url| format!(" <{url}>")).unwrap_or_default();
        let cases = if names.len() == 1 { "case" } else { "cases" };
        let _ = write!(text, "\n**{state}**, {} {cases}: {why}{url}\n\n", names.len());
        for name in names.iter().take(NAMES) {
            let _ = writeln!(text, "- `{name}`");
        }
        if names.len() > NAMES {
            let _ = writeln!(text, "- and {} more", names.len() - NAMES);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::row::Row;
    use super::super::row::tests::LOG;
    use super::*;

    #[test]
    fn every_failure_stands_below_the_table() {
        let row = Row::read("debian:7.2", "nested", LOG).unwrap();
        let page = page(Some((&row.suite, 4)), std::slice::from_ref(&row));
        for expected in [
            "kernels\n\nEvery row: 4 cases, Holdfast 0.1.0 (94b0e62).\n\nWritten",
            "| debian:7.2 | nested | 1 | 1 | 1 | 1 | 2 s | VHE+NV | 7.2.13 | 11.1.3 |\n",
            "$ cargo holdfast run --target kvm-qemu --kernel debian:7.2.13-1 --kvm-mode nested --timeout-scale 20\n",
            "**crash**, 1 case: an arrival; vector is 0x200, expected 0x400\n\n- `a::b[c=3]`\n",
            "**xfail**, 1 case: KVM forgets <https://example.org/1>\n\n- `a::b[c=2]`\n",
        ] {
            assert!(page.contains(expected), "{page}");
        }
        assert!(page.find("**crash**") < page.find("**xfail**"));
    }

    #[test]
    fn a_page_has_the_rows_that_it_was_made_of() {
        let read = |kernel: &str, mode: &str| Row::read(kernel, mode, LOG).unwrap();
        let rows = [read("debian:7.3/16k", "vhe"), read("debian:7.2", "nested")];
        let page = page(None, &rows);
        assert_eq!(super::rows(&page), [("debian:7.3/16k", "vhe"), ("debian:7.2", "nested")]);
        assert!(super::rows("").is_empty());
    }
}
