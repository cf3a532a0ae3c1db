//! Why a request is not answered, in words that programs can compare. Every status of the API is made here, so each has a reason, the details
//! that go with it, and what its caller does next; docs/errors.md is made from the same table.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use self::Detail::{BadRequest, Metadata, PreconditionFailure, QuotaFailure, ResourceInfo, RetryInfo};

/// Whose reasons these are: `ErrorInfo.domain`.
pub const DOMAIN: &str = "settled";

/// A part of `google.rpc` that a status can carry beside its `ErrorInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Each field that is wrong, and what is wrong with it.
    BadRequest,
    /// What kind of thing it is about, and its name or id.
    ResourceInfo,
    /// What stands in the way.
    PreconditionFailure,
    /// Of what there is no more, and for whom.
    QuotaFailure,
    /// After which time to ask again.
    RetryInfo,
    /// A value in `ErrorInfo.metadata`.
    Metadata(&'static str),
}

/// Everything that is to be said of a reason.
#[derive(Debug)]
pub struct Entry {
    /// `ErrorInfo.reason`. Never changes its meaning.
    pub word: &'static str,
    /// Its code; the same for every status with this reason.
    pub code: Code,
    /// What every status with this reason carries.
    pub carries: &'static [Detail],
    /// What happened.
    pub happened: &'static str,
    /// What the caller does next.
    pub next: &'static str,
}

macro_rules! reasons {
    ($($name:ident = $word:literal, $code:ident, [$($detail:expr),*], $happened:literal, $next:literal;)*) => {
        /// Why a request is not answered.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason {
            $(#[doc = $happened] $name,)*
        }

        impl Reason {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What is to be said of it.
            pub const fn entry(self) -> &'static Entry {
                match self {
                    $(Self::$name => &Entry {
                        word: $word,
                        code: Code::$code,
                        carries: &[$($detail),*],
                        happened: $happened,
                        next: $next,
                    },)*
                }
            }
        }
    };
}

