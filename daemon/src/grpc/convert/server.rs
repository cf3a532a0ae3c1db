//! Servers.

use settled_proto::v1;

use super::{count, failure, time, words};
use crate::domain::server::{Held, Server};
use crate::store::StoreError;
use crate::store::rows::ServerRow;

/// A server.
pub(in crate::grpc) fn server(s: &Server) -> v1::Server {
    v1::Server {
        id: s.id.to_string(),
        name: s.name.clone(),
        host: s.host.clone(),
        port: s.port.into(),
        user: s.user.clone(),
        host_key: s.host_key.clone(),
        identity: words::identity(s.identity).into(),
        labels: s.labels.clone(),
        status: words::server_status(s.status).into(),
        reach: words::reach(s.reach).into(),
        reach_detail: s.reach_detail.clone(),
        last_seen: s.last_seen.map(time),
        last_error: s.last_error.as_ref().map(failure),
        facts: s.facts.clone(),
        created_at: Some(time(s.created_at)),
        updated_at: Some(time(s.updated_at)),
        seq: count(s.seq),
        via: s.via.clone().unwrap_or_default(),
        time_zone: s.policy.time_zone.clone(),
        windows: s.policy.windows.iter().map(ToString::to_string).collect(),
        repair_dpkg: s.policy.repair_dpkg,
        held: s.held.as_ref().map(held),
    }
}

fn held(held: &Held) -> v1::LaneHeld {
    v1::LaneHeld {
        since: Some(time(held.since)),
        step_id: held.step.to_string(),
        processes: held.processes.clone(),
    }
}

/// A server as it was stored.
pub(in crate::grpc) fn server_row(row: ServerRow) -> Result<v1::Server, StoreError> {
    Ok(server(&row.try_into()?))
}
