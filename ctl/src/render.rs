//! Turns messages of the contract into text. Pure: what is printed where is decided by [`out`].

pub(crate) mod admin;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod enrollments;
mod grounds;
pub(crate) mod json;
pub(crate) mod lifecycles;
pub(crate) mod notifiers;
pub(crate) mod out;
pub(crate) mod packages;
pub(crate) mod plans;
pub(crate) mod resources;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod secrets;
pub(crate) mod servers;
pub(crate) mod story;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod tokens;
pub(crate) mod transitions;
pub(crate) mod verdict;
pub(crate) mod words;
mod yaml;
