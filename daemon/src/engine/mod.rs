//! One file per command: load, let the domain decide, write state, transition and audit, commit, wake.
//!
//! Only the engine writes. It does not know who calls it (the API, a lane, the reconciler: all enter here alike), and it never touches a
//! server.

mod accept;
mod adopt;
mod audit;
mod backup;
mod cancel;
mod damaged;
mod definitions;
mod drain;
mod drift;
mod effects;
mod error;
mod install;
mod lane;
mod lease;
mod lifecycles;
pub mod log;
mod notices;
mod once;
mod operate;
mod packages;
mod planned;
mod prepared;
mod probe;
pub mod reconcile;
mod remove;
mod requires;
mod retry;
mod rotate;
pub mod schedules;
mod sealing;
mod server_add;
mod server_edit;
mod server_policy;
mod server_remove;
mod server_takeover;
mod server_unlock;
mod settle;
mod signed;
pub mod targets;
pub mod titles;
mod tokens;
mod told;
mod valid;
mod way;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use audit::{Changed, Refused};
pub use damaged::Damaged;
pub use drain::DrainOrder;
pub use drift::Sighting;
pub use error::Refusal;
pub use install::Install;
pub use lane::{Advance, LaneError, LaneHold, Outline, StepEnd};
pub use lease::Lease;
pub use lifecycles::{ApplyLifecycle, Call, Change, Cleaning, Done, Enroll, LIFECYCLES_MAX, Taker, Task};
pub use notices::{Letter, NOTIFIERS_MAX, NewNotifier, Outcome, Posted, Way};
pub use once::{Answer, Asked};
pub use operate::Operate;
pub use planned::Planned;
pub use prepared::{Look, Prepared};
pub use rotate::{LEFT_MAX, Resealed, Rotation};
pub use schedules::{BegunChore, ChoreEnd, EditSchedule};
pub use sealing::Sealing;
pub use server_add::AddServer;
pub use server_edit::{EditServer, Login};
pub use server_policy::{EditPolicy, opening};
pub use server_takeover::Takeover;
pub use settle::Settled;
pub use tokens::{NewToken, TOKEN_DAYS_MAX};

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::domain::freshness::Thresholds;
use crate::domain::id::DaemonId;
use crate::domain::timings::Timings;
use crate::hub::Hub;
use crate::store::{Store, Writer};
use signed::signed;

/// Limits and durations that commands apply.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Durations of the rules of state.
    pub timings: Timings,
    /// Attempts of a run whose operation does not say.
    pub attempts_max: u32,
    /// Queued runs per server.
    pub queue_max: i64,
    /// When a run whose operation does not say is shown as likely stale.
    pub stale: Thresholds,
    /// The shortest queue limit that a request may have.
    pub queue_limit_least: Duration,
    /// How long a takeover by another daemon may take: no run is shown as likely stale sooner because its operation is short.
    pub takeover: Duration,
    /// Output kept of one step.
    pub output_bytes_max: u64,
}

/// The settings that may change while the daemon runs. Each command takes them as they are when it is accepted; what it has made keeps
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a run may stay queued, when it does not say itself, and how long it may wait between two tries.
    pub queue_limit: Duration,
    /// Attempts of a run whose operation does not say.
    pub attempts_max: u32,
    /// Queued runs per server.
    pub queue_max: i64,
    /// When a run whose operation does not say is shown as likely stale.
    pub stale: Thresholds,
    /// The shortest queue limit that a request may have.
    pub queue_limit_least: Duration,
    /// How long a takeover by another daemon may take: no run is shown as likely stale sooner because its operation is short.
    pub takeover: Duration,
}

/// Everything a command needs. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    writer: Writer,
    hub: Hub,
    catalog: RwLock<Catalog>,
    definitions: definitions::Definitions,
    flows: lifecycles::Flows,
    uses: tokens::Uses,
    sealing: Sealing,
    clock: Arc<dyn Clock>,
    me: DaemonId,
    timings: Timings,
    output_bytes_max: u64,
    limits: RwLock<Limits>,
}

impl Engine {
    /// An engine of the daemon `me`.
    #[expect(clippy::too_many_arguments, reason = "the composition root passes each part once")]
    pub fn new(
        store: Store,
        writer: Writer,
        hub: Hub,
        catalog: Catalog,
        sealing: Sealing,
        clock: Arc<dyn Clock>,
        me: DaemonId,
        settings: Settings,
    ) -> Self {
        let definitions = definitions::Definitions::default();
        let Settings {
            timings,
            attempts_max,
            queue_max,
            stale,
            queue_limit_least,
            takeover,
            output_bytes_max,
        } = settings;
        let queue_limit = timings.queue_limit;
        let limits =
            RwLock::new(Limits { queue_limit, attempts_max, queue_max, stale, queue_limit_least, takeover });
        let catalog = RwLock::new(catalog);
        Self {
            inner: Arc::new(Inner {
                store,
                writer,
                hub,
                catalog,
                definitions,
                flows: lifecycles::Flows::default(),
                uses: tokens::Uses::default(),
                sealing,
                clock,
                me,
                timings,
                output_bytes_max,
                limits,
            }),
        }
    }

    /// The read side of the store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// What carries "look again".
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// The loaded definitions, as they are now.
    pub fn catalog(&self) -> Catalog {
        self.inner.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn sealing(&self) -> &Sealing {
        &self.inner.sealing
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// The same, for whoever outlives its borrow.
    pub fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    /// This daemon.
    pub fn me(&self) -> DaemonId {
        self.inner.me
    }

    /// Durations of the rules of state, as they were at the start. By when a run settles is with the run.
    pub fn timings(&self) -> &Timings {
        &self.inner.timings
    }

    /// Output kept of a step that begins now.
    pub fn output_bytes_max(&self) -> u64 {
        self.inner.output_bytes_max
    }

    /// The limits as they are now.
    pub fn limits(&self) -> Limits {
        *self.inner.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the limits of commands that come from here on.
    pub fn set_limits(&self, limits: Limits) {
        *self.inner.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn writer(&self) -> &Writer {
        &self.inner.writer
    }
}
