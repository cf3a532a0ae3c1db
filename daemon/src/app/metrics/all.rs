//! Every figure by its name: where it comes from and what it means. docs/metrics.md lists the same ones.

use std::sync::Arc;
use std::time::Duration;

use super::text::Text;
use crate::app::House;
use crate::app::steward::Now;
use crate::clock::Clock;
use crate::domain::server::Reach;
use crate::domain::time::Timestamp;
use crate::domain::waiting::WaitReason;
use crate::engine::{Engine, Lease};
use crate::grpc::Calls;
use crate::remote::Remote;
use crate::store::admin::Counts;
use crate::traces::Traces;

/// How long the store may take to tell its counts: the others do not wait for it.
const COUNTS_LIMIT: Duration = Duration::from_millis(500);

/// What the figures come from.
pub(in crate::app) struct Sources {
    engine: Engine,
    lease: Lease,
    reconciler: Arc<Now>,
    remote: Arc<dyn Remote>,
    calls: Arc<Calls>,
    traces: Traces,
    started_at: Timestamp,
    clock: Arc<dyn Clock>,
}

impl Sources {
    /// Those of this house, and what else is counted.
    pub(in crate::app) fn of(
        house: &House,
        reconciler: &Arc<Now>,
        calls: Arc<Calls>,
        traces: Traces,
        started_at: Timestamp,
    ) -> Self {
        Self {
            engine: house.engine.clone(),
            lease: house.crew.lease.clone(),
            reconciler: Arc::clone(reconciler),
            remote: Arc::clone(&house.crew.remote),
            calls,
            traces,
            started_at,
            clock: house.engine.shared_clock(),
        }
    }

    /// The time that limits are kept by.
    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// All figures as they stand. Of a store that does not answer the counts are absent; what this daemon has measured is there all the same.
    pub(super) async fn text(&self) -> String {
        let mut text = Text::default();
        self.daemon(&mut text);
        let limit = self.clock.sleep_until(self.clock.monotonic() + COUNTS_LIMIT);
        let counts = tokio::select! {
            counts = self.counts() => counts,
            () = limit => None,
        };
        if let Some(counts) = counts {
            records(&mut text, &counts);
        }
        self.runs(&mut text);
        self.store(&mut text);
        self.ssh(&mut text);
        self.api(&mut text);
        text.done()
    }

    async fn counts(&self) -> Option<Counts> {
        let mut reader = self.engine.store().read().await.ok()?;
        reader.db().counts().await.ok()
    }

    fn daemon(&self, text: &mut Text) {
        let (about, hub) = (self.engine.store().about(), self.engine.hub());
        let version = ("version", env!("CARGO_PKG_VERSION"));
        text.gauge("settled_info", "What runs here: always 1")
            .value(&[version, ("database", about.engine.as_str())], 1.0);
        let since = Duration::from_micros(u64::try_from(self.started_at.0).unwrap_or(0));
        text.gauge("settled_start_time_seconds", "When this daemon started, since 1970")
            .value(&[], since.as_secs_f64());
        text.gauge(
            "settled_lease_margin_seconds",
            "How long this daemon may act without another renewal; 0: it starts nothing",
        )
        .value(&[], self.lease.margin().as_secs_f64());
        let mut look = text.gauge(
            "settled_reconciler_last_look_seconds",
            "How long ago the reconciler last finished a look; absent before the first",
        );
        if let Some(at) = self.reconciler.last_look() {
            look.value(&[], self.clock.monotonic().saturating_sub(at).as_secs_f64());
        }
        text.gauge("settled_lanes_at_work", "Servers whose lanes this daemon has taken and works on")
            .count(&[], hub.at_work() as u64);
        text.gauge("settled_watchers", "Watches of transitions that are open on this daemon")
            .count(&[], hub.watchers().get() as u64);
        text.gauge("settled_followers", "Runs that are being followed on this daemon")
            .count(&[], hub.followers().get() as u64);
    }

    fn runs(&self, text: &mut Text) {
        let measured = self.engine.store().measured();
        let mut ended =
            text.counter("settled_runs_ended_total", "Runs that this daemon has brought to an end");
        for (kind, count) in measured.ended.all() {
            let (package, operation) =
                (("package", kind.package.as_str()), ("operation", kind.operation.as_str()));
            ended.count(&[package, operation, ("outcome", kind.outcome)], count.get());
        }
        let mut ran = text.histogram("settled_run_seconds", "From the acceptance of a run to its end");
        for (outcome, spread) in measured.ran.all() {
            ran.spread(&[("outcome", outcome)], &spread.read());
        }
        text.histogram("settled_run_lane_wait_seconds", "From the acceptance of a run to its first start")
            .spread(&[], &measured.lane_wait.read());
        text.histogram("settled_settle_lag_seconds", "How long after its time a run was settled by time")
            .spread(&[], &measured.settle_lag.read());
    }

