//! Proofs of the rules by which a run moves: one table over every pair of state and event, and the stories that DESIGN tells.

pub(in crate::domain) mod fixture;
mod freshness;
mod grounds;
mod stories;
mod table;
