//! From the request to the durable answer: record, run, transitions, audit and answer in one commit.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use settled::clock::{Clock, SystemClock};
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::{CreateServerRequest, PauseServerRequest};
use settled_tests::daemon::Options;
use settled_tests::scripted::{Patience, Scripted};
use settled_tests::server::{fresh_id, install};

use crate::Place;
use crate::house::House;
use crate::report::{Report, rate, spread};

/// Callers, and requests of each.
const CALLERS: [(usize, usize); 2] = [(1, 300), (64, 100)];

/// Without the wire.
pub(crate) async fn engine(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let (url, _dir) = place.fresh()?;
    let house = House::open(&url).await?;
    for caller in 0..64 {
        house.add_server(format!("s{caller}")).await?;
    }
    for (callers, each) in CALLERS {
        let ask = |caller: usize, n: usize| house.install(format!("s{caller}"), format!("r{callers}-{n}"));
        measure("accept: engine", place, (callers, each), &house.clock, report, ask).await?;
    }
    Ok(())
}

/// Over the socket. The servers are paused, so that only accepting is measured.
pub(crate) async fn grpc(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (url, _dir) = place.fresh()?;
    let remote = Arc::new(Scripted::new(Arc::clone(&clock), Patience::Waits));
    let daemon = Options::default().set("DATABASE__URL", &url).remote(remote).start().await;
    for caller in 0..64 {
        let (name, host) = (format!("s{caller}"), format!("s{caller}"));
        let request =
            CreateServerRequest { request_id: fresh_id(), name: name.clone(), host, ..Default::default() };
        daemon.servers().create(request).await?;
        daemon.servers().pause(PauseServerRequest { request_id: fresh_id(), server: name }).await?;
    }
    for (callers, each) in CALLERS {
        let ask = |caller: usize, n: usize| {
            let mut client: ResourcesClient<_> = daemon.resources();
            let (expression, command) = (("expression", "0 3 * * *"), ("command", "true"));
            let request = install(
                &format!("s{caller}"),
                "scheduled_task",
                &format!("r{callers}-{n}"),
                &[expression, command],
            );
            async move { Ok(client.install(request).await.map(drop)?) }
        };
        measure("accept: gRPC", place, (callers, each), &clock, report, ask).await?;
    }
    daemon.stop().await.0
}

async fn measure<F: Future<Output = anyhow::Result<()>>>(
    what: &str,
    place: &Place,
    (callers, each): (usize, usize),
    clock: &Arc<dyn Clock>,
    report: &mut Report,
    ask: impl Fn(usize, usize) -> F,
) -> anyhow::Result<()> {
    let begun = clock.monotonic();
    let one = async |caller: usize| -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(each);
        for n in 0..each {
            let before = clock.monotonic();
            ask(caller, n).await?;
            times.push(clock.monotonic().saturating_sub(before));
        }
        Ok(times)
    };
    let times: Vec<_> = try_join_all((0..callers).map(one)).await?.concat();
    let per_s = rate(callers * each, clock.monotonic().saturating_sub(begun));
    let [p50, p99] = spread(times);
    report.add(format!("{what}, {callers} clients"), place.name(), vec![("per_s", per_s), p50, p99]);
    Ok(())
}
