//! What each principal may take at once: requests in a second, requests that are open, questions that the store works on, bytes of requests that
//! are on their way and of answers that nobody has read yet. So one that asks without end is told to slow down, and the others do not notice.
//!
//! It does not know what is asked. Principals are few (the users who are let in), so they are never forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

use super::around::{Services, around};
use super::kept::keeping;
use super::methods::answers_once;
use super::pieces::pieces;
use super::reason::Reason;
use super::status;
use crate::auth::Principal;
use crate::clock::Clock;

/// After which time a caller may try again whom something else than its rate keeps out.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Questions of one principal that are worked on at the same time, of the eight that the store can read for at once: the others of its questions
/// wait in its own line, and not in everybody's.
const READS_AT_ONCE: usize = 4;
/// A stream of reflection keeps descriptions of whole files for its caller: it counts as so many requests that are open.
const REFLECTION: (&str, u32) = ("/grpc.reflection.", 64);

/// What principals may take.
#[derive(Debug, Clone, Copy)]
pub struct Portions {
    /// Requests in a second, in the long run.
    pub requests_per_s: u32,
    /// Requests at once, after a rest.
    pub requests_burst: u32,
    /// Requests whose answers have not ended, streams among them.
    pub open: usize,
    /// Bytes of requests that are on their way or being answered; and as many of answers that were not read yet.
    pub body_bytes: usize,
    /// The same, of all principals together.
    pub body_bytes_of_all: usize,
}

/// Gives every request its principal's share, or refuses it.
struct Shares {
    clock: Arc<dyn Clock>,
    portions: Portions,
    request_bytes: Arc<Semaphore>,
    answer_bytes: Arc<Semaphore>,
    of: Mutex<HashMap<String, Arc<Share>>>,
}

/// What one principal takes.
pub(super) struct Share {
    principal: String,
    bucket: Mutex<Bucket>,
    open: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    request_bytes: Room,
    answer_bytes: Room,
}

/// Room for bytes: a principal's own, within that of all.
struct Room {
    own: Arc<Semaphore>,
    of_all: Arc<Semaphore>,
}

impl Room {
    fn new(bytes: usize, of_all: &Arc<Semaphore>) -> Self {
        Self { own: Arc::new(Semaphore::new(bytes)), of_all: Arc::clone(of_all) }
    }

    fn take(&self, bytes: usize) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let take = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).try_acquire_many_owned(bytes).ok();
        take(&self.own).zip(take(&self.of_all))
    }
}

/// A bucket of permissions to ask. It is never filled up by anybody: how full it is follows from the time.
#[derive(Debug, Default)]
struct Bucket {
    /// When it will be full again, by the monotonic clock.
    full_at: Duration,
}

impl Bucket {
    /// Takes one; else tells after which time there is one.
    fn take(&mut self, now: Duration, portions: &Portions) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / portions.requests_per_s.max(1);
        let whole = each * portions.requests_burst.max(1);
        let full_at = self.full_at.max(now) + each;
        match full_at.checked_sub(now + whole) {
            None | Some(Duration::ZERO) => {
                self.full_at = full_at;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

/// Bytes that are on their way, until they are dropped.
#[derive(Default)]
pub(super) struct Held(Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>);

impl Share {
    /// Adds so many bytes to those that are held for a request.
    pub(super) fn hold(&self, bytes: usize, held: &mut Held) -> Result<(), Status> {
        let Some((own, of_all)) = self.request_bytes.take(bytes) else {
            let message = format!(
                "too many bytes of requests are on their way at once, of {} or of all callers: ask again in a moment",
                self.principal
            );
            return Err(status::exhausted(
                Reason::TooManyBytes,
                "request bytes",
                &self.principal,
                message,
                TRY_AGAIN,
            ));
        };
        match &mut held.0 {
            Some(before) => {
                before.0.merge(own);
                before.1.merge(of_all);
            }
            None => held.0 = Some((own, of_all)),
        }
        Ok(())
    }

    /// Waits until a question of this principal may be worked on; it is until what is answered is dropped.
    pub(super) async fn turn_to_read(self: Arc<Self>) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.reads).acquire_owned().await.ok()
    }

    /// An answer of one message, which is counted until its caller has taken it.
    async fn counted(&self, answer: Response<Body>) -> Response<Body> {
        let (head, body) = answer.into_parts();
        let whole = match body.collect().await {
            Ok(whole) => whole,
            Err(status) => return status.into_http(),
        };
        let trailers = whole.trailers().cloned();
        let message = whole.to_bytes();
        let Some(unread) = self.answer_bytes.take(message.len()) else {
            let message = format!(
                "too many bytes of answers wait to be read, by {} or by all callers: read what was answered, and ask again",
                self.principal
            );
            let refused =
                status::exhausted(Reason::TooManyBytes, "answer bytes", &self.principal, message, TRY_AGAIN);
            return refused.into_http();
        };
        Response::from_parts(head, keeping(pieces(message, trailers), unread))
    }
}

impl Shares {
    fn new(portions: Portions, clock: Arc<dyn Clock>) -> Self {
        let of_all = || Arc::new(Semaphore::new(portions.body_bytes_of_all));
        let (request_bytes, answer_bytes) = (of_all(), of_all());
        Self { clock, portions, request_bytes, answer_bytes, of: Mutex::default() }
    }

