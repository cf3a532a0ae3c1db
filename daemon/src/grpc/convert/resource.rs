//! Resources.

use settled_proto::v1;

use super::{count, failure, observed, time, words};
use crate::domain::resource::{Resource, ResourceStatus};
use crate::store::StoreError;
use crate::store::rows::ResourceRow;

/// A resource.
pub(in crate::grpc) fn resource(r: &Resource) -> v1::Resource {
    let applied = r.applied.as_ref();
    v1::Resource {
        id: r.id.to_string(),
        name: r.name.clone(),
        server_id: r.server.to_string(),
        server: r.server_name.clone(),
        package: r.package.clone(),
        status: words::status(r.status).into(),
        desired: r.desired.clone(),
        applied: applied.map(|a| a.params.clone()).unwrap_or_default(),
        applied_known: applied.is_none_or(|a| a.known) && !in_progress(r.status),
        last_error: r.last_error.as_ref().map(failure),
        observed: r.observed.as_ref().map(observed),
        open_run_id: r.open_run.map(|id| id.to_string()).unwrap_or_default(),
        applied_digest: applied.map(|a| a.digest.clone()).unwrap_or_default(),
        created_at: Some(time(r.created_at)),
        updated_at: Some(time(r.updated_at)),
        seq: count(r.seq),
        secrets: r.secrets.clone(),
        outputs: r.outputs.clone(),
    }
}

/// While a change is at work nobody knows whether what was applied before still holds.
fn in_progress(status: ResourceStatus) -> bool {
    matches!(status, ResourceStatus::Installing | ResourceStatus::Updating | ResourceStatus::Removing)
}

/// A resource as it was stored.
pub(in crate::grpc) fn resource_row(row: ResourceRow) -> Result<v1::Resource, StoreError> {
    Ok(resource(&row.try_into()?))
}
