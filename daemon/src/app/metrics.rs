//! Figures for a monitoring system, in the text form of Prometheus, on a loopback address of their own (`listen.metrics`, off by default).
//!
//! Gauges are computed when somebody asks, so they cannot be out of date. A few callers are served at once, each within a limit: who is
//! slow or says nothing keeps nobody waiting. There is no access control, so there is nothing in it that names servers or people.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::steward::Now;
use crate::clock::Clock;
use crate::domain::waiting::WaitReason;
use crate::engine::{Engine, Lease};
use crate::reconciler::SETTLE_LAG;
use crate::store::admin::Counts;

/// How long one caller may take.
const CALLER_LIMIT: Duration = Duration::from_secs(2);
/// Callers at once; the next one waits for a place, at most for as long as one may take.
const CALLERS_MAX: usize = 16;
/// How often histograms are swept.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Pause after a failed accept: without it a lack of file descriptors would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Borders of the lag histogram, in seconds.
const LAG_BUCKETS_S: [f64; 7] = [1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

/// Begins to keep figures. Once per process.
///
/// # Errors
/// Something else in this process keeps them already.
pub(super) fn keep() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(Matcher::Full(SETTLE_LAG.to_owned()), &LAG_BUCKETS_S)?;
    let handle = builder.install_recorder()?;
    metrics::describe_histogram!(SETTLE_LAG, "How long after its time a run was settled by time, in seconds");
    metrics::describe_gauge!("settled_runs_open", "Runs that are not completed");
    metrics::describe_gauge!("settled_runs_queued", "Runs that wait for their turn");
    metrics::describe_gauge!("settled_runs_waiting", "Open runs that wait, by reason");
    metrics::describe_gauge!(
        "settled_lanes_held",
        "Servers on which a step without a proven end has held the lane for longer than lane.orphan_alarm_s"
    );
    metrics::describe_gauge!(
        "settled_lease_margin_seconds",
        "How long this daemon may act without another renewal; 0: it starts nothing"
    );
    metrics::describe_gauge!(
        "settled_reconciler_last_look_seconds",
        "How long ago the reconciler last finished a look; absent before the first"
    );
    Ok(handle)
}

/// What the figures come from.
pub(super) struct Page {
    pub(super) handle: PrometheusHandle,
    pub(super) engine: Engine,
    pub(super) lease: Lease,
    pub(super) reconciler: Arc<Now>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Page {
    /// Serves until `stop`.
    pub(super) async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let page = Arc::new(self);
        let upkeep = tokio::spawn(Arc::clone(&page).keep_small());
        let mut callers = JoinSet::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((caller, _)) => {
                    if callers.len() >= CALLERS_MAX {
                        callers.join_next().await;
                    }
                    callers.spawn(Arc::clone(&page).serve_one(caller));
                }
                Err(error) => {
                    tracing::warn!(%error, "a caller for metrics could not be accepted; trying again");
                    page.clock.sleep_until(page.clock.monotonic() + ACCEPT_PAUSE).await;
                }
            }
        }
        upkeep.abort();
    }

    async fn serve_one(self: Arc<Self>, caller: TcpStream) {
        let limit = self.clock.sleep_until(self.clock.monotonic() + CALLER_LIMIT);
        tokio::select! {
            answered = self.answer(caller) => if let Err(error) = answered {
                tracing::debug!(%error, "a caller for metrics was not answered");
            },
            () = limit => {}
        }
    }

    /// Histograms grow with each figure until they are swept, whether somebody asks or not.
    async fn keep_small(self: Arc<Self>) {
        loop {
            self.clock.sleep_until(self.clock.monotonic() + UPKEEP_EVERY).await;
            self.handle.run_upkeep();
        }
    }

    async fn answer(&self, mut caller: TcpStream) -> anyhow::Result<()> {
        let (status, body) = match asked_for(&mut caller).await?.as_deref() {
            Some("/metrics") => ("200 OK", self.text().await?),
            _ => ("404 Not Found", "The metrics are at /metrics.\n".to_owned()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        caller.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
        Ok(caller.shutdown().await?)
    }

    /// A store that does not answer leaves the counts as they were; the lease and the reconciler tell of it.
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 runs")]
    async fn text(&self) -> anyhow::Result<String> {
        if let Ok(mut reader) = self.engine.store().read().await
            && let Ok(counts) = reader.db().counts().await
        {
            metrics::gauge!("settled_runs_open").set((counts.queued + counts.running) as f64);
            metrics::gauge!("settled_runs_queued").set(counts.queued as f64);
            metrics::gauge!("settled_lanes_held").set(counts.held as f64);
            for (reason, runs) in waiting(&counts) {
                metrics::gauge!("settled_runs_waiting", "reason" => reason).set(runs as f64);
            }
        }
        metrics::gauge!("settled_lease_margin_seconds").set(self.lease.margin().as_secs_f64());
        if let Some(at) = self.reconciler.last_look() {
            let ago = self.clock.monotonic().saturating_sub(at);
            metrics::gauge!("settled_reconciler_last_look_seconds").set(ago.as_secs_f64());
        }
        Ok(self.handle.render())
    }
}

/// How many runs wait for each reason; also of those for which none does, or their figure would stay.
fn waiting(counts: &Counts) -> impl Iterator<Item = (&'static str, i64)> {
    let stored = |reason: &str| counts.waiting.iter().find(|(word, _)| word == reason).map_or(0, |(_, n)| *n);
    WaitReason::ALL.iter().map(move |reason| match reason {
        // Never stored: computed when somebody looks.
        WaitReason::Lane => (reason.as_str(), counts.in_line),
        _ => (reason.as_str(), stored(reason.as_str())),
    })
}

/// The path of a GET; nothing for anything else.
async fn asked_for(caller: &mut TcpStream) -> anyhow::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX || caller.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_ascii_whitespace();
    Ok((words.next() == Some("GET")).then(|| words.next().map(str::to_owned)).flatten())
}
