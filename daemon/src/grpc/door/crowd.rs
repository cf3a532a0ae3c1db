//! Who is inside, and who has to go for a newcomer: a connection of whoever has most of them; of those one that has asked nothing yet, or else the
//! one that has been quiet for longest. So a flood turns over among itself. A connection with an open request is never ended for another one. What the
//! connections speak is not known here.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::line::Line;

/// Connections of strangers at the same time. They hear that they may not come in, and count for nothing else.
const STRANGERS_MAX: usize = 8;
/// One of so many places is kept for root and the daemon itself.
const KEPT_FOR_HOUSE: usize = 16;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::grpc) enum Who {
    /// Root, or the daemon's own user: it asks itself whether it serves.
    House,
    /// Another user who is let in, or of whom it is not known yet.
    User(u32),
    /// Whoever comes from this address, through a door of its own.
    Address(IpAddr),
    /// Somebody who is not.
    Stranger,
}

/// Everyone who is inside.
pub(super) struct Crowd {
    /// Connections at the same time, without those of strangers.
    places: usize,
    /// Of these, for one user or one address.
    per_one: usize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    next: u64,
    /// By number, in the order in which they came.
    guests: BTreeMap<u64, Guest>,
}

struct Guest {
    who: Who,
    line: Arc<Line>,
}

impl Crowd {
    /// Nobody is inside yet.
    pub(super) fn new(places: usize, per_one: usize) -> Arc<Self> {
        Arc::new(Self { places, per_one, inside: Mutex::default() })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a newcomer, for which somebody else may have to go; `None` when all who could go have open requests.
    pub(super) fn enter(self: &Arc<Self>, who: Who, line: &Arc<Line>) -> Option<Place> {
        let mut inside = self.inside();
        let has_room = match who {
            Who::Stranger => inside.make_room(|guest| guest == Who::Stranger, STRANGERS_MAX),
            Who::House => {
                inside.make_room(|guest| guest == Who::House, self.per_one)
                    && inside.make_room(|guest| guest != Who::Stranger, self.places)
            }
            Who::Address(_) => {
                inside.make_room(|guest| guest == who, self.per_one)
                    && inside.make_room(|_| true, self.places)
            }
            Who::User(_) => {
                let house = inside.count(|guest| guest == Who::House);
                let others = self.places.saturating_sub(house.max((self.places / KEPT_FOR_HOUSE).max(1)));
                inside.make_room(|guest| guest == who, self.per_one)
                    && inside.make_room(|guest| !matches!(guest, Who::Stranger | Who::House), others)
            }
        };
        has_room.then(|| {
            let number = inside.next;
            inside.next += 1;
            inside.guests.insert(number, Guest { who, line: Arc::clone(line) });
            Place { crowd: Arc::clone(self), number }
        })
    }

    /// Ends the connection that can go most easily, whoever's it is; false when none can.
    pub(super) fn show_one_out(&self) -> bool {
        self.inside().show_out(|_| true)
    }
}

impl Inside {
    fn count(&self, group: impl Fn(Who) -> bool) -> usize {
        self.guests.values().filter(|guest| group(guest.who)).count()
    }

    /// Sees to it that fewer than `max` of the group are inside.
    fn make_room(&mut self, group: impl Fn(Who) -> bool, max: usize) -> bool {
        self.count(&group) < max || (max > 0 && self.show_out(group))
    }

    fn show_out(&mut self, group: impl Fn(Who) -> bool) -> bool {
        let mut has = BTreeMap::<Who, usize>::new();
        for guest in self.guests.values() {
            *has.entry(guest.who).or_default() += 1;
        }
        let quiet = |(number, guest): (&u64, &Guest)| {
            let most_first = Reverse(has.get(&guest.who).copied());
            group(guest.who).then(|| guest.line.quiet())?.map(|quiet| (most_first, quiet, *number))
        };
        let Some((.., number)) = self.guests.iter().filter_map(quiet).min() else { return false };
        if let Some(guest) = self.guests.remove(&number) {
            guest.line.show_out();
        }
        true
    }
}

/// The place of a connection, for as long as it lasts.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.inside().guests.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use futures::FutureExt as _;

    use super::*;
    use crate::clock::SystemClock;

    /// One clock for all: since when a line is quiet is compared with others.
    static CLOCK: LazyLock<Arc<SystemClock>> = LazyLock::new(Arc::default);