    fn store(&self, text: &mut Text) {
        let measured = self.engine.store().measured();
        text.histogram(
            "settled_store_read_seconds",
            "How long something was read at a time, the wait for a connection included",
        )
        .spread(&[], &measured.reads.read());
        text.histogram("settled_store_commit_seconds", "How long a commit took until it was durable")
            .spread(&[], &measured.commits.read());
        text.histogram("settled_store_commit_commands", "How many commands a commit had")
            .spread(&[], &measured.batches.read());
        text.counter(
            "settled_store_commits_failed_total",
            "Commits that were rolled back, because of the database or of a command among them",
        )
        .count(&[], measured.failed.get());
    }

    fn ssh(&self, text: &mut Text) {
        let lines = self.remote.lines();
        text.gauge("settled_ssh_connections", "SSH connections to servers that stand")
            .count(&[], lines.open as u64);
        text.counter("settled_ssh_connections_opened_total", "SSH connections that were made")
            .count(&[], lines.opened);
        let mut failed =
            text.counter("settled_ssh_connections_failed_total", "SSH connections that could not be made");
        for (reason, count) in lines.failed {
            failed.count(&[("reason", reason)], count);
        }
        let mut took = text
            .histogram("settled_ssh_connect_seconds", "How long it took to connect and log in, or to fail");
        if let Some(reading) = lines.took {
            took.spread(&[], &reading);
        }
    }

    fn api(&self, text: &mut Text) {
        let mut ended = text.counter("settled_api_calls_total", "Calls of the API that have ended");
        for ((method, code), count) in self.calls.ended.all() {
            ended.count(&[("method", method), ("code", code)], count.get());
        }
        let mut answered = text
            .histogram("settled_api_call_seconds", "From a call of the API to the beginning of its answer");
        for (method, spread) in self.calls.answered.all() {
            answered.spread(&[("method", method)], &spread.read());
        }
        text.counter("settled_refusals_recorded_total", "Refusals that were put on record in the audit")
            .count(&[], self.calls.recorded.get());
        text.counter(
            "settled_refusals_unrecorded_total",
            "Refusals that belong on record and are not: too many of one principal, or a store that did not take them",
        )
        .count(&[], self.calls.unrecorded.get());
        let (sent, dropped) = self.traces.counts();
        text.counter(
            "settled_traces_sent_total",
            "Ends of runs and calls that the collector of traces has taken",
        )
        .count(&[], sent);
        text.counter(
            "settled_traces_dropped_total",
            "Ends of runs and calls that were not told: the collector did not take them in time, or they could not be read",
        )
        .count(&[], dropped);
    }
}

/// What the store holds: the same on every daemon that shares it.
fn records(text: &mut Text, counts: &Counts) {
    let natural = |n: i64| u64::try_from(n).unwrap_or(0);
    text.gauge("settled_runs_open", "Runs that are not completed")
        .count(&[], natural(counts.queued + counts.running));
    text.gauge("settled_runs_queued", "Runs that wait for their turn").count(&[], natural(counts.queued));
    let mut waiting = text.gauge("settled_runs_waiting", "Open runs that wait, by reason");
    for (reason, runs) in self::waiting(counts) {
        waiting.count(&[("reason", reason)], natural(runs));
    }
    text.gauge(
        "settled_lanes_held",
        "Servers on which a step without a proven end has held the lane for longer than lane.orphan_alarm_s",
    )
    .count(&[], natural(counts.held));
    let mut servers = text.gauge("settled_servers", "Servers, by how they are reached");
    for reach in Reach::ALL {
        let n = counts.reach.iter().find(|(word, _)| word == reach.as_str()).map_or(0, |(_, n)| *n);
        servers.count(&[("reach", reach.as_str())], natural(n));
    }
}

/// How many runs wait for each reason; also of those for which none does, or their figure would be absent.
fn waiting(counts: &Counts) -> impl Iterator<Item = (&'static str, i64)> {
    let stored = |reason: &str| counts.waiting.iter().find(|(word, _)| word == reason).map_or(0, |(_, n)| *n);
    WaitReason::ALL.iter().map(move |reason| match reason {
        // Never stored: computed when somebody looks.
        WaitReason::Lane => (reason.as_str(), counts.in_line),
        _ => (reason.as_str(), stored(reason.as_str())),
    })
}
