//! One daemon without its drivers: the same parts as in production, stepped by hand, killed by dropping them.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use settled::auth::Gate;
use settled::catalog::Catalog;
use settled::clock::Clock as _;
use settled::dispatch::{self, Crew, Dispatcher, Lane, Next, Readings};
use settled::domain::id::{DaemonId, ServerId};
use settled::engine::reconcile::Report;
use settled::engine::{self, Engine, Lease, Sealing};
use settled::hub::Hub;
use settled::reconciler::{ReconcileError, Reconciler};
use settled::secrets::MasterKey;
use settled::store::{self, Committed, Opened};
use tokio::sync::{Notify, Semaphore, watch};

use super::clock::SimClock;
use crate::scripted::Scripted;

/// How the daemon is set, beyond what its parts take.
#[derive(Debug, Clone, Copy)]
pub struct Knobs {
    /// Limits and durations of commands.
    pub engine: engine::Settings,
    /// Durations of the work on servers.
    pub dispatch: dispatch::Settings,
    /// Servers at work at once.
    pub at_work_max: usize,
    /// Length of the lease; renewed after a third.
    pub lease: Duration,
    /// How often the reconciler looks.
    pub reconcile_every: Duration,
}

/// A part of the daemon that can be stepped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// Renews the lease.
    Lease,
    /// Finds servers with work.
    Dispatcher,
    /// Drives one server.
    Lane(ServerId),
    /// Answers its read-only runs.
    Readings(ServerId),
    /// Settles what time has overtaken.
    Reconciler,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stepped {
    /// It was done.
    Done,
    /// The daemon was killed in the middle of it.
    Killed,
}

/// When, within a step, the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Not at all.
    Never,
    /// Right after the n-th commit of the step, before anyone acts on it.
    AfterCommit(u64),
}

struct Slot {
    lane: Lane,
    wake: Arc<Notify>,
    next: Next,
    beside: Beside,
}

/// What answers read-only runs beside a lane.
struct Beside {
    readings: Readings,
    wake: Arc<Notify>,
    next: Next,
}

/// A daemon in pieces.
pub struct Daemon {
    /// Where clients enter.
    pub engine: Engine,
    /// When it began, on the monotonic clock.
    pub since: Duration,
    clock: Arc<SimClock>,
    remote: Arc<Scripted>,
    knobs: Knobs,
    crew: Crew,
    dispatcher: Dispatcher,
    called: Arc<Notify>,
    dispatcher_at: Duration,
    lanes: BTreeMap<ServerId, Slot>,
    reconciler: Reconciler,
    reconcile_at: Duration,
    renew_at: Duration,
    committed: watch::Receiver<Committed>,
    /// What the reconciler did so far: one report for each look.
    pub reports: Vec<Report>,
}

impl Daemon {
    /// Opens the store and wires the parts, as `app` does.
    pub async fn open(
        url: &str,
        clock: &Arc<SimClock>,
        remote: &Arc<Scripted>,
        catalog: &Catalog,
        gate: &Gate,
        knobs: Knobs,
    ) -> anyhow::Result<Self> {
        let Opened { store, writer } = store::open(url, None, Arc::clone(clock) as _).await?;
        let committed = writer.committed();
        let hub = Hub::new(&writer);
        let (me, installation) = (DaemonId(clock.ulid()), store.about().installation);
        let keys = MasterKey::new([7; 32].into()).into();
        let sealing = Sealing::open(&store, &writer, keys, &(Arc::clone(clock) as _)).await?;
        let engine = Engine::new(
            store,
            writer,
            hub.clone(),
            catalog.clone(),
            sealing,
            Arc::clone(clock) as _,
            me,
            knobs.engine,
        );
        let lease = Lease::new(knobs.lease, Arc::clone(clock) as _);
        engine.renew_lease(&lease, true).await?;
        engine.keep_packages(engine.catalog()).await?;
        engine.release_dead(true).await?;
        let crew = Crew {
            engine: engine.clone(),
            remote: Arc::clone(remote) as _,
            lease: lease.clone(),
            installation,
            gate: gate.clone(),
            permits: Arc::new(Semaphore::new(knobs.at_work_max)),
            settings: knobs.dispatch,
            drain: settled::dispatch::Drain::default(),
        };
        let now = clock.monotonic();
        Ok(Self {
            since: now,
            dispatcher: Dispatcher::new(crew.clone()),
            called: hub.dispatcher(),
            dispatcher_at: now,
            lanes: BTreeMap::new(),
            reconciler: Reconciler::new(engine.clone(), lease, knobs.reconcile_every),
            reconcile_at: now,
            renew_at: now + knobs.lease / 3,
            reports: Vec::new(),
            clock: Arc::clone(clock),
            remote: Arc::clone(remote),
            committed,
            engine,
            knobs,
            crew,
        })
    }

