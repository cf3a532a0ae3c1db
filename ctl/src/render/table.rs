//! Columns and key-value lists for people, coloured only where colour is wanted.

use comfy_table::{Cell, Color, ContentArrangement, Table};

/// How the terminal is, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// Colours are wanted: a terminal, and no `NO_COLOR`.
    pub(crate) color: bool,
    /// Lines are fitted to the terminal's width.
    pub(crate) fit: bool,
}

/// What colour a word has, by what it means.
fn color_of(word: &str) -> Option<Color> {
    let first = word.split([' ', ',', ':']).next().unwrap_or(word);
    match first {
        "active" | "success" | "succeeded" | "ok" | "present" | "exited" | "accepted" | "sent" => {
            Some(Color::Green)
        }
        "failed" | "refused" | "lost" | "killed" | "rejected" | "dead" => Some(Color::Red),
        "pending" | "installing" | "updating" | "removing" | "queued" | "running" | "unreachable"
        | "paused" | "drifted" | "blocked" | "cancelled" | "unknown" | "starting" | "waiting" => {
            Some(Color::Yellow)
        }
        _ => None,
    }
}

fn cell(text: String, style: Style) -> Cell {
    let color = if style.color { color_of(&text) } else { None };
    let cell = Cell::new_owned(text);
    match color {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

fn new_table(style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if style.fit {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    if style.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

fn finish(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Columns under headings in capitals.
pub(crate) fn columns(headings: &[&str], rows: Vec<Vec<String>>, style: Style) -> String {
    let mut table = new_table(style);
    table.set_header(headings.iter().map(|h| h.to_uppercase()).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.into_iter().map(|text| cell(text, style)).collect::<Vec<Cell>>());
    }
    finish(&mut table)
}

/// Names and values; pairs without a value are left out.
pub(crate) fn pairs(pairs: Vec<(&str, String)>, style: Style) -> String {
    let mut table = new_table(style);
    for (name, value) in pairs {
        if !value.is_empty() {
            table.add_row(vec![Cell::new(name), cell(value, style)]);
        }
    }
    finish(&mut table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_plain_without_a_terminal() {
        let rows = vec![vec!["web1".into(), "failed".into()], vec!["a".into(), "ok".into()]];
        assert_eq!(
            columns(&["name", "status"], rows, Style::default()),
            "NAME  STATUS\nweb1  failed\na     ok"
        );
    }

    #[test]
    fn colours_appear_only_when_wanted() {
        let style = Style { color: true, fit: false };
        let text = pairs(vec![("Status", "failed".into()), ("Nothing", String::new())], style);
        assert!(text.contains("\u{1b}[") && text.contains("failed") && !text.contains("Nothing"), "{text:?}");
    }
}