reasons! {
    BrokenOff = "BROKEN_OFF", Cancelled, [],
        "the caller went away before its request had arrived whole", "nothing was done: ask again";
    WrongFields = "WRONG_FIELDS", InvalidArgument, [BadRequest],
        "fields have values that cannot be used", "mend the fields that are named";
    WrongForm = "WRONG_FORM", InvalidArgument, [],
        "the request is not one message of the form that the contract says", "mend the client";
    DeadlineOver = "DEADLINE_OVER", DeadlineExceeded, [],
        "the deadline that came with the request is over",
        "a command may have been accepted: ask again with the same `request_id`, and it is done once";
    SlowRequest = "SLOW_REQUEST", DeadlineExceeded, [],
        "the request did not arrive within `limits.body_s`", "nothing was done: ask again over a better line, or for less at once";
    NotFound = "NOT_FOUND", NotFound, [ResourceInfo],
        "there is no such object, or none that the caller may see", "look it up in the lists";
    AlreadyExists = "ALREADY_EXISTS", AlreadyExists, [ResourceInfo],
        "it is there already", "use what is there, or take another name";
    Stranger = "STRANGER", PermissionDenied, [],
        "the caller has no role here", "have a role given to it in `[access]`";
    RightLost = "RIGHT_LOST", PermissionDenied, [],
        "the caller may not read any more what its stream tells", "have a role given to it in `[access]`, or get another token";
    RoleTooLow = "ROLE_TOO_LOW", PermissionDenied, [],
        "the method is for a higher role", "ask somebody who has it, or have it given in `[access]`";
    ScopeTooSmall = "SCOPE_TOO_SMALL", PermissionDenied, [],
        "the method concerns all servers, and the caller's role holds on some", "ask somebody whose role holds on all";
    NotAllowed = "NOT_ALLOWED", PermissionDenied, [],
        "what is asked for is not for this caller", "the sentence says for whom it is";
    QueueFull = "QUEUE_FULL", ResourceExhausted, [QuotaFailure],
        "as much waits already as may wait", "wait until some of it is done, or cancel what is not needed";
    DiskFull = "DISK_FULL", ResourceExhausted, [QuotaFailure],
        "the daemon's disk is full, or has no room for what was asked for; nothing was stored", "tell whoever runs the daemon: space has to be made";
    TooFast = "TOO_FAST", ResourceExhausted, [QuotaFailure, RetryInfo],
        "the caller asks more often than `limits.requests_per_s`", "ask again after the time that it tells, and more slowly";
    TooManyOpen = "TOO_MANY_OPEN", ResourceExhausted, [QuotaFailure, RetryInfo],
        "the caller has `limits.streams_per_principal_max` requests and streams open", "let one end first";
    TooManyBytes = "TOO_MANY_BYTES", ResourceExhausted, [QuotaFailure, RetryInfo],
        "too many bytes of requests are on their way at once, or of answers wait to be read", "ask again after the time that it tells";
    NotYet = "NOT_YET", FailedPrecondition, [Metadata("opens")],
        "the server does not open for work in time", "ask again when it opens, or with a longer limit; `opens` says when, RFC 3339";
    NotNow = "NOT_NOW", FailedPrecondition, [],
        "the present state does not allow it", "the sentence says what has to be different first";
    OtherEngine = "OTHER_ENGINE", FailedPrecondition, [],
        "the store is on a PostgreSQL, and the method is for one on SQLite", "use the tools of the PostgreSQL: the sentence names the command";
    InTheWay = "IN_THE_WAY", FailedPrecondition, [PreconditionFailure],
        "open runs (`RUN`) or resources (`RESOURCE`) stand in the way", "wait for them, or end them";
    Requires = "REQUIRES", FailedPrecondition, [PreconditionFailure],
        "packages that it requires are not on the server (`REQUIREMENT`)", "install them first";
    Conflict = "CONFLICT", Aborted, [RetryInfo],
        "something else changed the same record at the same moment; nothing was done", "ask again";
    SlowReader = "SLOW_READER", Aborted, [],
        "nothing of a stream that cannot wait was read for `limits.body_s`", "ask again, and read without a pause";
    PositionOutOfRange = "POSITION_OUT_OF_RANGE", OutOfRange, [Metadata("generation"), Metadata("oldest_seq")],
        "the position of a watch is not kept any more, or is of another store or of a caller who sees other servers", "take a snapshot, and watch from there";
    ScopeChanged = "SCOPE_CHANGED", OutOfRange, [],
        "the caller sees other servers than when its stream began", "begin again; a watch with a snapshot";
    NoSuchMethod = "NO_SUCH_METHOD", Unimplemented, [],
        "this settled has no such method", "use a client that is not newer than the daemon, or update the daemon";
    Compressed = "COMPRESSED", Unimplemented, [],
        "the request is compressed, which is not understood", "send it as it is";
    Fault = "FAULT", Internal, [],
        "a fault in settled", "the sentence has a reference, under which the daemon's log tells more: report it";
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable, [RetryInfo],
        "the daemon's database does not answer", "ask again with the same `request_id`; if it goes on, look at `settlectl status`";
    NoKey = "NO_MASTER_KEY", Unavailable, [RetryInfo],
        "the daemon that answers lacks a master key of the store; nothing was done",
        "ask another daemon, or again later; tell whoever runs this one: `settlectl status` there says which key";
    RightsUnknown = "RIGHTS_UNKNOWN", Unavailable, [RetryInfo],
        "nobody can tell at the moment what the caller may do", "ask again; nothing was done";
    Stopping = "STOPPING", Unavailable, [RetryInfo],
        "the daemon stops, and ends its streams", "connect again, and resume";
    Draining = "DRAINING", Unavailable, [RetryInfo],
        "the daemon drains, another one serves, and its streams end", "connect again, and resume there";
    Ending = "ENDING", Unavailable, [RetryInfo],
        "the connection was told to end before this stream began", "connect again";
    NoCredentials = "NO_CREDENTIALS", Unauthenticated, [],
        "a caller from the network shows neither a token nor a certificate", "show one";
    BadCredentials = "BAD_CREDENTIALS", Unauthenticated, [],
        "what the caller shows does not count: it is malformed, unknown, expired or revoked, or has no role", "get other credentials";
    TokenThroughSocket = "TOKEN_THROUGH_SOCKET", Unauthenticated, [],
        "a token was sent through the unix socket, where the kernel says who asks", "leave it out";
}

impl Reason {
    /// A status with this reason, a sentence for people, and no other details.
    pub(super) fn status(self, message: impl Into<String>) -> Status {
        self.with(message, ErrorDetails::new())
    }

    /// A status with this reason and these details.
    pub(super) fn with(self, message: impl Into<String>, details: ErrorDetails) -> Status {
        self.telling(message, details, HashMap::new())
    }

    /// A status with this reason, these details, and these values beside the reason.
    pub(super) fn telling(
        self,
        message: impl Into<String>,
        mut details: ErrorDetails,
        values: HashMap<String, String>,
    ) -> Status {
        let Entry { word, code, carries, .. } = *self.entry();
        debug_assert!(
            carries_just(&details, &values, carries),
            "{self:?} does not carry what it says: {details:?}"
        );
        details.set_error_info(word, DOMAIN, values);
        Status::with_error_details(code, message, details)
    }
}

/// Whether that is what the table says.
fn carries_just(details: &ErrorDetails, values: &HashMap<String, String>, said: &[Detail]) -> bool {
    let parts = [
        (BadRequest, details.bad_request().is_some()),
        (ResourceInfo, details.resource_info().is_some()),
        (PreconditionFailure, details.precondition_failure().is_some()),
        (QuotaFailure, details.quota_failure().is_some()),
        (RetryInfo, details.retry_info().is_some()),
    ];
    let of_metadata = |detail: &&Detail| matches!(detail, Metadata(key) if values.contains_key(*key));
    parts.into_iter().all(|(part, is_there)| said.contains(&part) == is_there)
        && said.iter().filter(of_metadata).count() == values.len()
        && said.iter().filter(|detail| matches!(detail, Metadata(_))).count() == values.len()
}
