//! Kernels that were fetched or unpacked before: one folder each, whole or absent, and what was looked up when.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::spec::{Flavor, Wanted};
use super::{Kernel, unpack};
use crate::debian::{self, DebianError, Locked, failed};
use crate::image::sha256;

/// Changes together with what the files say.
const FORMAT: u32 = 1;
/// The image of an entry.
const IMAGE: &str = "Image";
/// The configuration of an entry, if it is known.
const CONFIG: &str = "config";
/// The modules of an entry, if it came with any.
const MODULES: &str = "modules.cpio";
/// What an entry says of itself.
const NOTE: &str = "kernel.json";
/// Beside the entries: which one answers what, and when that was looked up.
const LOOKUPS: &str = "lookups.json";
/// Bytes that either file may have.
const NOTE_LIMIT: u64 = 1 << 20;
/// Seconds for which a look-up is not repeated.
const FRESH: u64 = 7 * 24 * 60 * 60;

/// What an entry says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    pub(super) format: u32,
    pub(super) name: String,
    /// The version of the package; a file has none.
    pub(super) version: Option<String>,
    /// Where it comes from.
    pub(super) from: String,
    pub(super) release: String,
    pub(super) banner: String,
    pub(super) sha256: String,
    pub(super) config_sha256: Option<String>,
    /// Of its modules. Entries of older versions of this program have none.
    #[serde(default)]
    pub(super) modules_sha256: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Lookups {
    format: u32,
    lookups: BTreeMap<String, Lookup>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Lookup {
    entry: String,
    /// Seconds since 1970.
    at: u64,
}

/// The folder of kernels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cache<'a>(pub(super) &'a Path);

/// A new entry.
pub(super) struct New<'a> {
    /// What it is called to people.
    pub(super) name: String,
    /// The version of the package.
    pub(super) version: Option<&'a str>,
    /// Where it comes from.
    pub(super) from: &'a str,
    /// The raw image and its line about itself.
    pub(super) image: &'a [u8],
    pub(super) banner: String,
    pub(super) release: String,
    /// The configuration, if it is known.
    pub(super) config: Option<&'a [u8]>,
    /// Its modules, if it came with any.
    pub(super) modules: Option<&'a [u8]>,
}

impl Cache<'_> {
    /// The entry that was found to answer a question not long ago.
    pub(super) fn looked_up(&self, wanted: &Wanted, now: u64) -> Option<Kernel> {
        let mut lookups = self.lookups();
        let lookup = lookups.remove(&wanted.to_string())?;
        // A clock that went back is no reason to believe it for longer.
        let fresh = now.checked_sub(lookup.at).is_some_and(|age| age < FRESH);
        if fresh { self.load(&lookup.entry) } else { None }
    }

    /// Notes that an entry answers a question. What cannot be noted is looked up again.
    pub(super) fn remember(&self, _: &Locked<'_>, wanted: &Wanted, entry: &str, now: u64) {
        let mut lookups = self.lookups();
        lookups.insert(wanted.to_string(), Lookup { entry: entry.to_owned(), at: now });
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.0)?;
            serde_json::to_writer_pretty(&mut file, &Lookups { format: FORMAT, lookups })?;
            file.flush()?;
            file.persist(self.0.join(LOOKUPS))?;
            Ok(())
        };
        let _ = write();
    }

    fn lookups(&self) -> BTreeMap<String, Lookup> {
        read(&self.0.join(LOOKUPS), NOTE_LIMIT)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Lookups>(&bytes).ok())
            .filter(|lookups| lookups.format == FORMAT)
            .map(|lookups| lookups.lookups)
            .unwrap_or_default()
    }

    /// The best entry for a question, whenever it was fetched, and its name.
    pub(super) fn best(&self, wanted: &Wanted) -> Option<(String, Kernel)> {
        let mut entries = self.entries();
        // One that does not tell its flavor is of none that is asked for by name.
        let flavor = |note: &Note| Flavor::of(&note.release).map_or(Flavor::Plain, |(flavor, _)| flavor);
        entries.retain(|(_, note)| note.version.is_some() && wanted.flavors().contains(&flavor(note)));
        // One that turns out to be broken makes room for the next.
        while let Some((entry, note)) =
            wanted.best(entries.iter().cloned(), |(_, note)| note.version.as_deref().unwrap_or_default())
        {
            if let Some(kernel) = self.load(&entry) {
                return Some((entry, kernel));
            }
            entries.retain(|other| *other != (entry.clone(), note.clone()));
        }
        None
    }

    /// Every entry with what it says of itself, in order; images are not read.
    pub(super) fn entries(&self) -> Vec<(String, Note)> {
        let mut entries: Vec<_> = fs::read_dir(self.0)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let note = self.note(&name)?;
                Some((name, note))
            })
            .collect();
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        entries
    }

    fn note(&self, entry: &str) -> Option<Note> {
        let bytes = read(&self.path(entry)?.join(NOTE), NOTE_LIMIT).ok()?;
        serde_json::from_slice(&bytes).ok().filter(|note: &Note| note.format == FORMAT)
    }

    /// The folder of an entry, unless its name leads elsewhere.
    fn path(&self, entry: &str) -> Option<PathBuf> {
        let inside =
            !entry.starts_with('.') && !entry.starts_with("staging-") && !entry.contains(['/', '\0']);
        (inside && !entry.is_empty()).then(|| self.0.join(entry))
    }

    /// The image of an entry.
    pub(super) fn image(&self, entry: &str) -> PathBuf {
        self.0.join(entry).join(IMAGE)
    }

    /// An entry, if it is there and its image is what it was.
    pub(super) fn load(&self, entry: &str) -> Option<Kernel> {
        let note = self.note(entry)?;
        let image = self.image(entry);
        let is_whole =
            |path: &Path, sum: &str| read(path, unpack::LIMIT).is_ok_and(|bytes| sha256(&bytes) == sum);
        let modules = image.with_file_name(MODULES);
        let whole = is_whole(&image, &note.sha256)
            && note.modules_sha256.as_ref().is_none_or(|sum| is_whole(&modules, sum));
        whole.then(|| kernel(image, note))
    }

    /// Makes an entry, in place of a broken one if there is one.
    pub(super) fn store(
        &self,
        locked: &Locked<'_>,
        entry: &str,
        new: New<'_>,
    ) -> Result<Kernel, DebianError> {
        let staging = locked.staging()?;
        let built = staging.path().join("entry");
        fs::create_dir(&built).map_err(|source| failed("create", &built, source))?;
        let note = Note {
            format: FORMAT,
            name: new.name,
            version: new.version.map(str::to_owned),
            from: new.from.to_owned(),
            release: new.release,
            banner: new.banner,
            sha256: sha256(new.image),
            config_sha256: new.config.map(sha256),
            modules_sha256: new.modules.map(sha256),
        };
        let mut text = serde_json::to_string_pretty(&note).expect("a note has only texts");
        text.push('\n');
        let files = [
            (IMAGE, Some(new.image)),
            (CONFIG, new.config),
            (MODULES, new.modules),
            (NOTE, Some(text.as_bytes())),
        ];
        for (name, bytes) in files {
            let Some(bytes) = bytes else { continue };
            let path = built.join(name);
            write(&path, bytes).map_err(|source| failed("write", &path, source))?;
        }
        debian::appear(&built, &self.0.join(entry), staging.path())?;
        Ok(kernel(self.image(entry), note))
    }
}

