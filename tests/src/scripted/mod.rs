//! The scripted [`Remote`]: servers in memory that keep the step protocol's promises, and faults on request.
//!
//! It never sleeps. Time is the clock's, and what a payload does is decided before it runs ([`Play`]), so a test, or a seed of the
//! simulator, repeats exactly. The witness ([`Scripted::witness`]) tells what really ran, for P3 and P5.

mod host;
mod play;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use settled::clock::Clock;
use settled::domain::id::{InstallationId, ServerId};
use settled::domain::step::StepId;
use settled::remote::{
    Claimed, Hello, News, ProbeAnswer, ProbeSpec, Remote, RemoteError, Report, StepSpec, StepStatus, Target,
};
use tokio::sync::Notify;

use host::Hold;
pub use host::{Execution, Host};
pub use play::{End, Play};

/// What a server does wrong, to see whether the checker notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A start that is sent again runs the payload again.
    RunsTwice,
    /// It says that a payload has ended well while half of it is still to come, and does not lock its lane.
    EndsEarly,
    /// It says that every payload ended with 0.
    SaysWell,
    /// It does what commands of an old epoch say.
    NoEpochCheck,
    /// It says of a payload that left no record that it never ran, so that it is run again.
    DeniesTheLost,
    /// It says of a payload that another program keeps from starting that it has failed.
    CountsWaiting,
}

/// What happens to a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Luck {
    /// It takes effect and is answered.
    Answered,
    /// It takes effect, and the answer is lost.
    Lost,
    /// It takes effect, and the asker never hears of it again. For the simulator, which then kills the asker.
    Hangs,
    /// It takes effect, and is answered with something that nobody understands.
    Garbled,
    /// The asker panics before anything was sent.
    PanicsBefore,
    /// It takes effect, and the asker panics over the answer.
    PanicsAfter,
}

/// What `attach` does when there is nothing to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It awaits the clock, as a real server would.
    Waits,
    /// It answers at once; [`Scripted::quiet_until`] tells the simulator when to ask again.
    AnswersAtOnce,
}

