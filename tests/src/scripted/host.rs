//! One server in memory: the step protocol's rules, and a witness of every payload that ran.
//!
//! Nothing moves by itself: each verb first brings the host to the present ([`Host::advance`]), then asks or changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use settled::domain::id::InstallationId;
use settled::domain::step::{Cause, Ended, StepId};
use settled::remote::{
    Claimed, Dpkg, Holder, Limits, News, ProbeAnswer, ProbeSpec, RemoteError, Report, Scene, StepSpec,
    StepStatus,
};

use self::tries::{Fate, Live, Stage, Try, rejected, report};
use super::{Bug, Play};

mod tries;
mod unrecorded;

/// A payload that ran. The witness tells it, not the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The server's address.
    pub host: String,
    /// The try.
    pub id: StepId,
    /// When it began, on the monotonic clock.
    pub began: Duration,
    /// When its last process was gone; `None` while it lives.
    pub gone: Option<Duration>,
    /// When an operator gave it up: from then on it may live beside others.
    pub given_up: Option<Duration>,
    /// Its true exit code, when it ended with one.
    pub code: Option<i32>,
    /// What it wrote.
    pub output: Vec<u8>,
    /// The epoch of the command that began it.
    pub epoch: u64,
    /// The highest epoch that had been claimed then.
    pub claimed: u64,
}

/// Another program that holds the dpkg lock, as process 4711.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) name: String,
    pub(super) since: Duration,
    pub(super) until: Duration,
}

/// A server.
#[derive(Default)]
pub struct Host {
    pub(super) address: String,
    pub(super) machine_id: String,
    pub(super) down: Vec<(Duration, Duration)>,
    pub(super) refuses: Option<String>,
    pub(super) dpkg: Option<Hold>,
    pub(super) interrupted: Option<String>,
    pub(super) bug: Option<Bug>,
    /// Another distribution and version than `debian 12`.
    pub(super) os: Option<(String, String)>,
    boots: u64,
    epoch: u64,
    installation: Option<InstallationId>,
    tries: BTreeMap<StepId, Try>,
    unrecorded: BTreeMap<StepId, Live>,
    envs: BTreeMap<StepId, Vec<(String, String)>>,
    reaped: BTreeSet<StepId>,
    cancelled_early: BTreeSet<StepId>,
    things: BTreeMap<String, String>,
    pub(super) probes_tell: String,
    witness: Vec<Execution>,
    /// Starts that are still on their way.
    late: Vec<StepSpec>,
}

impl Host {
    /// What it tells about itself.
    pub(super) fn facts(&self) -> BTreeMap<String, String> {
        let (os, version) = self.os.clone().unwrap_or_else(|| ("debian".to_owned(), "12".to_owned()));
        let facts = [("os", os), ("os_version", version), ("arch", "x86_64".to_owned())];
        facts.map(|(name, value)| (name.to_owned(), value)).into()
    }

    pub(super) fn new(address: &str, bug: Option<Bug>) -> Self {
        Self {
            address: address.to_owned(),
            machine_id: format!("machine-of-{address}"),
            boots: 1,
            bug,
            ..Self::default()
        }
    }

