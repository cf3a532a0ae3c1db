//! The simulated world: a clock moved by hand, scripted servers, and the daemon's own parts on a real SQLite file.
//!
//! One part is stepped at a time, and the clock moves only when none can go on. Whatever looks random comes from a seed, so a world
//! that went wrong goes wrong again.

mod checker;
mod clock;
mod daemon;
pub mod many;
mod packages;
pub mod random;
mod world;

pub use checker::Checker;
pub use clock::SimClock;
pub use daemon::{Actor, Daemon, Kill, Knobs, Stepped};
pub use packages::catalog;
pub use world::{Memory, World, install, knobs};
