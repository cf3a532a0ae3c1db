use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio::sync::watch;
use ulid::Ulid;

use super::*;
use crate::domain::time::Timestamp;

/// A clock that the test moves.
struct HandClock(watch::Sender<Duration>);

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn monotonic(&self) -> Duration {
        *self.0.borrow()
    }

    async fn sleep_until(&self, at: Duration) {
        let _ = self.0.subscribe().wait_for(|now| *now >= at).await;
    }

    fn ulid(&self) -> Ulid {
        Ulid::nil()
    }

    fn random(&self) -> u64 {
        0
    }
}

/// A user database that the test fills, breaks and holds up.
#[derive(Default)]
struct Book {
    users: Mutex<BTreeMap<u32, Vec<u32>>>,
    broken: Mutex<bool>,
    looks: AtomicUsize,
    /// Held by the test as long as the database hangs.
    hangs: Mutex<()>,
}

impl Members for Book {
    fn groups_of(&self, uid: u32) -> Result<Option<Vec<u32>>, String> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let _waits = self.hangs.lock().unwrap();
        if *self.broken.lock().unwrap() {
            return Err("too many open files".to_owned());
        }
        Ok(self.users.lock().unwrap().get(&uid).cloned())
    }
}

struct House {
    gate: Gate,
    book: Arc<Book>,
    clock: Arc<HandClock>,
}

/// Users 1000 and 1001 are in group 50, everybody in the group of its own number.
fn house(users: &[(u32, Role)], groups: &[(u32, Role)]) -> House {
    let book = Arc::new(Book::default());
    let known = [1000, 1001, 1002, 1003, 70, 60];
    let groups_of = |uid: u32| if (1000..1002).contains(&uid) { vec![uid, 50] } else { vec![uid] };
    *book.users.lock().unwrap() = known.into_iter().map(|uid| (uid, groups_of(uid))).collect();
    let clock = Arc::new(HandClock(watch::Sender::new(Duration::ZERO)));
    let gate =
        Gate::with_members(900, grants(users, groups), Arc::clone(&book) as _, Arc::clone(&clock) as _);
    House { gate, book, clock }
}

fn grants(users: &[(u32, Role)], groups: &[(u32, Role)]) -> Grants {
    let mut grants = Grants::default();
    for &(uid, role) in users {
        grants.user(uid, role);
    }
    for &(gid, role) in groups {
        grants.group(gid, role);
    }
    grants
}

impl House {
    fn looks(&self) -> usize {
        self.book.looks.load(Ordering::SeqCst)
    }

    fn passes(&self, seconds: u64) {
        self.clock.0.send_modify(|now| *now += Duration::from_secs(seconds));
    }

    fn breaks(&self, broken: bool) {
        *self.book.broken.lock().unwrap() = broken;
    }

    /// What becomes of a principal that asks for this.
    async fn stands(&self, uid: u32, verb: Verb) -> &'static str {
        match self.gate.standing(&format!("unix:{uid}"), verb).await {
            Standing::May(_) => "may",
            Standing::MayNot => "may not",
            Standing::Unknown(_) => "unknown",
        }
    }

    async fn admits(&self, uid: u32, verb: Verb) -> &'static str {
        match self.gate.admit(uid, Some(verb)).await {
            Ok(_) => "in",
            Err(Turned::Away(_)) => "away",
            Err(Turned::Later(_)) => "later",
        }
    }
}

#[tokio::test]
async fn p14_root_and_the_daemon_are_admins_others_what_they_are_given_and_nobody_else_gets_in() {
    let users = [(1000, Role::Viewer), (1002, Role::Operator), (1002, Role::Viewer), (0, Role::Viewer)];
    let house = house(&users, &[(50, Role::Operator), (70, Role::Admin)]);
    let table = [
        (0, Some(Role::Admin)),
        (900, Some(Role::Admin)),
        // The higher of its own and its group's.
        (1000, Some(Role::Operator)),
        (1001, Some(Role::Operator)),
        (1002, Some(Role::Operator)),
        (1003, None),
        (60, None),
        // A member of its own group, as most users are.
        (70, Some(Role::Admin)),
        (u32::MAX, None),
    ];
    for (uid, role) in table {
        assert_eq!(house.gate.admit(uid, None).await.ok().map(|who| who.role), role, "uid {uid}");
        assert_eq!(house.gate.seems_strange(uid), role.is_none(), "uid {uid}");
    }
}

#[tokio::test]
async fn p14_what_is_taken_away_counts_at_once_for_everybody_who_asks_again() {
    let house = house(&[(1002, Role::Admin)], &[(50, Role::Operator)]);
    let asked_elsewhere = house.gate.clone();
    let allowed = async |principal: &str| {
        let mut allowed = [false; 3];
        for (i, verb) in [Verb::View, Verb::Operate, Verb::Administer].into_iter().enumerate() {
            allowed[i] = asked_elsewhere.standing(principal, verb).await == Standing::May(Scope::Whole);
        }
        allowed
    };
    assert_eq!(allowed("unix:1002").await, [true, true, true]);
    assert_eq!(allowed("unix:1000").await, [true, true, false]);
    house.gate.replace(grants(&[(1002, Role::Viewer)], &[]));
    assert_eq!(allowed("unix:1002").await, [true, false, false]);
    assert_eq!(allowed("unix:1000").await, [false; 3]);
    for (principal, still) in [("unix:0", true), (SETTLED, true), ("unix:x", false), ("", false)] {
        assert_eq!(allowed(principal).await, [still; 3], "{principal}");
    }
}

