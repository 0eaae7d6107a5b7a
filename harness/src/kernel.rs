//! arm64 Linux kernels by name: a file, or one of Debian's, fetched once and kept in the user's cache folder.
//!
//! Debian's kernels come by the same private apt as QEMU: signatures are checked, and nothing of the system is
//! changed. An entry of the cache is built in a temporary folder and appears by one rename, so it is whole or absent.
//! What a name like `debian:7.2` means is looked up again after a week.

mod archive;
mod cache;
mod error;
pub(crate) mod modules;
pub mod offers;
mod spec;
pub mod unpack;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use self::archive::Archive;
use self::cache::{Cache, New};
pub use self::error::KernelError;
pub use self::spec::{KernelSpec, SpecError, Wanted};
use self::unpack::UnpackError;
use crate::debian::{self, DebianError, Locked};
use crate::image::sha256;
use crate::qemu;

/// Bytes that fetching needs at its peak: lists, a package, what is in it, and the image.
const SPACE: u64 = 500_000_000;

/// A kernel that is ready to be started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kernel {
    /// The raw arm64 `Image`.
    pub image: PathBuf,
    /// An archive of modules for its initial file system; none of a kernel that came as a file.
    pub modules: Option<PathBuf>,
    /// What it is called to people: `Debian 7.2.12-1 (linux-binary-7.2.12+deb13-cloud-arm64)`.
    pub name: String,
    /// The release that it tells of itself, as `uname -r` does.
    pub release: String,
    /// The whole line in which it tells that.
    pub banner: String,
    /// The SHA-256 of the raw image, in lower-case hexadecimal.
    pub sha256: String,
    /// The SHA-256 of its configuration, if that came with it.
    pub config_sha256: Option<String>,
}

impl Kernel {
    /// What `--kernel` takes to have this very one: of one that was asked for by a series of Debian's, its version.
    #[must_use]
    pub fn exact(&self, spec: &KernelSpec) -> String {
        let version = self.name.strip_prefix("Debian ").and_then(|rest| rest.split_whitespace().next());
        match (version, spec) {
            (Some(version), KernelSpec::Debian(wanted)) => wanted.exactly(version).to_string(),
            _ => spec.to_string(),
        }
    }
}

/// A kernel in the cache.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cached {
    /// What it is called to people.
    pub name: String,
    /// Its release.
    pub release: String,
    /// The raw image; it is not read to list it.
    pub image: PathBuf,
}

/// Where kernels are kept, and what may be done to get one.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Kernels may be fetched.
    pub provision: bool,
    /// The Debian mirror to fetch from; the machine's own without one.
    pub mirror: Option<String>,
    /// The user's cache folder.
    pub cache: Option<PathBuf>,
    /// Look a name up again, however short ago that was done.
    pub refresh: bool,
}

impl Settings {
    /// The settings that the environment asks for.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from(&qemu::Settings::from_env())
    }

    /// The folder of kernels.
    fn folder(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join("holdfast").join("kernels"))
    }
}

impl From<&qemu::Settings> for Settings {
    fn from(settings: &qemu::Settings) -> Self {
        let qemu::Settings { provision, mirror, cache, .. } = settings.clone();
        Self { provision, mirror, cache, refresh: false }
    }
}

type Result<T> = std::result::Result<T, KernelError>;

/// Finds a kernel. `say` is told of everything that takes time or that the user may want to know.
///
/// # Errors
///
/// If there is none: the error says what is missing and what mends it.
pub fn find(spec: &KernelSpec, settings: &Settings, say: &mut dyn FnMut(&str)) -> Result<Kernel> {
    match spec {
        KernelSpec::File(path) => file(path, settings, say),
        KernelSpec::Debian(wanted) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            debian(wanted, settings, now, say)
        }
    }
}

