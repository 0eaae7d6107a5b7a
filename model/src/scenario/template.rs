//! Steps with `$name` in them.

use std::borrow::Cow;
use std::ops::Range;

/// A `$name` in a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Variable<'a> {
    /// The name without `$`; empty if none follows.
    pub(super) name: &'a str,
    /// The bytes of the line that it takes, `$` included.
    pub(super) at: Range<usize>,
}

/// The `$name`s of a line, from left to right. A name is as long as it can be.
pub(super) fn variables(line: &str) -> impl Iterator<Item = Variable<'_>> {
    line.match_indices('$').map(|(start, _)| {
        let rest = &line[start + 1..];
        let len = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
        Variable { name: &rest[..len], at: start..start + 1 + len }
    })
}

/// Whether `name` can be a `$name`: lower-case letters, digits and `_`, and a letter first.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_name_char)
}

const fn is_name_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// A line with every `$name` replaced, which knows where its parts come from.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    /// The line with values.
    pub(super) text: String,
    /// For each replaced name: where it stands in `text`, and where in the template.
    replaced: Vec<(Range<usize>, Range<usize>)>,
}

impl Filled {
    /// Replaces each `$name` of `line` by `value(name)`.
    pub(super) fn new<'v>(line: &str, value: impl Fn(&str) -> Cow<'v, str>) -> Self {
        let mut filled = Self { text: String::with_capacity(line.len()), replaced: Vec::new() };
        let mut done = 0;
        for variable in variables(line) {
            filled.text.push_str(&line[done..variable.at.start]);
            let start = filled.text.len();
            filled.text.push_str(&value(variable.name));
            done = variable.at.end;
            filled.replaced.push((start..filled.text.len(), variable.at));
        }
        filled.text.push_str(&line[done..]);
        filled
    }

    /// The bytes of the template that the bytes `at` of the text come from; a value comes from its name.
    pub(super) fn origin(&self, at: &Range<usize>) -> Range<usize> {
        let start = self.origin_of(at.start, |name| name.start);
        start..self.origin_of(at.end, |name| name.end).max(start)
    }

    /// The template's position for position `at` of the text, or `pick` of the name whose value is there.
    fn origin_of(&self, at: usize, pick: impl Fn(&Range<usize>) -> usize) -> usize {
        let mut text_end = 0;
        let mut template_end = 0;
        for (text, template) in &self.replaced {
            if at <= text.start {
                break;
            }
            if at < text.end {
                return pick(template);
            }
            (text_end, template_end) = (text.end, template.end);
        }
        template_end + (at - text_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names() {
        let found: Vec<_> = variables("L1 fill z$n-$last $ $a$b").map(|v| (v.name, v.at)).collect();
        assert_eq!(found, [("n", 9..11), ("last", 12..17), ("", 18..19), ("a", 20..22), ("b", 22..24)]);
    }

    #[test]
    fn positions_lead_back_to_the_template() {
        let filled = Filled::new("L1 fill $regs z9", |_| "ffr fpsr".into());
        assert_eq!(filled.text, "L1 fill ffr fpsr z9");
        assert_eq!(filled.origin(&(3..7)), 3..7);
        assert_eq!(filled.origin(&(8..11)), 8..13);
        assert_eq!(filled.origin(&(12..16)), 8..13);
        assert_eq!(filled.origin(&(17..19)), 14..16);
        assert_eq!(filled.origin(&(19..19)), 16..16);
    }

    #[test]
    fn positions_in_parts_of_words() {
        let filled = Filled::new("z$a-$b!", |name| if name == "a" { "10" } else { "2" }.into());
        assert_eq!(filled.text, "z10-2!");
        assert_eq!(filled.origin(&(0..6)), 0..7);
        assert_eq!(filled.origin(&(5..6)), 6..7);
    }
}
