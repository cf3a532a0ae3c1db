//! Who may do what. A caller is known by the socket it came through; every method declares the verb that it needs, and a role goes up to
//! a verb, on the servers of its scope.
//!
//! For now there is one way in, the unix socket: the kernel vouches for the caller's user id. Root and the daemon's own user are admins,
//! others have the roles that the configuration gives to them or to a group of theirs, and everybody else is refused. Nothing here knows
//! gRPC or the store.

mod gate;
mod grants;
mod groups;
mod members;
mod roles;
mod scope;
mod token;

pub use gate::{Gate, Standing, Stranger, Turned, Unclear};
pub use grants::Grants;
pub use members::Members;
pub use roles::{Held, Principal, Role, Verb};
pub use scope::{BadSelector, SELECTORS_MAX, Scope, Selector};
pub use token::{NotAToken, TOKEN, Token};

/// The principal of what settled does by itself. No caller can have this name.
pub const SETTLED: &str = "settled";
