//! CI in Rust.
fn main() {}
