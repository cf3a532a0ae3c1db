//! `[limits]`: what callers of the API may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[limits]`: what callers of the API may take, so that none of them keeps the others waiting.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How many connections there may be at once. For one more, a quiet one is ended; one in 16 is kept for root.
    pub connections_max: u32,
    /// How many of them one user may have.
    pub connections_per_user_max: u32,
    /// How many connections from the network there may be at once, beside those.
    pub network_connections_max: u32,
    /// How many of them may come from one address; of IPv6, from one network of 64 bits.
    pub connections_per_address_max: u32,
    /// How long a new connection may take to begin with HTTP/2. Seconds.
    pub handshake_s: u64,
    /// How long it may take until its first request has come. Seconds.
    pub first_request_s: u64,
    /// How long a connection may have no open request. Seconds.
    pub idle_s: u64,
    /// How long the message of a request may take to arrive. Seconds.
    pub body_s: u64,
    /// How many bytes of requests may be on their way or being answered at once.
    pub body_bytes_max: u64,
    /// How many of them may be those of one principal.
    pub body_bytes_per_principal_max: u64,
    /// How many requests one principal may make in a second, in the long run.
    pub requests_per_s: u32,
    /// How many it may make at once after a rest.
    pub requests_burst: u32,
    /// How many requests of one principal may be open at once, streams among them.
    pub streams_per_principal_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            connections_per_user_max: 192,
            network_connections_max: 256,
            connections_per_address_max: 64,
            handshake_s: 5,
            first_request_s: 10,
            idle_s: 300,
            body_s: 30,
            body_bytes_max: 64 << 20,
            body_bytes_per_principal_max: 16 << 20,
            requests_per_s: 5_000,
            requests_burst: 10_000,
            streams_per_principal_max: 2_048,
        }
    }
}

impl Limits {
    /// See [`Limits::handshake_s`].
    pub fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_s)
    }

    /// See [`Limits::first_request_s`].
    pub fn first_request(&self) -> Duration {
        Duration::from_secs(self.first_request_s)
    }

    /// See [`Limits::idle_s`].
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s)
    }

    /// See [`Limits::body_s`].
    pub fn body(&self) -> Duration {
        Duration::from_secs(self.body_s)
    }
}
