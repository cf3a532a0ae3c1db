//! The collector of traces: whether there is one, and what it is told.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::House;
use crate::clock::Clock;
use crate::config::Config;
use crate::outside::Caller;
use crate::traces::{Traces, Way};

/// Where traces are told, and what sends them until `stop`, if somebody wants them.
pub(super) fn traces(
    config: &Config,
    house: &House,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> (Traces, JoinHandle<()>) {
    let Some(endpoint) = config.traces.endpoint.clone() else {
        return (Traces::default(), tokio::spawn(stop.clone().cancelled_owned()));
    };
    let (store, remote) = (house.engine.store().clone(), Arc::clone(&house.crew.remote));
    let (traces, exporter) = Traces::to(Way {
        endpoint,
        caller: Caller::new(Arc::clone(clock), config.traces.ca_file.clone()),
        store: store.clone(),
        daemon: house.engine.me().to_string(),
        connects: Box::new(move |server| remote.connects(server)),
        clock: Arc::clone(clock),
    });
    let told = traces.clone();
    store.measured().on_end(move |run| told.ended(run));
    (traces, tokio::spawn(exporter.run(stop.clone())))
}
