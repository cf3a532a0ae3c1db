//! Every run settles, and the verdict is true: the binary itself, killed, stopped and left behind by the hundred, on real OpenSSH servers.
//!
//! What is claimed is not asked of settled alone. Each payload leaves a witness on its server: that it began, that nothing else ran
//! there, the SHA-256 of what it wrote, that it ended. Clients keep a journal of what was acknowledged. The end is judged by both.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod clients;
mod enrollments;
mod judge;
mod kill_nine;
mod million;
mod paused;
mod proxy;
mod run_126;
mod validators;
mod watching;
mod witness;
mod world;
