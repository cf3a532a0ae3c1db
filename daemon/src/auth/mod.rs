//! Who may do what. Every method declares the verb that it needs, and a role goes up to a verb, on the servers of its scope.
//!
//! Through the unix socket the kernel vouches for the caller's user id; over TCP a caller shows a token, or a certificate. Root and the daemon's
//! own user are admins, a token says what it gives, and everybody else has the roles that the configuration gives to it or to a group of its,
//! and without one is refused. Nothing here knows gRPC or the store.

mod gate;
mod grants;
mod groups;
mod members;
mod roles;
mod scope;
mod token;

pub use gate::{Gate, NotLetIn, Shown, Standing, Stranger, Tokens, Turned, Unclear};
pub use grants::Grants;
pub use members::Members;
pub use roles::{Held, Principal, Role, Verb};
pub use scope::{BadSelector, SELECTORS_MAX, Scope, Selector};
pub use token::{NotAToken, TOKEN, Token};

/// What the principal of whoever shows a certificate begins with.
pub const CERTIFICATE: &str = "cert:";

/// The principal of what settled does by itself. No caller can have this name.
pub const SETTLED: &str = "settled";
