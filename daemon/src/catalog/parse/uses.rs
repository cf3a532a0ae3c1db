//! `uses`, and the table `[shared]` that a definition has when it is kept.

use super::super::shared::{BUILTIN, Shared};
use super::super::suggest::did_you_mean;
use super::reader::Table;
use super::report::Report;

/// Where the text of a definition comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From its author: shared texts are those of the program.
    Author,
    /// From the store, where it was kept together with the shared texts that it uses.
    Store,
}

/// The texts that a definition uses, in its order.
pub(super) fn read(table: &mut Table<'_>, origin: Origin, report: &mut Report<'_>) -> Vec<Shared> {
    let names = table.texts("uses", report).unwrap_or_default();
    let known = match origin {
        Origin::Author => builtin(table, report),
        Origin::Store => kept(table, report),
    };
    let mut used: Vec<Shared> = Vec::new();
    for name in names {
        if used.iter().any(|shared| shared.name == name) {
            table.problem("uses", format!("`{name}` is there twice"), report);
        } else if let Some(shared) = known.iter().find(|shared| shared.name == name) {
            used.push(shared.clone());
        } else {
            let hint = did_you_mean(&name, known.iter().map(|shared| shared.name.as_str()));
            let words: Vec<_> = known.iter().map(|shared| shared.name.as_str()).collect();
            let message = format!("there is no shared text `{name}`{hint}; there are {}", words.join(", "));
            table.problem("uses", message, report);
        }
    }
    used
}

fn builtin(table: &mut Table<'_>, report: &mut Report<'_>) -> Vec<Shared> {
    if table.has("shared") {
        table.take("shared");
        let message =
            "is what settled adds to a definition that it keeps: leave the table out, `uses` is enough";
        table.problem("shared", message, report);
    }
    let shared = |&(name, text): &(&str, &str)| Shared { name: name.to_owned(), text: text.to_owned() };
    BUILTIN.iter().map(shared).collect()
}

fn kept(table: &mut Table<'_>, report: &mut Report<'_>) -> Vec<Shared> {
    let Some(kept) = table.table("shared", report) else { return Vec::new() };
    let mut texts = Vec::new();
    for (name, value) in kept.values() {
        match value {
            toml::de::DeValue::String(text) => {
                texts.push(Shared { name: name.to_owned(), text: text.clone().into_owned() });
            }
            _ => kept.problem(name, "must be shell text in quotes", report),
        }
    }
    texts
}
