//! Parts of a command, with the time that each took.

use std::time::Instant;

/// A part of a command: says its name when it begins, and its time when it is dropped.
#[derive(Debug)]
pub(crate) struct Section {
    name: String,
    start: Instant,
}

impl Section {
    /// Begins a part.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        eprintln!("\n== {name}");
        Self { name, start: Instant::now() }
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        eprintln!("== {}: {:.1} s", self.name, self.start.elapsed().as_secs_f64());
    }
}
