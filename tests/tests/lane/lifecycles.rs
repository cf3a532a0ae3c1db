//! Lifecycles on a clock moved by hand: what is due, what waits, what fails, and what a dead daemon leaves.

mod crash;
mod examples;
mod keeper;
mod limits;
mod stages;
mod versions;
mod workers;

use std::collections::BTreeMap;
use std::time::Duration;

use settled::clock::Clock as _;
use settled::domain::enrollment::{Enrollment, Status, TaskId, Work};
use settled::domain::id::RunId;
use settled::engine::{Answer, ApplyLifecycle, Change, Done, Enroll, Lease, Refusal, Taker};
use settled::lifecycles::Keeper;
use settled::store::lifecycles::ExecutionFilter;
use settled::store::rows::ExecutionRow;
use settled_tests::sim::World;

use super::{seconds, world};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A world with a keeper.
struct House {
    w: World,
    code: &'static str,
}

async fn house(servers: &[&str]) -> House {
    House { w: world(servers).await, code: "c" }
}

impl House {
    async fn apply(&mut self, source: &str) {
        self.apply_mapped(source, &[]).await.unwrap();
    }

    async fn apply_mapped(&mut self, source: &str, mapping: &[(&str, &str)]) -> Result<Vec<String>, Refusal> {
        let mapping = mapping.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
        let ask = ApplyLifecycle {
            source: source.to_owned(),
            mapping: mapping.collect(),
            secrets: BTreeMap::new(),
            dry: false,
        };
        let asked = self.w.asked("Lifecycles.Apply");
        Ok(self.w.daemon.engine.apply_lifecycle(asked, ask).await?.ids)
    }

    async fn enroll_as(&mut self, ask: Enroll) -> Result<String, Refusal> {
        let asked = self.w.asked("Lifecycles.Enroll");
        Ok(self.w.daemon.engine.enroll(asked, ask).await?.ids.remove(0))
    }

    async fn enroll(&mut self, subject: &str) -> String {
        self.enroll_as(enroll(subject)).await.unwrap()
    }

    async fn change(&mut self, subject: &str, change: Change) -> Result<(), Refusal> {
        let asked = self.w.asked("Lifecycles.Change");
        let named = format!("{}/{subject}", self.code);
        self.w.daemon.engine.change_enrollment(asked, named, change).await.map(drop)
    }

    async fn run_all(&mut self, code: &str) -> Result<Vec<String>, Refusal> {
        let asked = self.w.asked("Lifecycles.Run");
        Ok(self.w.daemon.engine.run_lifecycles(asked, code.to_owned()).await?.ids)
    }

    async fn enrollment(&self, subject: &str) -> Enrollment {
        let engine = &self.w.daemon.engine;
        let mut reader = engine.store().read().await.unwrap();
        engine.find_enrollment(&mut reader.db(), &format!("{}/{subject}", self.code)).await.unwrap()
    }

    async fn status(&self, subject: &str) -> Status {
        self.enrollment(subject).await.status()
    }

    /// The run that goes on for a subject.
    async fn run_of(&self, subject: &str) -> RunId {
        self.enrollment(subject).await.work().and_then(Work::run).expect("a run goes on")
    }

    /// The log, oldest first, as `stage attempt outcome`.
    async fn log(&self) -> Vec<String> {
        let line = |row: &ExecutionRow| format!("{} {} {}", row.stage, row.attempt, row.outcome);
        self.executions().await.iter().map(line).collect()
    }

    async fn executions(&self) -> Vec<ExecutionRow> {
        let mut reader = self.w.daemon.engine.store().read().await.unwrap();
        let mut rows = reader.db().executions(&ExecutionFilter::default(), None, 1_000).await.unwrap();
        rows.reverse();
        rows
    }

    /// The keeper looks until it wants to wait; answers until when.
    async fn look(&self) -> Duration {
        let engine = &self.w.daemon.engine;
        let lease = Lease::new(seconds(300), self.w.clock.clone());
        engine.renew_lease(&lease, true).await.unwrap();
        let mut keeper = Keeper::new(engine.clone(), lease, false, || false);
        for _ in 0..100 {
            let next = keeper.step().await;
            if next > self.w.clock.monotonic() {
                return next;
            }
        }
        panic!("the keeper spins");
    }

    /// Everybody works until no run is open any more and nothing is due, at most for a minute.
    async fn works(&mut self) {
        for _ in 0..60 {
            let next = self.look().await;
            if next > self.w.clock.monotonic() + seconds(1) && self.open_runs().await == 0 {
                return;
            }
            self.w.go(seconds(1)).await.unwrap();
        }
        self.look().await;
    }

    async fn open_runs(&self) -> i64 {
        self.w.daemon.engine.store().read().await.unwrap().db().open_runs().await.unwrap()
    }

    /// Nobody does anything for so long, then everybody.
    async fn after(&mut self, span: Duration) {
        let at = self.w.clock.monotonic() + span;
        self.w.move_to(at);
        self.works().await;
    }

    /// So much time passes, and the keeper looks.
    async fn passes(&mut self, span: Duration) {
        let at = self.w.clock.monotonic() + span;
        self.w.move_to(at);
        self.look().await;
    }

    /// Takes the only task of a queue.
    async fn take(&self, queue: &str) -> Option<TaskId> {
        let engine = &self.w.daemon.engine;
        let now = engine.clock().now();
        let offers = engine.store().read().await.unwrap().db().offers(queue, now, 10).await.unwrap();
        let offer = offers.into_iter().next()?;
        let [queue, worker, principal, peer] = [queue, "worker-1", "unix:0", "test"].map(str::to_owned);
        engine.take_task(offer, Taker { queue, worker, principal, peer }).await.unwrap().map(|task| task.id)
    }

    async fn done(&mut self, task: TaskId, done: Done) -> Result<Answer, Refusal> {
        let asked = self.w.asked("Lifecycles.Complete");
        self.w.daemon.engine.end_task(asked, task, done).await
    }
}

fn enroll(subject: &str) -> Enroll {
    Enroll {
        lifecycle: "c".to_owned(),
        subject: subject.to_owned(),
        payload: String::new(),
        at: None,
        again: false,
        cancel: false,
    }
}

/// A lifecycle with these lines on top and these stages: name, and lines of the stage.
fn lifecycle(top: &str, stages: &[(&str, &str)]) -> String {
    let stages: Vec<_> =
        stages.iter().map(|(name, lines)| format!("[[stages]]\nname = \"{name}\"\n{lines}\n")).collect();
    format!("code = \"c\"\nname = \"C\"\n{top}\n{}", stages.concat())
}

const THING: &str = "action = { operation = \"install\", package = \"thing\", name = \"one\" }";
const ASK: &str = "action = { approval = \"Well?\" }";
const WORK: &str = "action = { work = \"q\", lease = \"1m\" }";

fn approve() -> Change {
    Change::Decide { approve: true, note: String::new() }
}

fn payload_of(text: &str) -> BTreeMap<String, serde_json::Value> {
    serde_json::from_str(text).unwrap()
}
