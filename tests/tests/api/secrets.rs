//! P12: what is sealed opens in its place alone, and a store goes over to another master key without losing anything, wherever that stops.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use settled::auth::Verb;
use settled::domain::id::ServerId;
use settled::engine::{
    AddServer, Asked, EditPolicy, EditServer, Engine, LEFT_MAX, LaneError, Lease, Login, Refusal, Rotation,
};
use settled::secrets::{Keys, MasterKey, Sealed};
use settled::store::{Command, StoreError, Unit, Writer};
use settled_tests::engine::engine_with_keys;
use settled_tests::postgres::Postgres;
use tokio_util::sync::CancellationToken;

/// More than fit into one batch of a rotation.
const SERVERS: usize = 66;

fn key(byte: u8) -> MasterKey {
    MasterKey::new([byte; 32].into())
}

fn old() -> Keys {
    key(1).into()
}

fn both() -> Keys {
    old().with_next(Some(key(2)))
}

fn new() -> Keys {
    key(2).into()
}

fn asked(method: &'static str, request_id: &str) -> Asked {
    Asked {
        principal: "unix:0".to_owned(),
        method,
        request_id: request_id.to_owned(),
        digest: "same".to_owned(),
        peer: String::new(),
        verb: Verb::Administer,
    }
}

async fn open(url: &str, keys: Keys) -> Result<(Engine, Writer), Refusal> {
    engine_with_keys(url, keys, 1_000).await
}

/// As a reload does.
async fn use_keys(engine: &Engine, keys: Keys) -> Result<(), Refusal> {
    let lease = Lease::new(Duration::from_secs(30), engine.shared_clock());
    engine.use_keys(keys, &lease, true).await
}

fn identity(name: &str) -> Vec<u8> {
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\nof {name}\n-----END OPENSSH PRIVATE KEY-----\n").into()
}

async fn add(engine: &Engine, name: &str) -> ServerId {
    let ask = AddServer {
        name: name.to_owned(),
        host: "192.0.2.1".to_owned(),
        port: 0,
        user: String::new(),
        host_key: String::new(),
        login: Login::Key(identity(name)),
        labels: [].into(),
        via: String::new(),
        policy: EditPolicy::default(),
    };
    let answer = engine.add_server(asked("Servers.Create", name), ask).await.unwrap();
    answer.server.unwrap().id.parse().unwrap()
}

/// Puts a sealed secret, as it is, in another place.
struct Move {
    owner: String,
    name: String,
    sealed: Sealed,
}

#[async_trait]
impl Command for Move {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        unit.put_secret(&self.owner, &self.name, &self.sealed).await
    }
}

#[tokio::test]
async fn p12_a_row_moved_elsewhere_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/settled.db", dir.path().display());
    let (engine, writer) = open(&url, old()).await.unwrap();
    let (mine, other) = (add(&engine, "mine").await, add(&engine, "other").await);
    let sealed =
        engine.store().read().await.unwrap().db().secret(&mine.to_string(), "identity").await.unwrap();
    let sealed = sealed.unwrap();
    assert_eq!(*engine.identity(mine).await.unwrap().unwrap(), identity("mine"));
    let owner = other.to_string();
    writer.commit(Move { owner, name: "identity".to_owned(), sealed: sealed.clone() }).await.unwrap();
    let refused = engine.identity(other).await.unwrap_err().to_string();
    assert!(refused.contains("belongs elsewhere"), "{refused}");
    let owner = mine.to_string();
    writer.commit(Move { owner: owner.clone(), name: "password".to_owned(), sealed }).await.unwrap();
    let refused = engine.secrets(&owner).await.unwrap_err().to_string();
    assert!(refused.contains("belongs elsewhere"), "{refused}");
}

#[tokio::test]
async fn p12_a_rotation_that_is_killed_anywhere_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/settled.db", dir.path().display());
    let postgres = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    for url in [sqlite, postgres] {
        rotate_in_pieces(&url).await;
    }
}

