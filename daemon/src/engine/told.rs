//! What the audit tells of a change beside who asked for what, and where: which definition ran, and with which values. So that one who has
//! a text can say whether it was that one, a long text stands there as its digest. Secrets are named only.

use sha2::{Digest as _, Sha256};

use super::accept::Work;
use crate::domain::params::together;
use crate::domain::resource::Resource;

/// Longest value that is told as it is, in bytes.
const SHOWN_BYTES_MAX: usize = 64;

/// `definition sha256:..., path="/srv/app", build=sha256:..., token=(secret)`
pub(super) fn told(resource: &Resource, work: &Work) -> String {
    let values = together(&resource.desired, &work.given);
    let definition = format!("definition sha256:{}", work.definition.digest);
    let values = values.iter().map(|(name, value)| format!("{name}={}", shown(value)));
    let secrets = resource.secrets.iter().map(|name| format!("{name}=(secret)"));
    [definition].into_iter().chain(values).chain(secrets).collect::<Vec<_>>().join(", ")
}

fn shown(value: &str) -> String {
    if is_short(value) { format!("{value:?}") } else { digest(value) }
}

/// The same where a value stands by itself.
pub(super) fn plain(value: &str) -> String {
    if is_short(value) { value.to_owned() } else { digest(value) }
}

fn is_short(value: &str) -> bool {
    value.len() <= SHOWN_BYTES_MAX && !value.contains(char::is_control)
}

fn digest(value: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_values_are_shown_and_long_ones_are_named_by_their_digest() {
        assert_eq!(shown("/srv/a b"), "\"/srv/a b\"");
        let digest = "sha256:7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78";
        assert_eq!(shown("a\nb"), digest, "as sha256sum has it");
        assert!(shown(&"x".repeat(65)).starts_with("sha256:"));
    }
}
