//! Why there is no kernel to boot.

use std::io;
use std::path::PathBuf;

use super::spec::Wanted;
use super::unpack::UnpackError;
use crate::debian::{DebianError, NO_PROVISION};

/// Why there is no kernel. Each message names what mends it.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A file cannot be read.
    #[error("cannot read the kernel {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What there is is no kernel.
    #[error("{what} {why}")]
    Unusable {
        /// A file or a package.
        what: String,
        /// What is wrong with it.
        why: UnpackError,
    },
    /// There is none in the cache, and none may be fetched.
    #[error(
        "no {wanted} in the cache, and fetching is off: run the same without --no-provision and without \
         {NO_PROVISION} in the environment, or give the path of an arm64 image"
    )]
    Off {
        /// What is wanted.
        wanted: Wanted,
    },
    /// The mirror has none.
    #[error("{mirror} has no {wanted} for arm64: there are {series}{}", without(missing))]
    NoMatch {
        /// What is wanted.
        wanted: Wanted,
        /// The mirror.
        mirror: String,
        /// The series that it has.
        series: String,
        /// The suites that could not be read, and why.
        missing: Vec<String>,
    },
    /// A package is not what its name says.
    #[error("{package} of {mirror} has no kernel in it: give another mirror by --debian-mirror URL")]
    NoKernel {
        /// The package.
        package: String,
        /// The mirror.
        mirror: String,
    },
    /// Fetching or keeping it failed.
    #[error(transparent)]
    Debian(#[from] DebianError),
}

impl KernelError {
    /// What was asked for is no kernel, or there is none of that name: trying again changes nothing.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Unusable { .. } | Self::NoMatch { .. })
    }
}

fn without(missing: &[String]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    format!(" (without {})", missing.join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::cache::tests::wanted;
    use super::*;

    #[test]
    fn what_is_missing_says_what_mends_it() {
        let missing = vec!["sid: Release file is expired (invalid since 14d)".to_owned()];
        let error = KernelError::NoMatch {
            wanted: wanted("debian:7.3"),
            mirror: "http://m.example/debian".to_owned(),
            series: "6.1, 7.2".to_owned(),
            missing,
        };
        assert_eq!(
            error.to_string(),
            "http://m.example/debian has no debian:7.3 for arm64: there are 6.1, 7.2 (without sid: Release file is \
             expired (invalid since 14d))"
        );
        assert_eq!(without(&[]), "");
    }
}
