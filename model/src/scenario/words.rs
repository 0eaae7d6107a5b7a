//! The words of a step, each with its place in the line.

use std::ops::Range;

use super::names::{self, Table};
use super::suggest;

/// Why a line is no step.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// The bytes of the line that are wrong; empty at its end if something is missing.
    pub at: Range<usize>,
    /// What was found and what was expected.
    pub message: String,
}

/// A word and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Word<'a> {
    /// The word, without white space.
    pub(super) text: &'a str,
    /// Its bytes in the line.
    pub(super) at: Range<usize>,
}

impl Word<'_> {
    /// An error at this word.
    pub(super) fn error(&self, message: impl Into<String>) -> StepError {
        StepError { at: self.at.clone(), message: message.into() }
    }

    /// The error of a word that is not one of `names`.
    pub(super) fn unknown<'n>(
        &self,
        what: &str,
        names: impl IntoIterator<Item = &'n str> + Clone,
    ) -> StepError {
        self.error(suggest::unknown(self.text, what, names))
    }

    /// The value that the word names.
    pub(super) fn value<T: Copy>(&self, what: &str, table: &'static Table<T>) -> Result<T, StepError> {
        names::find(table, self.text).ok_or_else(|| self.unknown(what, names::all(table)))
    }

    /// The word as a number, decimal or hexadecimal after `0x`.
    pub(super) fn number(&self, what: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, StepError> {
        let value = number(self.text)
            .ok_or_else(|| self.error(format!("found {}, expected {what}", suggest::quote(self.text))))?;
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            return Err(self.error(format!("{value:#x} is out of range: expected {what}, {low} to {high}")));
        }
        Ok(value)
    }
}

/// The words of a line that are still to be read.
#[derive(Clone, Debug)]
pub(super) struct Words<'a> {
    line: &'a str,
    next: usize,
}

impl<'a> Words<'a> {
    /// All words of the line.
    pub(super) const fn new(line: &'a str) -> Self {
        Self { line, next: 0 }
    }

    /// The next word, which must be there.
    pub(super) fn need(&mut self, what: &str) -> Result<Word<'a>, StepError> {
        let end = self.line.trim_end().len();
        self.next().ok_or_else(|| StepError {
            at: end..end,
            message: format!("the step ends here, expected {what}"),
        })
    }

    /// The next words' error if there are any, else the value.
    pub(super) fn end<T>(mut self, value: T) -> Result<T, StepError> {
        match self.next() {
            Some(word) => {
                Err(word.error(format!("found {}, expected the end of the step", suggest::quote(word.text))))
            }
            None => Ok(value),
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let rest = self.line.get(self.next..)?;
        let start = self.next + (rest.len() - rest.trim_start().len());
        let text = self.line.get(start..)?.split_whitespace().next()?;
        self.next = start + text.len();
        Some(Word { text, at: start..self.next })
    }
}

/// A number as the language writes it: digits, or hexadecimal digits after `0x`.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    // `from_str_radix` takes a sign, the language does not.
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}
