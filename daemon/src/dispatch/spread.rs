//! Which of the daemons that share a store takes which lane: the one that a server prefers, by a hash of both names. So lanes are spread
//! evenly without anyone counting them, and when a daemon comes or goes only the lanes that it gains or leaves change hands.
//!
//! A preference is no right. Whoever finds a lane without an owner two polls in a row takes it: its preferred daemon may be busy with
//! worse.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::domain::id::{DaemonId, ServerId};

/// The daemon that is to take a server's lane; `None` when there is none.
fn preferred(server: ServerId, daemons: &[DaemonId]) -> Option<DaemonId> {
    daemons.iter().copied().max_by_key(|daemon| weight(server, *daemon))
}

fn weight(server: ServerId, daemon: DaemonId) -> [u8; 32] {
    Sha256::new().chain_update(server.0.to_bytes()).chain_update(daemon.0.to_bytes()).finalize().into()
}

/// Of the servers that were called for: those that `me` takes at once.
pub(super) fn called(servers: BTreeSet<ServerId>, me: DaemonId, daemons: &[DaemonId]) -> BTreeSet<ServerId> {
    servers.into_iter().filter(|server| is_mine(*server, me, daemons)).collect()
}

/// What was left to others at the last poll.
#[derive(Default)]
pub(super) struct Left(BTreeSet<ServerId>);

impl Left {
    /// Of the servers that a poll found without an owner: those that `me` takes.
    pub(super) fn polled(
        &mut self,
        servers: BTreeSet<ServerId>,
        me: DaemonId,
        daemons: &[DaemonId],
    ) -> BTreeSet<ServerId> {
        let mine = |server: &ServerId| is_mine(*server, me, daemons) || self.0.contains(server);
        let (taken, left) = servers.into_iter().partition(mine);
        self.0 = left;
        taken
    }
}

/// A daemon that is alone, or does not know of any, leaves nothing to others.
fn is_mine(server: ServerId, me: DaemonId, daemons: &[DaemonId]) -> bool {
    !daemons.contains(&me) || preferred(server, daemons) == Some(me)
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    fn servers(n: u128) -> BTreeSet<ServerId> {
        (0..n).map(|n| ServerId(Ulid(n))).collect()
    }

    #[test]
    fn lanes_are_spread_evenly_and_only_those_of_a_daemon_that_goes_change_hands() {
        let three = [7, 8, 9].map(|n| DaemonId(Ulid(n)));
        let of = |daemon: DaemonId| {
            servers(3000).iter().filter(|s| preferred(**s, &three) == Some(daemon)).count()
        };
        for daemon in three {
            assert!((900..1100).contains(&of(daemon)), "{} of 3000", of(daemon));
        }
        for server in servers(3000) {
            let (before, after) = (preferred(server, &three), preferred(server, &three[..2]));
            assert!(after == before || before == Some(three[2]), "{server} has moved without need");
        }
    }

    #[test]
    fn a_lane_that_nobody_takes_is_taken_at_the_second_poll() {
        let [me, other] = [7, 8].map(|n| DaemonId(Ulid(n)));
        let (all, both) = (servers(50), [me, other]);
        let mut left = Left::default();
        let mine = called(all.clone(), me, &both);
        assert!(!mine.is_empty() && mine.len() < all.len());
        assert_eq!(left.polled(all.clone(), me, &both), mine);
        let others: BTreeSet<_> = all.difference(&mine).copied().collect();
        let (kept, waits): (BTreeSet<_>, BTreeSet<_>) = others.iter().partition(|s| s.0.0 % 2 == 0);
        assert_eq!(left.polled(kept.clone(), me, &both), kept, "seen without an owner twice in a row");
        assert_eq!(left.polled(waits, me, &both), BTreeSet::new(), "somebody had these in between");
    }

    #[test]
    fn whoever_is_alone_takes_all() {
        let me = DaemonId(Ulid(7));
        for daemons in [&[][..], &[me], &[DaemonId(Ulid(8))]] {
            assert_eq!(called(servers(20), me, daemons), servers(20));
        }
    }
}
