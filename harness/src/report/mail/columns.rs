//! Text in the columns of a mail.

use super::super::clean::line;

/// Columns.
pub(super) const WIDTH: usize = 72;

/// The text on one line.
pub(super) fn cut(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}

/// The text behind a label, on as many lines as it takes and at most so many.
pub(super) fn wrapped(label: &str, text: &str, most: usize) -> Vec<String> {
    let indent = " ".repeat(label.len());
    // A command is not to be torn at its hyphens.
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(label)
        .subsequent_indent(&indent)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    let mut lines: Vec<String> =
        textwrap::wrap(&line(text), options).into_iter().map(|line| line.into_owned()).collect();
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let kept: String = last.chars().take(WIDTH - 2).collect();
            *last = format!("{} …", kept.trim_end());
        }
    }
    lines
}
