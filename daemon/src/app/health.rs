//! What is not well with what a daemon stands on, each with what to do: its disk, its commits, its lease, its collector of traces.

use std::path::Path;
use std::time::Duration;

use super::House;
use crate::engine::Lease;
use crate::store::Store;
use crate::traces::Traces;

/// With less room than this, in bytes, the disk counts as nearly full.
const ROOM_BYTES: u64 = 512 << 20;
/// So many slow commits, one after the other, are told of: one alone is a hiccup.
const SLOW_MIN: u64 = 3;

/// What a daemon stands on.
pub(super) struct Ground {
    store: Store,
    lease: Lease,
    traces: Traces,
}

impl Ground {
    pub(super) fn of(house: &House, traces: &Traces) -> Self {
        let (store, lease) = (house.engine.store().clone(), house.crew.lease.clone());
        Self { store, lease, traces: traces.clone() }
    }

    /// What is not well with it.
    pub(super) fn warnings(&self, data_dir: &Path) -> impl Iterator<Item = String> + use<> {
        let (slow, took) = self.store.measured().slow();
        let (_, dropped) = self.traces.counts();
        let traces = self.traces.trouble().map(|why| of_traces(&why, dropped));
        [of_disk(data_dir), of_commits(slow, took), of_lease(self.lease.margin()), traces]
            .into_iter()
            .flatten()
    }
}

/// Of a disk that cannot be asked nothing is known, and so nothing said.
fn of_disk(data_dir: &Path) -> Option<String> {
    let found = rustix::fs::statvfs(data_dir).ok()?;
    of_room(data_dir, found.f_bavail.saturating_mul(found.f_frsize))
}

fn of_room(data_dir: &Path, bytes: u64) -> Option<String> {
    (bytes < ROOM_BYTES).then(|| {
        format!(
            "The disk of {} has only {} MiB left: when it is full nothing can be written, and every command is refused. Make room there, or \
             keep records for less long ([retention])",
            data_dir.display(),
            bytes >> 20
        )
    })
}

fn of_commits(slow: u64, took: Duration) -> Option<String> {
    (slow >= SLOW_MIN).then(|| {
        format!(
            "The store is slow: the last {slow} commits took long, the last of them {:.1} s, and everything waits for them. See what else uses its \
             disk or its database; settled_store_commit_seconds tells since when (docs/metrics.md)",
            took.as_secs_f64()
        )
    })
}

fn of_lease(margin: Duration) -> Option<String> {
    margin.is_zero().then(|| {
        "The lease of this daemon could not be renewed in time: it starts nothing and settles nothing until it can. See why in its log: \
         journalctl -u settled -g 'lease was not renewed'"
            .to_owned()
    })
}

fn of_traces(why: &str, dropped: u64) -> String {
    format!(
        "Traces cannot be sent: {why}; {dropped} ends of runs and calls were dropped so far. Work goes on without them. See whether the collector at \
         traces.endpoint runs and takes OTLP over HTTP with JSON"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_told_of_and_one_with_room_is_not() {
        let dir = Path::new("/srv/settled");
        assert_eq!(of_room(dir, ROOM_BYTES), None);
        let told = of_room(dir, 37 << 20).unwrap();
        assert!(told.contains("/srv/settled has only 37 MiB left") && told.contains("Make room"), "{told}");
    }

    #[test]
    fn slow_commits_are_told_of_when_they_are_no_hiccup() {
        let took = Duration::from_millis(2_340);
        assert_eq!(of_commits(SLOW_MIN - 1, took), None);
        let told = of_commits(SLOW_MIN, took).unwrap();
        assert!(told.contains("the last 3 commits took long, the last of them 2.3 s"), "{told}");
    }

    #[test]
    fn a_daemon_without_its_lease_says_so() {
        assert_eq!(of_lease(Duration::from_millis(1)), None);
        assert!(of_lease(Duration::ZERO).unwrap().contains("it starts nothing"));
    }
}
