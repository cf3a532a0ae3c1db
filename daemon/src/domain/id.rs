//! Identities: ULIDs, in text form ordered bytewise. New ones come from the clock, never from here.

use std::fmt;
use std::str::FromStr;

use ulid::Ulid;

/// A text that is not a ULID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: ids are ULIDs of 26 characters")]
pub struct BadId(pub String);

macro_rules! id {
    ($($(#[$meta:meta])* $name:ident,)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Ulid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = || BadId(text.to_owned());
                let ulid = Ulid::from_string(text).map_err(|_| bad())?;
                // A text beyond 128 bits would be cut to the id of something else.
                if ulid.to_string().eq_ignore_ascii_case(text) { Ok(Self(ulid)) } else { Err(bad()) }
            }
        }
    )+};
}

id! {
    /// A server.
    ServerId,
    /// A resource.
    ResourceId,
    /// A run.
    RunId,
    /// A schedule.
    ScheduleId,
    /// A daemon process: one per start.
    DaemonId,
    /// An installation: what servers remember as their owner.
    InstallationId,
    /// A lifecycle.
    LifecycleId,
    /// An enrollment.
    EnrollmentId,
}

#[cfg(test)]
mod tests;
