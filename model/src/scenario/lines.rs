//! The text of `steps`, line by line.
//!
//! Steps are read as they stand in the file, not as TOML would give them, so that every error has its place.

use std::ops::Range;

use toml::de::DeValue;

use super::document::{Body, Line};
use super::error::{ParseError, Source};
use super::grammar::parse_step;
use super::node::{Entry, Node, STEPS};

/// The most steps that a scenario can have.
const STEPS_MAX: usize = 1024;
/// The longest step, in bytes.
const STEP_MAX: usize = 256;

/// The lines of a scenario and where they stand.
pub(super) struct Lines {
    /// The lines, without blank ones at either end and behind another.
    pub(super) lines: Vec<Line>,
    /// The bytes of each, without its comment.
    pub(super) at: Vec<Range<usize>>,
    /// The key `steps`.
    pub(super) key_at: Range<usize>,
}

/// Finds `steps` at the top or in one of the tables, and reads its lines.
pub(super) fn read(source: Source<'_>, root: &Node<'_, '_>) -> Result<Lines, ParseError> {
    let mut found: Vec<_> = root.get(STEPS).into_iter().collect();
    for entry in root.own() {
        match entry.value.get_ref() {
            DeValue::Table(table) => found.extend(Node::new(source, table).get(STEPS)),
            DeValue::Array(array) => {
                let tables = array.iter().filter_map(|item| item.get_ref().as_table());
                found.extend(tables.filter_map(|table| Node::new(source, table).get(STEPS)));
            }
            _ => {}
        }
    }
    found.sort_by_key(|entry| entry.key_at.start);
    let mut found = found.into_iter();
    let Some(entry) = found.next() else {
        return Err(source.error(0..0, "the key `steps` is missing"));
    };
    if let Some(second) = found.next() {
        return Err(second.key_error("`steps` stands there twice"));
    }
    let span = inside_quotes(source, &entry)?;
    let mut lines = split(source, span)?;
    if lines.lines.iter().all(|line| line.body.is_none()) {
        return Err(entry.key_error("there are no steps"));
    }
    lines.key_at = entry.key_at;
    Ok(lines)
}

/// The bytes between the quotation marks of a string of several lines.
fn inside_quotes(source: Source<'_>, entry: &Entry<'_, '_>) -> Result<Range<usize>, ParseError> {
    entry.text()?;
    let span = entry.value.span();
    let text = source.text.get(span.clone()).unwrap_or_default();
    match ["\"\"\"", "'''"].into_iter().find(|marks| text.starts_with(marks)) {
        Some(marks) if text.len() >= 2 * marks.len() => Ok(span.start + marks.len()..span.end - marks.len()),
        _ => Err(entry.error("expected the steps between three quotation marks, one to a line")),
    }
}

fn split(source: Source<'_>, span: Range<usize>) -> Result<Lines, ParseError> {
    let text = source.text.get(span.clone()).unwrap_or_default();
    // What TOML would read otherwise, or could not read once it is printed.
    for (odd, what) in [("\\", "backslashes"), ("\"\"\"", "three quotation marks")] {
        if let Some(at) = text.find(odd) {
            let at = span.start + at;
            return Err(source.error(at..at + odd.len(), format!("steps have no {what}")));
        }
    }
    let mut read = Lines { lines: Vec::new(), at: Vec::new(), key_at: 0..0 };
    let before = source.text.get(..span.start).unwrap_or_default().matches('\n').count();
    let mut start = span.start;
    let mut steps = 0;
    for (index, text) in text.split('\n').enumerate() {
        let (body, comment) = split_comment(text.trim_end_matches('\r'));
        let at = start..start + body.len();
        start += text.len() + 1;
        if body.trim().is_empty() && comment.is_none() && read.lines.last().is_none_or(is_blank) {
            continue;
        }
        let body = step(source, at.clone(), body)?;
        steps += usize::from(body.is_some());
        if steps > STEPS_MAX {
            return Err(source.error(at, format!("a scenario has at most {STEPS_MAX} steps")));
        }
        let number = u32::try_from(before + index + 1).unwrap_or(u32::MAX);
        read.lines.push(Line { number, body, comment: comment.map(str::to_owned) });
        read.at.push(at);
    }
    if read.lines.last().is_some_and(is_blank) {
        read.lines.pop();
        read.at.pop();
    }
    Ok(read)
}

const fn is_blank(line: &Line) -> bool {
    line.body.is_none() && line.comment.is_none()
}

/// The step that the bytes `at` hold, if they hold one.
fn step(source: Source<'_>, at: Range<usize>, text: &str) -> Result<Option<Body>, ParseError> {
    let text = text.trim_end();
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > STEP_MAX {
        return Err(source.error(at, format!("a step has at most {STEP_MAX} bytes")));
    }
    if text.contains('$') {
        return Ok(Some(Body::Template(text.split_whitespace().map(str::to_owned).collect())));
    }
    let (place, verb) = parse_step(text)
        .map_err(|error| source.error(at.start + error.at.start..at.start + error.at.end, error.message))?;
    Ok(Some(Body::Fixed { place, verb }))
}

/// A line's step and its comment. A comment begins with a `#` at the start of a word, unless a digit or `$`
/// follows: that is an immediate.
fn split_comment(line: &str) -> (&str, Option<&str>) {
    let starts_comment = |at: usize| {
        let (before, after) = line.split_at(at);
        let first = before.trim().is_empty();
        let immediate = after[1..].starts_with(|c: char| c.is_ascii_digit() || c == '$');
        first || (before.ends_with(char::is_whitespace) && !immediate)
    };
    match line.match_indices('#').map(|(at, _)| at).find(|at| starts_comment(*at)) {
        Some(at) => (&line[..at], Some(line[at + 1..].trim())),
        None => (line, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_immediates() {
        for (line, expected) in [
            ("L1 hvc #1", ("L1 hvc #1", None)),
            ("L1 hvc #$imm # why", ("L1 hvc #$imm ", Some("why"))),
            ("L1 hvc #0x10 #why", ("L1 hvc #0x10 ", Some("why"))),
            ("#1 first", ("", Some("1 first"))),
            ("  ## x", ("  ", Some("# x"))),
            ("L1 hvc#x", ("L1 hvc#x", None)),
            ("L1 hvc #", ("L1 hvc ", Some(""))),
        ] {
            assert_eq!(split_comment(line), expected, "{line}");
        }
    }
}
