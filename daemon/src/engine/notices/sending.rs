//! What is sent to notifiers: taken with a lease, so that one daemon sends it at a time, and sent again under the same id when nobody
//! knows that it arrived.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::{Engine, Refusal, signed};
use super::{SECRET, WEBHOOK};
use crate::domain::id::DaemonId;
use crate::domain::notice::{self, Notice};
use crate::domain::time::Timestamp;
use crate::store::rows::{DeliveryRow, NotifierRow};
use crate::store::{Command, StoreError, Unit};

/// How long whoever sends something is waited for: longer than sending may take.
const SENDS_WITHIN: Duration = Duration::from_secs(120);
/// Of why something was not taken so much is kept, in characters.
const WHY_CHARS: usize = 500;

/// Something that this daemon is to send.
pub struct Letter {
    /// Who has it speaks of it by this and `attempt`.
    seq: i64,
    attempt: i64,
    made: Timestamp,
    /// The same however often it is sent.
    pub id: String,
    /// When it happened, and what.
    pub at: Timestamp,
    /// What is told.
    pub notice: Notice,
    /// How; or why that is not possible.
    pub post: Result<Posted, String>,
}

/// How something is sent.
pub enum Posted {
    /// By a signed POST.
    Webhook {
        /// Where to.
        url: String,
        /// What it is signed with.
        secret: Zeroizing<Vec<u8>>,
    },
    /// By e-mail.
    Email {
        /// To whom.
        recipients: Vec<String>,
    },
}

/// What came of sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken; and what is to be said of that, usually nothing.
    Taken(String),
    /// It was not, and why; and how long whoever did not take it wants to be left alone, if that was said.
    NotTaken {
        /// In words.
        why: String,
        /// For how long.
        rest: Option<Duration>,
    },
    /// Nobody waited for the answer: it is sent again at once.
    GivenBack,
}

impl Letter {
    /// What a webhook is sent: docs/notifications.md tells what each field means.
    pub fn body(&self) -> String {
        let Notice { event, server, package, resource, operation, run, reason, text, detail } = &self.notice;
        let at = jiff::Timestamp::from_microsecond(self.at.0).map(|at| at.to_string()).unwrap_or_default();
        json!({
            "id": self.id,
            "event": event.as_str(),
            "at": at,
            "server": server,
            "package": package,
            "resource": resource,
            "operation": operation.as_ref().map(ToString::to_string),
            "run_id": run.map(|run| run.to_string()),
            "reason": reason.map(|reason| reason.to_string()),
            "text": text,
            "detail": detail,
        })
        .to_string()
    }

    /// When it happened, as mail has it.
    pub fn date(&self) -> String {
        let at = jiff::Timestamp::from_microsecond(self.at.0).unwrap_or_default();
        at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }

    /// The headers of a webhook that is sent at this time.
    pub fn headers(&self, secret: &[u8], body: &str, now: Timestamp) -> Vec<(&'static str, String)> {
        signed(&self.id, secret, body, now)
    }
}

/// As much as is kept of what whoever was called has said.
fn cut(text: &str) -> String {
    text.chars().take(WHY_CHARS).collect()
}

struct Take {
    seq: i64,
    attempt: i64,
    me: DaemonId,
}

#[async_trait]
impl Command for Take {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        let until = unit.now() + SENDS_WITHIN;
        unit.take_delivery(self.seq, self.attempt, self.me, until).await
    }
}

struct End {
    seq: i64,
    attempt: i64,
    made: Timestamp,
    outcome: Outcome,
    random: u64,
}

#[async_trait]
impl Command for End {
    /// Whether it is dead now.
    type Answer = bool;
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<bool, StoreError> {
        let Self { seq, attempt, made, outcome, random } = self;
        let now = unit.now();
        let (why, rest) = match outcome {
            Outcome::Taken(remark) => {
                return unit.delivered(*seq, *attempt, &cut(remark)).await.map(|()| false);
            }
            Outcome::GivenBack => {
                let why = "settled was stopped before it was answered";
                return unit.put_off_delivery(*seq, *attempt, now, why).await.map(|()| false);
            }
            Outcome::NotTaken { why, rest } => (why, rest),
        };
        let why = cut(why);
        let tried = u32::try_from(*attempt).unwrap_or(u32::MAX);
        match notice::again(*made, tried, *rest, now, *random) {
            Some(due) => unit.put_off_delivery(*seq, *attempt, due, &why).await.map(|()| false),
            None => unit.give_up_delivery(*seq, *attempt, &why).await.map(|()| true),
        }
    }
}

impl Engine {
    /// Takes what is due for a notifier; `None`: somebody else was faster. What cannot be sent at all has failed.
    pub async fn take_letter(&self, to: &NotifierRow, due: DeliveryRow) -> Result<Option<Letter>, Refusal> {
        let take = Take { seq: due.seq, attempt: due.attempt, me: self.me() };
        match self.writer().commit(take).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let (id, made) = (due.id(), Timestamp(due.created_at));
        let post = self.post(to).await.map_err(|error| error.to_string());
        let notice = due.notice()?;
        Ok(Some(Letter { seq: due.seq, attempt: due.attempt + 1, made, id, at: made, notice, post }))
    }

    async fn post(&self, to: &NotifierRow) -> Result<Posted, Refusal> {
        if to.kind != WEBHOOK {
            return Ok(Posted::Email { recipients: to.recipients()? });
        }
        let sealed = self.store().read().await?.db().secrets(&to.id).await?;
        let sealed = sealed.into_iter().find(|row| row.name == SECRET);
        let sealed = sealed.ok_or_else(|| Refusal::Internal("its secret is not there".to_owned()))?;
        let secret = self.unseal(&to.id, sealed)?;
        Ok(Posted::Webhook { url: to.url.clone(), secret })
    }

    /// What came of sending it. Whoever does not have it any more says nothing.
    pub async fn end_letter(&self, letter: &Letter, outcome: Outcome) -> Result<(), StoreError> {
        let Letter { seq, attempt, made, .. } = *letter;
        let random = self.clock().random();
        match self.writer().commit(End { seq, attempt, made, outcome, random }).await {
            Ok(true) => {
                tracing::warn!(delivery = letter.id, event = %letter.notice.event, "a notice was not taken for a day; it is not sent any more");
                Ok(())
            }
            Ok(false) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
