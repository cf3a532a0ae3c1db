//! Which filters admit which server, as of the transition that a watch has come to. Bounded: what is not remembered is asked of the store,
//! which knows from the transitions that it keeps what labels a server had then.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::wanted::{Mask, Wanted};
use crate::store::places::Place;
use crate::store::rows::TransitionRow;
use crate::store::{Db, Store, StoreError};

/// Servers that are remembered: more than one page of transitions can name.
const PLACES_MAX: usize = 1_024;

/// The masks of servers, by their ids.
#[derive(Default)]
pub(super) struct Places(HashMap<String, Mask>);

impl Places {
    /// Learns of the servers in a page of transitions that comes after this number.
    pub(super) async fn learn(
        &mut self,
        store: &Store,
        wanted: &Wanted,
        after: i64,
        rows: &[Arc<TransitionRow>],
    ) -> Result<(), StoreError> {
        if !wanted.asks_for_places() {
            return Ok(());
        }
        let named: BTreeSet<&str> = rows.iter().map(|row| row.server_id.as_str()).collect();
        if self.0.len() + named.len() > PLACES_MAX {
            self.0.clear();
        }
        let is_new = |server: &&str| !server.is_empty() && !self.0.contains_key(*server);
        let unknown: Vec<_> = named.into_iter().filter(is_new).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut reader = store.read().await?;
        for server in unknown {
            let mask = look_up(&mut reader.db(), wanted, server, after).await?;
            self.0.insert(server.to_owned(), mask);
        }
        Ok(())
    }

    /// The filters that admit what is on a server, of which was learned.
    pub(super) fn of(&self, wanted: &Wanted, server: &str) -> Mask {
        if server.is_empty() {
            wanted.nowhere()
        } else if wanted.asks_for_places() {
            self.0.get(server).copied().unwrap_or_default()
        } else {
            wanted.at(server, None)
        }
    }

    /// A server's labels changed.
    pub(super) fn turn(&mut self, wanted: &Wanted, server: &str, place: &Place) -> Mask {
        let mask = wanted.at(server, Some(place));
        self.0.insert(server.to_owned(), mask);
        mask
    }

    /// A server is gone: what is told of it from here on is for filters that ask for no labels.
    pub(super) fn leave(&mut self, wanted: &Wanted, server: &str) {
        self.0.insert(server.to_owned(), wanted.at(server, None));
    }
}

/// Whether what stands on a server now may be told. Whoever may not see all sees its servers as they are only while they are its own,
/// whatever they were when the watch came to its position.
pub(super) async fn may_tell(
    db: &mut Db<'_>,
    wanted: &Wanted,
    server: Option<&str>,
) -> Result<bool, StoreError> {
    match server {
        _ if !wanted.is_confined() => Ok(true),
        Some(server) => Ok(!look_up(db, wanted, server, i64::MAX).await?.is_empty()),
        None => Ok(false),
    }
}

/// The filters that admitted a server right after a transition.
pub(super) async fn look_up(
    db: &mut Db<'_>,
    wanted: &Wanted,
    server: &str,
    after: i64,
) -> Result<Mask, StoreError> {
    let place = db.place_at(server, after).await?;
    Ok(wanted.at(server, place.as_ref()))
}