/// Each piece in a daemon of its own, which ends after it.
async fn rotate_in_pieces(url: &str) {
    let (engine, _) = open(url, old()).await.unwrap();
    let adding = (0..SERVERS).map(|n| {
        let engine = engine.clone();
        async move { add(&engine, &format!("s{n}")).await }
    });
    let servers: Arc<Vec<ServerId>> = Arc::new(futures::future::join_all(adding).await);
    drop(engine);
    // Beside the servers' keys the installation's own two.
    let mut left = SERVERS + 2;
    for piece in ["begin", "64", "rest", "nothing"] {
        let (engine, _) = open(url, both()).await.unwrap();
        if piece == "begin" {
            engine.begin_rotation(asked("Admin.RotateSecrets", "r1")).await.unwrap();
            left -= 1;
        } else {
            left -= usize::try_from(engine.reseal_some().await.unwrap().rows).unwrap();
        }
        let rotation = engine.rotation(&mut engine.store().read().await.unwrap().db()).await.unwrap();
        assert_eq!((rotation.key.as_str(), rotation.left), (key(2).id(), left as u64), "after {piece}");
        drop(engine);
        // Whoever comes next with one key alone is told which other it needs.
        let needs_new = open(url, old()).await.err().expect("the new key is needed").to_string();
        assert!(needs_new.contains(&format!("the master key {} is missing", key(2).id())), "{needs_new}");
        match open(url, new()).await {
            Ok((engine, _)) => {
                assert_eq!(left, 0, "after {piece}");
                all_open(&engine, &servers).await;
            }
            Err(needs_old) => {
                assert_ne!(left, 0, "after {piece}: {needs_old}");
                assert!(needs_old.to_string().contains(key(1).id()), "{needs_old}");
            }
        }
        let (engine, _) = open(url, both()).await.unwrap();
        all_open(&engine, &servers).await;
    }
    assert_eq!(left, 0);
}

async fn all_open(engine: &Engine, servers: &[ServerId]) {
    for (n, server) in servers.iter().enumerate() {
        assert_eq!(*engine.identity(*server).await.unwrap().unwrap(), identity(&format!("s{n}")));
    }
}

#[tokio::test]
async fn p2_p12_a_rotation_is_done_once_and_what_comes_during_it_is_sealed_with_the_new_key() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/settled.db", dir.path().display());
    let (engine, _) = open(&url, old()).await.unwrap();
    let refused = engine.rotate_secrets(asked("Admin.RotateSecrets", "r0")).await.unwrap_err().to_string();
    assert!(refused.contains("no other to go over to") && refused.contains(".next"), "{refused}");
    let server = add(&engine, "one").await;
    let (digest, token) = (engine.fingerprint(b"a request"), engine.hide("a list", "s1").unwrap());

    use_keys(&engine, both()).await.unwrap();
    engine.begin_rotation(asked("Admin.RotateSecrets", "r1")).await.unwrap();
    // The installation's own key and what is sealed now are under the new key; its other secret is not yet.
    let ask = EditServer {
        server: "one".to_owned(),
        login: Some(Login::Key(identity("edited"))),
        ..EditServer::default()
    };
    engine.edit_server(asked("Servers.Update", "e1"), ask).await.unwrap();
    assert_eq!(engine.rotation(&mut engine.store().read().await.unwrap().db()).await.unwrap().left, 1);
    let again = engine.rotate_secrets(asked("Admin.RotateSecrets", "r1")).await.unwrap();
    assert_eq!((again.key.as_str(), again.resealed, again.left), (key(2).id(), 1, 0));
    let refused = use_keys(&engine, old()).await.unwrap_err().to_string();
    assert!(refused.contains(key(2).id()), "{refused}");

    use_keys(&engine, new()).await.unwrap();
    assert_eq!(*engine.identity(server).await.unwrap().unwrap(), identity("edited"));
    assert_eq!(engine.fingerprint(b"a request"), digest, "requests keep their digests");
    assert_eq!(engine.reveal("a list", &token).as_deref(), Some("s1"), "and lists their pages");
}