fn kernel(image: PathBuf, note: Note) -> Kernel {
    let Note { name, release, banner, sha256, config_sha256, modules_sha256, .. } = note;
    let modules = modules_sha256.map(|_| image.with_file_name(MODULES));
    Kernel { image, modules, name, release, banner, sha256, config_sha256 }
}

/// Writes a file that is on the disk before its folder gets its name.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a regular file of at most so many bytes.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::unpack::tests::{RELEASE, raw};
    use super::*;
    use crate::kernel::KernelSpec;

    pub(in crate::kernel) fn wanted(text: &str) -> Wanted {
        match text.parse().unwrap() {
            KernelSpec::Debian(wanted) => wanted,
            KernelSpec::File(path) => panic!("{}", path.display()),
        }
    }

    /// Puts a kernel of this version into the cache.
    pub(in crate::kernel) fn put(folder: &Path, version: &str) -> Kernel {
        let locked = Locked::new(folder, "nothing", &mut |_| ()).unwrap();
        let image = raw();
        let new = New {
            name: format!("Debian {version}"),
            version: Some(version),
            from: "a test",
            image: &image,
            banner: unpack::banner(&image).unwrap(),
            release: RELEASE.to_owned(),
            config: Some(b"CONFIG_KVM=y\n"),
            modules: Some(b"an archive"),
        };
        Cache(folder).store(&locked, &format!("linux_{version}"), new).unwrap()
    }

    #[test]
    fn an_entry_is_found_again_as_it_was_stored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path());
        let stored = put(folder.path(), "7.2.12-1");
        assert_eq!(cache.load("linux_7.2.12-1").unwrap(), stored);
        assert_eq!(fs::read(&stored.image).unwrap(), raw());
        assert_eq!(put(folder.path(), "7.2.12-1"), stored);
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left.len(), 2, "an entry and the lock: {left:?}");
    }

    #[test]
    fn a_damaged_entry_is_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path());
        let newest = put(folder.path(), "7.2.12-1");
        put(folder.path(), "7.2.9-1");
        fs::write(&newest.image, b"half").unwrap();
        assert!(cache.load("linux_7.2.12-1").is_none());
        assert_eq!(cache.best(&wanted("debian:7.2")).unwrap().0, "linux_7.2.9-1");
        fs::write(folder.path().join("linux_7.2.9-1").join(NOTE), b"{}").unwrap();
        assert!(cache.best(&wanted("debian:7.2")).is_none());
    }

    #[test]
    fn names_that_lead_elsewhere_are_no_entries() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "7.2.12-1");
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        for name in ["../linux_7.2.12-1", "", ".", "..", "a/b", "staging-x"] {
            assert!(Cache(&inner).load(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_lookup_holds_for_a_week() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path());
        put(folder.path(), "7.2.12-1");
        let (question, other) = (wanted("debian:7.2"), wanted("debian:7"));
        let locked = Locked::new(folder.path(), "nothing", &mut |_| ()).unwrap();
        cache.remember(&locked, &question, "linux_7.2.12-1", 1_000_000);
        assert!(cache.looked_up(&question, 1_000_000).is_some());
        assert!(cache.looked_up(&question, 1_000_000 + FRESH - 1).is_some());
        assert!(cache.looked_up(&question, 1_000_000 + FRESH).is_none());
        assert!(cache.looked_up(&question, 999_999).is_none());
        assert!(cache.looked_up(&other, 1_000_000).is_none());
        fs::write(folder.path().join(LOOKUPS), b"\0garbage").unwrap();
        assert!(cache.looked_up(&question, 1_000_000).is_none());
        cache.remember(&locked, &other, "linux_7.2.12-1", 5);
        assert!(cache.looked_up(&other, 5).is_some());
    }
}
