//! Sends the webhooks that are offered, and says what came of each. Like a worker outside, only that it is this daemon.
//!
//! It keeps nothing: what it has taken has a lease, and is offered again when that passes. A daemon that is stopped gives back what was not
//! answered yet, so that no attempt is used for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::enrollment::TaskId;
use crate::domain::lifecycle::CALLS;
use crate::domain::time::Timestamp;
use crate::engine::{Call, Done, Engine, Lease, Refusal};
use crate::outside::{self, Answer, Caller, Failed, Post, Sends};
use crate::store::StoreError;

/// Webhooks that are under way at once.
const AT_ONCE: usize = 16;
/// When an endpoint is asked again that does not say when.
const AGAIN: Duration = Duration::from_secs(60);

/// Sends webhooks.
#[derive(Clone)]
pub struct Calls {
    engine: Engine,
    lease: Lease,
    caller: Caller,
    /// Whether nothing is to be begun for now.
    holds: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What is under way is given back.
    gives_back: CancellationToken,
}

impl Calls {
    /// One that has sent nothing yet. `holds`: whether nothing is to be begun for now.
    pub fn new(
        engine: Engine,
        lease: Lease,
        caller: Caller,
        holds: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { engine, lease, caller, holds: Arc::new(holds), gives_back: CancellationToken::new() }
    }

    /// Runs until `stop`, and then for a moment more. `alive` is told by when the next sign of life comes, on the monotonic clock.
    pub async fn run(self, alive: impl Fn(Duration) + Send + Sync + 'static, stop: CancellationToken) {
        let (clock, committed) = (self.engine.shared_clock(), self.engine.hub().committed());
        outside::drive(self, &*clock, committed, alive, stop).await;
    }

    /// Takes what is offered, as far as there is room, and begins to send it.
    async fn take(&self, under_way: &mut JoinSet<()>) -> Result<(), StoreError> {
        let room = AT_ONCE.saturating_sub(under_way.len());
        if room == 0 || !self.lease.is_trusted() || (self.holds)() {
            return Ok(());
        }
        let now = self.engine.clock().now();
        let room = i64::try_from(room).unwrap_or(0);
        let offers = self.engine.store().read().await?.db().offers(CALLS, now, room).await?;
        for offer in offers {
            let me = format!("settled/{}", self.engine.me());
            match self.engine.take_call(offer, me).await {
                Ok(Some((task, call))) => {
                    under_way.spawn(self.clone().send(task, call));
                }
                Ok(None) | Err(Refusal::Store(StoreError::Conflict)) => {}
                Err(error) => tracing::warn!(%error, "a webhook could not be taken; it is tried again"),
            }
        }
        Ok(())
    }

    async fn post(&self, call: Call) -> Done {
        let clock = self.engine.clock();
        let headers = call.headers(clock.now());
        let post = Post { url: call.url, headers, body: call.body, timeout: call.timeout };
        tokio::select! {
            biased;
            answer = self.caller.post(&post) => judged(answer, clock.now()),
            // It may have been done there: what is sent again carries the same id.
            () = self.gives_back.cancelled() => {
                let why = "its webhook to be sent again: settled was stopped before it was answered".to_owned();
                Done::Deferred { until: clock.now(), why }
            }
        }
    }

    async fn send(self, task: TaskId, call: Result<Call, String>) {
        let done = match call {
            Ok(call) => self.post(call).await,
            Err(why) => Done::Failed(why),
        };
        let ended = self.engine.end_call(task, done).await;
        let ended = match ended {
            // What was answered cannot be put into the payload.
            Err(Refusal::Invalid(problems)) => {
                let why = problems.first().map(ToString::to_string).unwrap_or_default();
                let why = format!("the answer of its webhook: {why}");
                self.engine.end_call(task, Done::Failed(why)).await
            }
            other => other,
        };
        if let Err(error) = ended {
            tracing::warn!(%task, %error, "what came of a webhook was not taken note of; it is sent again when its lease has passed");
        }
    }
}

impl Sends for Calls {
    async fn look(&self, under_way: &mut JoinSet<()>) {
        if let Err(error) = self.take(under_way).await {
            tracing::warn!(%error, "webhooks could not be looked for; it is tried again");
        }
    }

    fn give_back(&self) {
        self.gives_back.cancel();
    }
}

/// What an answer says of the stage.
fn judged(answer: Result<Answer, Failed>, now: Timestamp) -> Done {
    let answer = match answer {
        Ok(answer) => answer,
        // Nothing was begun there (P4).
        Err(failed @ Failed::NotSent(_)) => {
            return Done::Deferred { until: now + AGAIN, why: format!("its webhook {failed}") };
        }
        Err(failed @ Failed::NoAnswer(_)) => return Done::Failed(format!("its webhook {failed}")),
    };
    let later = |status: u16| Done::Deferred {
        until: now + answer.retry_after.unwrap_or(AGAIN),
        why: format!("its webhook answered {status}: not yet"),
    };
    match answer.status {
        status @ (202 | 425) => later(status),
        status @ (429 | 503) if answer.retry_after.is_some() => later(status),
        200..=299 if answer.is_json => Done::Completed(answer.body),
        200..=299 => Done::Completed(String::new()),
        status @ 300..=399 => Done::Failed(format!(
            "its webhook answered {status}: redirects are not followed, name the last URL"
        )),
        status => Done::Failed(format!("its webhook answered {status}{}", answer.told())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    fn answer(status: u16, retry_after: Option<u64>, is_json: bool, body: &str) -> Answer {
        let retry_after = retry_after.map(Duration::from_secs);
        Answer { status, retry_after, is_json, body: body.to_owned() }
    }

    #[test]
    fn an_answer_is_done_not_yet_or_failed() {
        let later = |seconds: u64, why: &str| Done::Deferred {
            until: NOW + Duration::from_secs(seconds),
            why: why.to_owned(),
        };
        let failed = |why: &str| Done::Failed(why.to_owned());
        let table = [
            (Ok(answer(200, None, true, "{\"a\":1}")), Done::Completed("{\"a\":1}".to_owned())),
            (Ok(answer(200, None, false, "OK")), Done::Completed(String::new())),
            (Ok(answer(204, None, false, "")), Done::Completed(String::new())),
            (Ok(answer(202, None, false, "")), later(60, "its webhook answered 202: not yet")),
            (Ok(answer(425, Some(5), false, "")), later(5, "its webhook answered 425: not yet")),
            (Ok(answer(503, Some(9), false, "")), later(9, "its webhook answered 503: not yet")),
            (Ok(answer(503, None, false, "a\n b")), failed("its webhook answered 503: a b")),
            (Ok(answer(404, Some(5), false, "")), failed("its webhook answered 404")),
            (
                Ok(answer(302, None, false, "")),
                failed("its webhook answered 302: redirects are not followed, name the last URL"),
            ),
            (Err(Failed::NotSent("x".to_owned())), later(60, "its webhook cannot be reached: x")),
            (Err(Failed::NoAnswer("x".to_owned())), failed("its webhook gave no answer: x")),
        ];
        for (answer, expected) in table {
            assert_eq!(judged(answer.clone(), NOW), expected, "{answer:?}");
        }
    }
}
