//! Puts refusals on record (P14): whoever asks for a change and does not get it, or for anything that is not for him, is in the audit with what
//! he asked for and why not.
//!
//! It is a commit of its own, since what was refused has written nothing. What one principal can make the audit hold is bounded: a flood of
//! refusals costs a row a second, and says how many are missing, also when no other comes after them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tonic::{Code, Status};

use super::around::{Services, around};
use super::asked::Named;
use super::door::Peer;
use super::{Api, methods, status};
use crate::auth::Verb;
use crate::engine::Refused;

/// Refusals of one principal that are kept at once.
const BURST: u32 = 60;
/// How long it takes until another one is kept.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer waits for its place on record.
const COMMIT_WAIT: Duration = Duration::from_secs(1);
/// How long after the first that was not kept it is told how many were not, unless another one has told it.
const TOLD_AFTER: Duration = Duration::from_secs(60);
/// Principals of whom is remembered how many were not kept. Those that come when there are so many share a place.
const REMEMBERED_MAX: usize = 4_096;

/// What is found out of a request on its way in.
#[derive(Default)]
pub(super) struct Traced {
    principal: OnceLock<String>,
    named: OnceLock<Named>,
}

impl Traced {
    /// Who asks. What is said first counts.
    pub(super) fn asks(&self, principal: &str) {
        self.principal.get_or_init(|| principal.to_owned());
    }

    /// What the request is about.
    pub(super) fn names(&self, named: Named) {
        self.named.get_or_init(|| named);
    }
}

/// The services behind the record.
pub(super) fn on_record(inner: impl Services, api: Api) -> impl Services {
    let record = Arc::new(Record { api, kept: Mutex::default() });
    around(inner, record, |mut request, inner, record| async move {
        let traced = Arc::new(Traced::default());
        let (path, peer) = (request.uri().path().to_owned(), request.extensions().get::<Peer>().cloned());
        request.extensions_mut().insert(Arc::clone(&traced));
        let answer = inner.answer(request).await;
        if let Some(status) = Status::from_header_map(answer.headers()) {
            record.keep(&path, peer, &traced, &status).await;
        }
        answer
    })
}

struct Record {
    api: Api,
    /// By principal.
    kept: Mutex<HashMap<String, Kept>>,
}

/// How many refusals of a principal may be kept now, and how many were not.
struct Kept {
    left: u32,
    since: Duration,
    missing: u64,
    /// Somebody waits to tell how many are missing.
    awaited: bool,
}

/// What becomes of a refusal.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// It is kept, and tells how many were not since the last.
    Kept { missing: u64 },
    /// It is not kept; `first`: and nobody waits yet to tell of those.
    Missing { first: bool },
}

impl Record {
    async fn keep(self: &Arc<Self>, path: &str, peer: Option<Peer>, traced: &Traced, status: &Status) {
        let Some(method) = methods::at(path).filter(|method| concerns(method.verb, status.code())) else {
            return;
        };
        let unknown = || peer.as_ref().map(Peer::principal).unwrap_or_default();
        let principal = traced.principal.get().cloned().unwrap_or_else(unknown);
        let unnamed = Named::default();
        let named = traced.named.get().unwrap_or(&unnamed);
        let clipped = |text: &str| status::clipped(text, status::NAME_BYTES_MAX);
        let mut refused = Refused {
            principal,
            peer: peer.map(|peer| peer.to_string()).unwrap_or_default(),
            verb: method.verb,
            method: method.name.clone(),
            object: clipped(&named.object),
            server: clipped(&named.server),
            code: word(status.code()).to_owned(),
            why: status.message().to_owned(),
        };
        match self.place(&refused.principal) {
            Place::Kept { missing: 0 } => {}
            Place::Kept { missing } => {
                let more = format!(" ({missing} more refusals since the one before are not on record)");
                refused.why.push_str(&more);
            }
            Place::Missing { first } => {
                if first {
                    self.tell_later(refused);
                } else {
                    self.api.parts.calls.unrecorded.add();
                }
                return;
            }
        }
        self.note(refused).await;
    }

    async fn note(&self, refused: Refused) {
        let api = self.api.clone();
        // Whoever goes away meanwhile is on record all the same.
        let commit = self.api.errands.spawn(async move {
            match api.engine().note_refusal(refused).await {
                Ok(()) => api.parts.calls.recorded.add(),
                Err(error) => {
                    api.parts.calls.unrecorded.add();
                    tracing::warn!(%error, "a refusal could not be put on record");
                }
            }
        });
        // A store that does not answer keeps nobody from hearing why.
        let clock = self.api.engine().clock();
        tokio::select! {
            committed = commit => if committed.is_err() {
                tracing::error!("putting a refusal on record broke");
            },
            () = clock.sleep_until(clock.monotonic() + COMMIT_WAIT) => {}
        }
    }

