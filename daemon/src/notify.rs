//! Sends notices to whom they are for, and says what came of each.
//!
//! Each notifier has senders of its own, so that one that hangs or is gone keeps none of the others waiting. It keeps nothing: what it
//! has taken has a lease, and is sent again, under the same id, when that passes. It does not know of what it tells.

mod mail;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Lease, Letter, Outcome, Posted, Refusal};
use crate::outside::{self, Answer, Caller, Failed, Mailer, Post, Sends};
use crate::store::StoreError;
use crate::store::rows::NotifierRow;

/// What one notifier is sent at once.
const AT_ONCE: usize = 2;
/// How long a webhook may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Sends notices.
#[derive(Clone)]
pub struct Notices {
    engine: Engine,
    lease: Lease,
    caller: Caller,
    /// What hands over mail, and whom that comes from; `None`: there is no mail server.
    mailer: Option<(Mailer, String)>,
    /// How much each notifier is being sent.
    busy: Busy,
    /// What is under way is given back.
    gives_back: CancellationToken,
}

impl Notices {
    /// One that has sent nothing yet.
    pub fn new(engine: Engine, lease: Lease, caller: Caller, mailer: Option<(Mailer, String)>) -> Self {
        Self { engine, lease, caller, mailer, busy: Busy::default(), gives_back: CancellationToken::new() }
    }

    /// Runs until `stop`, and then for a moment more. `alive` is told by when the next sign of life comes, on the monotonic clock.
    pub async fn run(self, alive: impl Fn(Duration) + Send + Sync + 'static, stop: CancellationToken) {
        let (clock, committed) = (self.engine.shared_clock(), self.engine.hub().committed());
        outside::drive(self, &*clock, committed, alive, stop).await;
    }

    /// Takes what is due, as far as each notifier has room, and begins to send it.
    async fn take(&self, under_way: &mut JoinSet<()>) -> Result<(), StoreError> {
        if !self.lease.is_trusted() {
            return Ok(());
        }
        let notifiers = self.engine.store().read().await?.db().notifiers().await?;
        for notifier in notifiers {
            let room = AT_ONCE.saturating_sub(self.busy.with(&notifier.id));
            if room > 0 {
                self.take_for(notifier, room, under_way).await?;
            }
        }
        Ok(())
    }

    async fn take_for(
        &self,
        notifier: NotifierRow,
        room: usize,
        under_way: &mut JoinSet<()>,
    ) -> Result<(), StoreError> {
        let (now, room) = (self.engine.clock().now(), i64::try_from(room).unwrap_or(0));
        let due = self.engine.store().read().await?.db().due_deliveries(&notifier.id, now, room).await?;
        for due in due {
            match self.engine.take_letter(&notifier, due).await {
                Ok(Some(letter)) => {
                    let turn = self.busy.begin(&notifier.id);
                    under_way.spawn(self.clone().send(letter, turn));
                }
                Ok(None) => {}
                Err(Refusal::Store(error)) => return Err(error),
                Err(error) => tracing::error!(notifier = notifier.name, %error, "a notice cannot be read"),
            }
        }
        Ok(())
    }

    async fn send(self, letter: Letter, _turn: Turn) {
        let outcome = tokio::select! {
            biased;
            outcome = self.deliver(&letter) => outcome,
            () = self.gives_back.cancelled() => Outcome::GivenBack,
        };
        if let Outcome::NotTaken { why, .. } = &outcome {
            tracing::debug!(delivery = letter.id, why, "a notice was not taken; it is sent again");
        }
        if let Err(error) = self.engine.end_letter(&letter, outcome).await {
            tracing::warn!(delivery = letter.id, %error, "what came of a notice was not taken note of; it is sent again when its lease has passed");
        }
    }

