//! Walks TOML tables key by key, remembers which keys were asked for, and collects problems with their lines.

use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::super::suggest::did_you_mean;
use super::{Problem, duration};

/// Longest one-line text for people, in bytes.
const LINE_BYTES_MAX: usize = 200;
/// Longest script, in bytes.
const SCRIPT_BYTES_MAX: usize = 64 * 1024;
/// Longest timeout.
const TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// Problems reported at most; more would help nobody.
const PROBLEMS_MAX: usize = 100;

/// The problems found so far.
pub(super) struct Report<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// Adds a problem at a byte of the text; `None` is the whole.
    pub(super) fn add(&mut self, at: Option<usize>, field: &str, message: impl Into<String>) {
        let line = at.map_or(0, |at| {
            let before = self.text.get(..at).unwrap_or(self.text);
            u32::try_from(before.matches('\n').count() + 1).unwrap_or(0)
        });
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { line, field: field.to_owned(), message: message.into() });
        }
    }

    /// The problems in order of line, if there are any.
    pub(super) fn check(&mut self) -> Result<(), Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let mut problems = std::mem::take(&mut self.problems);
        problems.sort();
        problems.dedup();
        Err(problems)
    }
}

struct Entry<'d> {
    key: &'d str,
    at: usize,
    value: &'d DeValue<'d>,
    asked: bool,
}

/// A table that is being read.
pub(super) struct Table<'d> {
    path: String,
    at: Option<usize>,
    entries: Vec<Entry<'d>>,
    known: Vec<&'static str>,
}

impl<'d> Table<'d> {
    /// The whole text.
    pub(super) fn document(table: &'d DeTable<'d>) -> Self {
        Self::new(String::new(), None, table)
    }

