//! Carries only "look again": that something was committed, that a server's lane has news. What it is stands in the store.
//!
//! A signal that nobody awaits is remembered once and never queued, so the hub cannot fall behind and needs no bound.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::domain::id::ServerId;
use crate::figures::Present;
use crate::store::{Committed, Writer};

pub mod follow;
mod news;
mod reading;
mod shelf;
mod tail;
pub mod watching;

pub use news::News;
pub use reading::{Next, Reading};
pub use shelf::Shelf;
pub use tail::Tail;

/// Wakes whoever waits for news.
#[derive(Clone)]
pub struct Hub {
    committed: watch::Receiver<Committed>,
    lanes: Arc<Lanes>,
    shelf: Shelf,
    watchers: Present,
    followers: Present,
    tail: Tail,
}

/// Who works on which server, and for which servers nobody works yet.
#[derive(Default)]
struct Lanes {
    at_work: Mutex<HashMap<ServerId, Vec<Arc<Notify>>>>,
    called: Mutex<BTreeSet<ServerId>>,
    dispatcher: Arc<Notify>,
    left: Arc<Notify>,
}

impl Lanes {
    fn at_work(&self) -> MutexGuard<'_, HashMap<ServerId, Vec<Arc<Notify>>>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn called(&self) -> MutexGuard<'_, BTreeSet<ServerId>> {
        self.called.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the server's lane to look again; a server without a lane at work is called to the dispatcher's attention.
    fn wake(&self, server: ServerId) {
        match self.at_work().get(&server) {
            Some(parts) => parts.iter().for_each(|part| part.notify_one()),
            None => self.call(server),
        }
    }

    fn call(&self, server: ServerId) {
        self.called().insert(server);
        self.dispatcher.notify_one();
    }
}

impl Hub {
    /// A hub over what is committed to the store.
    pub fn new(writer: &Writer) -> Self {
        let lanes = Arc::<Lanes>::default();
        let woken = Arc::clone(&lanes);
        writer.on_call(move |server| woken.wake(server));
        Self {
            committed: writer.committed(),
            lanes,
            shelf: Shelf::default(),
            tail: Tail::default(),
            watchers: Present::default(),
            followers: Present::default(),
        }
    }

    /// Changes with every commit of this daemon, and with those of others that are heard of.
    pub fn committed(&self) -> watch::Receiver<Committed> {
        self.committed.clone()
    }

    /// Where all streams keep what they have read.
    pub const fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Who watches transitions.
    pub const fn watchers(&self) -> &Present {
        &self.watchers
    }

    /// Who follows a run.
    pub const fn followers(&self) -> &Present {
        &self.followers
    }

    /// The newest transitions, for all who watch.
    const fn tail(&self) -> &Tail {
        &self.tail
    }

    /// News of commits from here on.
    pub fn news(&self) -> News {
        News::new(self.committed())
    }

    /// The signal of a part of a lane that begins to work. Each part has its own.
    pub fn enter(&self, server: ServerId) -> Arc<Notify> {
        let signal = Arc::<Notify>::default();
        self.lanes.at_work().entry(server).or_default().push(Arc::clone(&signal));
        signal
    }

    /// Whether the server's lane is at work here.
    pub fn is_at_work(&self, server: ServerId) -> bool {
        self.lanes.at_work().contains_key(&server)
    }

    /// Lanes at work here.
    pub fn at_work(&self) -> usize {
        self.lanes.at_work().len()
    }

    /// The end of a lane's work. The dispatcher looks once more: something may have come in the meantime.
    pub fn leave(&self, server: ServerId) {
        self.lanes.at_work().remove(&server);
        self.lanes.call(server);
        self.lanes.left.notify_waiters();
    }

    /// Waits until no lane is at work here.
    pub async fn idle(&self) {
        loop {
            // Asked for first: whoever leaves from here on is heard.
            let left = self.lanes.left.notified();
            if self.at_work() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Servers that were called for since the last time.
    pub fn take_called(&self) -> BTreeSet<ServerId> {
        std::mem::take(&mut *self.lanes.called())
    }

    /// Rings when a server is called for.
    pub fn dispatcher(&self) -> Arc<Notify> {
        Arc::clone(&self.lanes.dispatcher)
    }
}
