//! Only text is committed: whatever is built or fetched has no reviewer, and stays in the history for ever.

use super::Complaint;
use crate::project::File;

/// Complains of every file that is no text: one that has a NUL byte, as every archive and program does, or is not UTF-8.
/// Nothing of the project needs one.
pub(crate) fn check(files: &[File]) -> Vec<Complaint> {
    let complaint = |file: &File| {
        let why = match file.text() {
            None => "is not UTF-8",
            Some(text) if text.contains('\0') => "has a NUL byte",
            Some(_) => return None,
        };
        Some(Complaint::file(
            &file.path,
            format!("{why}: only text is committed, so make it at build time, or delete it"),
        ))
    };
    files.iter().filter_map(complaint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_let_through() {
        let file = |path: &str, bytes: &[u8]| File { path: path.to_owned(), bytes: bytes.to_owned() };
        let complaints = check(&[
            file("README.md", "A path → another.\n".as_bytes()),
            file("a/empty", b""),
            // A package of Python's is a ZIP file.
            file("ply-3.11-py2.py3-none-any.whl", b"PK\x03\x04\x14\0\0\0"),
            file("tables.bin", b"\xff\xfe"),
        ]);
        let complaints: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].starts_with("ply-3.11-py2.py3-none-any.whl: has a NUL byte"), "{complaints:?}");
        assert!(complaints[1].starts_with("tables.bin: is not UTF-8"), "{complaints:?}");
    }
}