    fn new(path: String, at: Option<usize>, table: &'d DeTable<'d>) -> Self {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref(),
                at: key.span().start,
                value: value.get_ref(),
                asked: false,
            })
            .collect();
        entries.sort_by_key(|entry| entry.at);
        Self { path, at, entries, known: Vec::new() }
    }

    /// Where the table begins; `None` for the whole text.
    pub(super) fn start(&self) -> Option<usize> {
        self.at
    }

    /// Dotted path of the table.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Dotted path of a key in it.
    pub(super) fn field(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where a key stands; where the table begins when it is missing.
    pub(super) fn place(&self, key: &str) -> Option<usize> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.at).or(self.at)
    }

    /// Adds a problem with a key.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>, report: &mut Report<'_>) {
        report.add(self.place(key), &self.field(key), message);
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    fn take(&mut self, key: &'static str) -> Option<&'d DeValue<'d>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let entry = self.entries.iter_mut().find(|entry| entry.key == key)?;
        entry.asked = true;
        Some(entry.value)
    }

    /// Text of any kind.
    pub(super) fn text(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        match self.take(key)? {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => {
                self.problem(key, format!("must be text in quotes, not {}", kind(other)), report);
                None
            }
        }
    }

    /// Text that must be there.
    pub(super) fn required_text(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        if !self.has(key) {
            self.take(key);
            self.problem(key, format!("`{key}` is missing"), report);
        }
        self.text(key, report)
    }

    /// One line for people; must be there.
    pub(super) fn line(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        let line = self.required_text(key, report)?;
        if line.trim().is_empty() || line.len() > LINE_BYTES_MAX || line.chars().any(char::is_control) {
            self.problem(key, format!("must be one line of 1 to {LINE_BYTES_MAX} bytes"), report);
        }
        Some(line)
    }

    /// Shell text.
    pub(super) fn script(
        &mut self,
        key: &'static str,
        required: bool,
        report: &mut Report<'_>,
    ) -> Option<String> {
        let script = if required { self.required_text(key, report) } else { self.text(key, report) }?;
        if script.trim().is_empty() || script.len() > SCRIPT_BYTES_MAX {
            self.problem(key, format!("must be shell text of 1 to {SCRIPT_BYTES_MAX} bytes"), report);
        }
        if script.contains(['\0', '\r']) {
            self.problem(key, "must not have carriage returns or zero bytes in it", report);
        }
        let end = if script.ends_with('\n') { "" } else { "\n" };
        Some(script + end)
    }

    pub(super) fn boolean(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<bool> {
        match self.take(key)? {
            DeValue::Boolean(value) => Some(*value),
            other => {
                self.problem(key, format!("must be true or false, not {}", kind(other)), report);
                None
            }
        }
    }

    /// A value as text: a number or true and false may stand without quotes.
    pub(super) fn scalar(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        match self.take(key)? {
            DeValue::String(text) => Some(text.clone().into_owned()),
            DeValue::Boolean(value) => Some(value.to_string()),
            value => {
                let number = integer(value).map(|number| number.to_string());
                if number.is_none() {
                    self.problem(key, format!("must be text in quotes, not {}", kind(value)), report);
                }
                number
            }
        }
    }

    /// A whole number within limits.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        min: i64,
        max: i64,
        report: &mut Report<'_>,
    ) -> Option<i64> {
        let value = self.take(key)?;
        let number = integer(value).filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.problem(key, format!("must be a whole number from {min} to {max}"), report);
        }
        number
    }

    /// A timeout: 1 second to 1 day.
    pub(super) fn timeout(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Duration> {
        let text = self.text(key, report)?;
        let span = duration(&text).filter(|span| *span <= TIMEOUT_MAX);
        if span.is_none() {
            self.problem(key, "must be a span of time from 1s to 1d, like 90s, 10m or 1h30m", report);
        }
        span
    }

    /// A list of texts, each with its text in place.
    pub(super) fn texts(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Vec<String>> {
        let values = self.take(key)?;
        let texts = texts(values);
        if texts.is_none() {
            self.problem(key, "must be a list of texts, like [\"one\", \"two\"]", report);
        }
        texts
    }

    /// Exit codes, 1 to 255.
    pub(super) fn codes(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Vec<i32>> {
        let DeValue::Array(values) = self.take(key)? else {
            self.problem(key, "must be a list of exit codes, like [75]", report);
            return None;
        };
        let code = |value: &DeValue<'_>| {
            integer(value).and_then(|n| i32::try_from(n).ok()).filter(|n| (1..=255).contains(n))
        };
        let codes: Option<Vec<i32>> = values.iter().map(|value| code(value.get_ref())).collect();
        if codes.is_none() {
            self.problem(key, "must be a list of exit codes from 1 to 255", report);
        }
        codes
    }

    /// A table in it.
    pub(super) fn table(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Table<'d>> {
        let value = self.take(key)?;
        let (path, at) = (self.field(key), self.place(key));
        sub_table(value, path, at, report)
    }

    /// A list of tables in it, each with its own path; empty when the key is missing.
    pub(super) fn tables(&mut self, key: &'static str, report: &mut Report<'_>) -> Vec<Table<'d>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(values) = value else {
            self.problem(key, format!("must be a list of tables, written [[{}]]", self.field(key)), report);
            return Vec::new();
        };
        let path = self.field(key);
        let read = |(n, value): (usize, &'d toml::Spanned<DeValue<'d>>)| {
            sub_table(value.get_ref(), format!("{path}[{n}]"), Some(value.span().start), report)
        };
        values.iter().enumerate().filter_map(read).collect()
    }

    /// Every entry as a table with its name, in the order of the text.
    pub(super) fn into_tables(self, report: &mut Report<'_>) -> Vec<(String, Table<'d>)> {
        let read = |entry: &Entry<'d>| {
            let table = sub_table(entry.value, self.field(entry.key), Some(entry.at), report)?;
            Some((entry.key.to_owned(), table))
        };
        self.entries.iter().filter_map(read).collect()
    }

    /// Every entry as name and value, in the order of the text.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'d str, &'d DeValue<'d>)> {
        self.entries.iter().map(|entry| (entry.key, entry.value))
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        for entry in self.entries.iter().filter(|entry| !entry.asked) {
            let hint = did_you_mean(entry.key, self.known.iter().copied());
            let message = if hint.is_empty() {
                format!("unknown key; known here are {}", self.known.join(", "))
            } else {
                format!("unknown key{hint}")
            };
            report.add(Some(entry.at), &self.field(entry.key), message);
        }
    }
}

fn sub_table<'d>(
    value: &'d DeValue<'d>,
    path: String,
    at: Option<usize>,
    report: &mut Report<'_>,
) -> Option<Table<'d>> {
    if let DeValue::Table(table) = value {
        return Some(Table::new(path, at, table));
    }
    report.add(at, &path, format!("must be a table, written [{path}], not {}", kind(value)));
    None
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

pub(super) fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    let DeValue::Array(values) = value else { return None };
    values
        .iter()
        .map(|value| match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => None,
        })
        .collect()
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