    /// The parts that have something to do now. A part that was woken is given its turn here.
    pub fn runnable(&mut self) -> Vec<Actor> {
        let now = self.clock.monotonic();
        if self.called.notified().now_or_never().is_some() {
            self.dispatcher_at = now;
        }
        let mut actors = Vec::new();
        if self.renew_at <= now {
            actors.push(Actor::Lease);
        }
        if self.dispatcher_at <= now {
            actors.push(Actor::Dispatcher);
        }
        for (server, slot) in &mut self.lanes {
            if slot.wake.notified().now_or_never().is_some() {
                slot.lane.woken();
                slot.next = Next::Now;
            }
            if slot.beside.wake.notified().now_or_never().is_some() {
                slot.beside.next = Next::Now;
            }
            let due = |next| match next {
                Next::Now | Next::Gone => true,
                Next::At(at) => at <= now,
                Next::Permit => self.crew.permits.available_permits() > 0,
            };
            if due(slot.next) {
                actors.push(Actor::Lane(*server));
            }
            if due(slot.beside.next) {
                actors.push(Actor::Readings(*server));
            }
        }
        if self.reconcile_at <= now {
            actors.push(Actor::Reconciler);
        }
        actors
    }

    /// When the next part is due; only asked when none is now.
    pub fn next_due(&self) -> Duration {
        let nexts = self.lanes.values().flat_map(|slot| [slot.next, slot.beside.next]);
        let lanes = nexts.filter_map(|next| if let Next::At(at) = next { Some(at) } else { None });
        let own = [self.renew_at, self.dispatcher_at, self.reconcile_at];
        own.into_iter().chain(lanes).min().unwrap_or_default()
    }

    /// One step of one part.
    pub async fn step(&mut self, actor: Actor, kill: Kill) -> anyhow::Result<Stepped> {
        let mut committed = self.committed.clone();
        let limit = match kill {
            Kill::Never => u64::MAX,
            Kill::AfterCommit(n) => committed.borrow().commits + n,
        };
        let remote = Arc::clone(&self.remote);
        tokio::select! {
            biased;
            // The daemon lives as long as this does, so the sender cannot be gone.
            _ = committed.wait_for(|c| c.commits >= limit) => Ok(Stepped::Killed),
            () = remote.hung() => Ok(Stepped::Killed),
            done = self.act(actor) => done.map(|()| Stepped::Done),
        }
    }

    /// Whether it begins anything new.
    pub fn drain(&self) -> &settled::dispatch::Drain {
        &self.crew.drain
    }

    async fn act(&mut self, actor: Actor) -> anyhow::Result<()> {
        let now = self.clock.monotonic();
        match actor {
            Actor::Lease => {
                self.engine.renew_lease(&self.crew.lease, !self.crew.drain.is_on()).await?;
                self.renew_at = now + self.knobs.lease / 3;
            }
            Actor::Dispatcher => {
                let (taken, next) = self.dispatcher.step().await;
                self.dispatcher_at = if let Next::At(at) = next { at } else { now };
                for lane in taken {
                    let (server, wake, readings) = (lane.server_id(), lane.wake(), lane.readings());
                    let beside = Beside { wake: readings.wake(), readings, next: Next::Now };
                    self.lanes.insert(server, Slot { lane, wake, next: Next::Now, beside });
                }
            }
            // Whoever awaits a world awaits all that a lane can do, and what reads beside it.
            Actor::Lane(server) => Box::pin(self.step_lane(server)).await,
            Actor::Readings(server) => Box::pin(self.step_readings(server)).await,
            Actor::Reconciler => {
                match self.reconciler.step().await {
                    Ok(report) => self.reports.push(report),
                    Err(ReconcileError::NoLease) => {}
                    Err(error) => return Err(error.into()),
                }
                self.reconcile_at = now + self.knobs.reconcile_every;
            }
        }
        Ok(())
    }

    async fn step_lane(&mut self, server: ServerId) {
        let Some(slot) = self.lanes.get_mut(&server) else { return };
        if slot.next == Next::Permit
            && let Ok(permit) = Arc::clone(&self.crew.permits).try_acquire_owned()
        {
            slot.lane.permit(Some(permit));
        }
        let stepped = AssertUnwindSafe(slot.lane.step()).catch_unwind().await;
        slot.next = stepped.unwrap_or_else(|_| slot.lane.broke());
        // A look at a running step that saw nothing: in production the lane would wait there.
        if let (Next::Now, Some(until)) = (slot.next, self.remote.quiet_until(server)) {
            slot.next = Next::At(until);
        }
        if slot.next == Next::Gone
            && let Some(slot) = self.lanes.remove(&server)
        {
            slot.lane.left();
        }
    }

    async fn step_readings(&mut self, server: ServerId) {
        let Some(Slot { beside, .. }) = self.lanes.get_mut(&server) else { return };
        let stepped = AssertUnwindSafe(beside.readings.step()).catch_unwind().await;
        beside.next = stepped.unwrap_or_else(|_| beside.readings.broke());
    }

    /// The reconciler looks now, whatever the time.
    pub async fn reconcile(&mut self) -> anyhow::Result<Report> {
        Ok(self.reconciler.report().await?)
    }

    /// The reconciler never looks again: for tests of the checker.
    pub fn stop_reconciling(&mut self) {
        self.reconcile_at = Duration::MAX;
    }
}
