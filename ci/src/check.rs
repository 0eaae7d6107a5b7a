//! Checks that no compiler makes. Each is a pure function from text or bytes to complaints.

pub(crate) mod assembly;
pub(crate) mod binary;
pub(crate) mod fp;
pub(crate) mod goldens;
pub(crate) mod machine;
pub(crate) mod suites;

use std::fmt;

/// Something that a check found wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Complaint {
    /// The file, relative to the project, and the line in it if there is one.
    pub(crate) place: String,
    /// What is wrong, and what would be right.
    pub(crate) what: String,
}

impl Complaint {
    /// A complaint about a whole file.
    pub(crate) fn file(path: &str, what: impl Into<String>) -> Self {
        Self { place: path.to_owned(), what: what.into() }
    }

    /// A complaint about a line, counted from 1.
    pub(crate) fn line(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { place: format!("{path}:{line}"), what: what.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}
