//! Edits by anchor: a function, a short expression that is in it exactly once, and what replaces it.

use std::ops::Range;

use anyhow::ensure;
use serde::Deserialize;

/// One edit of one file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// The file, relative to the root of the kernel's source.
    pub(crate) file: String,
    /// The function that holds the anchor.
    pub(crate) function: String,
    /// The anchor.
    pub(crate) find: String,
    /// What stands there afterwards.
    pub(crate) replace: String,
}

/// The text with the edit made.
///
/// # Errors
///
/// If the function is not defined there, or the anchor is not in it exactly once.
pub(crate) fn apply(text: &str, edit: &Edit) -> anyhow::Result<String> {
    let Edit { file, function, find, replace } = edit;
    let definitions = definitions(text, function);
    ensure!(!definitions.is_empty(), "{file} defines no function {function}");
    let mut found = Vec::new();
    for definition in definitions {
        let begin = definition.start;
        found.extend(text[definition].match_indices(find.as_str()).map(|(at, _)| begin + at));
    }
    match found[..] {
        [] => anyhow::bail!("`{find}` is not in {function} of {file}"),
        [at] => Ok([&text[..at], replace, &text[at + find.len()..]].concat()),
        _ => anyhow::bail!("`{find}` is in {function} of {file} {} times: give more of it", found.len()),
    }
}

/// Where a function is defined: more than once if the preprocessor chooses.
///
/// In the style of the kernel a definition begins in the first column, and so does the brace that ends it.
fn definitions(text: &str, name: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut end = 0;
    for (start, line) in lines(text) {
        if start < end || !line.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            continue;
        }
        let Some(at) = called(line, name) else { continue };
        // The parameters may go on over the next lines; a prototype ends without a body.
        let after = start + at;
        let Some(body) = text[after..].find(['{', ';']).map(|at| after + at) else { continue };
        if !text[body..].starts_with('{') {
            continue;
        }
        let Some(brace) = text[body..].find("\n}").map(|at| body + at) else { continue };
        end = brace + "\n}".len();
        found.push(start..end);
    }
    found
}

/// The lines of a text, with where each begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |next, line| {
        let start = *next;
        *next += line.len();
        Some((start, line))
    })
}

/// Where a line has a name, as a whole word and with an opening parenthesis behind it.
fn called(line: &str, name: &str) -> Option<usize> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut places = line.match_indices(name).map(|(at, _)| at);
    places.find(|&at| !line[..at].ends_with(word) && line[at + name.len()..].trim_start().starts_with('('))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
/* save(x) is defined below. */
static void save(struct state *s);

static inline void save_all(struct state *s)
{
\tif (s->live) {
\t\tsave(s);
\t}
}

#define flush(s) save(s)

static void save(struct state *s)
{
\tstore(s->z);
\tif (s->ffr) {
\t\tstore(s->p);
\t\tstore(s->p);
\t}
}

void
restore(struct state *s,
\tbool ffr)
{
\tload(s->z);
}

#ifdef A
int both(void)
{
\treturn 1;
}
#else
int both(void)
{
\treturn 0;
}
#endif
";

    fn edited(function: &str, find: &str, replace: &str) -> Result<String, String> {
        let [function, find, replace] = [function, find, replace].map(str::to_owned);
        let edit = Edit { file: "a.c".to_owned(), function, find, replace };
        apply(SOURCE, &edit).map_err(|error| error.to_string())
    }

    #[test]
    fn the_anchor_is_replaced_and_nothing_else() {
        assert_eq!(
            edited("save", "store(s->z);", "").unwrap(),
            SOURCE.replace("\tstore(s->z);\n", "\t\n"),
            "a prototype, a comment and a call are no definitions"
        );
        assert_eq!(
            edited("save_all", "save(s);", "drop(s);").unwrap(),
            SOURCE.replace("\t\tsave(s);", "\t\tdrop(s);")
        );
    }

    #[test]
    fn a_signature_may_have_several_lines() {
        assert_eq!(edited("restore", "load", "skip").unwrap(), SOURCE.replace("load", "skip"));
    }

    #[test]
    fn a_function_ends_at_its_brace() {
        assert_eq!(
            edited("save_all", "store(s->z)", "").unwrap_err(),
            "`store(s->z)` is not in save_all of a.c"
        );
        assert_eq!(edited("save", "load", "").unwrap_err(), "`load` is not in save of a.c");
        let open = Edit {
            file: "a.c".to_owned(),
            function: "f".to_owned(),
            find: "x".to_owned(),
            replace: "y".to_owned(),
        };
        assert_eq!(
            apply("int f(void)\n{\n\tx();\n", &open).unwrap_err().to_string(),
            "a.c defines no function f"
        );
    }

    #[test]
    fn a_missing_function_is_said() {
        for name in ["sav", "ave", "flush", "state", "s"] {
            assert_eq!(edited(name, "s", "").unwrap_err(), format!("a.c defines no function {name}"));
        }
    }

    #[test]
    fn an_anchor_that_is_there_twice_is_said() {
        assert_eq!(
            edited("save", "store(s->p)", "").unwrap_err(),
            "`store(s->p)` is in save of a.c 2 times: give more of it"
        );
        assert_eq!(
            edited("both", "return", "").unwrap_err(),
            "`return` is in both of a.c 2 times: give more of it"
        );
        assert_eq!(edited("both", "return 0", "return 2").unwrap(), SOURCE.replace("return 0", "return 2"));
    }
}
