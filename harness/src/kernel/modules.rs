//! The few modules that a host needs for SIMD in softirqs, as an archive that is appended to its initial file system.
//!
//! Debian builds IPsec and the ciphers as modules. Their order of loading is worked out here, from what each of them
//! says of itself: the host has no `modprobe`.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use cpio::NewcBuilder;

use super::cache::read;
use super::unpack;

/// The folder of the initial file system with modules of the kernel, named so that their order is that of loading.
pub const MODULES: &str = "modules";
/// The mode of a folder there.
pub(crate) const FOLDER_MODE: u32 = 0o040_755;
/// ESP by netlink, and AES-GCM with the CPU's instructions. `gcm` has the form for ESP in kernels whose `ghash-ce` does
/// not (before Linux 6.3), `seqiv` the counter that ESP asks for, which takes its start from a generator of random
/// numbers: `ansi_cprng` is one for kernels that have none built in.
const WANTED: [&str; 6] = ["ansi_cprng", "ghash-ce", "gcm", "seqiv", "esp4", "xfrm_user"];
/// Bytes that a module may have.
const LIMIT: u64 = 16 << 20;
/// How deep modules may depend on each other.
const DEPTH: usize = 8;

/// The modules below the root of an unpacked package, each behind those that it depends on, as a cpio archive; none if
/// the package has none of them. What a kernel has built in is no module.
pub(super) fn archive(root: &Path) -> Option<Vec<u8>> {
    let mut files = Vec::new();
    for folder in ["usr/lib/modules", "lib/modules"] {
        walk(&root.join(folder), &mut files);
    }
    let mut found = Vec::new();
    for name in WANTED {
        add(name, &files, DEPTH, &mut found);
    }
    if found.is_empty() { None } else { pack(&found).ok() }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

/// Adds a module behind its dependencies, unless it is there.
fn add(name: &str, files: &[PathBuf], depth: usize, found: &mut Vec<(String, Vec<u8>)>) {
    if depth == 0 || found.iter().any(|(there, _)| *there == plain(name)) {
        return;
    }
    let is_it = |path: &&PathBuf| module_name(path).is_some_and(|stem| stem == plain(name));
    let module = files.iter().find(is_it).and_then(|path| read(path, LIMIT).ok());
    let Some(module) = module.and_then(|bytes| unpack::module(bytes, LIMIT).ok()) else { return };
    for dependency in depends(&module) {
        add(&dependency, files, depth - 1, found);
    }
    found.push((plain(name), module));
}

/// A file's name up to `.ko`, as the kernel writes it.
fn module_name(path: &Path) -> Option<String> {
    Some(plain(path.file_name()?.to_str()?.split_once(".ko")?.0))
}

/// To the kernel, `-` is `_`.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// What a module says of itself, in texts that end with a zero (`.modinfo`): names with commas between them.
fn depends(module: &[u8]) -> Vec<String> {
    let names = module.split(|&byte| byte == 0).find_map(|word| word.strip_prefix(b"depends="));
    let names = names.map(String::from_utf8_lossy).unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The order of the names is that of loading.
fn pack(modules: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    const FILE: u32 = 0o100_644;
    let mut out = Vec::new();
    NewcBuilder::new(MODULES).mode(FOLDER_MODE).ino(1).write(&mut out, 0).finish()?;
    for (index, (name, bytes)) in modules.iter().enumerate() {
        let path = format!("{MODULES}/{index:02}-{name}.ko");
        let inode = u32::try_from(index).map_err(io::Error::other)? + 2;
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut writer = NewcBuilder::new(&path).mode(FILE).ino(inode).write(&mut out, len);
        io::copy(&mut Cursor::new(bytes), &mut writer)?;
        writer.finish()?;
    }
    cpio::newc::trailer(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn module(depends: &str) -> Vec<u8> {
        format!("\x7fELF\0license=GPL\0depends={depends}\0name=any\0").into_bytes()
    }

    #[test]
    fn modules_come_behind_what_they_depend_on() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib/modules/7.2/kernel");
        fs::create_dir_all(folder.join("net")).unwrap();
        fs::write(folder.join("net/esp4.ko"), module("xfrm_algo")).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&module("")).unwrap();
        fs::write(folder.join("net/xfrm_algo.ko.gz"), packed.finish().unwrap()).unwrap();
        // One that depends on itself by way of another.
        fs::write(folder.join("ghash-ce.ko"), module("gf128mul,built_in")).unwrap();
        fs::write(folder.join("gf128mul.ko"), module("ghash_ce")).unwrap();
        fs::write(folder.join("unwanted.ko"), module("")).unwrap();
        let archive = archive(root.path()).unwrap();
        let mut names = Vec::new();
        let mut reader = Cursor::new(&archive);
        loop {
            let entry = cpio::NewcReader::new(reader).unwrap();
            if entry.entry().is_trailer() {
                break;
            }
            names.push(entry.entry().name().to_owned());
            reader = entry.finish().unwrap();
        }
        let order = |name: &str| names.iter().position(|path| path.ends_with(name)).unwrap();
        assert!(order("xfrm_algo.ko") < order("esp4.ko"), "{names:?}");
        assert!(order("gf128mul.ko") < order("ghash_ce.ko"), "{names:?}");
        assert!(!names.iter().any(|path| path.contains("unwanted")), "{names:?}");
        assert_eq!(archive.len() % 4, 0, "the kernel takes up another archive at a multiple of 4");
    }

    #[test]
    fn a_package_without_them_has_no_archive() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(archive(root.path()), None);
    }
}