/// Something happens to the row of a server's login key.
async fn damage(engine: &Engine, writer: &Writer, server: ServerId, how: impl FnOnce(&mut Sealed)) {
    let owner = server.to_string();
    let sealed = engine.store().read().await.unwrap().db().secret(&owner, "identity").await.unwrap();
    let mut sealed = sealed.unwrap();
    how(&mut sealed);
    writer.commit(Move { owner, name: "identity".to_owned(), sealed }).await.unwrap();
}

/// Whose secrets are known not to open any more.
fn owners(rotation: &Rotation) -> Vec<&str> {
    rotation.damaged.iter().map(|damaged| damaged.owner.as_str()).collect()
}

#[tokio::test]
async fn p12_a_secret_that_does_not_open_is_named_and_keeps_neither_a_rotation_nor_the_old_key() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/settled.db", dir.path().display());
    let postgres = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    for url in [sqlite, postgres] {
        let (engine, writer) = open(&url, both()).await.unwrap();
        let (one, two) = (add(&engine, "one").await, add(&engine, "two").await);
        let three = add(&engine, "three").await;
        damage(&engine, &writer, one, |sealed| sealed.data_key[30] ^= 1).await;
        damage(&engine, &writer, two, |sealed| sealed.sealed[30] ^= 1).await;
        let rotation = engine.rotate_secrets(asked("Admin.RotateSecrets", "r1")).await.unwrap();
        assert_eq!(
            (rotation.resealed, rotation.left),
            (3, 0),
            "the installation's own two, and one server's"
        );
        assert_eq!(owners(&rotation), ["one", "two"]);
        let named = &rotation.damaged[0];
        assert_eq!(named.name, "identity");
        assert!(named.remedy.contains("settlectl server edit one --identity FILE"), "{named:?}");
        drop((engine, writer));

        let (engine, _) = open(&url, new()).await.expect("the old key is not needed any more");
        assert_eq!(*engine.identity(three).await.unwrap().unwrap(), identity("three"));
        let refused = engine.identity(one).await.unwrap_err().to_string();
        assert!(refused.contains("`identity` does not open"), "{refused}");
        let ask = EditServer {
            server: "one".to_owned(),
            login: Some(Login::Key(identity("anew"))),
            ..EditServer::default()
        };
        engine.edit_server(asked("Servers.Update", "e1"), ask).await.unwrap();
        assert_eq!(*engine.identity(one).await.unwrap().unwrap(), identity("anew"));
        let rotation = engine.rotation(&mut engine.store().read().await.unwrap().db()).await.unwrap();
        assert_eq!(owners(&rotation), ["two"]);
    }
}

/// Puts many secrets at once, sealed with a key that nobody has.
struct Flood(u64);

#[async_trait]
impl Command for Flood {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        let sealed = Sealed { key_id: "another".to_owned(), data_key: vec![1], sealed: vec![1] };
        for n in 0..self.0 {
            unit.put_secret(&format!("owner{n}"), "password", &sealed).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_needs_another_key_is_counted_so_far_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/settled.db", dir.path().display());
    let postgres = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    for url in [sqlite, postgres] {
        let (engine, writer) = open(&url, old()).await.unwrap();
        for (secrets, counted) in [(LEFT_MAX - 1, LEFT_MAX - 1), (LEFT_MAX + 1, LEFT_MAX)] {
            writer.commit(Flood(secrets)).await.unwrap();
            let mut reader = engine.store().read().await.unwrap();
            let mut needed = [key(1).id().to_owned(), "another".to_owned()];
            needed.sort();
            assert_eq!(reader.db().keys_needed().await.unwrap(), needed);
            let rotation = engine.rotation(&mut reader.db()).await.unwrap();
            assert_eq!((rotation.left, rotation.missing.as_deref()), (counted, Some("another")));
        }
    }
}

#[tokio::test]
async fn p4_a_daemon_that_slept_through_a_rotation_has_no_lease_and_fails_nothing_until_it_has_the_key() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let (sleeper, _) = open(&url, old()).await.unwrap();
    let server = add(&sleeper, "one").await;
    let lease = Lease::new(Duration::from_secs(30), sleeper.shared_clock());
    let (other, _) = open(&url, both()).await.unwrap();
    other.rotate_secrets(asked("Admin.RotateSecrets", "r1")).await.unwrap();

