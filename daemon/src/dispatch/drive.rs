//! Drives the steppers in production: one task for the dispatcher, one for each lane at work.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Crew, Dispatcher, Drain, Lane, Next, Readings};
use crate::engine::Engine;

/// Runs until `stop`: then no further step begins, and what runs on servers goes on there. `alive` is told, before and after each look,
/// by when the dispatcher is heard of again, on the monotonic clock.
pub async fn run(crew: Crew, alive: impl Fn(Duration), stop: CancellationToken) {
    let clock = crew.engine.clock();
    let called = crew.engine.hub().dispatcher();
    let mut dispatcher = Dispatcher::new(crew.clone());
    let mut lanes = JoinSet::new();
    let mut drain = crew.drain.changes();
    loop {
        alive(clock.monotonic());
        let (taken, next) = dispatcher.step().await;
        for lane in taken {
            lanes.spawn(drive(lane, stop.clone()));
        }
        while lanes.try_join_next().is_some() {}
        let until = match next {
            Next::Now if stop.is_cancelled() => break,
            Next::Now => continue,
            Next::At(at) => at,
            Next::Permit | Next::Gone => clock.monotonic(),
        };
        alive(until);
        tokio::select! {
            () = stop.cancelled() => break,
            () = called.notified() => {}
            Ok(()) = drain.changed() => {}
            () = clock.sleep_until(until) => {}
        }
    }
    while lanes.join_next().await.is_some() {}
}

/// One lane until it is given back, and its read-only runs beside it. Both go on in one task, and neither waits for the other.
async fn drive(mut lane: Lane, stop: CancellationToken) {
    let (readings, engine, drain) = (lane.readings(), lane.crew().engine.clone(), lane.crew().drain.clone());
    let handed_over = tokio::select! {
        () = exclusive(&mut lane, &stop) => false,
        () = beside(readings, engine, &drain, &stop) => false,
        () = drain.detaches() => true,
    };
    if handed_over {
        lane.hand_over().await;
    }
    lane.left();
}

/// A panic in a step costs that step: the lane looks again from what is stored.
async fn exclusive(lane: &mut Lane, stop: &CancellationToken) {
    let (wake, mut drain) = (lane.wake(), lane.crew().drain.changes());
    loop {
        let stepped = tokio::select! {
            next = AssertUnwindSafe(lane.step()).catch_unwind() => next,
            () = stop.cancelled() => break,
        };
        let next = stepped.unwrap_or_else(|_| lane.broke());
        match next {
            Next::Now => {}
            Next::Gone => break,
            Next::At(at) => tokio::select! {
                () = wake.notified() => lane.woken(),
                Ok(()) = drain.changed() => lane.woken(),
                () = lane.crew().engine.clock().sleep_until(at) => {}
                () = stop.cancelled() => break,
            },
            Next::Permit => tokio::select! {
                () = wake.notified() => lane.woken(),
                Ok(()) = drain.changed() => lane.woken(),
                permit = std::sync::Arc::clone(&lane.crew().permits).acquire_owned() => lane.permit(permit.ok()),
                () = stop.cancelled() => break,
            },
        }
    }
}

/// The read-only runs, until the stop.
async fn beside(mut readings: Readings, engine: Engine, drain: &Drain, stop: &CancellationToken) {
    let (wake, mut drain) = (readings.wake(), drain.changes());
    loop {
        let stepped = tokio::select! {
            next = AssertUnwindSafe(readings.step()).catch_unwind() => next,
            () = stop.cancelled() => break,
        };
        let until = match stepped.unwrap_or_else(|_| readings.broke()) {
            Next::At(at) => at,
            Next::Now | Next::Permit | Next::Gone => continue,
        };
        tokio::select! {
            () = wake.notified() => {}
            Ok(()) = drain.changed() => {}
            () = engine.clock().sleep_until(until) => {}
            () = stop.cancelled() => break,
        }
    }
}
