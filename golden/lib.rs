//! A home for the snapshots in this folder: `cargo insta` finds pending ones only inside a package.
