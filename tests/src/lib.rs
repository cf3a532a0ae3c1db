//! What the tests of the whole need: real foreign servers that are thrown away afterwards, and a simulated world.

pub mod address;
pub mod daemon;
pub mod disk;
pub mod engine;
mod guarded;
pub mod host;
pub mod http;
pub mod notify;
pub mod patience;
pub mod postgres;
pub mod process;
pub mod raw;
pub mod scripted;
pub mod server;
pub mod sim;
pub mod sshd;
pub mod users;
