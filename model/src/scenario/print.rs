//! A document as text, in exactly one way.

use super::document::{Body, Document, Line, Value};
use super::names::{DISTURBANCES, SWEEPS, name_of};

impl Document {
    /// The canonical text: parsed, it gives this document again, and printed, this text.
    ///
    /// TOML's own comments are not part of a document and do not survive; comments in the steps do.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        line(&mut text, &format!("title = {}", quoted(&self.title)));
        let rules: Vec<_> = self.rules.iter().map(|rule| quoted(rule)).collect();
        line(&mut text, &format!("rules = [{}]", rules.join(", ")));
        if let Some(why) = &self.why {
            if why.contains('\n') {
                line(&mut text, &format!("why = \"\"\"\n{}\n\"\"\"", escaped(why)));
            } else {
                line(&mut text, &format!("why = {}", quoted(why)));
            }
        }
        let machine = self.machine.entries();
        table(&mut text, "[machine]", machine.iter().map(|(name, value)| (*name, scalar(value))));
        let axes = self.matrix.iter().map(|axis| (axis.name.as_str(), list(&axis.values)));
        table(&mut text, "[matrix]", axes);
        for except in &self.except {
            let when = except.when.iter().map(|(name, values)| match values.as_slice() {
                [value] => (name.as_str(), scalar(value)),
                values => (name.as_str(), list(values)),
            });
            table(&mut text, "[[except]]", when.chain([("reason", quoted(&except.reason))]));
        }
        if let Some(sweep) = &self.sweep {
            let entries = [
                ("kind", quoted(name_of(SWEEPS, &sweep.kind))),
                ("disturb", quoted(name_of(DISTURBANCES, &Some(sweep.disturbance)))),
            ];
            table(&mut text, "[sweep]", entries.into_iter());
        }
        line(&mut text, "\nsteps = \"\"\"");
        steps(&mut text, &self.lines);
        line(&mut text, "\"\"\"");
        text
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A table with its equals signs below each other; nothing if it has no entries.
fn table<'a>(text: &mut String, head: &str, entries: impl Iterator<Item = (&'a str, String)>) {
    let entries: Vec<_> = entries.collect();
    let Some(width) = entries.iter().map(|(name, _)| name.len()).max() else { return };
    line(text, &format!("\n{head}"));
    for (name, value) in entries {
        line(text, &format!("{name:width$} = {value}"));
    }
}

fn list(values: &[Value]) -> String {
    format!("[{}]", values.iter().map(scalar).collect::<Vec<_>>().join(", "))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Number(_) | Value::Flag(_) => value.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Text between three quotation marks, with the breaks as they are.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace("\"\"\"", "\"\"\\\"")
}

/// Steps with the verbs below each other, and so the comments behind steps.
fn steps(text: &mut String, lines: &[Line]) {
    let place_width =
        lines.iter().filter_map(|line| words(line.body.as_ref()?)).map(|(place, _)| width(&place)).max();
    let steps: Vec<_> = lines
        .iter()
        .map(|line| {
            let (place, rest) = words(line.body.as_ref()?)?;
            let pad = place_width.unwrap_or(0).saturating_sub(width(&place)) + 2;
            Some(if rest.is_empty() { place } else { format!("{place}{}{rest}", " ".repeat(pad)) })
        })
        .collect();
    let commented = lines.iter().zip(&steps).filter(|(line, _)| line.comment.is_some());
    let column = commented.filter_map(|(_, step)| Some(width(step.as_ref()?))).max().unwrap_or(0) + 2;
    for (Line { comment, .. }, step) in lines.iter().zip(steps) {
        let comment = comment.as_ref().map(|comment| format!("# {comment}").trim_end().to_owned());
        match (step, comment) {
            (Some(step), Some(comment)) => {
                let pad = " ".repeat(column - width(&step));
                line(text, &format!("{step}{pad}{comment}"));
            }
            (Some(only), None) | (None, Some(only)) => line(text, &only),
            (None, None) => line(text, ""),
        }
    }
}

/// A step's place, and the rest of it.
fn words(body: &Body) -> Option<(String, String)> {
    match body {
        Body::Fixed { place, verb } => Some((place.name().to_owned(), verb.to_string())),
        Body::Template(words) => words.split_first().map(|(place, rest)| (place.clone(), rest.join(" "))),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}