    pub(super) fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) const fn installation(&self) -> Option<InstallationId> {
        self.installation
    }

    /// The environment of every try that came, also after it was cleared away.
    pub(super) fn env_of(&self, id: StepId) -> &[(String, String)] {
        self.envs.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Everything that ran here.
    pub(super) fn witness(&self) -> &[Execution] {
        &self.witness
    }

    pub(super) fn has(&self, thing: &str) -> Option<&String> {
        self.things.get(thing)
    }

    pub(super) fn put(&mut self, thing: &str, version: &str) {
        self.things.insert(thing.to_owned(), version.to_owned());
    }

    pub(super) fn take(&mut self, thing: &str) {
        self.things.remove(thing);
    }

    /// Ends what has ended by now.
    pub(super) fn advance(&mut self, now: Duration) {
        let over: Vec<_> =
            self.lives().filter(|(_, live)| live.fate().gone <= now).map(|(id, _)| id).collect();
        for id in over {
            self.end(id, now, None);
        }
        self.end_unrecorded(now, false);
    }

    fn lives(&self) -> impl Iterator<Item = (StepId, &Live)> {
        self.tries.iter().filter_map(|(id, one)| match &one.stage {
            Stage::Live(live) => Some((*id, live)),
            _ => None,
        })
    }

    /// Ends a payload: by its fate, or now, without a record, because of `why`.
    fn end(&mut self, id: StepId, now: Duration, why: Option<&str>) {
        let Some(one) = self.tries.get_mut(&id) else { return };
        let Stage::Live(live) = &one.stage else { return };
        let mut fate = live.fate();
        if let Some(why) = why {
            fate = Fate { at: now, gone: now, ended: Ended::Lost { why: why.to_owned() }, done: false };
        }
        let witness = &mut self.witness[live.witness];
        let written = live.written(fate.at);
        witness.gone = Some(fate.gone);
        witness.output.clone_from(&written);
        if let Ended::Exited { code, .. } = fate.ended {
            witness.code = Some(code);
        }
        if self.bug == Some(Bug::SaysWell)
            && let Ended::Exited { code, cause } = &mut fate.ended
        {
            (*code, *cause) = (0, Cause::Itself);
        }
        if let Ended::Exited { .. } = fate.ended {
            one.result.clone_from(&live.play.result);
        }
        let (script, env) = (one.script.clone(), one.env.clone());
        one.stage = Stage::Over(fate.ended, written);
        if fate.done {
            self.effect(&script, &env);
        }
    }

    /// What the scripts of the test packages do: the word `put` or `take`. And the repair of an interrupted dpkg.
    fn effect(&mut self, script: &str, env: &[(String, String)]) {
        let value = |key: &str| env.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str());
        let thing = value("SETTLED_NAME").to_owned();
        if script.contains("dpkg") {
            self.interrupted = None;
        } else if script.contains("put") {
            self.things.insert(thing, value("P_VERSION").to_owned());
        } else if script.contains("take") {
            self.things.remove(&thing);
        }
    }

    /// What runs comes to its own end now.
    pub(super) fn release(&mut self, now: Duration) {
        for one in self.tries.values_mut() {
            if let Stage::Live(live) = &mut one.stage {
                live.play.takes = live.play.takes.min(now.saturating_sub(live.began));
            }
        }
        self.advance(now);
    }

    /// Power goes: what runs leaves no record.
    pub(super) fn reboot(&mut self, now: Duration) {
        self.advance(now);
        self.boots += 1;
        let live: Vec<_> = self.lives().map(|(id, _)| id).collect();
        for id in live {
            self.end(id, now, Some("reboot"));
        }
        self.end_unrecorded(now, true);
    }

    /// A payload of another store runs under this id.
    pub(super) fn plant(&mut self, id: StepId, now: Duration, play: Play) {
        let hour = Duration::from_secs(3_600);
        let spec = StepSpec {
            id,
            epoch: self.epoch,
            script: "the work of another store".to_owned(),
            env: Vec::new(),
            secrets: Vec::new(),
            dpkg: Dpkg::Unused,
            limits: Limits { timeout: hour, grace: hour, output_bytes_max: 1_024 },
        };
        self.launch(&spec, now, play);
    }

    /// The next time at which something shows here, after `now`.
    pub(super) fn next_event(&self, now: Duration) -> Option<Duration> {
        let of = |live: &Live| {
            let fate = live.fate();
            let writes = live.play.output.iter().map(|(after, _)| live.began + *after);
            writes.chain([fate.at, fate.gone]).collect::<Vec<_>>()
        };
        self.lives().flat_map(|(_, live)| of(live)).filter(|at| *at > now).min()
    }

    fn fence(&self, epoch: u64) -> Result<(), RemoteError> {
        let old = epoch < self.epoch && self.bug != Some(Bug::NoEpochCheck);
        if old { Err(RemoteError::Fenced { highest: self.epoch }) } else { Ok(()) }
    }

    pub(super) fn claim(&mut self, by: InstallationId, epoch: u64) -> Result<(), RemoteError> {
        if let Some(owner) = self.installation.filter(|owner| *owner != by) {
            return Err(RemoteError::Refused(format!("{} belongs to installation {owner}", self.address)));
        }
        self.fence(epoch)?;
        self.installation = Some(by);
        self.epoch = epoch;
        Ok(())
    }

    /// Claims it also from another installation.
    pub(super) fn take_over(&mut self, by: InstallationId, epoch: u64) -> Result<(), RemoteError> {
        if self.installation.is_some_and(|owner| owner != by) {
            self.fence(epoch.saturating_sub(1))?;
            self.installation = None;
        }
        self.claim(by, epoch)
    }

    pub(super) fn start(
        &mut self,
        spec: &StepSpec,
        now: Duration,
        play: impl FnOnce() -> Play,
    ) -> Result<Report, RemoteError> {
        self.fence(spec.epoch)?;
        let id = spec.id;
        if self.reaped.contains(&id) {
            return Ok(report(StepStatus::Reaped, 0));
        }
        if let Some(there) = self.tries.get(&id) {
            if (&there.script, &there.env, there.limits) != (&spec.script, &spec.env, spec.limits) {
                return Err(RemoteError::Conflict(id));
            }
            match &there.stage {
                Stage::Accepted(play) => {
                    let play = play.clone();
                    self.launch(spec, now, play);
                }
                _ if self.bug == Some(Bug::RunsTwice) => {
                    self.witness.push(Execution { gone: Some(now), ..self.execution(id, now) });
                }
                _ => {}
            }
            return Ok(self.report(id, now));
        }
        if self.cancelled_early.contains(&id) {
            self.keep(spec, rejected("cancelled-before-start"));
            return Ok(self.report(id, now));
        }
        let locked = |hold: &&Hold| spec.dpkg != Dpkg::Unused && now < hold.until;
        if let Some(hold) = self.dpkg.as_ref().filter(locked) {
            if self.bug == Some(Bug::CountsWaiting) {
                self.keep(spec, Stage::Over(Ended::Exited { code: 1, cause: Cause::Itself }, Vec::new()));
                return Ok(self.report(id, now));
            }
            let age = now.saturating_sub(hold.since);
            let holder = Holder { name: hold.name.clone(), pid: 4711, age };
            return Ok(report(StepStatus::Busy { holder }, 0));
        }
        if let Some(packages) = self.interrupted.clone().filter(|_| spec.dpkg == Dpkg::Needed) {
            return Ok(report(StepStatus::Interrupted { packages }, 0));
        }
        let play = play();
        if play.slow {
            self.keep(spec, Stage::Accepted(play));
        } else {
            self.launch(spec, now, play);
        }
        Ok(self.report(id, now))
    }

    /// This start arrives after the next claim, when nobody waits for its answer any more.
    pub(super) fn delay(&mut self, spec: StepSpec) {
        self.late.push(spec);
    }

    /// What was on its way arrives.
    pub(super) fn arrive(&mut self, now: Duration, mut play: impl FnMut(&StepSpec) -> Play) {
        for spec in std::mem::take(&mut self.late) {
            // Nobody hears the answer.
            drop(self.start(&spec, now, || play(&spec)));
        }
    }

    /// The host's own lock: one payload at a time.
    fn launch(&mut self, spec: &StepSpec, now: Duration, play: Play) {
        let other = self.lives().find(|(_, live)| live.began <= now).map(|(_, live)| live.fate().at <= now);
        if let Some(orphaned) = other.filter(|_| self.bug != Some(Bug::EndsEarly)) {
            return self.keep(spec, rejected(if orphaned { "lane-orphaned" } else { "lane-busy" }));
        }
        let witness = self.witness.len();
        self.witness.push(Execution { epoch: spec.epoch, ..self.execution(spec.id, now) });
        let limits = spec.limits;
        self.keep(spec, Stage::Live(Live { play, limits, began: now, cancelled: None, witness }));
        self.advance(now);
    }

    fn execution(&self, id: StepId, began: Duration) -> Execution {
        let host = self.address.clone();
        let (epoch, claimed) = (self.epoch, self.epoch);
        Execution {
            host,
            id,
            began,
            gone: None,
            given_up: None,
            code: None,
            output: Vec::new(),
            epoch,
            claimed,
        }
    }

    fn keep(&mut self, spec: &StepSpec, stage: Stage) {
        let (script, env) = (spec.script.clone(), spec.env.clone());
        let limits = spec.limits;
        let one = Try { script, env, limits, boot: self.boot_id(), result: Vec::new(), stage };
        self.envs.insert(spec.id, spec.env.clone());
        self.tries.insert(spec.id, one);
    }

    pub(super) fn report(&self, id: StepId, now: Duration) -> Report {
        let Some(one) = self.tries.get(&id) else {
            if self.reaped.contains(&id) {
                return report(StepStatus::Reaped, 0);
            }
            if !self.unrecorded.contains_key(&id) {
                return report(StepStatus::Absent, 0);
            }
            return Report { processes: vec!["4711 payload".to_owned()], ..report(StepStatus::Orphaned, 0) };
        };
        match &one.stage {
            Stage::Accepted(..) => report(StepStatus::Accepted, 0),
            Stage::Over(Ended::Lost { .. }, _) if self.bug == Some(Bug::DeniesTheLost) => {
                report(StepStatus::Ended(Ended::Rejected { why: "lane-busy".to_owned() }), 0)
            }
            Stage::Over(ended, output) => {
                let lost = matches!(ended, Ended::Lost { .. });
                let scene = lost.then(|| self.scene(one));
                let result = one.result.clone();
                Report { scene, result, ..report(StepStatus::Ended(ended.clone()), output.len()) }
            }
            Stage::Live(live) => {
                let early = live.began + live.play.takes / 2;
                let status = if self.bug == Some(Bug::EndsEarly) && early <= now {
                    StepStatus::Ended(Ended::Exited { code: 0, cause: Cause::Itself })
                } else if live.fate().at <= now {
                    StepStatus::Orphaned
                } else {
                    StepStatus::Running
                };
                let processes = match status {
                    StepStatus::Orphaned => vec!["4711 payload".to_owned()],
                    _ => Vec::new(),
                };
                let truncated = live.truncated();
                Report { truncated, processes, ..report(status, live.written(now).len()) }
            }
        }
    }

    fn scene(&self, one: &Try) -> Scene {
        Scene {
            boot_before: one.boot.clone(),
            boot_now: self.boot_id(),
            lane_free: self.lives().next().is_none(),
        }
    }

    pub(super) fn attach(&self, id: StepId, offset: u64, now: Duration) -> News {
        let written = match self.tries.get(&id).map(|one| &one.stage) {
            Some(Stage::Live(live)) => live.written(now),
            Some(Stage::Over(_, output)) => output.clone(),
            _ => Vec::new(),
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(written.len());
        News { report: self.report(id, now), output: written[from..].to_vec() }
    }

    pub(super) fn cancel(&mut self, id: StepId, epoch: u64, now: Duration) -> Result<Report, RemoteError> {
        self.fence(epoch)?;
        match self.tries.get_mut(&id).map(|one| &mut one.stage) {
            None if !self.reaped.contains(&id) => drop(self.cancelled_early.insert(id)),
            Some(stage @ Stage::Accepted(..)) => *stage = rejected("cancelled-before-start"),
            Some(Stage::Live(live)) => drop(live.cancelled.get_or_insert(now)),
            _ => {}
        }
        self.advance(now);
        Ok(self.report(id, now))
    }

    /// Given up by an operator: its lane is free, whatever lives on.
    pub(super) fn abandon(&mut self, id: StepId, epoch: u64, now: Duration) -> Result<Report, RemoteError> {
        self.fence(epoch)?;
        self.give_up_unrecorded(id, now);
        let orphaned = self.report(id, now).status == StepStatus::Orphaned;
        if orphaned && let Some(one) = self.tries.get_mut(&id) {
            if let Stage::Live(live) = &one.stage {
                self.witness[live.witness].given_up = Some(now);
            }
            one.stage = Stage::Over(Ended::Lost { why: "forced".to_owned() }, Vec::new());
        }
        Ok(self.report(id, now))
    }

    pub(super) fn reap(&mut self, id: StepId, epoch: u64) -> Result<(), RemoteError> {
        self.fence(epoch)?;
        if let Some(Stage::Live(_)) = self.tries.get(&id).map(|one| &one.stage) {
            return Err(RemoteError::Protocol(format!("{id} has not ended")));
        }
        self.tries.remove(&id);
        self.reaped.insert(id);
        Ok(())
    }

    /// Forgets tombstones.
    pub(super) fn gc(&mut self, epoch: u64, forget: &[StepId]) -> Result<(), RemoteError> {
        self.fence(epoch)?;
        self.reaped.retain(|id| !forget.contains(id));
        self.cancelled_early.retain(|id| !forget.contains(id));
        Ok(())
    }

    pub(super) fn bury(&mut self, id: StepId) {
        self.reaped.insert(id);
    }

    pub(super) fn tombstones(&self) -> Vec<StepId> {
        self.reaped.union(&self.cancelled_early).copied().collect()
    }

    pub(super) fn claimed(&self, now: Duration) -> Claimed {
        Claimed { steps: self.list(now), tombstones: self.tombstones() }
    }

    pub(super) fn list(&self, now: Duration) -> Vec<(StepId, Report)> {
        self.tries.keys().map(|id| (*id, self.report(*id, now))).collect()
    }

    /// Every probe of the test packages tells state and version of the thing that its resource is named after.
    pub(super) fn probe(&self, spec: &ProbeSpec) -> ProbeAnswer {
        let name = spec.env.iter().find(|(key, _)| key == "SETTLED_NAME").map_or("", |(_, value)| value);
        let output = match self.things.get(name) {
            Some(version) => format!("state=present\nfact.version={version}\n"),
            None => "state=absent\n".to_owned(),
        };
        let told = self.probes_tell.clone().into_bytes();
        ProbeAnswer { exit_code: 0, output: output.into_bytes(), told }
    }
}
