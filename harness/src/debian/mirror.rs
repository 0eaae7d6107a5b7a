//! Which Debian mirror the machine's own package sources name.
//!
//! Only apt reads its sources reliably (two formats, folders, disabled and third-party entries), so it is
//! asked, in one of two ways. What a candidate really serves is decided by the archive's signature.

use std::collections::HashMap;
use std::process::{Command, Stdio};

/// The mirrors to try, best first.
pub(super) fn candidates() -> Vec<String> {
    let targets = apt_get(&["indextargets", "--format", "$(ORIGIN);$(LABEL);$(SITE)"]);
    let mirrors = from_index_targets(&targets);
    if !mirrors.is_empty() {
        return mirrors;
    }
    // Without package lists (a fresh container image) apt knows no origins, but still the addresses.
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    match debian_codename(&os_release) {
        Some(codename) => from_uris(&apt_get(&["update", "--print-uris"]), &codename),
        None => Vec::new(),
    }
}

/// What `apt-get` says; empty if it fails.
fn apt_get(arguments: &[&str]) -> String {
    Command::new("apt-get")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// The sites of Debian's main archive among lines of `ORIGIN;LABEL;SITE`.
fn from_index_targets(lines: &str) -> Vec<String> {
    let sites = lines.lines().filter_map(|line| match line.splitn(3, ';').collect::<Vec<_>>()[..] {
        ["Debian", "Debian", site] => Some(site),
        _ => None,
    });
    distinct(sites)
}

/// The archives that have a suite of this codename among lines of `'URI' FILE SIZE`.
fn from_uris(lines: &str, codename: &str) -> Vec<String> {
    let suffix = format!("/dists/{codename}/InRelease");
    let sites =
        lines.lines().filter_map(|line| line.strip_prefix('\'')?.split('\'').next()?.strip_suffix(&suffix));
    distinct(sites)
}

/// Those that can be read over a network, each once and without a final slash.
fn distinct<'a>(sites: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut mirrors: Vec<String> = Vec::new();
    for site in sites {
        let site = site.trim_end_matches('/');
        let readable = ["http://", "https://", "mirror+"].iter().any(|scheme| site.starts_with(scheme));
        if readable && !mirrors.iter().any(|mirror| mirror == site) {
            mirrors.push(site.to_owned());
        }
    }
    mirrors
}

/// The codename of the Debian release that an os-release file describes.
fn debian_codename(os_release: &str) -> Option<String> {
    let fields: HashMap<&str, &str> = os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key, value.trim_matches(['"', '\''])))
        .collect();
    (fields.get("ID") == Some(&"debian"))
        .then(|| fields.get("VERSION_CODENAME").map(|&name| name.to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_main_archive_counts() {
        let lines = "Debian;Debian;http://mirror.example/debian\n\
                     Debian;Debian-Security;http://mirror.example/debian-security\n\
                     Debian;Debian;http://mirror.example/debian/\n\
                     $(ORIGIN);$(LABEL);https://third.example/apt\n\
                     Debian;Debian;cdrom://Debian 13\n\
                     Ubuntu;Ubuntu;http://ubuntu.example/ubuntu\n\
                     Debian Backports;Debian;http://old.example/debian\n\
                     Debian;Debian;https://second.example/a;b\n\
                     garbage\n";
        assert_eq!(from_index_targets(lines), ["http://mirror.example/debian", "https://second.example/a;b"]);
        assert!(from_index_targets("").is_empty());
    }

    #[test]
    fn addresses_of_the_release_count_without_lists() {
        let lines = "'http://mirror.example/debian/dists/bookworm/InRelease' mirror_InRelease 0 \n\
                     'http://mirror.example/debian/dists/bookworm-updates/InRelease' x 0 \n\
                     'http://security.example/dists/bookworm-security/InRelease' x 0 \n\
                     'https://third.example/dists/nodistro/InRelease' x 0 \n\
                     'unfinished\n";
        assert_eq!(from_uris(lines, "bookworm"), ["http://mirror.example/debian"]);
        assert!(from_uris(lines, "trixie").is_empty());
    }

    #[test]
    fn only_debian_has_a_debian_codename() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(debian_codename(debian).as_deref(), Some("bookworm"));
        assert_eq!(debian_codename("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n"), None);
        assert_eq!(debian_codename("ID=debian\n"), None);
    }
}
