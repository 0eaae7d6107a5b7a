//! What makes the rows one page: none of them is lost, and one suite ran them all.

use anyhow::{bail, ensure};

use super::PAGE;
use super::row::{Outcome, Row, Suite};

/// Fails if rows of the page are neither to be run nor in a log: they would be lost.
pub(super) fn is_kept(on_page: &[(&str, &str)], is_there: impl Fn(&str, &str) -> bool) -> anyhow::Result<()> {
    let lost: Vec<String> = on_page
        .iter()
        .filter(|(kernel, mode)| !is_there(kernel, mode))
        .map(|(kernel, mode)| format!("{kernel}, {mode}"))
        .collect();
    ensure!(
        lost.is_empty(),
        "{PAGE} has rows that are not to be run and whose logs are not here: {}. Run these, too, or all by \
         `cargo ci kvm-matrix`",
        lost.join("; ")
    );
    Ok(())
}

/// The suite that ran every row, and how many cases it has; nothing if no row ran one.
///
/// Fails if there is more than one: the newest is then the right one, and the rows of others are named.
pub(super) fn suite(rows: &[Row]) -> anyhow::Result<Option<(&Suite, usize)>> {
    let newest = rows.iter().filter(|row| cases(row).is_some()).max_by_key(|row| &row.started);
    let Some((newest, count)) = newest.and_then(|row| Some((row, cases(row)?))) else { return Ok(None) };
    let suite = &newest.suite;
    // A kernel without guests of a mode was only asked for them.
    let is_other = |row: &&Row| row.suite != *suite || cases(row).is_some_and(|other| other != count);
    let others: Vec<String> = rows.iter().filter(is_other).map(told).collect();
    if !others.is_empty() {
        bail!(
            "{PAGE} stays as it is, for its rows would be of more than one suite. The newest, {}, has {count} cases \
             of {suite}; run these anew: {}",
            newest.name(),
            others.join("; ")
        );
    }
    Ok(Some((suite, count)))
}

/// How many cases a row has, if they ran.
fn cases(row: &Row) -> Option<usize> {
    match &row.outcome {
        Outcome::Ran { counts, .. } => Some(counts.all()),
        Outcome::Lacks(_) => None,
    }
}

fn told(row: &Row) -> String {
    let count = cases(row).map(|count| format!("{count} cases of ")).unwrap_or_default();
    format!("{} ({count}{})", row.name(), row.suite)
}

#[cfg(test)]
mod tests {
    use super::super::row::Counts;
    use super::super::row::tests::LOG;
    use super::*;

    fn row(mode: &str, started: &str) -> Row {
        Row { started: started.to_owned(), ..Row::read("debian:7.2", mode, LOG).unwrap() }
    }

    fn counts(row: &mut Row) -> &mut Counts {
        match &mut row.outcome {
            Outcome::Ran { counts, .. } => counts,
            Outcome::Lacks(why) => panic!("{why}"),
        }
    }

    #[test]
    fn rows_of_one_suite_agree() {
        let lacks = Row { outcome: Outcome::Lacks("no EL2".to_owned()), ..row("nested", "3") };
        let rows = [row("vhe", "1"), lacks.clone(), row("nvhe", "2")];
        assert_eq!(suite(&rows).unwrap(), Some((&rows[0].suite, 4)));
        assert_eq!(suite(&[lacks]).unwrap(), None);
        assert_eq!(suite(&[]).unwrap(), None);
    }

    #[test]
    fn what_an_older_suite_ran_is_named() {
        let mut rows = [row("vhe", "1"), row("nvhe", "2"), row("protected", "3")];
        rows[0].suite.commit = "a6b3595".to_owned();
        let message = suite(&rows).unwrap_err().to_string();
        let newest = "The newest, debian:7.2, protected, has 4 cases of Holdfast 0.1.0 (94b0e62)";
        assert!(message.contains(newest), "{message}");
        let others = "run these anew: debian:7.2, vhe (4 cases of Holdfast 0.1.0 (a6b3595))";
        assert!(message.ends_with(others), "{message}");
        // Of what is not run the suite counts, too: it may skip otherwise.
        rows[0].outcome = Outcome::Lacks("no EL2".to_owned());
        let message = suite(&rows).unwrap_err().to_string();
        assert!(message.ends_with("anew: debian:7.2, vhe (Holdfast 0.1.0 (a6b3595))"), "{message}");
    }

    #[test]
    fn another_number_of_cases_is_another_suite() {
        let mut rows = [row("vhe", "1"), row("nvhe", "2")];
        // However they ended.
        *counts(&mut rows[0]) = Counts { skip: 4, ..Counts::default() };
        assert_eq!(suite(&rows).unwrap(), Some((&rows[1].suite, 4)));
        counts(&mut rows[0]).skip = 3;
        let message = suite(&rows).unwrap_err().to_string();
        assert!(
            message.ends_with("anew: debian:7.2, vhe (3 cases of Holdfast 0.1.0 (94b0e62))"),
            "{message}"
        );
    }

    #[test]
    fn rows_without_a_log_are_kept() {
        let rows = [("debian:6.1", "vhe"), ("debian:7.2", "vhe")];
        assert!(is_kept(&rows, |_, _| true).is_ok());
        let message = is_kept(&rows, |kernel, _| kernel == "debian:7.2").unwrap_err().to_string();
        assert!(message.contains("not here: debian:6.1, vhe. Run"), "{message}");
    }
}
