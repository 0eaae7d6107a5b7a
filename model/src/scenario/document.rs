//! What a scenario file says, before its matrix is multiplied out.

use std::fmt::{self, Display, Formatter};

use abi::place::Place;

use super::settings::Settings;
use super::step::{SweepSpec, Verb};

/// A scenario file's content. The canonical text of it is [`Document::print`].
///
/// Two documents are equal if they say the same; line numbers do not count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// What the scenario is about, on one line.
    pub title: String,
    /// The rules that it checks, `P-xx`.
    pub rules: Vec<String>,
    /// Which bug it would catch, and why: prose of one or more lines.
    pub why: Option<String>,
    /// The settings of the guest that are the same in every case.
    pub machine: Settings,
    /// The axes of the matrix, in file order; the last one varies fastest.
    pub matrix: Vec<Axis>,
    /// Combinations that are left out.
    pub except: Vec<Except>,
    /// How it wants to be swept when nobody says otherwise.
    pub sweep: Option<SweepSpec>,
    /// Steps, comments and blank lines. No two blank lines are neighbors, none is the first or the last.
    pub lines: Vec<Line>,
}

/// One axis of the matrix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Axis {
    /// A name of [`super::settings::NAMES`], which sets the guest, or one that steps use as `$name`.
    pub name: String,
    /// Its values, at least one, no two alike.
    pub values: Vec<Value>,
}

/// A value of an axis.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// One or more words.
    Text(String),
    /// A number.
    Number(u64),
    /// A switch.
    Flag(bool),
}

impl Display for Value {
    /// As it stands in a step in place of `$name`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

/// Combinations that make no case: those that have one of the values on each of the axes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Except {
    /// Axes and values; at least one axis, and one value for each.
    pub when: Vec<(String, Vec<Value>)>,
    /// Why they are left out, on one line.
    pub reason: String,
}

/// A line of the steps: a step, a comment, both, or neither.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number in the file, counted from 1.
    pub number: u32,
    /// The step, if there is one.
    pub body: Option<Body>,
    /// The comment after `#`, without the white space around it.
    pub comment: Option<String>,
}

impl Eq for Line {}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        (&self.body, &self.comment) == (&other.body, &other.comment)
    }
}

/// A step as written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// A step that is the same in every case.
    Fixed {
        /// Where it runs.
        place: Place,
        /// What it does.
        verb: Verb,
    },
    /// A step with at least one `$name`, as words.
    Template(Vec<String>),
}
