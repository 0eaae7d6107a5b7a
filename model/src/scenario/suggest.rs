//! Names that somebody may have meant.

/// Longer words are nobody's typing mistake, and need not be compared.
const WORD_MAX: usize = 40;

/// The name most like `word`, if one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_MAX {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    names
        .into_iter()
        .map(|name| (distance(&lower, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= allowed(name.len().max(word.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `found X, expected WHAT`, and then the near name, or else all of them if they are few.
pub(super) fn unknown<'a>(
    word: &str,
    what: &str,
    names: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    let found = format!("found {}, expected {what}", quote(word));
    if let Some(name) = nearest(word, names.clone()) {
        return format!("{found}; did you mean `{name}`?");
    }
    let names: Vec<_> = names.into_iter().collect();
    if names.is_empty() { found } else { format!("{found}: {}", names.join(", ")) }
}

/// The word in backquotes, with control characters escaped, cut if it is long.
pub(super) fn quote(word: &str) -> String {
    let escaped: String = word.chars().take(WORD_MAX).flat_map(char::escape_debug).collect();
    let more = if word.chars().nth(WORD_MAX).is_some() { "…" } else { "" };
    format!("`{escaped}{more}`")
}

/// Slips that a name of this length may have and still be recognized.
const fn allowed(len: usize) -> usize {
    match len {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    }
}

/// Insertions, deletions, replacements and swaps of neighbors that make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = [vec![0; b.len() + 1], (0..=b.len()).collect(), vec![0; b.len() + 1]];
    for i in 0..a.len() {
        rows[2][0] = i + 1;
        for j in 0..b.len() {
            let replaced = rows[1][j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(rows[1][j + 1] + 1).min(rows[2][j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(rows[0][j - 1] + 1);
            }
            rows[2][j + 1] = best;
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures() {
        for (a, b, expected) in [
            ("", "", 0),
            ("fill", "fill", 0),
            ("fil", "fill", 1),
            ("erte", "eret", 1),
            ("hvc", "smc", 2),
            ("", "wfi", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn finds_what_was_meant() {
        let verbs = ["fill", "expect", "eret"];
        assert_eq!(nearest("exepct", verbs), Some("expect"));
        assert_eq!(nearest("FILL", verbs), Some("fill"));
        assert_eq!(nearest("xyzzy", verbs), None);
        assert_eq!(nearest(&"fill".repeat(100), verbs), None);
    }

    #[test]
    fn quotes_what_terminals_should_not_see() {
        assert_eq!(quote("a\u{1b}b"), "`a\\u{1b}b`");
        assert_eq!(quote(&"x".repeat(41)), format!("`{}…`", "x".repeat(40)));
    }
}
