//! Backups as JSON.

use std::path::Path;

use serde_json::{Value, json};
use settled_proto::v1::{BackupEnd, BackupHead};

use super::{maybe, position, time};

/// The answer to `backup`: where it is, and what it is.
pub(crate) fn backup(file: &Path, head: &BackupHead, end: &BackupEnd) -> Value {
    let mut value = backup_head(head);
    value["file"] = file.display().to_string().into();
    value["sha256"] = backup_end(end)["sha256"].take();
    value
}

pub(super) fn backup_head(h: &BackupHead) -> Value {
    json!({
        "size_bytes": h.size_bytes,
        "position": maybe(h.position.as_ref(), position),
        "taken_at": time(h.taken_at.as_ref()),
    })
}

pub(super) fn backup_end(e: &BackupEnd) -> Value {
    json!({ "sha256": e.sha256 })
}