    async fn deliver(&self, letter: &Letter) -> Outcome {
        match &letter.post {
            Ok(Posted::Webhook { url, secret }) => {
                let body = letter.body();
                let headers = letter.headers(secret, &body, self.engine.clock().now());
                let post = Post { url: url.clone(), headers, body, timeout: ANSWERS_WITHIN };
                judged(self.caller.post(&post).await)
            }
            Ok(Posted::Email { recipients }) => self.mail(letter, recipients).await,
            Err(why) => not_taken(why.clone()),
        }
    }
}

impl Notices {
    async fn mail(&self, letter: &Letter, to: &[String]) -> Outcome {
        let Some((mailer, from)) = &self.mailer else {
            return not_taken(
                "there is no mail server: set smtp.host and smtp.from, and restart settled".to_owned(),
            );
        };
        match mailer.send(&mail::mail(letter, from, to)).await {
            Ok(remark) if remark.is_empty() => Outcome::Taken(remark),
            Ok(remark) => Outcome::Taken(format!("the mail server {remark}")),
            Err(why) => not_taken(format!("the mail server {why}")),
        }
    }
}

impl Sends for Notices {
    async fn look(&self, under_way: &mut JoinSet<()>) {
        if let Err(error) = self.take(under_way).await {
            tracing::warn!(%error, "notices could not be looked for; it is tried again");
        }
    }

    fn give_back(&self) {
        self.gives_back.cancel();
    }
}

fn not_taken(why: String) -> Outcome {
    Outcome::NotTaken { why, rest: None }
}

/// What an answer says.
fn judged(answer: Result<Answer, Failed>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failed) => return not_taken(format!("it {failed}")),
    };
    let why = match answer.status {
        200..=299 => return Outcome::Taken(String::new()),
        status @ 300..=399 => format!("it answered {status}: redirects are not followed, name the last URL"),
        status => format!("it answered {status}{}", answer.told()),
    };
    Outcome::NotTaken { why, rest: answer.retry_after }
}

/// How much each notifier is being sent.
#[derive(Clone, Default)]
struct Busy(Arc<Mutex<HashMap<String, usize>>>);

impl Busy {
    fn counts(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, notifier: &str) -> usize {
        self.counts().get(notifier).copied().unwrap_or_default()
    }

    fn begin(&self, notifier: &str) -> Turn {
        *self.counts().entry(notifier.to_owned()).or_default() += 1;
        Turn { busy: self.clone(), notifier: notifier.to_owned() }
    }
}

/// Something is being sent to a notifier, until this is dropped.
struct Turn {
    busy: Busy,
    notifier: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.busy.counts();
        if let Some(count) = counts.get_mut(&self.notifier) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.notifier);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_with_2xx_was_taken_and_nothing_else() {
        let answer = |status, body: &str, seconds: Option<u64>| {
            let retry_after = seconds.map(Duration::from_secs);
            Ok(Answer { status, retry_after, is_json: false, body: body.to_owned() })
        };
        let not = |why: &str| not_taken(why.to_owned());
        let table = [
            (answer(200, "", None), Outcome::Taken(String::new())),
            (answer(204, "", None), Outcome::Taken(String::new())),
            (answer(302, "", None), not("it answered 302: redirects are not followed, name the last URL")),
            (answer(404, "no\nsuch hook", None), not("it answered 404: no such hook")),
            (
                answer(429, "", Some(90)),
                Outcome::NotTaken { why: "it answered 429".to_owned(), rest: Some(Duration::from_secs(90)) },
            ),
            (Err(Failed::NotSent("x".to_owned())), not("it cannot be reached: x")),
            (Err(Failed::NoAnswer("x".to_owned())), not("it gave no answer: x")),
        ];
        for (answer, expected) in table {
            assert_eq!(judged(answer.clone()), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_notifier_is_busy_with_what_it_is_sent() {
        let busy = Busy::default();
        let (one, two) = (busy.begin("a"), busy.begin("a"));
        assert_eq!((busy.with("a"), busy.with("b")), (2, 0));
        drop(one);
        assert_eq!(busy.with("a"), 1);
        drop(two);
        assert_eq!(busy.with("a"), 0);
        assert!(busy.counts().is_empty());
    }
}