    let refused = sleeper.renew_lease(&lease, true).await.unwrap_err();
    assert!(matches!(&refused, Refusal::NoKey(why) if why.contains(key(2).id())), "{refused:?}");
    assert!(!lease.is_trusted(), "it may begin nothing");
    let refused = sleeper.identity(server).await.unwrap_err();
    assert!(matches!(LaneError::from(refused), LaneError::Unavailable(_)), "a run waits for that");
    let rotation = sleeper.rotation(&mut sleeper.store().read().await.unwrap().db()).await.unwrap();
    assert_eq!(rotation.missing.as_deref(), Some(key(2).id()));

    sleeper.use_keys(both(), &lease, true).await.unwrap();
    assert!(lease.is_trusted());
    sleeper.renew_lease(&lease, true).await.unwrap();
    assert_eq!(*sleeper.identity(server).await.unwrap().unwrap(), identity("one"));
}

/// Holds up the commit that it is part of.
struct Hold {
    begun: CancellationToken,
    go: CancellationToken,
}

#[async_trait]
impl Command for Hold {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, _: &mut Unit<'_>) -> Result<(), StoreError> {
        self.begun.cancel();
        self.go.cancelled().await;
        Ok(())
    }
}

/// Has a commit wait: until when, and since when it does.
fn hold(writer: &Writer) -> (CancellationToken, CancellationToken) {
    let (begun, go) = (CancellationToken::new(), CancellationToken::new());
    let (writer, command) = (writer.clone(), Hold { begun: begun.clone(), go: go.clone() });
    tokio::spawn(async move { writer.commit(command).await });
    (begun, go)
}

#[tokio::test]
async fn p12_a_key_that_a_rotation_goes_over_to_at_this_moment_is_not_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/settled.db", dir.path().display());
    let (engine, writer) = open(&url, both()).await.unwrap();
    let server = add(&engine, "one").await;
    // The rotation has written what it begins with, and that is not committed yet.
    let (begun, go) = hold(&writer);
    begun.cancelled().await;
    let rotating = engine.clone();
    let rotating =
        tokio::spawn(async move { rotating.begin_rotation(asked("Admin.RotateSecrets", "r1")).await });
    tokio::task::yield_now().await;
    let (begun, commit) = hold(&writer);
    go.cancel();
    begun.cancelled().await;

    let reloading = engine.clone();
    let reloading = tokio::spawn(async move { use_keys(&reloading, old()).await });
    // Long enough for whoever only reads.
    for _ in 0..20 {
        engine.store().read().await.unwrap().db().keys_needed().await.unwrap();
    }
    commit.cancel();
    rotating.await.unwrap().unwrap();
    let refused = reloading.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains(key(2).id()), "{refused}");
    let rotation = engine.rotate_secrets(asked("Admin.RotateSecrets", "r2")).await.unwrap();
    assert_eq!((rotation.resealed, rotation.left), (2, 0));
    assert_eq!(*engine.identity(server).await.unwrap().unwrap(), identity("one"));
}

#[tokio::test]
async fn p12_a_key_that_a_server_does_not_use_any_more_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/settled.db", dir.path().display());
    let (engine, _) = open(&url, old()).await.unwrap();
    let server = add(&engine, "one").await;
    for (n, login) in [Login::Agent, Login::Key(identity("two")), Login::Installation].into_iter().enumerate()
    {
        let has_key = matches!(login, Login::Key(_));
        let ask = EditServer { server: "one".to_owned(), login: Some(login), ..EditServer::default() };
        engine.edit_server(asked("Servers.Update", &format!("e{n}")), ask).await.unwrap();
        assert_eq!(engine.identity(server).await.unwrap().is_some(), has_key);
    }
}
