//! What an archive's lists offer: the kernel that is chosen is one that was asked for, and its name leads nowhere but into
//! the cache. Versions are in one order.
#![no_main]

use harness::debian::is_address;
use harness::debian::version::{compare, upstream};
use harness::kernel::KernelSpec;
use harness::kernel::offers::{choose, offers, series};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (first, madison) = text.split_once('\n').unwrap_or((&text, ""));
    if is_address(first) {
        assert!(!first.contains(char::is_whitespace));
    }
    let offers = offers(madison);
    for offer in &offers {
        // It is an argument of apt-get's, and with the version the name of a folder.
        assert!(offer.package.starts_with("linux-"));
        let entry = offer.entry();
        assert!(entry.chars().all(|c| c.is_ascii_alphanumeric() || "+~-_.%".contains(c)), "{entry}");
        assert!(upstream(&offer.version).len() <= offer.version.len());
    }
    let _ = series(&offers);
    ordered(offers.iter().map(|offer| offer.version.as_str()).chain(madison.lines().take(4)).collect());
    if let Ok(spec @ KernelSpec::Debian(_)) = first.parse::<KernelSpec>() {
        assert_eq!(spec.to_string().parse::<KernelSpec>().as_ref(), Ok(&spec));
        let KernelSpec::Debian(wanted) = spec else { return };
        if let Some(chosen) = choose(&offers, &wanted) {
            assert!(offers.contains(chosen));
        }
    }
});

/// Versions that are in order stay so, whichever two are compared.
fn ordered(mut versions: Vec<&str>) {
    versions.truncate(16);
    versions.sort_by(|left, right| compare(left, right));
    for (index, left) in versions.iter().enumerate() {
        for right in &versions[index..] {
            assert!(compare(left, right).is_le(), "{left} {right}");
            assert!(compare(right, left).is_ge(), "{right} {left}");
        }
    }
}
