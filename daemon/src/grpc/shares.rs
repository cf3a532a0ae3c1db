//! What each principal may take at once: requests in a second, requests that are open, bytes of requests that are on their way. So one that asks
//! without end is told to slow down, and the others do not notice.
//!
//! It does not know what is asked. Principals are few (the users who are let in), so they are never forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::kept::keeping;
use super::reason::Reason;
use super::status;
use crate::auth::Principal;
use crate::clock::Clock;

/// After which time a caller may try again whom something else than its rate keeps out.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What principals may take.
#[derive(Debug, Clone, Copy)]
pub struct Portions {
    /// Requests in a second, in the long run.
    pub requests_per_s: u32,
    /// Requests at once, after a rest.
    pub requests_burst: u32,
    /// Requests whose answers have not ended, streams among them.
    pub open: usize,
    /// Bytes of requests that are on their way or being answered.
    pub body_bytes: usize,
    /// The same, of all principals together.
    pub body_bytes_of_all: usize,
}

/// Gives every request its principal's share, or refuses it.
#[derive(Clone)]
pub(super) struct SharesLayer {
    shares: Arc<Shares>,
}

struct Shares {
    clock: Arc<dyn Clock>,
    portions: Portions,
    body_bytes: Arc<Semaphore>,
    of: Mutex<HashMap<String, Arc<Share>>>,
}

/// What one principal takes.
pub(super) struct Share {
    principal: String,
    bucket: Mutex<Bucket>,
    open: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
    body_bytes_of_all: Arc<Semaphore>,
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
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let take = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).try_acquire_many_owned(bytes);
        let (Ok(own), Ok(of_all)) = (take(&self.body_bytes), take(&self.body_bytes_of_all)) else {
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
}

impl Shares {
    fn of(&self, principal: &str) -> Arc<Share> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = of.get(principal) {
            return Arc::clone(share);
        }
        let share = Arc::new(Share {
            principal: principal.to_owned(),
            bucket: Mutex::default(),
            open: Arc::new(Semaphore::new(self.portions.open)),
            body_bytes: Arc::new(Semaphore::new(self.portions.body_bytes)),
            body_bytes_of_all: Arc::clone(&self.body_bytes),
        });
        of.insert(principal.to_owned(), Arc::clone(&share));
        share
    }

    /// The share of who asks, with one more request in it.
    fn take(&self, principal: &Principal) -> Result<(Arc<Share>, OwnedSemaphorePermit), Status> {
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
        let open = Arc::clone(&share.open).try_acquire_owned().map_err(|_| {
            let message = format!(
                "{} has {} requests and streams open, and no more are allowed (limits.streams_per_principal_max): let one end first",
                principal.name, self.portions.open
            );
            status::exhausted(Reason::TooManyOpen, "streams", &principal.name, message, TRY_AGAIN)
        })?;
        Ok((share, open))
    }
}

impl SharesLayer {
    pub(super) fn new(portions: Portions, clock: Arc<dyn Clock>) -> Self {
        let body_bytes = Arc::new(Semaphore::new(portions.body_bytes_of_all));
        Self { shares: Arc::new(Shares { clock, portions, body_bytes, of: Mutex::default() }) }
    }
}

impl<S> Layer<S> for SharesLayer {
    type Service = Shared<S>;

    fn layer(&self, inner: S) -> Shared<S> {
        Shared { shares: Arc::clone(&self.shares), inner }
    }
}

/// The services behind it.
#[derive(Clone)]
pub(super) struct Shared<S> {
    shares: Arc<Shares>,
    inner: S,
}

impl<S> Service<Request<Body>> for Shared<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let principal = request.extensions().get::<Principal>().ok_or_else(status::nobody);
        match principal.and_then(|principal| self.shares.take(principal)) {
            Ok((share, open)) => {
                request.extensions_mut().insert(share);
                let answer = self.inner.call(request);
                Box::pin(async move { Ok(answer.await?.map(|body| keeping(body, open))) })
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn one_principal_that_takes_all_it_may_leaves_the_others_theirs() {
        let layer = SharesLayer::new(PORTIONS, Arc::new(crate::clock::SystemClock::new()));
        let who = |name: &str| Principal {
            name: name.to_owned(),
            role: crate::auth::Role::Viewer,
            scope: crate::auth::Scope::Whole,
        };
        let (ann, bob) = (who("unix:1"), who("unix:2"));
        let (share, _one) = layer.shares.take(&ann).unwrap();
        let two = layer.shares.take(&ann).unwrap();
        let refused = layer.shares.take(&ann).err().unwrap();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
        let (other, _three) = layer.shares.take(&bob).unwrap();
        drop(two);
        drop(layer.shares.take(&ann).unwrap());

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
