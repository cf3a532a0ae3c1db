//! Daemons that share a store, and how their packages differ from those of the one that answers.

use settled_proto::v1;

use super::{count, time};
use crate::catalog::{Digests, differing};
use crate::domain::id::DaemonId;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::admin::DaemonRow;

/// Each daemon, as seen by `me`, which has loaded these packages.
pub(in crate::grpc) fn daemons(
    rows: &[DaemonRow],
    me: DaemonId,
    packages: &Digests,
) -> Result<Vec<v1::Daemon>, StoreError> {
    rows.iter()
        .map(|row| {
            let answers = row.id == me.to_string();
            Ok(v1::Daemon {
                id: row.id.clone(),
                version: row.version.clone(),
                started_at: Some(time(Timestamp(row.started_at))),
                lanes: u32::try_from(count(row.lanes)).unwrap_or(u32::MAX),
                answers,
                serves: row.serves,
                other_packages: if answers { Vec::new() } else { differing(packages, &row.packages()?) },
            })
        })
        .collect()
}

/// What is not well with a daemon, and what to do.
pub(in crate::grpc) fn warning(daemon: &v1::Daemon) -> Option<String> {
    (!daemon.other_packages.is_empty()).then(|| {
        format!(
            "the daemon {} has other definitions of {} than this one, and each accepts work with its own. Give both the same files in \
             packages.dir; then, on each: settlectl package reload",
            daemon.id,
            daemon.other_packages.join(", ")
        )
    })
}
