//! `settled` puts things on Linux servers over SSH, takes them off again, and never leaves anyone wondering.
//!
//! ARCHITECTURE.md at the top of the repository tells how the modules belong together and who may know whom.

pub mod domain;

pub mod auth;
pub mod catalog;
pub mod clock;
pub mod dispatch;
pub mod engine;
pub mod figures;
pub mod grpc;
pub mod hub;
pub mod lifecycles;
pub mod outside;
pub mod reconciler;
pub mod remote;
pub mod scheduler;
pub mod secrets;
pub mod store;
pub mod traces;

pub mod app;
pub mod config;
pub mod process;
pub mod telemetry;
