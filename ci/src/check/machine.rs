//! Nothing of the machine that a file was written on is committed: no home folder, no name of a host.

use super::Complaint;
use crate::project::TextFile;

/// How folders of users begin.
const HOMES: [&str; 3] = ["/home/", "/root/", "/Users/"];
/// The folder of a user who is nobody's, for examples.
const EXAMPLE: &str = "/home/u/";

/// Hosts that may be named: where references and licences lie, and the names that RFC 2606 keeps for examples.
const HOSTS: [&str; 9] = [
    "developer.arm.com",
    "doc.rust-lang.org",
    "example.org",
    "github.com",
    "gitlab.com",
    "lore.kernel.org",
    "rust-lang.github.io",
    "rustup.rs",
    "www.apache.org",
];

/// Complains of every line that names a user's folder, `root`, where this working copy lies, or a host that is
/// not known.
pub(crate) fn check(files: &[TextFile], root: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for TextFile { path, text } in files {
        // This file names what it looks for, and the lock file is cargo's.
        if path == "ci/src/check/machine.rs" || path.ends_with("Cargo.lock") {
            continue;
        }
        for (line, text) in text.lines().enumerate() {
            let folders =
                folders(text, root).into_iter().map(|folder| format!("names the folder `{folder}`"));
            let hosts = hosts(text).into_iter().map(|host| format!("names the host `{host}`"));
            complaints.extend(folders.chain(hosts).map(|what| Complaint::line(path, line + 1, what)));
        }
    }
    complaints
}

fn folders<'a>(line: &str, root: &'a str) -> Vec<&'a str> {
    // A working copy in a folder of the machine's root has too common a name: `/src` is in many a path.
    let root = Some(root).filter(|root| root.matches('/').count() > 1);
    let whole = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-/}>".contains(c));
    let named = |folder: &&str| {
        line.match_indices(*folder).any(|(at, _)| whole(at) && !line[at..].starts_with(EXAMPLE))
    };
    HOMES.into_iter().chain(root).filter(named).collect()
}

/// The hosts of the addresses in a line that are neither known nor examples.
fn hosts(line: &str) -> Vec<&str> {
    let addresses = line.match_indices("://").map(|(at, separator)| &line[at + separator.len()..]);
    let hosts = addresses.map(|address| {
        let end = address.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'));
        address[..end.unwrap_or(address.len())].trim_end_matches('.')
    });
    // A name without a dot is a placeholder.
    hosts.filter(|host| host.contains('.') && !HOSTS.contains(host) && !host.ends_with(".example")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn complaints(text: &str) -> Vec<String> {
        let file = TextFile { path: "README.md".to_owned(), text: text.to_owned() };
        check(&[file], "/srv/copies/holdfast").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn folders_of_a_machine_are_found() {
        assert_eq!(
            complaints("a\nsee /home/me/a and /srv/copies/holdfast/target\n"),
            [
                "README.md:2: names the folder `/home/`",
                "README.md:2: names the folder `/srv/copies/holdfast`"
            ]
        );
        assert_eq!(complaints("suites/home/a ~/holdfast $HOME/.cache a/root/b /home/u/a"), [""; 0]);
    }

    #[test]
    fn a_common_root_is_no_complaint() {
        assert_eq!(folders("/src", "/src"), [""; 0]);
    }

    #[test]
    fn hosts_are_found() {
        assert_eq!(
            complaints("from http://mirror.internal.net/debian"),
            ["README.md:1: names the host `mirror.internal.net`"]
        );
        assert_eq!(
            complaints(
                "http://HOST/debian https://github.com/a/b http://mirror.example/debian https://example.org."
            ),
            [""; 0]
        );
    }
}