#[tokio::test]
async fn p14_a_role_holds_on_the_servers_for_which_it_was_given() {
    let house = house(&[], &[(50, Role::Viewer)]);
    let web = Scope::Of(vec!["server:web1".parse().unwrap()]);
    let mut given = grants(&[], &[(50, Role::Viewer)]);
    given.user_on(1000, Role::Operator, web.clone());
    house.gate.replace(given);
    let scope = async |verb| house.gate.admit(1000, Some(verb)).await.unwrap().scope;
    assert_eq!(scope(Verb::View).await, Scope::Whole, "its group may look at all");
    assert_eq!(scope(Verb::Operate).await, web);
    assert_eq!(scope(Verb::Administer).await, Scope::NOTHING);
    assert_eq!(house.gate.standing("unix:1000", Verb::Operate).await, Standing::May(web));
}

#[tokio::test]
async fn p14_a_look_up_that_fails_is_no_verdict() {
    let house = house(&[(1002, Role::Operator)], &[(50, Role::Operator)]);
    house.breaks(true);
    assert_eq!(house.stands(1000, Verb::Operate).await, "unknown");
    assert_eq!(house.admits(1000, Verb::View).await, "later");
    assert_eq!(house.admits(1003, Verb::View).await, "later", "it may be in a group by now");
    assert!(!house.gate.seems_strange(1000));
    // What no group could give is certain.
    assert_eq!(house.stands(1000, Verb::Administer).await, "may not");
    let looks = house.looks();
    assert_eq!(
        [house.stands(1002, Verb::Operate).await, house.admits(1002, Verb::Operate).await],
        ["may", "in"]
    );
    assert_eq!(house.admits(0, Verb::Administer).await, "in");
    assert_eq!(house.looks(), looks, "who is given it by its own id is not looked up");
    house.breaks(false);
    house.passes(1);
    assert_eq!(
        [house.stands(1000, Verb::Operate).await, house.admits(1000, Verb::View).await],
        ["may", "in"]
    );
    assert_eq!(house.admits(1003, Verb::View).await, "away");
}

#[tokio::test]
async fn an_answer_is_good_for_some_seconds_and_for_no_longer_than_the_configuration() {
    let house = house(&[], &[(50, Role::Operator)]);
    for _ in 0..100 {
        assert_eq!(house.admits(1000, Verb::View).await, "in");
    }
    assert_eq!(house.looks(), 1);
    house.book.users.lock().unwrap().insert(1000, vec![]);
    house.passes(5);
    assert_eq!(house.admits(1000, Verb::View).await, "away");
    house.book.users.lock().unwrap().insert(1000, vec![50]);
    house.gate.replace(grants(&[], &[(50, Role::Operator)]));
    assert_eq!(house.admits(1000, Verb::View).await, "in");
    assert_eq!(house.looks(), 3);
}

#[tokio::test]
async fn a_user_database_that_hangs_keeps_nobody_waiting_for_long_and_no_thread_of_others() {
    let house = house(&[(1002, Role::Operator)], &[(50, Role::Operator)]);
    let hanging = house.book.hangs.lock().unwrap();
    // The thread of this test is the only one that the runtime has.
    let mut callers: Vec<_> = (2000..2100).map(|uid| Box::pin(house.admits(uid, Verb::View))).collect();
    for caller in &mut callers {
        assert_eq!(caller.now_or_never(), None);
    }
    assert_eq!(house.admits(1002, Verb::Operate).now_or_never(), Some("in"));
    house.passes(2);
    for caller in callers {
        assert_eq!(caller.now_or_never(), Some("later"));
    }
    drop(hanging);
    house.passes(1);
    assert_eq!(house.admits(1000, Verb::Operate).await, "in");
    assert!(house.looks() <= 5, "{} threads", house.looks());
}

#[tokio::test]
async fn p14_a_user_whom_nobody_knows_is_believed_to_be_gone_when_that_lasts() {
    let house = house(&[], &[(50, Role::Operator)]);
    let known = house.book.users.lock().unwrap().remove(&1000).unwrap();
    assert_eq!(house.admits(1000, Verb::Operate).await, "away", "a caller can ask again");
    for _ in 0..299 {
        assert_eq!(house.stands(1000, Verb::Operate).await, "unknown");
        house.passes(1);
    }
    house.book.users.lock().unwrap().insert(1000, known);
    house.passes(5);
    assert_eq!(house.stands(1000, Verb::Operate).await, "may");
    house.book.users.lock().unwrap().clear();
    for _ in 0..3 {
        house.passes(100);
        assert_eq!(house.stands(1000, Verb::Operate).await, "unknown");
    }
    house.passes(100);
    assert_eq!(house.stands(1000, Verb::Operate).await, "may not");
    // Not looked at for long: it was known meanwhile, for all that anybody can tell.
    house.passes(301);
    assert_eq!(house.stands(1000, Verb::Operate).await, "unknown");
}