    fn line() -> Arc<Line> {
        Line::new(CLOCK.clone())
    }

    fn is_out(line: &Line) -> bool {
        line.shown_out().now_or_never().is_some()
    }

    /// Lets so many in, and holds their places.
    fn enter(crowd: &Arc<Crowd>, who: Who, count: usize) -> Vec<(Arc<Line>, Place)> {
        let one = |_| {
            let line = line();
            let place = crowd.enter(who, &line).unwrap();
            (line, place)
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn whoever_has_asked_nothing_goes_first_and_whoever_waits_for_an_answer_stays() {
        let crowd = Crowd::new(64, 3);
        let guests = enter(&crowd, Who::User(7), 3);
        let (idle, silent, busy) = (&guests[0].0, &guests[1].0, &guests[2].0);
        drop(idle.open(false));
        let answer = busy.open(false);

        let newcomers = enter(&crowd, Who::User(7), 1);
        assert_eq!([idle, silent, busy].map(|line| is_out(line)), [false, true, false]);
        let _first = newcomers[0].0.open(false);
        let more = enter(&crowd, Who::User(7), 1);
        assert_eq!([idle, silent, busy].map(|line| is_out(line)), [true, true, false]);
        let _second = more[0].0.open(false);
        assert!(crowd.enter(Who::User(7), &line()).is_none(), "all three wait for answers");
        drop(answer);
        assert!(crowd.enter(Who::User(7), &line()).is_some());
        assert!(is_out(busy));
    }

    #[test]
    fn one_user_takes_no_place_of_another_and_the_house_always_has_some() {
        let crowd = Crowd::new(32, 16);
        let ann = enter(&crowd, Who::User(1), 16);
        let _asks: Vec<_> = ann.iter().map(|(line, _)| line.open(false)).collect();
        assert!(crowd.enter(Who::User(1), &line()).is_none());
        let bob = enter(&crowd, Who::User(2), 14);
        let _asks: Vec<_> = bob.iter().map(|(line, _)| line.open(false)).collect();
        assert!(crowd.enter(Who::User(3), &line()).is_none(), "two places are kept for the house");
        assert_eq!(enter(&crowd, Who::House, 2).len(), 2);
    }

    #[test]
    fn strangers_take_no_place_of_others() {
        let crowd = Crowd::new(16, 16);
        let users = enter(&crowd, Who::User(1), 15);
        let strangers = enter(&crowd, Who::Stranger, 1_000);
        assert!(users.iter().all(|(line, _)| !is_out(line)));
        let inside = strangers.iter().filter(|(line, _)| !is_out(line)).count();
        assert_eq!(inside, STRANGERS_MAX);
    }

    #[test]
    fn one_address_takes_no_place_of_another() {
        let crowd = Crowd::new(8, 6);
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|address| Who::Address(address.into()));
        let busy = enter(&crowd, one, 6);
        let _asks: Vec<_> = busy.iter().map(|(line, _)| line.open(false)).collect();
        assert!(crowd.enter(one, &line()).is_none());
        let silent = enter(&crowd, other, 2);
        let newcomer = enter(&crowd, other, 1);
        assert_eq!(
            [is_out(&silent[0].0), is_out(&silent[1].0), is_out(&newcomer[0].0)],
            [true, false, false]
        );
        assert!(busy.iter().all(|(line, _)| !is_out(line)));
    }

    #[test]
    fn whoever_has_most_connections_gives_them_up_first() {
        let crowd = Crowd::new(8, 6);
        let [friend, foe, other] = [1, 2, 3].map(|last| Who::Address([192, 0, 2, last].into()));
        let friends = enter(&crowd, friend, 2);
        let foes = enter(&crowd, foe, 6);
        let others = enter(&crowd, other, 1);
        assert!(crowd.show_one_out());
        let is_out = |(line, _): &(Arc<Line>, Place)| is_out(line);
        assert!(!friends.iter().chain(&others).any(is_out), "they are quiet for longer, and few");
        assert_eq!(foes.iter().filter(|foe| is_out(foe)).count(), 2);
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_is_over() {
        let crowd = Crowd::new(16, 1);
        for _ in 0..3 {
            let guests = enter(&crowd, Who::User(1), 1);
            let _answer = guests[0].0.open(false);
            assert!(crowd.enter(Who::User(1), &line()).is_none());
        }
        assert!(crowd.inside().guests.is_empty());
    }
}
