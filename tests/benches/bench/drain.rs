//! How fast queued work is driven to its end when servers cost nothing: everything that is left is settled's own.

use std::time::Duration;

use futures::StreamExt as _;
use settled::dispatch;
use tokio_util::sync::CancellationToken;

use crate::Place;
use crate::house::House;
use crate::report::{Report, rate};

const RUNS_PER_SERVER: usize = 20;
/// Commands asked at once while the work is laid out.
const ASKING: usize = 256;

pub(crate) async fn drain(place: &Place, servers: usize, report: &mut Report) -> anyhow::Result<()> {
    let (url, _dir) = place.fresh()?;
    let house = House::open(&url).await?;
    at_once((0..servers).map(|n| house.add_server(format!("s{n}")))).await?;
    drive(&house).await?;
    let runs = (0..servers).flat_map(|server| (0..RUNS_PER_SERVER).map(move |n| (server, n)));
    at_once(runs.map(|(server, n)| house.install(format!("s{server}"), format!("r{n}")))).await?;

    let before = last_seq(&house).await?;
    let (begun, commits) = (house.clock.monotonic(), house.engine.hub().committed().borrow().commits);
    drive(&house).await?;
    let took = house.clock.monotonic().saturating_sub(begun);
    let transitions = usize::try_from(last_seq(&house).await? - before)?;
    let commits = usize::try_from(house.engine.hub().committed().borrow().commits - commits)?;
    let numbers = vec![
        ("runs_per_s", rate(servers * RUNS_PER_SERVER, took)),
        ("transitions_per_s", rate(transitions, took)),
        ("commits_per_s", rate(commits, took)),
        ("took_s", took.as_secs_f64()),
    ];
    report.add(format!("drain: {servers} servers x {RUNS_PER_SERVER}"), place.name(), numbers);
    Ok(())
}

async fn last_seq(house: &House) -> anyhow::Result<i64> {
    Ok(house.engine.store().read().await?.db().last_seq().await?)
}

async fn at_once<F: Future<Output = anyhow::Result<()>>>(
    asks: impl Iterator<Item = F>,
) -> anyhow::Result<()> {
    let mut answers = futures::stream::iter(asks).buffer_unordered(ASKING);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

/// Dispatches until no run is open.
async fn drive(house: &House) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let work = tokio::spawn(dispatch::run(house.crew.clone(), |_| {}, stop.clone()));
    while house.engine.store().read().await?.db().open_runs().await? > 0 {
        house.clock.sleep_until(house.clock.monotonic() + Duration::from_millis(20)).await;
    }
    stop.cancel();
    work.await?;
    // As a stopped daemon does, so that the next drive takes its lanes.
    house.engine.detach().await?;
    house.engine.renew_lease(&house.crew.lease, true).await?;
    Ok(())
}
