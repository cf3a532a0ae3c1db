//! The audit as JSON.

use serde_json::{Value, json};
use settled_proto::v1::{AuditChange, AuditEntry, AuditResult, GetAuditResponse, Verb};

use super::{maybe, named, run, time, transition};

/// An entry of the audit.
pub(crate) fn audit(a: &AuditEntry) -> Value {
    json!({
        "seq": a.seq,
        "at": time(a.at.as_ref()),
        "principal": a.principal,
        "peer": a.peer,
        "verb": named::<Verb>(a.verb),
        "method": a.method,
        "object": a.object,
        "server": a.server,
        "result": named::<AuditResult>(a.result),
        "code": a.code,
        "detail": a.detail,
        "changes": a.changes.iter().map(audit_change).collect::<Vec<_>>(),
        "run_id": a.run_id,
        "transitions_from": a.transitions_from,
        "transitions_to": a.transitions_to,
    })
}

/// A field that was changed.
pub(super) fn audit_change(c: &AuditChange) -> Value {
    json!({ "field": c.field, "old": c.old, "new": c.new })
}

/// An entry with what came of it.
pub(crate) fn audited(found: &GetAuditResponse) -> Value {
    json!({
        "entry": maybe(found.entry.as_ref(), audit),
        "run": maybe(found.run.as_ref(), run),
        "transitions": found.transitions.iter().map(transition).collect::<Vec<_>>(),
    })
}
