//! The form of what requests carry, before anything is looked up: ids, names, page sizes, numbers of enums.

use std::str::FromStr;
use std::time::Duration;

use settled_proto::v1;

use crate::domain::id::BadId;
use crate::domain::turn::{Priority, Turn};
use crate::engine::Refusal;

/// Longest name of a server or package, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// Longest SERVER/PACKAGE/NAME, in bytes.
const PATH_BYTES_MAX: usize = 3 * NAME_BYTES_MAX + 2;
/// Most parameters and secrets of one request together, in bytes: the record must fit into one message, twice.
const VALUES_BYTES_MAX: usize = 1024 * 1024;
/// Longest time that a run may stay queued, in seconds: the configuration's own limit.
const QUEUE_LIMIT_S_MAX: u32 = 30 * 86_400;
/// Page size when none is asked for.
const PAGE_DEFAULT: u32 = 100;
/// Largest page.
const PAGE_MAX: u32 = 500;

/// A required id.
pub(super) fn id<T: FromStr<Err = BadId>>(field: &str, text: &str) -> Result<T, Refusal> {
    if text.is_empty() {
        return Err(Refusal::field(field, "is missing"));
    }
    text.parse().map_err(|_| Refusal::field(field, "is not an id: ids are ULIDs of 26 characters"))
}

/// An id that may be left out.
pub(super) fn optional_id<T: FromStr<Err = BadId>>(field: &str, text: &str) -> Result<Option<T>, Refusal> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// A required name of a server or package, or an id.
pub(super) fn name(field: &str, text: &str) -> Result<(), Refusal> {
    reference(field, text, NAME_BYTES_MAX)
}

/// A required id or SERVER/PACKAGE/NAME.
pub(super) fn path(field: &str, text: &str) -> Result<(), Refusal> {
    reference(field, text, PATH_BYTES_MAX)
}

/// Longest LIFECYCLE/TYPE/ID, in bytes.
const SUBJECT_BYTES_MAX: usize = 300;

/// A required TYPE/ID or LIFECYCLE/TYPE/ID, or an id.
pub(super) fn subject(field: &str, text: &str) -> Result<(), Refusal> {
    reference(field, text, SUBJECT_BYTES_MAX)
}

/// What a person says in so many bytes at most; may be empty.
pub(super) fn words(field: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.is_empty() { Ok(()) } else { reference(field, text, bytes_max) }
}

fn reference(field: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::field(field, "is missing"));
    }
    if text.len() > bytes_max || text.chars().any(char::is_control) {
        return Err(Refusal::field(
            field,
            format!("must have at most {bytes_max} bytes and no control characters"),
        ));
    }
    Ok(())
}

/// Bounds parameters and secrets together; each one is bounded by the engine.
pub(super) fn values<'a>(sizes: impl Iterator<Item = (&'a String, usize)>) -> Result<(), Refusal> {
    let all: usize = sizes.map(|(name, len)| name.len() + len).sum();
    if all > VALUES_BYTES_MAX {
        return Err(Refusal::field(
            "parameters",
            format!("together with secrets they have {all} bytes; at most {VALUES_BYTES_MAX} are allowed"),
        ));
    }
    Ok(())
}

/// The number of rows of a page.
pub(super) fn page_size(size: u32) -> Result<u32, Refusal> {
    match size {
        0 => Ok(PAGE_DEFAULT),
        1..=PAGE_MAX => Ok(size),
        _ => Err(Refusal::field("page_size", format!("must be 1 to {PAGE_MAX}, or 0 for {PAGE_DEFAULT}"))),
    }
}

/// A value of an enum by its number.
pub(super) fn word<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T, Refusal> {
    T::try_from(number).map_err(|_| Refusal::field(field, format!("has no value {number}")))
}

/// How a run waits for its turn: seconds that it may stay queued, and its priority; 0 means that none was given.
/// `least`: the shortest time that gives it a chance.
pub(super) fn turn(seconds: u32, priority: i32, least: Duration) -> Result<Turn, Refusal> {
    if seconds > QUEUE_LIMIT_S_MAX {
        let message = format!(
            "must be 1 to {QUEUE_LIMIT_S_MAX} seconds (30 days); left out, the package or the daemon decides"
        );
        return Err(Refusal::field("queue_limit_s", message));
    }
    let limit = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
    if limit.is_some_and(|limit| limit < least) {
        let message = format!(
            "must be at least {} seconds: with less the run would end before a server that is away, \
             is busy or changes hands is looked at a second time (lane.unreachable_retry_s, lane.busy_retry_s, lane.lease_s)",
            least.as_secs()
        );
        return Err(Refusal::field("queue_limit_s", message));
    }
    let priority = match word("priority", priority)? {
        v1::Priority::Low => Priority::Low,
        v1::Priority::Unspecified | v1::Priority::Normal => Priority::Normal,
        v1::Priority::High => Priority::High,
    };
    Ok(Turn { limit, priority, attempts: None })
}
