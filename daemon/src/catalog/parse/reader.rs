//! Walks TOML tables key by key, and remembers which keys were asked for: the others are mistakes.

use toml::de::{DeTable, DeValue};

use super::super::suggest::did_you_mean;
use super::report::Report;

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

    /// The value of a key, which is known from now on.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'d DeValue<'d>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let entry = self.entries.iter_mut().find(|entry| entry.key == key)?;
        entry.asked = true;
        Some(entry.value)
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

pub(super) fn sub_table<'d>(
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
