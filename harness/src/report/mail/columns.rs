//! Text in the columns of a mail.

use super::super::clean::line;

/// Columns.
pub(super) const WIDTH: usize = 72;

/// The text behind a label, on as many lines as it takes and at most so many: what does not fit ends at a word.
pub(super) fn wrapped(label: &str, text: &str, most: usize) -> Vec<String> {
    wrapped_to(label, &" ".repeat(label.len()), text, most)
}

/// The same, with what further lines begin with.
pub(super) fn wrapped_to(label: &str, indent: &str, text: &str, most: usize) -> Vec<String> {
    // A command is not to be torn at its hyphens.
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(label)
        .subsequent_indent(indent)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    let mut lines: Vec<String> =
        textwrap::wrap(&line(text), options).into_iter().map(|line| line.into_owned()).collect();
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = shortened(last);
        }
    }
    lines
}

/// A line that goes on, with a mark for what is left out behind a word.
fn shortened(line: &str) -> String {
    let room = WIDTH - 2;
    let kept: String = line.chars().take(room).collect();
    let whole = line.chars().count() <= room;
    // A word that takes most of the line has no better place to end.
    let end = kept.rfind(' ').filter(|at| !whole && *at > room / 2).unwrap_or(kept.len());
    format!("{} …", kept[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_begins_with_a_word() {
        let text = wrapped("what      ", &"value 0x0123456789abcdef ".repeat(9), 2);
        assert_eq!(text.len(), 2);
        assert!(text.iter().all(|line| line.chars().count() <= WIDTH), "{text:?}");
        assert!(text[1].ends_with("value …") || text[1].ends_with("0x0123456789abcdef …"), "{text:?}");
        assert_eq!(wrapped("what      ", "short", 2), ["what      short"]);
        assert!(wrapped("what      ", &"w".repeat(500), 1)[0].ends_with("w …"));
    }
}
