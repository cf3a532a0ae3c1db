//! Notifiers, and what they were told, as JSON.

use serde_json::{Value, json};
use settled_proto::v1::{Delivery, DeliveryState, NoticeEvent, Notifier, Reason};

use super::{named, time};

/// A notifier.
pub(crate) fn notifier(n: &Notifier) -> Value {
    json!({
        "id": n.id,
        "name": n.name,
        "url": n.url,
        "recipients": n.recipients,
        "events": n.events.iter().map(|event| named::<NoticeEvent>(*event)).collect::<Vec<_>>(),
        "labels": n.labels,
        "packages": n.packages,
        "principal": n.principal,
        "created_at": time(n.created_at.as_ref()),
    })
}

/// What a notifier was told.
pub(crate) fn delivery(d: &Delivery) -> Value {
    json!({
        "id": d.id,
        "notifier": d.notifier,
        "event": named::<NoticeEvent>(d.event),
        "text": d.text,
        "detail": d.detail,
        "server": d.server,
        "package": d.package,
        "resource": d.resource,
        "operation": d.operation,
        "run_id": d.run_id,
        "reason": named::<Reason>(d.reason),
        "state": named::<DeliveryState>(d.state),
        "attempts": d.attempts,
        "next_try": time(d.next_try.as_ref()),
        "last_error": d.last_error,
        "created_at": time(d.created_at.as_ref()),
        "ended_at": time(d.ended_at.as_ref()),
    })
}

/// A notifier with what it was told lately.
pub(crate) fn notifier_story(n: &Notifier, told: &[Delivery]) -> Value {
    json!({ "notifier": notifier(n), "deliveries": told.iter().map(delivery).collect::<Vec<_>>() })
}
