//! Assembly stands in `arch/` alone.

use super::Complaint;
use crate::project::TextFile;

const HOME: &str = "arch/";
const MACROS: [&str; 3] = ["asm!", "global_asm!", "naked_asm!"];

/// Complains of every macro of assembly, and every file of it, outside `arch/`.
pub(crate) fn check(files: &[TextFile]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for TextFile { path, text } in files.iter().filter(|file| !file.path.starts_with(HOME)) {
        if path.ends_with(".S") || path.ends_with(".s") {
            complaints.push(Complaint::file(path, "assembly outside arch/"));
        } else if path.ends_with(".rs") {
            for (line, code) in code_only(text).lines().enumerate() {
                let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '!'));
                for word in words.filter(|word| MACROS.contains(word)) {
                    complaints.push(Complaint::line(path, line + 1, format!("`{word}` outside arch/")));
                }
            }
        }
    }
    complaints
}

/// The Rust source with comments, strings and characters taken away, lines kept.
fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    // An identifier that ends in `r` does not begin a raw string.
    let mut in_word = false;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if c == '"' {
            string(rest)
        } else if let Some(hashes) = raw_string(rest).filter(|_| !in_word) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').map_or(rest.len(), |quote| quote + 1);
            rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
        } else if let Some(length) = character(rest) {
            length
        } else {
            code.push(c);
            in_word = c.is_alphanumeric() || c == '_';
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().filter(|&c| c == '\n'));
        // What was taken away separates words.
        code.push(' ');
        in_word = false;
        rest = &rest[length..];
    }
    code
}

/// The length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a string with escapes, its quotation marks included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The number of `#` of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of a character that begins here; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let after = text.strip_prefix('\'')?;
    let first = after.chars().next()?;
    if first == '\\' {
        // The escaped character itself may be a quotation mark.
        return after.char_indices().skip(2).find(|(_, c)| *c == '\'').map(|(at, _)| at + 2);
    }
    after[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn complaints(path: &str, text: &str) -> Vec<String> {
        let file = TextFile { path: path.to_owned(), text: text.to_owned() };
        check(&[file]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn macros_are_found_with_their_lines() {
        let text =
            "use core::arch::asm;\n\nfn f() { unsafe { asm!(\"nop\") } }\ncore::arch::global_asm!(\"\");\n";
        assert_eq!(
            complaints("model/src/lib.rs", text),
            ["model/src/lib.rs:3: `asm!` outside arch/", "model/src/lib.rs:4: `global_asm!` outside arch/"]
        );
        assert_eq!(complaints("arch/src/lib.rs", text), [""; 0]);
        assert_eq!(complaints("abi/src/boot.S", "nop"), ["abi/src/boot.S: assembly outside arch/"]);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(complaints("a.rs", "my_asm!(); asm_!(); basm!(); asm; nasm!"), [""; 0]);
        assert_eq!(complaints("a.rs", "naked_asm!()"), ["a.rs:1: `naked_asm!` outside arch/"]);
    }

    #[test]
    fn comments_strings_and_characters_are_no_code() {
        for harmless in [
            "// asm!()",
            "/* asm!() /* asm!() */ asm!() */",
            "\"asm!() \\\" asm!()\"",
            "r\"asm!() \\\"",
            "r##\"asm!() \"# asm!()\"##",
            "br#\"asm!()\"#",
            "f('\"', \"asm!()\", '\\'', \"asm!()\")",
            "fn f<'a>(a: &'a str) -> &'static str { \"asm!()\" }",
        ] {
            assert_eq!(complaints("a.rs", harmless), [""; 0], "{harmless}");
            let followed = format!("{harmless}\nasm!()");
            assert_eq!(complaints("a.rs", &followed), ["a.rs:2: `asm!` outside arch/"], "{harmless}");
        }
        // A word that ends in `r` begins no raw string.
        assert_eq!(complaints("a.rs", "bar\"\\\" asm!()\""), [""; 0]);
    }
}
