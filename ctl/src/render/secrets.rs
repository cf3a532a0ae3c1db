//! Master keys for people.

use settled_proto::v1::{DamagedSecret, RotateSecretsResponse};

use super::text;

/// What a rotation has done, and what is left to do.
pub(crate) fn rotated(answer: &RotateSecretsResponse) -> String {
    let damaged = answer.damaged.iter().map(damaged);
    std::iter::once(went(answer)).chain(damaged).collect::<Vec<_>>().join("\n")
}

fn damaged(secret: &DamagedSecret) -> String {
    let [owner, name, remedy] = [&secret.owner, &secret.name, &secret.remedy].map(|text| text::clean(text));
    format!("The secret `{name}` of {owner} cannot be opened any more, and was left as it is; {remedy}")
}

fn went(answer: &RotateSecretsResponse) -> String {
    let key = text::clean(&answer.key_id);
    if answer.left > 0 {
        return format!(
            "{} secrets are sealed with the master key {key} now; {} need another one still. Type it again to go on.",
            answer.resealed, answer.left
        );
    }
    format!(
        "Everything is sealed with the master key {key}; {} secrets were now. Nothing needs another key any more: put the new file in the place \
         of the old one, on every daemon. Keep the old key with the backups that were made before.",
        answer.resealed
    )
}
