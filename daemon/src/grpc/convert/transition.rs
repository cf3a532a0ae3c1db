//! Transitions, and objects of a snapshot.

use settled_proto::v1;
use settled_proto::v1::transition::Object as Wire;

use super::run::run_as_stored;
use super::{count, server, step, time, words};
use crate::domain::time::Timestamp;
use crate::hub::watching::Left;
use crate::store::StoreError;
use crate::store::rows::{Object, TransitionRow};

/// A committed change.
pub(in crate::grpc) fn transition(row: &TransitionRow) -> Result<v1::Transition, StoreError> {
    let object = row.object()?;
    Ok(v1::Transition {
        seq: count(row.seq),
        at: Some(time(Timestamp(row.at))),
        change: words::change(row.change()?).into(),
        old_labels: row.old_labels()?.map(|labels| v1::Labels { labels }),
        ..wire(&object)?
    })
}

/// An object as it stood in a snapshot, with the number of its last change.
pub(in crate::grpc) fn held(object: &Object) -> Result<v1::Transition, StoreError> {
    Ok(v1::Transition { change: v1::Change::Snapshot.into(), ..wire(object)? })
}

/// An object that went with its server's labels: only what it was, and not what it has become since.
pub(in crate::grpc) fn left(left: &Left) -> v1::Transition {
    v1::Transition {
        seq: count(left.seq),
        kind: words::kind(left.kind).into(),
        change: v1::Change::Gone.into(),
        object_id: left.object.clone(),
        server_id: left.server.clone(),
        resource_id: left.resource.clone().unwrap_or_default(),
        run_id: left.run.clone().unwrap_or_default(),
        ..v1::Transition::default()
    }
}

fn wire(object: &Object) -> Result<v1::Transition, StoreError> {
    let kind = words::kind(object.kind()).into();
    Ok(match object {
        Object::Server(s) => v1::Transition {
            seq: count(s.seq),
            kind,
            object_id: s.id.to_string(),
            server_id: s.id.to_string(),
            object: Some(Wire::Server(server(s))),
            ..v1::Transition::default()
        },
        Object::Resource(r) => v1::Transition {
            seq: count(r.seq),
            kind,
            object_id: r.id.to_string(),
            server_id: r.server.to_string(),
            resource_id: r.id.to_string(),
            object: Some(Wire::Resource(super::resource(r))),
            ..v1::Transition::default()
        },
        Object::Run(_, row) => v1::Transition {
            seq: count(row.seq),
            kind,
            object_id: row.id.clone(),
            server_id: row.server_id.clone(),
            resource_id: row.resource_id.clone().unwrap_or_default(),
            run_id: row.id.clone(),
            object: Some(Wire::Run(run_as_stored(row, None)?)),
            ..v1::Transition::default()
        },
        Object::Step(s) => v1::Transition {
            seq: count(s.seq),
            kind,
            object_id: s.id.to_string(),
            server_id: s.server.to_string(),
            resource_id: s.resource.map(|id| id.to_string()).unwrap_or_default(),
            run_id: s.id.run.to_string(),
            object: Some(Wire::Step(step(s))),
            ..v1::Transition::default()
        },
        Object::Schedule(s) => v1::Transition {
            seq: count(s.seq),
            kind,
            object_id: s.id.to_string(),
            object: Some(Wire::Schedule(super::schedule(s))),
            ..v1::Transition::default()
        },
        Object::Enrollment(e) => v1::Transition {
            seq: count(e.seq),
            kind,
            object_id: e.id.to_string(),
            server_id: e.subject.server.map(|id| id.to_string()).unwrap_or_default(),
            resource_id: e.subject.resource.map(|id| id.to_string()).unwrap_or_default(),
            object: Some(Wire::Enrollment(super::enrollment(e, None))),
            ..v1::Transition::default()
        },
    })
}
