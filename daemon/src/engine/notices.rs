//! Notifiers: made, tried out, taken away; and what they are told: taken to be sent, and what came of it.
//!
//! What is told is written by the store with the change that it tells of; only what time brings, a run that falls silent, is told from here.

mod sending;

use std::collections::BTreeMap;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use sending::{Letter, Outcome, Posted};

use super::{Answer, Asked, Engine, Refusal, valid};
use crate::catalog::{NoEndpoint, check_endpoint};
use crate::domain::id::RunId;
use crate::domain::notice::{self, Notice, Wanted, is_address};
use crate::store::rows::{DeliveryRow, NotifierRow};
use crate::store::{Command, StoreError, Unit, Wants};

/// Notifiers at most: each has senders of its own.
pub const NOTIFIERS_MAX: usize = 64;
/// Recipients of one notifier at most.
const RECIPIENTS_MAX: usize = 32;
/// Packages that one notifier may name.
const PACKAGES_MAX: usize = 64;
/// Smallest and largest secret, in bytes: shorter ones can be guessed.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=4_096;
/// Under which name the secret of a notifier is kept.
const SECRET: &str = "secret";
/// What a notifier is, stored.
const WEBHOOK: &str = "webhook";
/// The other kind.
const EMAIL: &str = "email";

/// What a notifier is to be.
#[derive(Debug)]
pub struct NewNotifier {
    /// Its name.
    pub name: String,
    /// How it is told.
    pub way: Way,
    /// Of what. Without events: of all that went wrong.
    pub wanted: Wanted,
}

/// How a notifier is told.
#[derive(Debug)]
pub enum Way {
    /// By a signed POST.
    Webhook {
        /// Where to.
        url: String,
        /// Also over HTTP to another host.
        plain: bool,
        /// What it is signed with.
        secret: Zeroizing<Vec<u8>>,
    },
    /// By e-mail.
    Email {
        /// To whom.
        recipients: Vec<String>,
    },
}

impl NewNotifier {
    /// Refuses what is not as it must be, by its field.
    pub fn check(&self) -> Result<(), Refusal> {
        let mut problems = valid::Problems::default();
        problems.check("name", valid::resource_name(&self.name));
        problems.check("labels", valid::labels(&self.wanted.labels));
        if self.wanted.packages.len() > PACKAGES_MAX {
            problems.add("packages", format!("must be at most {PACKAGES_MAX}"));
        }
        for package in &self.wanted.packages {
            problems.check(
                "packages",
                valid::resource_name(package).map_err(|why| format!("`{}` {why}", package.escape_debug())),
            );
        }
        if let Some(event) = self.wanted.never_told() {
            problems.add(
                "events",
                format!("`{event}` is of servers, of which nothing is told with packages: make a notifier of its own for it"),
            );
        }
        match &self.way {
            Way::Webhook { url, plain, secret } => {
                problems.check("url", endpoint(url, *plain));
                if !SECRET_BYTES.contains(&secret.len()) {
                    let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
                    problems.add(
                        "secret",
                        format!("must have {least} to {most} bytes: what is sent is signed with it"),
                    );
                }
            }
            Way::Email { recipients } => problems.check("recipients", addresses(recipients)),
        }
        problems.into_result()
    }

    /// As it is stored, without its secret.
    fn row(&self, id: String, principal: &str, now: i64) -> NotifierRow {
        let (kind, url, recipients) = match &self.way {
            Way::Webhook { url, .. } => (WEBHOOK, url.clone(), &[][..]),
            Way::Email { recipients } => (EMAIL, String::new(), &recipients[..]),
        };
        let wanted = self.wanted.clone().or_trouble();
        let row = NotifierRow {
            id,
            name: self.name.clone(),
            kind: kind.to_owned(),
            url,
            recipients: String::new(),
            events: String::new(),
            labels: String::new(),
            packages: String::new(),
            principal: principal.to_owned(),
            created_at: now,
        };
        row.wanting(&wanted).to(recipients)
    }
}

fn endpoint(url: &str, plain: bool) -> Result<(), String> {
    check_endpoint(url, plain).map_err(|bad| match bad {
        NoEndpoint::Form => bad.to_string(),
        NoEndpoint::Plain => format!("{bad}, so say plainly that you want that"),
    })
}

fn addresses(recipients: &[String]) -> Result<(), String> {
    if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
        return Err(format!("must be 1 to {RECIPIENTS_MAX} addresses"));
    }
    match recipients.iter().find(|address| !is_address(address)) {
        Some(bad) => Err(format!("`{}` is no address like ops@example.org", bad.escape_debug())),
        None => Ok(()),
    }
}

struct CreateNotifier {
    engine: Engine,
    asked: Asked,
    notifier: NewNotifier,
}

#[async_trait]
impl Command for CreateNotifier {
    type Answer = NotifierRow;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<NotifierRow, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return notifier_of(answer);
        }
        for package in &self.notifier.wanted.packages {
            self.engine.package_of("packages", package)?;
        }
        let others = unit.db().await?.notifiers().await?;
        if let Some(other) = others.iter().find(|other| other.name == self.notifier.name) {
            return Err(exists(other));
        }
        if others.len() >= NOTIFIERS_MAX {
            return Err(Refusal::Full(format!(
                "there are {NOTIFIERS_MAX} notifiers already: take one away first (settlectl notifier list)"
            )));
        }
        let id = self.engine.clock().ulid().to_string();
        let row = self.notifier.row(id, &self.asked.principal, unit.now().0);
        unit.insert_notifier(&row).await?;
        if let Way::Webhook { secret, .. } = &self.notifier.way {
            let given = BTreeMap::from([(SECRET.to_owned(), secret.to_vec())]);
            self.engine.put_secrets(unit, &row.id, &given).await?;
        }
        let answer = Answer { notifier: Some(Box::new(row.clone())), ..Answer::default() };
        self.asked.keep_with(unit, &answer, object(&row.name), told(&row)).await?;
        Ok(row)
    }
}

