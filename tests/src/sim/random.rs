//! A world out of a seed: clients that ask for things, servers that misbehave, a daemon that dies, all at random and all repeatable.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use settled::clock::Clock as _;
use settled::domain::id::RunId;
use settled::domain::params::Params;
use settled::domain::turn::Turn;
use settled::engine::{AddServer, Asked, EditPolicy, EditServer, Refusal};
use sha2::{Digest as _, Sha256};

use super::world::{add_server, install, operate};
use super::{Kill, Knobs, World, knobs};
use crate::scripted::{Bug, End, Luck, Play};

const SERVERS: [&str; 3] = ["alpha", "beta", "gamma"];
/// How long clients ask and things go wrong.
const TROUBLE: Duration = Duration::from_secs(30 * 60);
/// By when everything must have come to its end after that.
const CALM: Duration = Duration::from_secs(4 * 3_600);

/// What happens at some time.
#[derive(Debug, Clone)]
enum Event {
    Ask(Ask),
    Cut(&'static str, Duration),
    Refuse(&'static str),
    Reboot(&'static str),
    Dpkg(&'static str, Duration),
    Interrupt(&'static str),
    Die,
    /// Whatever was set is taken back.
    Heal,
}

/// What a client asks for. Asked again with the same request id when the daemon dies over it (P2).
#[derive(Debug, Clone)]
enum Ask {
    AddServer(&'static str),
    Install(&'static str, &'static str, String),
    Operate(String, &'static str, u32),
    Remove(String),
    Retry(String),
    Probe(String),
    /// Some open run.
    Cancel(u32),
    PauseServer(&'static str),
    ResumeServer(&'static str),
    EditServer(&'static str),
    /// It opens for five minutes in this minute, or always.
    Windows(&'static str, Option<u32>),
}

/// What a world came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Steps of the daemon's parts.
    pub steps: u64,
    /// How often the daemon died.
    pub deaths: u64,
    /// Ends of runs: outcome and reason, and how many.
    pub ends: BTreeMap<String, u64>,
    /// A digest of all transitions: two worlds are the same when it is.
    pub digest: String,
}

/// A fault that is planted to see whether the checker notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every server has it.
    Server(Bug),
    /// The store has it: a trigger, in SQL.
    Store(&'static str),
}

/// Lives the world of this seed to its end, with a fault if one is given.
pub async fn live(seed: u64, fault: Option<Fault>) -> anyhow::Result<Story> {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new(seed, random_knobs()).await?;
    let (deadly, lossy) = ([0.0, 0.01, 0.1][rng.random_range(0..3)], rng.random_bool(0.7));
    world.remote.decide(move |address, spec| play(&mut of(seed, &format!("{address} {}", spec.id))));
    match fault {
        None => {}
        Some(Fault::Server(bug)) => world.remote.break_all(bug),
        Some(Fault::Store(trigger)) => world.change_store(trigger).await?,
    }
    let mut luck = StdRng::seed_from_u64(seed ^ 1);
    let clock = std::sync::Arc::clone(&world.clock);
    world.remote.toss(move |_, _| match luck.random_range(0..1_000) {
        _ if clock.monotonic() > TROUBLE => Luck::Answered,
        0..30 if lossy => Luck::Lost,
        30..36 if deadly > 0.0 => Luck::Hangs,
        _ => Luck::Answered,
    });
    let clock = std::sync::Arc::clone(&world.clock);
    world.remote.lead_astray(move |address, spec| {
        let name = format!("astray {address} {} {}", spec.id, spec.epoch);
        deadly > 0.0 && clock.monotonic() < TROUBLE && of(seed, &name).random_bool(0.02)
    });
    let mut life = Life { events: events(&mut rng), rng, world, deadly, steps: 0, deaths: 0 };
    life.live().await?;
    life.story().await
}

fn random_knobs() -> Knobs {
    let seconds = Duration::from_secs;
    let mut knobs = knobs();
    knobs.engine.timings.queue_limit = seconds(40 * 60);
    knobs.dispatch.poll = seconds(20);
    knobs.reconcile_every = seconds(20);
    knobs.at_work_max = 2;
    knobs
}

/// Random numbers that depend on nothing but the seed and a name.
fn of(seed: u64, name: &str) -> StdRng {
    StdRng::from_seed(Sha256::digest(format!("{seed} {name}")).into())
}

fn play(rng: &mut StdRng) -> Play {
    let takes = Duration::from_secs(rng.random_range(0..90));
    let mut play = match rng.random_range(0..100) {
        0..45 => Play::exit(0),
        45..65 => Play::takes(takes),
        65..75 => Play::takes(takes).ending(End::Exit(1)),
        75..80 => Play::takes(takes).ending(End::Exit(75)),
        80..82 => Play::takes(takes).ending(End::Exit(78)),
        82..86 => Play::takes(Duration::from_secs(3_000)),
        86..88 => Play::takes(takes).ending(End::Killed),
        88..92 => Play::takes(takes).ending(End::NoRecord { done: true }),
        92..96 => Play::takes(takes).ending(End::NoRecord { done: false }),
        _ => Play::takes(takes).ending(End::Orphan(Duration::from_secs(rng.random_range(1..2_000)))),
    };
    play.slow = rng.random_bool(0.1);
    play.after_term = Duration::from_secs(if rng.random_bool(0.3) { 1_000 } else { rng.random_range(0..20) });
    for line in 0..rng.random_range(0..4) {
        let after = play.takes.mul_f64(rng.random_range(0.0..1.0));
        play.output.push((after, format!("line {line} after {after:?}\n").into_bytes()));
    }
    play.output.sort();
    play
}

fn events(rng: &mut StdRng) -> Vec<(Duration, Event)> {
    let mut events: Vec<_> =
        SERVERS.iter().map(|server| (Duration::from_secs(1), Event::Ask(Ask::AddServer(server)))).collect();
    for _ in 0..rng.random_range(15..60) {
        events.push((at(rng), Event::Ask(ask(rng))));
    }
    for _ in 0..rng.random_range(0..6) {
        let (server, span) = (pick(rng, &SERVERS), Duration::from_secs(rng.random_range(1..900)));
        let trouble = match rng.random_range(0..10) {
            0..4 => Event::Cut(server, span),
            4 => Event::Refuse(server),
            5..7 => Event::Reboot(server),
            7 => Event::Dpkg(server, span),
            8 => Event::Interrupt(server),
            _ => Event::Die,
        };
        events.push((at(rng), trouble));
    }
    events.push((TROUBLE, Event::Heal));
    events.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    events
}

fn at(rng: &mut StdRng) -> Duration {
    Duration::from_millis(rng.random_range(2_000..u64::try_from(TROUBLE.as_millis()).unwrap_or(u64::MAX)))
}

fn pick<T: Clone>(rng: &mut StdRng, from: &[T]) -> T {
    from.choose(rng).cloned().unwrap_or_else(|| from[0].clone())
}

fn ask(rng: &mut StdRng) -> Ask {
    let (server, package) = (pick(rng, &SERVERS), pick(rng, &["thing", "task"]));
    let name = format!("{server}-{package}-{}", u8::from(rng.random_bool(0.2)));
    let path = format!("{server}/{package}/{name}");
    match rng.random_range(0..100) {
        0..30 => Ask::Install(server, package, name),
        30..55 => {
            Ask::Operate(path, pick(rng, &["update", "pause", "resume", "shake"]), rng.random_range(2..9))
        }
        55..67 => Ask::Remove(path),
        67..76 => Ask::Retry(path),
        76..86 => Ask::Probe(path),
        86..94 => Ask::Cancel(rng.random_range(0..100)),
        94..96 => Ask::PauseServer(server),
        96..97 => Ask::ResumeServer(server),
        97..99 => Ask::Windows(server, Some(rng.random_range(0..30))),
        _ => Ask::EditServer(server),
    }
}

struct Life {
    world: World,
    rng: StdRng,
    /// What is still to happen, the next one last.
    events: Vec<(Duration, Event)>,
    /// How likely the daemon dies in a step.
    deadly: f64,
    steps: u64,
    deaths: u64,
}

impl Life {
    async fn live(&mut self) -> anyhow::Result<()> {
        loop {
            let now = self.world.clock.monotonic();
            if let Some((_, event)) = self.events.pop_if(|(at, _)| *at <= now) {
                self.happen(&event).await.with_context(|| format!("at {now:?}, after {event:?}"))?;
                continue;
            }
            let actors = self.world.daemon.runnable();
            if actors.is_empty() {
                if self.events.is_empty() && self.world.checker.open().next().is_none() {
                    return self.world.rest().await;
                }
                ensure!(
                    now < TROUBLE + CALM,
                    "P6: open at the end: {:#?}",
                    self.world.checker.open().collect::<Vec<_>>()
                );
                let next = self.events.last().map_or(Duration::MAX, |(at, _)| *at);
                self.world.move_to(self.world.daemon.next_due().min(next));
                continue;
            }
            let actor = pick(&mut self.rng, &actors);
            let dies = now < TROUBLE && self.rng.random_bool(self.deadly);
            let kill = if dies { Kill::AfterCommit(self.rng.random_range(1..4)) } else { Kill::Never };
            let before = self.world.daemon.engine.me();
            self.steps += 1;
            self.world
                .step(actor, kill)
                .await
                .with_context(|| format!("at {now:?}, in a step of {actor:?}"))?;
            self.deaths += u64::from(self.world.daemon.engine.me() != before);
        }
    }

    async fn happen(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::Ask(ask) => return self.ask(ask).await,
            Event::Cut(server, span) => self.world.remote.cut(server, *span),
            Event::Refuse(server) => self.world.remote.refuse(server, Some("permission denied (publickey)")),
            Event::Reboot(server) => self.world.remote.reboot(server),
            Event::Dpkg(server, span) => {
                self.world.remote.hold_dpkg(server, "unattended-upgr", *span);
            }
            Event::Interrupt(server) => {
                self.world.remote.interrupt_dpkg(server, Some("libc6 half-configured"));
            }
            Event::Die => {
                self.deaths += 1;
                self.world.restart().await?;
            }
            Event::Heal => {
                for server in SERVERS {
                    self.world.remote.refuse(server, None);
                    self.world.remote.interrupt_dpkg(server, None);
                    self.ask(&Ask::EditServer(server)).await?;
                    self.ask(&Ask::ResumeServer(server)).await?;
                    self.ask(&Ask::Windows(server, None)).await?;
                }
            }
        }
        self.world.check().await
    }

    /// Asks, perhaps over a daemon that dies: then the same request is repeated, and has been done once.
    async fn ask(&mut self, ask: &Ask) -> anyhow::Result<()> {
        let asked = self.world.asked("Any.Method");
        let cancel = self.cancel(ask);
        let before = self.world.checker.runs().count();
        if self.rng.random_bool(self.deadly) {
            let mut committed = self.world.daemon.engine.hub().committed();
            let commits = committed.borrow_and_update().commits;
            tokio::select! {
                biased;
                _ = committed.wait_for(|c| c.commits > commits) => {}
                answer = command(&self.world, ask, asked.clone(), cancel) => tolerate(answer)?,
            }
            self.deaths += 1;
            self.world.restart().await?;
            self.world.check().await?;
        }
        let accepted = self.world.checker.runs().count() > before;
        let again = command(&self.world, ask, asked, cancel).await;
        ensure!(!accepted || again.is_ok(), "P2: accepted, and refused when asked again: {again:?}");
        tolerate(again)?;
        self.world.check().await?;
        ensure!(self.world.checker.runs().count() <= before + 1, "P2: asked twice, done twice");
        Ok(())
    }

    fn cancel(&self, ask: &Ask) -> Option<RunId> {
        let Ask::Cancel(which) = ask else { return None };
        let open: Vec<_> = self.world.checker.open().map(|run| run.id).collect();
        open.get(*which as usize % open.len().max(1)).copied()
    }

    async fn story(&mut self) -> anyhow::Result<Story> {
        self.world.checker.finish(&self.world.daemon, &self.world.remote).await?;
        let mut ends = BTreeMap::new();
        for verdict in self.world.checker.runs().filter_map(|run| run.verdict()) {
            let end = verdict.reason.map_or(verdict.outcome.as_str(), |reason| reason.as_str());
            *ends.entry(end.to_owned()).or_default() += 1;
        }
        let mut digest = Sha256::new();
        let mut reader = self.world.daemon.engine.store().read().await?;
        for row in reader.db().transitions(0, i64::MAX).await? {
            digest.update(format!("{row:?}"));
        }
        Ok(Story { steps: self.steps, deaths: self.deaths, ends, digest: hex::encode(digest.finalize()) })
    }
}

async fn command(world: &World, ask: &Ask, asked: Asked, cancel: Option<RunId>) -> Result<(), Refusal> {
    let engine = &world.daemon.engine;
    let answer = match ask.clone() {
        Ask::AddServer(name) => {
            let policy = EditPolicy { repair_dpkg: Some(name != "alpha"), ..EditPolicy::default() };
            engine.add_server(asked, AddServer { policy, ..add_server(name) }).await
        }
        Ask::Install(server, package, name) => engine.install(asked, install(server, package, &name)).await,
        Ask::Operate(path, operation, version) => {
            engine.operate(asked, operate(&path, operation, &version.to_string())).await
        }
        Ask::Remove(path) => engine.remove(asked, path, Params::new(), Turn::default()).await,
        Ask::Retry(path) => engine.retry(asked, path, Turn::default()).await,
        Ask::Probe(path) => engine.probe_resource(asked, path).await,
        Ask::Cancel(_) => match cancel {
            Some(run) => engine.cancel(asked, run).await,
            None => return Ok(()),
        },
        Ask::PauseServer(server) => engine.pause_server(asked, server.to_owned()).await,
        Ask::ResumeServer(server) => engine.resume_server(asked, server.to_owned()).await,
        Ask::EditServer(server) => {
            engine.edit_server(asked, EditServer { server: server.to_owned(), ..EditServer::default() }).await
        }
        Ask::Windows(server, minute) => {
            let window = minute.map(|m| format!("daily 00:{m:02}-00:{:02}", m + 5));
            let windows = Some(window.into_iter().collect());
            let policy = EditPolicy { windows, ..EditPolicy::default() };
            let edit = EditServer { server: server.to_owned(), policy, ..EditServer::default() };
            engine.edit_server(asked, edit).await
        }
    };
    answer.map(drop)
}

/// What a client may be told in such a world. Anything else is a fault.
fn tolerate(answer: Result<(), Refusal>) -> anyhow::Result<()> {
    match answer {
        Ok(())
        | Err(
            Refusal::NotFound { .. }
            | Refusal::Exists { .. }
            | Refusal::NotNow { .. }
            | Refusal::Closed { .. }
            | Refusal::Invalid(_),
        ) => Ok(()),
        Err(other) => Err(other.into()),
    }
}