/// The kernels in the cache, those from Debian and those that were unpacked from files.
#[must_use]
pub fn cached(settings: &Settings) -> Vec<Cached> {
    let Some(folder) = settings.folder() else { return Vec::new() };
    let cache = Cache(&folder);
    let kernel = |(entry, note): (String, cache::Note)| Cached {
        name: note.name,
        release: note.release,
        image: cache.image(&entry),
    };
    cache.entries().into_iter().map(kernel).filter(|cached| cached.image.is_file()).collect()
}

/// A kernel from a file; only one that is packed needs the cache.
fn file(path: &Path, settings: &Settings, say: &mut dyn FnMut(&str)) -> Result<Kernel> {
    let bytes = cache::read(path, unpack::LIMIT)
        .map_err(|source| KernelError::Read { path: path.to_owned(), source })?;
    let shown = path.display().to_string();
    let named = |release: &str| format!("Linux {release} ({shown})");
    if unpack::is_raw(&bytes) {
        let (banner, release) = identity(&bytes, &shown)?;
        return Ok(Kernel {
            image: path.to_owned(),
            modules: None,
            name: named(&release),
            release,
            banner,
            sha256: sha256(&bytes),
            config_sha256: unpack::config(&bytes).map(|config| sha256(&config)),
        });
    }
    let entry = format!("file_{}", sha256(&bytes));
    let folder = settings.folder().ok_or(DebianError::NoCache)?;
    let cache = Cache(&folder);
    if let Some(kernel) = cache.load(&entry) {
        // The same file may have had another name.
        return Ok(Kernel { name: named(&kernel.release), ..kernel });
    }
    let image = unpack::image(bytes).map_err(|why| KernelError::Unusable { what: shown.clone(), why })?;
    let (banner, release) = identity(&image, &shown)?;
    let config = unpack::config(&image);
    let locked = Locked::new(&folder, "kernels", say)?;
    locked.make_room(2 * image.len() as u64)?;
    let new = New {
        name: named(&release),
        version: None,
        from: &shown,
        image: &image,
        banner,
        release,
        config: config.as_deref(),
        modules: None,
    };
    Ok(cache.store(&locked, &entry, new)?)
}

/// The line in which an image tells what it is, and the release in it.
fn identity(image: &[u8], what: &str) -> Result<(String, String)> {
    let banner = unpack::banner(image);
    let release = banner.as_deref().and_then(unpack::release).map(str::to_owned);
    banner
        .zip(release)
        .ok_or_else(|| KernelError::Unusable { what: what.to_owned(), why: UnpackError::NotLinux })
}

fn debian(wanted: &Wanted, settings: &Settings, now: u64, say: &mut dyn FnMut(&str)) -> Result<Kernel> {
    let folder = settings.folder().ok_or(DebianError::NoCache)?;
    let cache = Cache(&folder);
    if !settings.refresh
        && let Some(kernel) = cache.looked_up(wanted, now)
    {
        return Ok(kernel);
    }
    if !settings.provision {
        let (_, kernel) = cache.best(wanted).ok_or_else(|| KernelError::Off { wanted: wanted.clone() })?;
        say(&format!("using {} from the cache: fetching is off", kernel.name));
        return Ok(kernel);
    }
    let error = match fetch(wanted, settings, &folder, now, say) {
        Ok(kernel) => return Ok(kernel),
        Err(error) => error,
    };
    let Some((_, kernel)) = cache.best(wanted) else { return Err(error) };
    say(&format!("cannot look up {wanted}: {}", chain(&error)));
    say(&format!("using {} from the cache", kernel.name));
    Ok(kernel)
}