/// What the audit calls a notifier.
fn object(name: &str) -> String {
    format!("notifier:{name}")
}

/// What the audit tells of one: not its URL, which may be a secret itself.
fn told(row: &NotifierRow) -> String {
    let words = |json: &str| json.trim_matches(['[', ']', '{', '}']).replace('"', "");
    let mut told = format!("{}; events {}", row.kind, words(&row.events));
    for (what, json) in [("to", &row.recipients), ("labels", &row.labels), ("packages", &row.packages)] {
        if !words(json).is_empty() {
            told = format!("{told}; {what} {}", words(json));
        }
    }
    told
}

fn exists(other: &NotifierRow) -> Refusal {
    Refusal::Exists {
        what: "notifier",
        id: other.id.clone(),
        message: format!(
            "there is a notifier `{0}` already: give this one another name, or take that one away first (settlectl notifier delete {0})",
            other.name
        ),
    }
}

fn notifier_of(answer: Answer) -> Result<NotifierRow, Refusal> {
    let row = answer.notifier.map(|row| *row);
    row.ok_or_else(|| Refusal::Internal("the answer kept for this request id has no notifier".to_owned()))
}

async fn found(unit: &mut Unit<'_>, named: &str) -> Result<NotifierRow, Refusal> {
    let row = unit.db().await?.notifier(named).await?;
    row.ok_or_else(|| Refusal::NotFound { what: "notifier", name: named.to_owned() })
}

struct DeleteNotifier {
    asked: Asked,
    notifier: String,
}

#[async_trait]
impl Command for DeleteNotifier {
    type Answer = NotifierRow;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<NotifierRow, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return notifier_of(answer);
        }
        let row = found(unit, &self.notifier).await?;
        unit.delete_notifier(&row.id).await?;
        let answer = Answer { notifier: Some(Box::new(row.clone())), ..Answer::default() };
        self.asked.keep(unit, &answer, object(&row.name)).await?;
        Ok(row)
    }
}

struct TestNotifier {
    asked: Asked,
    notifier: String,
}

#[async_trait]
impl Command for TestNotifier {
    type Answer = DeliveryRow;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<DeliveryRow, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            let row = answer.delivery.map(|row| *row);
            return row.ok_or_else(|| {
                Refusal::Internal("the answer kept for this request id has no delivery".to_owned())
            });
        }
        let notifier = found(unit, &self.notifier).await?;
        let row = unit.tell_one(&notifier, &Notice::test(&notifier.name)).await?;
        let answer = Answer { delivery: Some(Box::new(row.clone())), ..Answer::default() };
        self.asked.keep(unit, &answer, object(&notifier.name)).await?;
        Ok(row)
    }
}

/// A run was found silent for too long.
struct TellStuck(RunId);

#[async_trait]
impl Command for TellStuck {
    /// Whether it was told now.
    type Answer = bool;
    type Refusal = StoreError;

    fn wants(&self, wants: &mut Wants) {
        wants.run(self.0);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<bool, StoreError> {
        let (run, now) = (unit.run(self.0).await?, unit.now());
        let Some((run, at)) = run.and_then(|run| run.stale_at().map(|at| (run, at))) else {
            return Ok(false);
        };
        if now <= at {
            return Ok(false);
        }
        let notice = notice::of_stuck(&run, now);
        match unit.tell_stuck(run.id, run.server, at, notice).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Engine {
    /// Makes a notifier.
    pub async fn create_notifier(&self, asked: Asked, notifier: NewNotifier) -> Result<NotifierRow, Refusal> {
        asked.check()?;
        notifier.check()?;
        self.writer().commit(CreateNotifier { engine: self.clone(), asked, notifier }).await
    }

    /// Takes a notifier away, by name or id, with what it was still to be told.
    pub async fn delete_notifier(&self, asked: Asked, notifier: String) -> Result<NotifierRow, Refusal> {
        asked.check()?;
        self.writer().commit(DeleteNotifier { asked, notifier }).await
    }

    /// Tells a notifier something, to try it out.
    pub async fn test_notifier(&self, asked: Asked, notifier: String) -> Result<DeliveryRow, Refusal> {
        asked.check()?;
        self.writer().commit(TestNotifier { asked, notifier }).await
    }

    /// Tells of at most so many runs that have fallen silent since somebody was told; answers how many that were. Nothing is looked for
    /// while there is nobody to tell.
    pub async fn tell_stuck(&self, most: i64) -> Result<usize, StoreError> {
        let ids = {
            let mut reader = self.store().read().await?;
            let mut db = reader.db();
            if !db.has_notifiers().await? {
                return Ok(0);
            }
            db.stuck_untold(self.clock().now(), most).await?
        };
        let runs = ids.iter().filter_map(|id| id.parse().ok());
        let telling = runs.map(|run| self.writer().commit(TellStuck(run)));
        let told = futures::future::join_all(telling).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(told.into_iter().filter(|told| *told).count())
    }
}
