//! Carries only "look again": that something was committed, that a server's lane has news. What it is stands in the store.
//!
//! A signal that nobody awaits is remembered once and never queued, so the hub cannot fall behind and needs no bound.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::domain::id::ServerId;
use crate::store::Committed;

pub mod follow;
mod news;
pub mod watching;

/// Wakes whoever waits for news.
#[derive(Clone)]
pub struct Hub {
    committed: watch::Receiver<Committed>,
    lanes: Arc<Mutex<HashMap<ServerId, Vec<Arc<Notify>>>>>,
    called: Arc<Mutex<BTreeSet<ServerId>>>,
    dispatcher: Arc<Notify>,
    left: Arc<Notify>,
}

impl Hub {
    /// A hub over the writer's commits.
    pub fn new(committed: watch::Receiver<Committed>) -> Self {
        Self {
            committed,
            lanes: Arc::default(),
            called: Arc::default(),
            dispatcher: Arc::default(),
            left: Arc::default(),
        }
    }

    /// Changes with every commit of this daemon.
    pub fn committed(&self) -> watch::Receiver<Committed> {
        self.committed.clone()
    }

    /// Tells the server's lane to look again; a server without a lane at work is called to the dispatcher's attention.
    pub fn wake_server(&self, server: ServerId) {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = lanes.get(&server) {
            for part in parts {
                part.notify_one();
            }
        } else {
            self.called.lock().unwrap_or_else(PoisonError::into_inner).insert(server);
            self.dispatcher.notify_one();
        }
    }

    /// The signal of a part of a lane that begins to work. Each part has its own.
    pub fn enter(&self, server: ServerId) -> Arc<Notify> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let signal = Arc::<Notify>::default();
        lanes.entry(server).or_default().push(Arc::clone(&signal));
        signal
    }

    /// Whether the server's lane is at work here.
    pub fn is_at_work(&self, server: ServerId) -> bool {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&server)
    }

    /// Lanes at work here.
    pub fn at_work(&self) -> usize {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The end of a lane's work. The dispatcher looks once more: something may have come in the meantime.
    pub fn leave(&self, server: ServerId) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&server);
        self.called.lock().unwrap_or_else(PoisonError::into_inner).insert(server);
        self.dispatcher.notify_one();
        self.left.notify_waiters();
    }

    /// Waits until no lane is at work here.
    pub async fn idle(&self) {
        loop {
            // Asked for first: whoever leaves from here on is heard.
            let left = self.left.notified();
            if self.at_work() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Servers that were called for since the last time.
    pub fn take_called(&self) -> BTreeSet<ServerId> {
        std::mem::take(&mut *self.called.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rings when a server is called for.
    pub fn dispatcher(&self) -> Arc<Notify> {
        Arc::clone(&self.dispatcher)
    }
}
