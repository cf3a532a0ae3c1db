//! Everything that reads what others have written, fed with what nobody would write: requests of every type, answers of servers, definitions of packages and
//! lifecycles, and the small languages in them.
//!
//! In the suite each target is fed what lies in its corpus (`corpus/TARGET`) and some inputs by chance, always the same. `make fuzz` feeds each for
//! `SETTLED_FUZZ_S` seconds with others every time; what it finds it writes into the corpus.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "a session lasts for so long, whatever the clock of the daemon says"
)]

mod answers;
mod driver;
mod messages;
mod requests;
mod texts;
