//! Backups for people.

use std::path::Path;

use jiff::Timestamp;
use settled_proto::v1::{BackupEnd, BackupHead};

use super::table::{self, Style};
use super::text;

/// What is not in it.
const NOT_IN_IT: &str =
    "The master key is not in it, and without that no secret of it opens: keep a copy of the key elsewhere.";

/// A backup that was taken.
pub(crate) fn taken(file: &Path, head: &BackupHead, end: &BackupEnd, style: Style, now: Timestamp) -> String {
    let place = if file == Path::new("-") { String::new() } else { file.display().to_string() };
    let position = head.position.as_ref();
    let pairs = vec![
        ("Backup", text::clean(&place)),
        ("Taken", text::when(head.taken_at.as_ref(), now)),
        ("Size", text::size(head.size_bytes)),
        ("SHA-256", text::clean(&end.sha256)),
        ("Generation", position.map_or_else(String::new, |at| text::clean(&at.generation))),
        ("Position", position.map_or_else(String::new, |at| at.seq.to_string())),
    ];
    format!("{}\n{NOT_IN_IT}", table::pairs(pairs, style))
}

#[cfg(test)]
mod tests {
    use settled_proto::v1::Position;

    use super::*;

    #[test]
    fn a_backup_is_told_with_how_far_it_goes_and_what_is_not_in_it() {
        let head = BackupHead {
            size_bytes: 3 << 20,
            position: Some(Position { generation: "01G".into(), seq: 4_711 }),
            taken_at: Some(prost_types::Timestamp::default()),
        };
        let end = BackupEnd { sha256: "abc".into() };
        let told = |file: &str| taken(Path::new(file), &head, &end, Style::default(), Timestamp::UNIX_EPOCH);
        for part in ["/b/today.db", "3.0 MiB", "abc", "01G", "4711", "just now", "master key is not in it"] {
            assert!(told("/b/today.db").contains(part), "{part}: {}", told("/b/today.db"));
        }
        assert!(!told("-").contains("Backup"), "standard output has no name");
    }
}
