//! Programs on `PATH`.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

/// The first executable file of this name in a list of folders.
pub(crate) fn on_path(path: Option<&OsStr>, program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    env::split_paths(path?).filter(|folder| folder.is_absolute()).map(|folder| folder.join(program)).find(
        |file| fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0),
    )
}
