//! `[supported]`.

use toml::de::DeValue;

use super::super::supported::{DISTRIBUTIONS, Supported};
use super::reader::Table;
use super::report::Report;
use super::values::texts;

pub(super) fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<Supported> {
    let mut table = table.table("supported", report)?;
    let mut distributions = Vec::new();
    for name in DISTRIBUTIONS {
        match table.take(name).map(versions) {
            Some(Some(versions)) => distributions.push((name.to_owned(), versions)),
            Some(None) => {
                table.problem(
                    name,
                    "must be a list of versions, like [\"12\", \"13\"], or true for every one",
                    report,
                );
            }
            None => {}
        }
    }
    let architectures = table.texts("architectures", report).unwrap_or_default();
    if !architectures.iter().all(|word| is_word(word)) {
        table.problem("architectures", "must be words as `uname -m` prints them, like \"x86_64\"", report);
    }
    let hint = table.has("hint").then(|| table.line("hint", report)).flatten();
    if distributions.is_empty() && architectures.is_empty() {
        report.add(table.start(), table.path(), "names neither a distribution nor an architecture");
    }
    table.take("hint");
    table.finish(report);
    Some(Supported { distributions, architectures, hint })
}

/// Versions as os-release has them; empty: every one.
fn versions(value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::Boolean(true) => Some(Vec::new()),
        value => {
            texts(value).filter(|versions| !versions.is_empty() && versions.iter().all(|one| is_word(one)))
        }
    }
}

fn is_word(word: &str) -> bool {
    (1..=32).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
