//! The whole, as its users meet it: a daemon on its socket, a real OpenSSH server, real scripts.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod access;
mod backup;
mod beside;
mod canary;
mod cli;
mod clients;
mod crash;
mod drain;
mod ends;
mod examples;
mod identity;
mod lease;
mod lifecycles;
mod limits;
mod mail;
mod main_job;
mod metrics;
mod nine;
mod notices;
mod on_schedule;
mod outputs;
mod reload;
mod schedules;
mod secrets;
mod servers;
mod shared;
mod still;
mod systemd;
mod tls;
mod traces;
mod unread;
mod webhooks;
