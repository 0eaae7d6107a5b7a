//! What is wrong with a scenario file, and where.

use std::fmt;
use std::ops::Range;

/// The longest part of a source line that an error quotes, in characters.
const EXCERPT_MAX: usize = 160;

/// A scenario file that is none: the first thing wrong with it.
///
/// Prints as `path:line:column: message`, then the source line with the place marked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParseError {
    /// The file, as the caller named it.
    pub path: String,
    /// The line in the file, counted from 1.
    pub line: u32,
    /// The column in that line, in characters, counted from 1.
    pub column: u32,
    /// What was found and what was expected.
    pub message: String,
    /// The source line, with control characters made visible.
    pub excerpt: String,
    /// How many characters from `column` on are meant, at least 1.
    pub width: u32,
}

impl std::error::Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, message, excerpt, width } = self;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        write!(f, "{path}:{line}:{column}: {message}\n {number} | {excerpt}")?;
        let before = *column as usize - 1;
        if before <= excerpt.chars().count() {
            write!(f, "\n {gutter} | {}{}", " ".repeat(before), "^".repeat(*width as usize))?;
        }
        Ok(())
    }
}

/// A scenario file under the reader's eyes: turns byte positions into errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// The file's name.
    pub(super) path: &'a str,
    /// All of its text.
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// The error `message` at the bytes `span` of the text, which is cut to what the text has.
    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> ParseError {
        let start = self.text.floor_char_boundary(span.start);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = &self.text[line_start..];
        let line_text = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let column = before[line_start..].chars().count();
        let line_end = line_start + line_text.len();
        let end = self.text.floor_char_boundary(span.end.min(line_end)).max(start);
        let room = EXCERPT_MAX.saturating_sub(column).max(1);
        ParseError {
            path: self.path.to_owned(),
            line: clamp(before.matches('\n').count() + 1),
            column: clamp(column + 1),
            message: message.into(),
            excerpt: excerpt(line_text),
            width: clamp(self.text[start..end].chars().count().clamp(1, room)),
        }
    }
}

/// One character for each of the line's, so that columns stay what they are.
fn excerpt(line: &str) -> String {
    let visible = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    line.chars().take(EXCERPT_MAX).map(visible).collect()
}

/// Line and column numbers that a `u32` cannot hold do not occur: a file's size is limited.
fn clamp(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, span: Range<usize>, expected: &str) {
        assert_eq!(Source { path: "a.toml", text }.error(span, "odd").to_string(), expected);
    }

    #[test]
    fn marks_the_place() {
        check("one\ntwo three\n", 8..13, "a.toml:2:5: odd\n 2 | two three\n   |     ^^^^^");
    }

    #[test]
    fn counts_characters_not_bytes() {
        check("äö x\r\n", 5..6, "a.toml:1:4: odd\n 1 | äö x\n   |    ^");
    }

    #[test]
    fn stays_inside_the_line_and_the_text() {
        check("ab\ncd", 1..99, "a.toml:1:2: odd\n 1 | ab\n   |  ^");
        check("ab", 99..100, "a.toml:1:3: odd\n 1 | ab\n   |   ^");
        check("", 0..0, "a.toml:1:1: odd\n 1 | \n   | ^");
    }

    #[test]
    fn shows_no_control_characters() {
        check("a\t\u{1b}b", 3..4, "a.toml:1:4: odd\n 1 | a \u{fffd}b\n   |    ^");
    }

    #[test]
    fn cuts_long_lines() {
        let text = "x".repeat(1000);
        let error = Source { path: "a.toml", text: &text }.error(999..1000, "odd").to_string();
        assert!(error.starts_with("a.toml:1:1000: odd\n") && error.len() < 300, "{error}");
        let error = Source { path: "a.toml", text: &text }.error(0..1000, "odd").to_string();
        assert!(error.len() < 400, "{error}");
    }
}