/// Looks a kernel up at the mirrors, and fetches it unless it is in the cache.
fn fetch(
    wanted: &Wanted,
    settings: &Settings,
    folder: &Path,
    now: u64,
    say: &mut dyn FnMut(&str),
) -> Result<Kernel> {
    let mirrors = debian::mirrors(settings.mirror.as_deref())?;
    let locked = Locked::new(folder, "kernels", say)?;
    // Another process may just have done it.
    if !settings.refresh
        && let Some(kernel) = Cache(folder).looked_up(wanted, now)
    {
        return Ok(kernel);
    }
    locked.make_room(SPACE)?;
    let mut result = Err(DebianError::NoMirror.into());
    for mirror in mirrors {
        if let Err(error) = &result
            && !matches!(error, KernelError::Debian(DebianError::NoMirror))
        {
            say(&chain(error));
        }
        result = from_mirror(wanted, &mirror, &locked, Cache(folder), now, say);
        if result.is_ok() {
            break;
        }
    }
    if let Err(KernelError::NoMatch { .. }) = &result
        && let Some((entry, kernel)) = Cache(folder).best(wanted)
    {
        // Debian drops old versions: what is in the cache then is the answer, not a makeshift.
        Cache(folder).remember(&locked, wanted, &entry, now);
        say(&format!("Debian has no {wanted} any more: using {} from the cache", kernel.name));
        return Ok(kernel);
    }
    result
}