    /// Tells after a while, or at the stop, how many refusals of a principal are missing, of which this is the first.
    fn tell_later(self: &Arc<Self>, mut refused: Refused) {
        let record = Arc::clone(self);
        self.api.errands.spawn(async move {
            let clock = record.api.engine().clock();
            let pause = clock.sleep_until(clock.monotonic() + TOLD_AFTER);
            record.api.parts.stop.run_until_cancelled(pause).await;
            let missing = record.of(&refused.principal, Kept::tell);
            if missing > 0 {
                let more =
                    format!(" (this stands for {missing} refusals, of which the others are not on record)");
                refused.why.push_str(&more);
                record.note(refused).await;
            }
        });
    }

    fn place(&self, principal: &str) -> Place {
        let now = self.api.engine().clock().monotonic();
        self.of(principal, |kept| kept.take(now))
    }

    fn of<T>(&self, principal: &str, act: impl FnOnce(&mut Kept) -> T) -> T {
        let now = self.api.engine().clock().monotonic();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= REMEMBERED_MAX && !kept.contains_key(principal) {
            kept.retain(|_, kept| !kept.is_whole(now));
        }
        let is_full = kept.len() >= REMEMBERED_MAX && !kept.contains_key(principal);
        let whose = if is_full { "" } else { principal };
        act(kept.entry(whose.to_owned()).or_insert_with(|| Kept::new(now)))
    }
}

impl Kept {
    const fn new(now: Duration) -> Self {
        Self { left: BURST, since: now, missing: 0, awaited: false }
    }

    fn refill(&mut self, now: Duration) {
        let more = now.saturating_sub(self.since).as_secs() / EVERY.as_secs();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(BURST);
        self.since += EVERY.saturating_mul(more);
    }

    fn take(&mut self, now: Duration) -> Place {
        self.refill(now);
        let Some(left) = self.left.checked_sub(1) else {
            self.missing += 1;
            return Place::Missing { first: !std::mem::replace(&mut self.awaited, true) };
        };
        self.left = left;
        Place::Kept { missing: std::mem::take(&mut self.missing) }
    }

    /// How many are missing, which is told now.
    fn tell(&mut self) -> u64 {
        self.awaited = false;
        std::mem::take(&mut self.missing)
    }

    /// Nothing is to be remembered of it.
    fn is_whole(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.left == BURST && self.missing == 0 && !self.awaited
    }
}

/// Whether an answer is a refusal that belongs on record: of a change, or of anything for want of a right.
fn concerns(verb: Verb, code: Code) -> bool {
    match code {
        Code::PermissionDenied | Code::Unauthenticated => true,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unimplemented => verb != Verb::View,
        // Nobody has refused it: it went wrong, or its caller went away.
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}

/// A code as the contract writes it.
pub(super) const fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_a_flood_of_refusals_costs_a_row_a_second_and_says_how_many_are_missing() {
        let mut kept = Kept::new(Duration::ZERO);
        let places: Vec<_> = (0..1_000).map(|_| kept.take(Duration::ZERO)).collect();
        let (rows, missing) = places.split_at(BURST as usize);
        assert!(rows.iter().all(|place| *place == Place::Kept { missing: 0 }), "{rows:?}");
        assert_eq!(missing[0], Place::Missing { first: true });
        assert!(
            missing[1..].iter().all(|place| *place == Place::Missing { first: false }),
            "one waits to tell"
        );
        assert_eq!(kept.take(Duration::from_millis(1_500)), Place::Kept { missing: 940 });
        assert_eq!(kept.take(Duration::from_millis(1_999)), Place::Missing { first: false });
        assert_eq!(kept.tell(), 1, "when none comes after it");
        assert_eq!(kept.take(Duration::from_secs(2)), Place::Kept { missing: 0 });
        assert_eq!(kept.take(Duration::from_secs(2)), Place::Missing { first: true });
        assert!(!kept.is_whole(Duration::from_secs(3_600)), "somebody waits");
        assert_eq!(kept.tell(), 1);
        assert!(kept.is_whole(Duration::from_secs(3_600)));
    }
}
