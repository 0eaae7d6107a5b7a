//! Text of strangers (console, names, paths of a log from elsewhere) made fit for a terminal.

use std::fmt::Write as _;

/// The text on one line, with nothing in it that moves a cursor or reverses the writing direction.
pub(super) fn line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\t' || c == '\n' {
            // What has several lines in TOML is one of a report.
            clean.push(' ');
        } else if c.is_control() || is_directional(c) {
            let written = write!(clean, "{}", c.escape_unicode());
            debug_assert!(written.is_ok(), "a string takes everything");
        } else {
            clean.push(c);
        }
    }
    clean
}

/// The last lines of a text, each clean.
pub(super) fn last_lines(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(count);
    lines.into_iter().skip(skipped).map(line).collect()
}

/// The explicit directional formatting characters of Unicode.
const fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(line("a\x1b[2Jb\r\u{202e}c"), "a\\u{1b}[2Jb\\u{d}\\u{202e}c");
        assert_eq!(last_lines("1\n2\n3\n", 2), ["2", "3"]);
        assert_eq!(line("a reason\nof two lines"), "a reason of two lines");
    }
}