fn from_mirror(
    wanted: &Wanted,
    mirror: &str,
    locked: &Locked<'_>,
    cache: Cache<'_>,
    now: u64,
    say: &mut dyn FnMut(&str),
) -> Result<Kernel> {
    let begun = Instant::now();
    let staging = locked.staging()?;
    let archive = Archive::open(mirror, staging.path(), say)?;
    let offer = archive.choose(wanted)?;
    let (entry, name) = (offer.entry(), offer.name());
    // One of an older version of this program came without its modules.
    if let Some(kernel) = cache.load(&entry).filter(|kernel| kernel.modules.is_some()) {
        cache.remember(locked, wanted, &entry, now);
        return Ok(kernel);
    }
    say(&format!("fetching {name} from {}, about 20 to 40 MB", offer.from));
    let contents = archive.fetch(&offer, say)?;
    let image = unpack::image(contents.vmlinuz)
        .map_err(|why| KernelError::Unusable { what: format!("the kernel in {}", offer.package), why })?;
    let (banner, release) = identity(&image, &format!("the kernel in {}", offer.package))?;
    let config = contents.config.or_else(|| unpack::config(&image));
    let new = New {
        name,
        version: Some(&offer.version),
        from: &offer.from,
        image: &image,
        banner,
        release,
        config: config.as_deref(),
        modules: contents.modules.as_deref(),
    };
    let kernel = cache.store(locked, &entry, new)?;
    cache.remember(locked, wanted, &entry, now);
    say(&format!(
        "Linux {} is ready after {:.0} s: {}",
        kernel.release,
        begun.elapsed().as_secs_f64(),
        kernel.image.display()
    ));
    Ok(kernel)
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::cache::tests::{put, wanted};
    use super::unpack::tests::{RELEASE, gzip, raw};
    use super::*;

    fn settings(cache: &Path) -> Settings {
        Settings { cache: Some(cache.to_owned()), ..Settings::default() }
    }

    /// What is found, and what was said.
    fn look(spec: &str, settings: &Settings) -> (Result<Kernel>, Vec<String>) {
        let mut said = Vec::new();
        let result = find(&spec.parse().unwrap(), settings, &mut |line| said.push(line.to_owned()));
        (result, said)
    }

    #[test]
    fn a_raw_file_is_used_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Image");
        fs::write(&path, raw()).unwrap();
        let kernel = look(path.to_str().unwrap(), &Settings::default()).0.unwrap();
        assert_eq!(kernel.image, path);
        assert_eq!(kernel.release, RELEASE);
        assert_eq!(kernel.name, format!("Linux {RELEASE} ({})", path.display()));
        assert!(kernel.banner.ends_with("#1 SMP Debian 7.2.12-1 (2026-11-04)"));
        assert_eq!(kernel.sha256, sha256(&raw()));
        assert_eq!(kernel.config_sha256.unwrap(), sha256(b"CONFIG_KVM=y\n"));
    }

    #[test]
    fn a_packed_file_is_unpacked_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, cache) = (folder.path().join("vmlinuz"), folder.path().join("cache"));
        fs::write(&path, gzip(&raw())).unwrap();
        let kernel = look(path.to_str().unwrap(), &settings(&cache)).0.unwrap();
        assert_eq!(fs::read(&kernel.image).unwrap(), raw());
        let moved = folder.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        let again = look(moved.to_str().unwrap(), &settings(&cache)).0.unwrap();
        assert_eq!(again.image, kernel.image);
        assert!(again.name.contains("moved"), "{}", again.name);
        let listed = cached(&settings(&cache));
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0].release, &listed[0].image), (&kernel.release, &kernel.image));
        let message = look(moved.to_str().unwrap(), &Settings::default()).0.unwrap_err().to_string();
        assert!(message.contains("set XDG_CACHE_HOME"), "{message}");
    }

    #[test]
    fn files_that_are_no_kernels() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, bytes: &[u8], expected: &str| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let message = look(path.to_str().unwrap(), &settings(folder.path())).0.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check("elf", b"\x7fELF", "elf is neither an arm64 Image nor");
        check("packed", &gzip(b"hello"), "packed is neither");
        check("other", &raw()[..64], "other is an arm64 image without the words `Linux version`");
        assert!(cached(&settings(folder.path())).is_empty());
        let error = look("/nonexistent/Image", &Settings::default()).0.unwrap_err();
        assert!(chain(&error).contains("cannot read the kernel /nonexistent/Image: No such file"), "{error}");
        let error = look("/dev/null", &Settings::default()).0.unwrap_err();
        assert!(chain(&error).contains("it is no regular file"), "{error}");
    }

    #[test]
    fn without_fetching_the_cache_answers() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let message = look("debian:7.2", &settings).0.unwrap_err().to_string();
        assert!(message.contains("no debian:7.2 in the cache, and fetching is off"), "{message}");
        let kernels = settings.folder().unwrap();
        put(&kernels, "7.2.9-1");
        put(&kernels, "7.2.12-1");
        let (kernel, said) = look("debian:7.2", &settings);
        assert_eq!(kernel.unwrap().name, "Debian 7.2.12-1");
        assert_eq!(said, ["using Debian 7.2.12-1 from the cache: fetching is off"]);
        assert_eq!(look("debian:7.2/oldest", &settings).0.unwrap().name, "Debian 7.2.9-1");
        let names: Vec<_> = cached(&settings).into_iter().map(|kernel| kernel.name).collect();
        assert_eq!(names, ["Debian 7.2.12-1", "Debian 7.2.9-1"]);
    }

    #[test]
    fn a_fresh_lookup_needs_nobody_and_an_old_one_is_better_than_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // Whatever is missing here: nothing can be fetched from this.
        let mirror = Some("no mirror".to_owned());
        let settings = Settings { provision: true, mirror, ..settings(folder.path()) };
        let kernels = settings.folder().unwrap();
        put(&kernels, "7.2.12-1");
        put(&kernels, "7.2.9-1");
        let question = wanted("debian:7.2");
        let locked = Locked::new(&kernels, "nothing", &mut |_| ()).unwrap();
        Cache(&kernels).remember(&locked, &question, "linux_7.2.9-1", 1_000);
        drop(locked);
        let ask = |settings: &Settings, now| {
            let mut said = Vec::new();
            let result = debian(&question, settings, now, &mut |line| said.push(line.to_owned()));
            (result.unwrap().name, said)
        };
        assert_eq!(ask(&settings, 1_000), ("Debian 7.2.9-1".to_owned(), Vec::new()));
        let stale = [ask(&settings, 100_000_000), ask(&Settings { refresh: true, ..settings }, 1_000)];
        for (name, said) in stale {
            assert_eq!(name, "Debian 7.2.12-1");
            assert!(said[0].starts_with("cannot look up debian:7.2: "), "{said:?}");
            assert_eq!(said[1], "using Debian 7.2.12-1 from the cache");
        }
    }
}
