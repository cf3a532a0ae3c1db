//! Turns at looking tokens up: few at once, so that the store has readers left for others, and of one address one at a time, so that whoever sends
//! tokens that nobody knows stands in its own way only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Tokens that are looked up at the same time.
const AT_ONCE_MAX: usize = 2;

/// Who looks tokens up now, and who waits for that.
pub(super) struct Lookups {
    all: Semaphore,
    each: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A turn, until it is dropped.
pub(super) struct Turn<'a> {
    lookups: &'a Lookups,
    address: IpAddr,
    own: Option<OwnedSemaphorePermit>,
    all: Option<SemaphorePermit<'a>>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { all: Semaphore::new(AT_ONCE_MAX), each: Mutex::default() }
    }
}

impl Lookups {
    /// Waits for the turn of somebody at an address.
    pub(super) async fn turn(&self, address: IpAddr) -> Turn<'_> {
        let own = Arc::clone(self.each().entry(address).or_insert_with(|| Arc::new(Semaphore::new(1))));
        // Made before it waits: whoever goes away meanwhile leaves nothing behind.
        let mut turn = Turn { lookups: self, address, own: None, all: None };
        // Nobody closes them.
        turn.own = own.acquire_owned().await.ok();
        turn.all = self.all.acquire().await.ok();
        turn
    }

    fn each(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.each.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        (self.own, self.all) = (None, None);
        let mut each = self.lookups.each();
        if each.get(&self.address).is_some_and(|own| Arc::strong_count(own) == 1) {
            each.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn p10_who_looks_up_a_thousand_tokens_stands_in_its_own_way_only() {
        let lookups = Lookups::default();
        let address = |n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n));
        let first = lookups.turn(address(1)).await;
        let mut waiting: Vec<_> = (0..1_000).map(|_| Box::pin(lookups.turn(address(1)))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        let other = lookups.turn(address(2)).now_or_never().expect("another address has its turn");
        let mut third = Box::pin(lookups.turn(address(3)));
        assert!((&mut third).now_or_never().is_none(), "two look at once");
        drop(other);
        drop((&mut third).now_or_never().expect("one of them is through"));
        drop(first);
        drop((&mut waiting[0]).now_or_never().expect("the first that waited"));
        drop((waiting, third));
        assert_eq!(lookups.each().len(), 0, "nothing is remembered of whom nobody waits for");
        drop(lookups.turn(address(1)).now_or_never().expect("and the turns are there again"));
    }
}
