//! Every golden belongs to a test, and none waits to be reviewed.

use std::collections::BTreeSet;

use super::Complaint;

/// How insta calls a snapshot that waits for a review. insta never takes one away when the test passes again,
/// and git ignores it.
pub(crate) const PENDING: &str = ".snap.new";

/// Complains of every snapshot that waits for a review.
pub(crate) fn pending(paths: &[String]) -> Vec<Complaint> {
    let waiting = paths.iter().filter(|path| path.ends_with(PENDING));
    waiting
        .map(|path| Complaint::file(path, "waits for a review: bless it by `cargo ci bless`, or delete it"))
        .collect()
}

/// The goldens that no test compared anything with. `compared` are the paths that a run of all tests noted,
/// one a line, each in as many repeats as there were comparisons.
pub(crate) fn unreferenced(goldens: &[String], compared: &str) -> Vec<String> {
    let compared: BTreeSet<&str> = compared.lines().collect();
    goldens.iter().filter(|golden| !compared.contains(golden.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: &[&str]) -> Vec<String> {
        paths.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pending_snapshots_are_found() {
        let complaints = pending(&paths(&["golden/a.snap", "golden/report/b.snap.new"]));
        assert_eq!(complaints.len(), 1);
        assert_eq!(complaints[0].place, "golden/report/b.snap.new");
    }

    #[test]
    fn goldens_without_a_test_are_found() {
        let goldens = paths(&["/g/a.snap", "/g/b.snap"]);
        assert_eq!(unreferenced(&goldens, "/g/a.snap\n/g/a.snap\n"), ["/g/b.snap"]);
        assert_eq!(unreferenced(&goldens, "/g/b.snap\n/g/a.snap\n"), [""; 0]);
        assert_eq!(unreferenced(&goldens, ""), ["/g/a.snap", "/g/b.snap"]);
    }
}
