//! What is true, and what may become true: types and pure rules.
//!
//! Only the domain decides. It never does I/O, never awaits, never asks for the time, and knows nothing of SQL, gRPC or SSH:
//! everything it needs is an argument, everything it concludes is a value.

#[macro_use]
pub(crate) mod text_enum;

pub mod consequence;
pub mod cron;
pub mod enrollment;
pub mod expression;
pub mod failure;
pub mod freshness;
pub mod grounds;
pub mod id;
pub mod lifecycle;
pub mod notice;
pub mod operation;
pub mod params;
pub mod requirement;
pub mod resource;
pub mod run;
pub mod schedule;
pub mod server;
pub mod step;
pub mod time;
pub mod timings;
pub mod turn;
pub mod verdict;
pub mod waiting;
pub mod window;
