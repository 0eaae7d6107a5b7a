//! The folder that a run leaves: the event log, and of each case that did not pass its console, its dump, a
//! scenario file that replays it and the line that runs it again.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};

use crate::result::CaseResult;

/// Runs kept below the default folder.
pub const RUNS_KEPT: usize = 20;
/// The event log's name in the folder.
pub const EVENTS: &str = "events.jsonl";
/// Cases of one run whose console and dump are kept: a run in which everything fails does not fill the disk.
pub const CASES_KEPT: usize = 200;

/// A folder that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Something in it cannot be written.
    #[error("cannot write {path}{}", full(source))]
    Write {
        /// What.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder that was asked for has a run in it already.
    #[error("{path} has a run in it already: a log is never changed, choose another folder")]
    Taken {
        /// The folder.
        path: Utf8PathBuf,
    },
}

fn full(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::StorageFull {
        ": the disk is full, make room and run again"
    } else {
        ""
    }
}

/// The folder of one run.
#[derive(Debug)]
pub struct RunFolder {
    path: Utf8PathBuf,
    kept: usize,
}

impl RunFolder {
    /// Makes the folder that the user named.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or has a run in it.
    pub fn at(path: &Utf8Path) -> Result<Self, FolderError> {
        if path.join(EVENTS).exists() {
            return Err(FolderError::Taken { path: path.to_owned() });
        }
        make(path)?;
        Ok(Self { path: path.to_owned(), kept: 0 })
    }

    /// Makes `<root>/<time>-<target>` and takes away the oldest runs there, so that [`RUNS_KEPT`] remain.
    ///
    /// # Errors
    ///
    /// If it cannot be made. Old runs that cannot be taken away stay.
    pub fn new(root: &Utf8Path, target: &str, now: SystemTime) -> Result<Self, FolderError> {
        make(root)?;
        prune(root, RUNS_KEPT.saturating_sub(1));
        let time = compact(now);
        for attempt in 0_u32..1000 {
            let name =
                if attempt == 0 { format!("{time}-{target}") } else { format!("{time}-{target}.{attempt}") };
            let path = root.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, kept: 0 }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(FolderError::Write { path, source }),
            }
        }
        Err(FolderError::Taken { path: root.join(time) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Where the event log belongs.
    #[must_use]
    pub fn events(&self) -> Utf8PathBuf {
        self.path.join(EVENTS)
    }

    /// Keeps what a case that did not pass leaves, and returns the name of its folder; `None` if enough were
    /// kept already.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn keep(
        &mut self,
        result: &CaseResult,
        scenario: Option<&str>,
        again: &str,
    ) -> Result<Option<String>, FolderError> {
        if self.kept >= CASES_KEPT {
            return Ok(None);
        }
        self.kept += 1;
        let name = file_name(&result.name, self.kept);
        let folder = self.path.join(&name);
        make(&folder)?;
        write(&folder.join("again.sh"), format!("{again}\n").as_bytes())?;
        if let Some(scenario) = scenario {
            write(&folder.join("replay.toml"), scenario.as_bytes())?;
        }
        if !result.console.is_empty() {
            write(&folder.join("console.txt"), result.console.as_bytes())?;
        }
        if !result.dump.is_empty() {
            write(&folder.join("records.bin"), &result.dump)?;
        }
        Ok(Some(name))
    }
}

fn make(path: &Utf8Path) -> Result<(), FolderError> {
    std::fs::create_dir_all(path).map_err(|source| FolderError::Write { path: path.to_owned(), source })
}

fn write(path: &Utf8Path, bytes: &[u8]) -> Result<(), FolderError> {
    std::fs::write(path, bytes).map_err(|source| FolderError::Write { path: path.to_owned(), source })
}

/// Takes away all but the newest `keep` folders that look like runs: their names begin with the time, so
/// their order is that of the names.
fn prune(root: &Utf8Path, keep: usize) {
    let Ok(entries) = root.read_dir_utf8() else { return };
    let mut runs: Vec<Utf8PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| looks_like_run(entry.file_name()))
        .map(|entry| entry.path().to_owned())
        .filter(|path| path.join(EVENTS).is_file())
        .collect();
    runs.sort();
    let surplus = runs.len().saturating_sub(keep);
    for old in runs.into_iter().take(surplus) {
        // A run that another process is about to read, or that belongs to another user, just stays.
        let _ = std::fs::remove_dir_all(old);
    }
}

/// `20260102T030405Z-…`.
fn looks_like_run(name: &str) -> bool {
    let bytes = name.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    digits(0..8) && bytes.get(8) == Some(&b'T') && digits(9..15) && bytes.get(15..17) == Some(b"Z-")
}

/// A case's name as a folder: readable, safe, and unique by its number.
fn file_name(case: &str, number: usize) -> String {
    let safe: String = case
        .replace("::", ".")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_-=,.".contains(c) { c } else { '_' })
        .take(120)
        .collect();
    format!("{number:03}-{}", safe.trim_end_matches('_'))
}

/// `2026-01-02T03:04:05Z`: the time in UTC by RFC 3339.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    let [year, month, day, hour, minute, second] = civil(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn compact(time: SystemTime) -> String {
    timestamp(time).replace(['-', ':'], "")
}

/// Year, month, day, hour, minute and second in UTC. Times before 1970 count as 1970.
fn civil(time: SystemTime) -> [u64; 6] {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 0000-03-01, so that a leap day is the last of its year; 146097 days are 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    [year, month, day, second / 3600, second / 60 % 60, second % 60]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::State;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn times_in_utc() {
        assert_eq!(timestamp(at(0)), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(at(951_782_399)), "2000-02-28T23:59:59Z");
        assert_eq!(timestamp(at(951_782_400)), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(at(1_767_323_045)), "2026-01-02T03:04:05Z");
        assert_eq!(timestamp(at(4_107_542_400)), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_newest_runs_are_kept_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::create_dir(root.join("mine")).unwrap();
        for second in 0..30 {
            let run = RunFolder::new(root, "bare", at(second)).unwrap();
            std::fs::write(run.events(), "").unwrap();
        }
        let mut names: Vec<String> =
            root.read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned()).collect();
        names.sort();
        assert_eq!(names.len(), RUNS_KEPT + 1);
        assert_eq!(names.first().unwrap(), "19700101T000010Z-bare");
        assert_eq!(names.last().unwrap(), "mine");
    }

    #[test]
    fn two_runs_in_one_second_get_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let first = RunFolder::new(root, "bare", at(0)).unwrap();
        let second = RunFolder::new(root, "bare", at(0)).unwrap();
        assert_ne!(first.path(), second.path());
    }

    #[test]
    fn a_failure_leaves_what_runs_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let mut run = RunFolder::at(&root.join("out")).unwrap();
        let mut result = CaseResult::without_findings("nested::../a[vl=max]", State::Crash, "died");
        result.dump = vec![1, 2, 3];
        let name = run.keep(&result, Some("title = \"a\"\n"), "cargo holdfast run a").unwrap().unwrap();
        assert_eq!(name, "001-nested..._a_vl=max");
        let kept = run.path().join(name);
        assert_eq!(std::fs::read(kept.join("records.bin")).unwrap(), [1, 2, 3]);
        assert_eq!(std::fs::read_to_string(kept.join("again.sh")).unwrap(), "cargo holdfast run a\n");
        assert!(!kept.join("console.txt").exists());
    }

    #[test]
    fn a_folder_with_a_run_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::write(root.join(EVENTS), "").unwrap();
        assert!(matches!(RunFolder::at(root), Err(FolderError::Taken { .. })));
    }
}
