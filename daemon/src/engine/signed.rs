//! What goes with everything that is sent outside, so that whoever gets it knows which it is and that it comes from here.

use crate::domain::time::Timestamp;
use crate::secrets::signature;

/// The headers of a body that is sent at this time under this id, signed with this secret.
pub(super) fn signed(id: &str, secret: &[u8], body: &str, now: Timestamp) -> Vec<(&'static str, String)> {
    let seconds = now.0.div_euclid(1_000_000);
    vec![
        ("settled-id", id.to_owned()),
        ("settled-timestamp", seconds.to_string()),
        ("settled-signature", signature(secret, seconds, body.as_bytes())),
    ]
}
