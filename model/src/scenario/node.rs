//! TOML values that know where they stand, and say what is wrong there.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::Value;
use super::error::{ParseError, Source};
use super::names::{self, Table};
use super::suggest;

/// The key that is no part of the table that it stands in.
pub(super) const STEPS: &str = "steps";
/// The longest value of an axis, in bytes.
const VALUE_MAX: usize = 64;

/// A table of the file; its entries in file order.
pub(super) struct Node<'a, 't> {
    source: Source<'a>,
    entries: Vec<Entry<'a, 't>>,
}

/// A key and its value.
#[derive(Clone)]
pub(super) struct Entry<'a, 't> {
    source: Source<'a>,
    /// The key.
    pub(super) key: &'t str,
    /// The key's bytes in the file.
    pub(super) key_at: Range<usize>,
    /// The value.
    pub(super) value: &'t Spanned<DeValue<'a>>,
}

impl<'a, 't> Node<'a, 't> {
    /// A table of the file `source`.
    pub(super) fn new(source: Source<'a>, table: &'t DeTable<'a>) -> Self {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| Entry { source, key: key.get_ref(), key_at: key.span(), value })
            .collect();
        entries.sort_by_key(|entry| entry.key_at.start);
        Self { source, entries }
    }

    /// The entry `key`.
    pub(super) fn get(&self, key: &str) -> Option<Entry<'a, 't>> {
        self.entries.iter().find(|entry| entry.key == key).cloned()
    }

    /// The entry `key`, which must be there.
    pub(super) fn need(&self, key: &str) -> Result<Entry<'a, 't>, ParseError> {
        self.get(key).ok_or_else(|| self.source.error(0..0, format!("the key `{key}` is missing")))
    }

    /// The entries other than `steps`.
    pub(super) fn own(&self) -> impl Iterator<Item = &Entry<'a, 't>> {
        self.entries.iter().filter(|entry| entry.key != STEPS)
    }

    /// Makes sure that there is no key but `names`.
    pub(super) fn allow<'n>(
        &self,
        what: &str,
        names: impl IntoIterator<Item = &'n str> + Clone,
    ) -> Result<(), ParseError> {
        let known = |entry: &&Entry<'_, '_>| names.clone().into_iter().any(|name| name == entry.key);
        match self.own().find(|entry| !known(entry)) {
            Some(entry) => Err(entry.key_error(suggest::unknown(entry.key, what, names))),
            None => Ok(()),
        }
    }
}

impl<'a, 't> Entry<'a, 't> {
    /// An error at the key.
    pub(super) fn key_error(&self, message: impl Into<String>) -> ParseError {
        self.source.error(self.key_at.clone(), message)
    }

    /// An error at the value.
    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        self.source.error(self.value.span(), message)
    }

    fn mismatch(&self, what: &str) -> ParseError {
        let found = self.value.get_ref().type_str();
        let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
        self.error(format!("found {article} {found}, expected {what}"))
    }

    /// The value, which must be a string.
    pub(super) fn text(&self) -> Result<&'t str, ParseError> {
        self.value.get_ref().as_str().ok_or_else(|| self.mismatch("a string"))
    }

    /// The value, which must be a table.
    pub(super) fn table(&self) -> Result<Node<'a, 't>, ParseError> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Node::new(self.source, table)),
            _ => Err(self.mismatch("a table")),
        }
    }

    /// The items of a list, which has at least one.
    pub(super) fn list(&self) -> Result<Vec<Self>, ParseError> {
        let DeValue::Array(array) = self.value.get_ref() else {
            return Err(self.mismatch("a list"));
        };
        if array.is_empty() {
            return Err(self.error(format!("the list `{}` is empty", self.key)));
        }
        Ok(array.iter().map(|value| Self { value, ..self.clone() }).collect())
    }

    /// A value of an axis or of a setting.
    pub(super) fn value(&self) -> Result<Value, ParseError> {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => Ok(Value::Flag(*flag)),
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .map(Value::Number)
                .map_err(|_| self.error("expected a number from 0 to 2^64 - 1")),
            DeValue::String(text) => {
                let char_ok = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
                let spaced = text.starts_with(' ') || text.ends_with(' ') || text.contains("  ");
                if text.is_empty() || text.len() > VALUE_MAX || spaced || !text.chars().all(char_ok) {
                    return Err(self.error(format!(
                        "expected words of letters, digits, `_`, `-` and `.`, one space between them, at most {VALUE_MAX} in all"
                    )));
                }
                Ok(Value::Text(text.clone().into_owned()))
            }
            _ => Err(self.mismatch("a string, a number or a switch")),
        }
    }

    /// What the value names.
    pub(super) fn named<T: Copy>(&self, what: &str, table: &'static Table<T>) -> Result<T, ParseError> {
        let text = self.text()?;
        names::find(table, text).ok_or_else(|| self.error(suggest::unknown(text, what, names::all(table))))
    }
}
