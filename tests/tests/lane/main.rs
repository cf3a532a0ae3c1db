//! How lanes behave, on a clock moved by hand: waiting, attempts, limits, cancels, removals, crashes, and what time settles.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod adopt;
mod attempts;
mod cancel;
mod crash;
mod drift;
mod fence;
mod former;
mod held;
mod keys;
mod late;
mod lifecycles;
mod limits;
mod log;
mod looks;
mod lost_state;
mod notices;
mod outputs;
mod panics;
mod readings;
mod removal;
mod repair;
mod requires;
mod retry;
mod rights;
mod secrets;
mod settling;
mod stale;
mod supported;
mod takeover;
mod turn;
mod unlock;
mod waiting;
mod windows;

use std::time::Duration;

use settled::domain::run::Run;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled_tests::sim::{World, knobs};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A world with the settings of production and these servers, all met.
async fn world(servers: &[&str]) -> World {
    let mut world = World::new(1, knobs()).await.unwrap();
    for server in servers {
        world.server(server).await.unwrap();
    }
    world
}

#[track_caller]
fn ended(run: &Run, outcome: Outcome, reason: impl Into<Option<Reason>>, evidence: Evidence) {
    let verdict = run.verdict().expect("it has ended");
    let told = (verdict.outcome, verdict.reason, verdict.evidence);
    assert_eq!(told, (outcome, reason.into(), evidence), "{run:#?}");
}

#[track_caller]
fn succeeded(run: &Run) {
    ended(run, Outcome::Succeeded, None, Evidence::ExitRecord);
}

/// How often a step of the run was executed.
fn executions(world: &World, run: &Run) -> usize {
    world.remote.witness().iter().filter(|ran| ran.id.run == run.id).count()
}
