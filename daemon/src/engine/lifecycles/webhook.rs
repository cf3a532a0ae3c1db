//! Webhooks: what is sent for a stage, and signed with the secret that its lifecycle has been given.
//!
//! A webhook is offered like a task, and a daemon takes it like a worker: with a lease, so that a daemon that dies on the way leaves a
//! failed execution and an offer. What is sent again then carries the same id, and whoever gets it does it once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::{Asked, Engine, Refusal, signed};
use super::{Done, Taker, Task, payload};
use crate::auth::{SETTLED, Verb};
use crate::domain::enrollment::{Enrollment, TaskId};
use crate::domain::id::LifecycleId;
use crate::domain::lifecycle::{Action, CALLS, Flow};
use crate::domain::time::Timestamp;
use crate::store::Unit;
use crate::store::enrollments::Seen;

/// Largest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4_096;
/// Smallest secret: shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// A webhook that this daemon is to send.
#[derive(Debug)]
pub struct Call {
    /// Who has it speaks of it by this.
    pub task: TaskId,
    /// Where to.
    pub url: String,
    /// How long it may take.
    pub timeout: std::time::Duration,
    /// What is sent, JSON.
    pub body: String,
    /// The same for everything that is sent for one pass of a subject through a stage.
    pub id: String,
    secret: Zeroizing<Vec<u8>>,
}

impl Call {
    /// The headers that belong to it when it is sent at this time.
    pub fn headers(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        signed(&self.id, &self.secret, &self.body, now)
    }
}

impl Engine {
    /// Takes an offered webhook; `None`: somebody else was faster. The error of one that cannot be sent is its execution's.
    pub async fn take_call(
        &self,
        seen: Seen,
        daemon: String,
    ) -> Result<Option<(TaskId, Result<Call, String>)>, Refusal> {
        let (queue, principal) = (CALLS.to_owned(), SETTLED.to_owned());
        let taker = Taker { queue, worker: daemon, principal, peer: String::new() };
        let Some(task) = self.take_task(seen, taker).await? else { return Ok(None) };
        let id = task.id;
        match self.call(task).await {
            Ok(call) => Ok(Some((id, Ok(call)))),
            Err(refusal @ (Refusal::Store(_) | Refusal::NoKey(_))) => Err(refusal),
            Err(refusal) => Ok(Some((id, Err(refusal.to_string())))),
        }
    }

    /// What came of a webhook that this daemon has taken.
    pub async fn end_call(&self, task: TaskId, done: Done) -> Result<(), Refusal> {
        let asked = Asked {
            principal: SETTLED.to_owned(),
            method: "Lifecycles.Webhook",
            // Every time that it is taken it has a number of its own (P2).
            request_id: task.to_string(),
            digest: String::new(),
            peer: String::new(),
            verb: Verb::Operate,
        };
        self.end_task(asked, task, done).await.map(drop)
    }

    async fn call(&self, task: Task) -> Result<Call, Refusal> {
        let Task { id: task, enrollment, .. } = task;
        let mut reader = self.store().read().await?;
        let mut db = reader.db();
        let version = self.version(&mut db, enrollment.lifecycle, enrollment.revision).await?;
        let action = version.flow.stage(&enrollment.stage).map(|stage| &stage.action);
        let Some(Action::Webhook { url, secret: name, timeout }) = action else {
            return Err(Refusal::Internal(format!("the stage `{}` sends no webhook", enrollment.stage)));
        };
        let owner = enrollment.lifecycle.to_string();
        let sealed = db.secrets(&owner).await?.into_iter().find(|row| row.name == *name);
        let missing = || Refusal::not_now(format!("the secret `{name}` is not there: {}", how_to_give(name)));
        let sealed = sealed.ok_or_else(missing)?;
        let secret = self.unseal(&owner, sealed).map_err(|error| match Refusal::from(error) {
            Refusal::Internal(error) => Refusal::not_now(format!("the secret `{name}`: {error}")),
            no_key => no_key,
        })?;
        let id = format!("{}.{}", enrollment.id, db.entered(enrollment.id).await?);
        let body = body(&enrollment, &id);
        Ok(Call { task, url: url.clone(), timeout: *timeout, body, id, secret })
    }

    /// Keeps the secrets that a lifecycle is applied with, and refuses it when one that it needs was never given.
    pub(super) async fn keep_webhook_secrets(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: LifecycleId,
        flow: &Flow,
        given: &std::collections::BTreeMap<String, Vec<u8>>,
        dry: bool,
    ) -> Result<(), Refusal> {
        let owner = lifecycle.to_string();
        let needed = names(flow);
        for (name, secret) in given {
            check(name, secret, &needed)?;
        }
        let known: BTreeSet<String> =
            unit.db().await?.secrets(&owner).await?.into_iter().map(|row| row.name).collect();
        if let Some(name) = needed.iter().find(|name| !given.contains_key(**name) && !known.contains(**name))
        {
            let message =
                format!("a webhook is signed with `{name}`, which was never given: {}", how_to_give(name));
            return Err(Refusal::field("secrets", message));
        }
        if dry {
            return Ok(());
        }
        self.put_secrets(unit, &owner, given).await
    }
}

fn how_to_give(name: &str) -> String {
    format!("give it with `settlectl lifecycle apply FILE --secret {name}=@FILE`")
}

/// The secrets that a lifecycle signs with.
fn names(flow: &Flow) -> BTreeSet<&str> {
    let named = flow.stages.iter().filter_map(|stage| match &stage.action {
        Action::Webhook { secret, .. } => Some(secret.as_str()),
        _ => None,
    });
    named.collect()
}

fn check(name: &str, secret: &[u8], needed: &BTreeSet<&str>) -> Result<(), Refusal> {
    if !needed.contains(name) {
        let message = format!("no webhook of this lifecycle is signed with `{}`", name.escape_debug());
        return Err(Refusal::field("secrets", message));
    }
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
        let message = format!("`{name}` must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes");
        return Err(Refusal::field("secrets", message));
    }
    Ok(())
}

/// What a webhook is told of its stage.
fn body(enrollment: &Enrollment, id: &str) -> String {
    let execution = enrollment.execution();
    json!({
        "id": id,
        "lifecycle": enrollment.code,
        "stage": enrollment.stage,
        "attempt": execution,
        "deferrals": enrollment.deferrals,
        "is_retry": execution > 1,
        "subject": { "type": enrollment.subject.kind, "id": enrollment.subject.id },
        "payload": Value::Object(payload::object(&enrollment.payload)),
    })
    .to_string()
}