    fn of(&self, principal: &str) -> Arc<Share> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = of.get(principal) {
            return Arc::clone(share);
        }
        let share = Arc::new(Share {
            principal: principal.to_owned(),
            bucket: Mutex::default(),
            open: Arc::new(Semaphore::new(self.portions.open)),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            request_bytes: Room::new(self.portions.body_bytes, &self.request_bytes),
            answer_bytes: Room::new(self.portions.body_bytes, &self.answer_bytes),
        });
        of.insert(principal.to_owned(), Arc::clone(&share));
        share
    }

    /// The share of who asks, with one more request in it, which counts as so many.
    fn take(&self, principal: &Principal, weight: u32) -> Result<(Arc<Share>, OwnedSemaphorePermit), Status> {
        let share = self.of(&principal.name);
        let now = self.clock.monotonic();
        let taken = share.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now, &self.portions);
        taken.map_err(|wait| {
            let rate = self.portions.requests_per_s;
            let message = format!(
                "{} asks more than {rate} times in a second (limits.requests_per_s): ask more slowly",
                principal.name
            );
            status::exhausted(Reason::TooFast, "rate", &principal.name, message, wait)
        })?;
        let weight = weight.min(u32::try_from(self.portions.open).unwrap_or(u32::MAX));
        let open = Arc::clone(&share.open).try_acquire_many_owned(weight).map_err(|_| {
            let message = format!(
                "{} has {} requests and streams open, and no more are allowed (limits.streams_per_principal_max): let one end first",
                principal.name, self.portions.open
            );
            status::exhausted(Reason::TooManyOpen, "streams", &principal.name, message, TRY_AGAIN)
        })?;
        Ok((share, open))
    }
}

/// The services, each request of which takes its principal's share.
pub(super) fn shared(inner: impl Services, portions: Portions, clock: Arc<dyn Clock>) -> impl Services {
    let shares = Arc::new(Shares::new(portions, clock));
    around(inner, shares, |mut request, inner, shares| async move {
        let principal = request.extensions().get::<Principal>().ok_or_else(status::nobody);
        let path = request.uri().path();
        let is_whole = answers_once(path);
        let weight = if path.starts_with(REFLECTION.0) { REFLECTION.1 } else { 1 };
        match principal.and_then(|principal| shares.take(principal, weight)) {
            Ok((share, open)) => {
                request.extensions_mut().insert(Arc::clone(&share));
                let answer = inner.answer(request).await;
                let answer = if is_whole { share.counted(answer).await } else { answer };
                answer.map(|body| keeping(body, open))
            }
            Err(status) => status.into_http(),
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const PORTIONS: Portions =
        Portions { requests_per_s: 10, requests_burst: 30, open: 2, body_bytes: 100, body_bytes_of_all: 150 };

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_its_rate_for_ever() {
        let mut bucket = Bucket::default();
        let mut taken =
            |at: Duration, wanted: u32| (0..wanted).filter(|_| bucket.take(at, &PORTIONS).is_ok()).count();
        let start = Duration::from_secs(1_000);
        assert_eq!(taken(start, 100), 30);
        let a_minute: usize = (1..=60).map(|second| taken(start + Duration::from_secs(second), 1_000)).sum();
        assert_eq!(a_minute, 600);
        assert_eq!(taken(start + Duration::from_secs(3_600), 1_000), 30, "it is never more than full");
    }

    #[test]
    fn whoever_waits_for_as_long_as_it_is_told_is_served() {
        let mut bucket = Bucket::default();
        let mut now = Duration::from_secs(5);
        while bucket.take(now, &PORTIONS).is_ok() {}
        for _ in 0..5 {
            now += bucket.take(now, &PORTIONS).unwrap_err();
            bucket.take(now, &PORTIONS).unwrap();
        }
    }

    #[tokio::test]
    async fn questions_of_one_principal_wait_for_each_other_and_for_nobody_else() {
        let shares = Shares::new(PORTIONS, Arc::new(crate::clock::SystemClock::new()));
        let (ann, bob) = (shares.of("unix:1"), shares.of("unix:2"));
        let turn = |share: &Arc<Share>| Arc::clone(share).turn_to_read().now_or_never();
        let mut working: Vec<_> = (0..READS_AT_ONCE).map(|_| turn(&ann).unwrap()).collect();
        assert!(turn(&ann).is_none(), "it has all its turns");
        assert!(turn(&bob).is_some());
        working.pop();
        assert!(turn(&ann).is_some());
    }

    #[test]
    fn one_principal_that_takes_all_it_may_leaves_the_others_theirs() {
        let shares = Shares::new(PORTIONS, Arc::new(crate::clock::SystemClock::new()));
        let who = |name: &str| Principal {
            name: name.to_owned(),
            role: crate::auth::Role::Viewer,
            scope: crate::auth::Scope::Whole,
        };
        let (ann, bob) = (who("unix:1"), who("unix:2"));
        let (share, _one) = shares.take(&ann, 1).unwrap();
        let two = shares.take(&ann, 1).unwrap();
        let refused = shares.take(&ann, 1).err().unwrap();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
        let (other, _three) = shares.take(&bob, 1).unwrap();
        drop(two);
        drop(shares.take(&ann, 1).unwrap());

        let (mut held, mut others, mut more) = <(Held, Held, Held)>::default();
        share.hold(60, &mut held).unwrap();
        share.hold(40, &mut held).unwrap();
        assert!(share.hold(1, &mut more).is_err(), "it holds all that it may");
        other.hold(50, &mut others).unwrap();
        assert!(other.hold(1, &mut more).is_err(), "that is all that there is for everyone");
        drop(held);
        other.hold(50, &mut others).unwrap();
    }
}
