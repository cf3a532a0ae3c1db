//! What the tests of the whole need: real foreign servers that are thrown away afterwards.

pub mod daemon;
pub mod engine;
mod guarded;
pub mod notify;
pub mod postgres;
pub mod server;
pub mod sshd;