type Decide = Box<dyn FnMut(&str, &StepSpec) -> Play + Send>;
type Strays = Box<dyn FnMut(&str, &StepSpec) -> bool + Send>;
type Toss = Box<dyn FnMut(&str, &'static str) -> Luck + Send>;

struct World {
    hosts: BTreeMap<String, Host>,
    decide: Decide,
    toss: Toss,
    strays: Strays,
    quiet: BTreeMap<ServerId, Duration>,
    held: Option<&'static str>,
    verbs: u64,
    bug: Option<Bug>,
}

/// Servers in memory.
pub struct Scripted {
    clock: Arc<dyn Clock>,
    patience: Patience,
    hung: Notify,
    released: Notify,
    holding: Notify,
    let_go: Notify,
    world: Mutex<World>,
}

impl Scripted {
    /// Servers on which every payload ends well at once.
    pub fn new(clock: Arc<dyn Clock>, patience: Patience) -> Self {
        let world = World {
            hosts: BTreeMap::new(),
            decide: Box::new(|_, _| Play::exit(0)),
            toss: Box::new(|_, _| Luck::Answered),
            strays: Box::new(|_, _| false),
            quiet: BTreeMap::new(),
            held: None,
            verbs: 0,
            bug: None,
        };
        Self {
            clock,
            patience,
            hung: Notify::new(),
            released: Notify::new(),
            holding: Notify::new(),
            let_go: Notify::new(),
            world: Mutex::new(world),
        }
    }

    /// From now on this tells how a payload goes: it is given the server's address and the step.
    pub fn decide(&self, decide: impl FnMut(&str, &StepSpec) -> Play + Send + 'static) {
        self.world().decide = Box::new(decide);
    }

    /// The payloads of the resource `name` go so, one after the other; the last is repeated. All others end well at once.
    pub fn script(&self, name: &str, plays: impl IntoIterator<Item = Play>) {
        let (name, mut plays) = (name.to_owned(), plays.into_iter().collect::<VecDeque<_>>());
        let mut before = std::mem::replace(&mut self.world().decide, Box::new(|_, _| Play::exit(0)));
        self.decide(move |address, spec| {
            if !spec.env.iter().any(|(key, value)| key == "SETTLED_NAME" && *value == name) {
                return before(address, spec);
            }
            let next = if plays.len() > 1 { plays.pop_front() } else { plays.front().cloned() };
            next.unwrap_or_else(|| Play::exit(0))
        });
    }

    /// From now on this tells what happens to a verb: it is given the server's address and the verb's name.
    pub fn toss(&self, toss: impl FnMut(&str, &'static str) -> Luck + Send + 'static) {
        self.world().toss = Box::new(toss);
    }

    /// From now on this tells which starts go astray: the asker never hears of them again, and they arrive after the next claim.
    pub fn lead_astray(&self, strays: impl FnMut(&str, &StepSpec) -> bool + Send + 'static) {
        self.world().strays = Box::new(strays);
    }

    /// Whether this start goes astray.
    fn is_astray(&self, target: &Target, spec: &StepSpec) -> bool {
        let astray = (self.world().strays)(&target.host, spec);
        if astray {
            self.on(&target.host, |host| host.delay(spec.clone()));
        }
        astray
    }

    /// The next `verb` happens so; all others are answered.
    pub fn once(&self, verb: &'static str, luck: Luck) {
        let mut used = false;
        self.toss(move |_, asked| {
            let now = asked == verb && !used;
            used |= now;
            if now { luck } else { Luck::Answered }
        });
    }

    /// From now on this verb takes as long as it is held.
    pub fn hold(&self, verb: &'static str) {
        self.world().held = Some(verb);
    }

    /// What is held goes on.
    pub fn let_go(&self) {
        self.world().held = None;
        self.let_go.notify_waiters();
    }

    /// Rings when a verb is held.
    pub async fn holding(&self) {
        self.holding.notified().await;
    }

    async fn while_held(&self, verb: &'static str) {
        loop {
            let free = self.let_go.notified();
            if self.world().held != Some(verb) {
                return;
            }
            self.holding.notify_one();
            free.await;
        }
    }

    /// All servers have this fault.
    pub fn break_all(&self, bug: Bug) {
        let mut world = self.world();
        world.bug = Some(bug);
        world.hosts.values_mut().for_each(|host| host.bug = Some(bug));
    }

    /// The server cannot be reached for a while from now on.
    pub fn cut(&self, address: &str, span: Duration) {
        let now = self.clock.monotonic();
        self.on(address, |host| host.down.push((now, now + span)));
    }

    /// The server refuses, or accepts again.
    pub fn refuse(&self, address: &str, why: Option<&str>) {
        self.on(address, |host| host.refuses = why.map(str::to_owned));
    }

    /// Another program of this name, process 4711, holds the dpkg lock for a while from now on.
    pub fn hold_dpkg(&self, address: &str, name: &str, span: Duration) {
        let since = self.clock.monotonic();
        let hold = Hold { name: name.to_owned(), since, until: since + span };
        self.on(address, |host| host.dpkg = Some(hold));
    }

    /// An interrupted dpkg has left these packages half done, or somebody has mended them.
    pub fn interrupt_dpkg(&self, address: &str, packages: Option<&str>) {
        self.on(address, |host| host.interrupted = packages.map(str::to_owned));
    }

    /// Power goes and comes back.
    pub fn reboot(&self, address: &str) {
        let now = self.clock.monotonic();
        self.on(address, |host| host.reboot(now));
    }

    /// The server loses its state directory: what runs there goes on without a record.
    pub fn lose_state(&self, address: &str) {
        self.on(address, Host::lose_state);
    }

    /// The payload that runs on the server comes to its own end now, as after [`Play::held`].
    pub fn release(&self, address: &str) {
        let now = self.clock.monotonic();
        self.on(address, |host| host.release(now));
        self.released.notify_waiters();
    }

    /// The server says that it is this machine.
    pub fn set_machine(&self, address: &str, machine_id: &str) {
        self.on(address, |host| machine_id.clone_into(&mut host.machine_id));
    }

    /// The server is another distribution from now on, `debian 12` by default.
    pub fn turn_into(&self, address: &str, os: &str, version: &str) {
        self.on(address, |host| host.os = Some((os.to_owned(), version.to_owned())));
    }

    /// The version of a thing on a server, as it really is.
    pub fn thing(&self, address: &str, name: &str) -> Option<String> {
        self.on(address, |host| host.has(name).cloned())
    }

    /// Puts a thing on a server behind everyone's back.
    pub fn put(&self, address: &str, name: &str, version: &str) {
        self.on(address, |host| host.put(name, version));
    }

    /// What every probe there writes to `SETTLED_OUTPUT` from now on.
    pub fn probes_tell(&self, address: &str, text: &str) {
        self.on(address, |host| text.clone_into(&mut host.probes_tell));
    }

    /// Takes a thing off a server behind everyone's back.
    pub fn take(&self, address: &str, name: &str) {
        self.on(address, |host| host.take(name));
    }

    /// Another store has used the same id: the server has this try with other content, and its payload runs.
    pub fn plant(&self, address: &str, id: StepId, play: Play) {
        let now = self.clock.monotonic();
        self.on(address, |host| host.plant(id, now, play));
    }

    /// Somebody with the same installation id, for instance a copy of the store, has claimed the server in this epoch.
    pub fn claim_behind(&self, address: &str, by: InstallationId, epoch: u64) {
        self.on(address, |host| drop(host.claim(by, epoch)));
    }

    /// The server remembers that it has cleared this try away.
    pub fn bury(&self, address: &str, id: StepId) {
        self.on(address, |host| host.bury(id));
    }

    /// The tries that the server remembers to have cleared away, or cancelled before they came.
    pub fn tombstones(&self, address: &str) -> Vec<StepId> {
        self.on(address, |host| host.tombstones())
    }

    /// The environment with which a try was sent.
    pub fn env_of(&self, address: &str, id: StepId) -> Vec<(String, String)> {
        self.on(address, |host| host.env_of(id).to_vec())
    }

    /// Every payload that ran, by server.
    pub fn witness(&self) -> Vec<Execution> {
        let now = self.clock.monotonic();
        let mut world = self.world();
        world.hosts.values_mut().for_each(|host| host.advance(now));
        world.hosts.values().flat_map(|host| host.witness().to_vec()).collect()
    }

    /// Verbs asked so far.
    pub fn verbs(&self) -> u64 {
        self.world().verbs
    }

    /// When the last verb on this server was an `attach` with nothing to report: when there may be news.
    pub fn quiet_until(&self, server: ServerId) -> Option<Duration> {
        self.world().quiet.get(&server).copied()
    }

    /// Rings when a verb hangs.
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on<T>(&self, address: &str, act: impl FnOnce(&mut Host) -> T) -> T {
        let now = self.clock.monotonic();
        let mut world = self.world();
        let bug = world.bug;
        let host = world.hosts.entry(address.to_owned()).or_insert_with(|| Host::new(address, bug));
        host.advance(now);
        act(host)
    }

    /// Asks a server: reaches it or not, does the verb, and delivers the answer or loses it.
    async fn ask<T>(
        &self,
        target: &Target,
        verb: &'static str,
        act: impl FnOnce(&mut Host, Duration, &mut Decide) -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        self.while_held(verb).await;
        let (answer, luck) = {
            let now = self.clock.monotonic();
            let mut world = self.world();
            let world = &mut *world;
            world.verbs += 1;
            world.quiet.remove(&target.server);
            let bug = world.bug;
            let host = world.hosts.entry(target.host.clone()).or_insert_with(|| Host::new(&target.host, bug));
            host.advance(now);
            if host.down.iter().any(|(from, to)| *from <= now && now < *to) {
                return Err(RemoteError::Unreachable(format!("{}: connection timed out", target.host)));
            }
            if let Some(why) = &host.refuses {
                return Err(RemoteError::Refused(why.clone()));
            }
            let luck = (world.toss)(&target.host, verb);
            assert_ne!(luck, Luck::PanicsBefore, "{verb} was to panic before it was sent");
            (act(host, now, &mut world.decide), luck)
        };
        assert_ne!(luck, Luck::PanicsAfter, "{verb} was to panic over its answer");
        match luck {
            Luck::Answered | Luck::PanicsBefore | Luck::PanicsAfter => answer,
            Luck::Garbled => Err(RemoteError::Protocol(format!("{}: not a line of ours", target.host))),
            Luck::Lost => Err(RemoteError::Unreachable(format!("{}: connection reset", target.host))),
            Luck::Hangs => {
                self.hung.notify_one();
                std::future::pending().await
            }
        }
    }
}

#[async_trait]
impl Remote for Scripted {
    async fn hello(&self, target: &Target) -> Result<Hello, RemoteError> {
        self.ask(target, "hello", |host, _, _| {
            Ok(Hello {
                machine_id: host.machine_id.clone(),
                boot_id: host.boot_id(),
                epoch: host.epoch(),
                installation: host.installation().map(|id| id.to_string()),
                facts: host.facts(),
            })
        })
        .await
    }

    async fn claim(&self, target: &Target, by: InstallationId, epoch: u64) -> Result<Claimed, RemoteError> {
        self.ask(target, "claim", |host, now, decide| {
            let claimed = host.claim(by, epoch).map(|()| host.claimed(now));
            host.arrive(now, |spec| decide(&target.host, spec));
            claimed
        })
        .await
    }

    async fn take_over(
        &self,
        target: &Target,
        by: InstallationId,
        epoch: u64,
    ) -> Result<Claimed, RemoteError> {
        let claim = |host: &mut Host, now, _: &mut Decide| {
            host.take_over(by, epoch)?;
            Ok(host.claimed(now))
        };
        self.ask(target, "take_over", claim).await
    }

    async fn list(&self, target: &Target) -> Result<Vec<(StepId, Report)>, RemoteError> {
        self.ask(target, "list", |host, now, _| Ok(host.list(now))).await
    }

    async fn start(&self, target: &Target, spec: &StepSpec) -> Result<Report, RemoteError> {
        if self.is_astray(target, spec) {
            self.hung.notify_one();
            return std::future::pending().await;
        }
        self.ask(target, "start", |host, now, decide| host.start(spec, now, || decide(&target.host, spec)))
            .await
    }

    async fn attach(
        &self,
        target: &Target,
        id: StepId,
        offset: u64,
        wait: Duration,
    ) -> Result<News, RemoteError> {
        let until = self.clock.monotonic() + wait;
        loop {
            let released = self.released.notified();
            let look = |host: &mut Host, now, _: &mut Decide| {
                Ok((host.attach(id, offset, now), host.next_event(now)))
            };
            let (news, next) = self.ask(target, "attach", look).await?;
            let now = self.clock.monotonic();
            if news.report.status != StepStatus::Running || !news.output.is_empty() || until <= now {
                return Ok(news);
            }
            let again = next.unwrap_or(until).min(until);
            if self.patience == Patience::AnswersAtOnce {
                self.world().quiet.insert(target.server, again);
                return Ok(news);
            }
            tokio::select! {
                biased;
                () = self.clock.sleep_until(again) => {}
                () = released => {}
            }
        }
    }

    async fn cancel(&self, target: &Target, id: StepId, epoch: u64) -> Result<Report, RemoteError> {
        self.ask(target, "cancel", |host, now, _| host.cancel(id, epoch, now)).await
    }

    async fn abandon(&self, target: &Target, id: StepId, epoch: u64) -> Result<Report, RemoteError> {
        self.ask(target, "abandon", |host, now, _| host.abandon(id, epoch, now)).await
    }

    async fn reap(&self, target: &Target, id: StepId, epoch: u64) -> Result<(), RemoteError> {
        self.ask(target, "reap", |host, _, _| host.reap(id, epoch)).await
    }

    async fn gc(&self, target: &Target, epoch: u64, forget: &[StepId]) -> Result<(), RemoteError> {
        self.ask(target, "gc", |host, _, _| host.gc(epoch, forget)).await
    }

    async fn probe(&self, target: &Target, spec: &ProbeSpec) -> Result<ProbeAnswer, RemoteError> {
        self.ask(target, "probe", |host, _, _| Ok(host.probe(spec))).await
    }

    async fn forget(&self, _: ServerId) {}
}
