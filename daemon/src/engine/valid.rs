//! The form of names, hosts, keys and labels: what a command checks before it looks at anything stored.

use std::collections::BTreeMap;

use crate::catalog::FieldProblem;

/// Longest name of a server or resource, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// Longest host name, in bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// Longest user name, in bytes (useradd).
const USER_BYTES_MAX: usize = 32;
/// Longest private key, in bytes.
const IDENTITY_BYTES_MAX: usize = 16 * 1024;
/// Longest reason that a person gives, in bytes.
const REASON_BYTES_MAX: usize = 500;
/// Most labels of a server.
const LABELS_MAX: usize = 32;

/// Gathers what is wrong with a request, so that one answer names it all.
#[derive(Default)]
pub(super) struct Problems(Vec<FieldProblem>);

impl Problems {
    pub(super) fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(FieldProblem { field: field.to_owned(), message: message.into() });
    }

    pub(super) fn check(&mut self, field: &str, result: Result<(), String>) {
        if let Err(message) = result {
            self.add(field, message);
        }
    }

    pub(super) fn into_result(self) -> Result<(), super::Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(super::Refusal::Invalid(self.0)) }
    }
}

/// Names of servers: also host-name-like, so that they can be typed and spoken.
pub(super) fn server_name(name: &str) -> Result<(), String> {
    named(
        name,
        |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'),
        "a-z, 0-9, '-' and '.'",
    )
}

/// Names of resources.
pub(super) fn resource_name(name: &str) -> Result<(), String> {
    named(
        name,
        |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'),
        "a-z, 0-9, '-', '_' and '.'",
    )
}

fn named(name: &str, allowed: fn(char) -> bool, letters: &str) -> Result<(), String> {
    let begins_well = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name.is_empty() {
        return Err("is missing".to_owned());
    }
    if name.len() > NAME_BYTES_MAX || !begins_well || !name.chars().all(allowed) {
        return Err(format!(
            "must have 1 to {NAME_BYTES_MAX} of {letters}, and begin with a letter or digit"
        ));
    }
    Ok(())
}

/// Host names and addresses.
pub(super) fn host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("is missing: give a host name or an address".to_owned());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if !is_address && (host.len() > HOST_BYTES_MAX || host.starts_with('-') || !host.chars().all(allowed)) {
        return Err("must be a host name or an address, without port, user or brackets".to_owned());
    }
    Ok(())
}

/// TCP ports; 0 is allowed here because it means the default.
pub(super) fn port(port: u32) -> Result<u16, String> {
    u16::try_from(port).map_err(|_| "must be 1 to 65535".to_owned())
}

/// Login users.
pub(super) fn user(user: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins_well = user.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if user.len() > USER_BYTES_MAX || !begins_well || !user.chars().all(allowed) {
        return Err(format!("must be a user name: letters, digits, '-', '_', '.', at most {USER_BYTES_MAX}"));
    }
    Ok(())
}

/// Pinned host keys; empty means none yet.
pub(super) fn host_key(key: &str) -> Result<(), String> {
    let Some(hash) = key.strip_prefix("SHA256:") else {
        return if key.is_empty() { Ok(()) } else { Err(HOST_KEY_FORM.to_owned()) };
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    if hash.len() == 43 && hash.chars().all(allowed) { Ok(()) } else { Err(HOST_KEY_FORM.to_owned()) }
}

const HOST_KEY_FORM: &str = "must be a fingerprint as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints it: SHA256: and 43 characters";

/// Reasons that people give for the audit.
pub(super) fn reason(reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() {
        return Err("is missing: say why, it is kept in the audit".to_owned());
    }
    if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        return Err(format!("must have at most {REASON_BYTES_MAX} bytes and no control characters"));
    }
    Ok(())
}

/// Private keys, by form only; whether they work shows when they are used.
pub(super) fn identity(key: &[u8]) -> Result<(), String> {
    if key.len() > IDENTITY_BYTES_MAX {
        return Err(format!("must have at most {IDENTITY_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(key).map_err(|_| "is not a private key in text form".to_owned())?;
    if text.contains("PRIVATE KEY-----") {
        return Ok(());
    }
    Err("is not a private key in OpenSSH or PEM form: give the file without .pub".to_owned())
}

/// Keys of labels to take off.
pub(super) fn label_keys(keys: &[String]) -> Result<(), String> {
    if keys.len() > LABELS_MAX {
        return Err(format!("must be at most {LABELS_MAX}"));
    }
    match keys.iter().find(|key| key.is_empty() || key.len() > NAME_BYTES_MAX) {
        Some(key) => Err(format!("`{key}`: a key has 1 to {NAME_BYTES_MAX} bytes")),
        None => Ok(()),
    }
}

/// Labels.
pub(super) fn labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    let short = |text: &String| text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    if labels.len() > LABELS_MAX {
        return Err(format!("must be at most {LABELS_MAX}"));
    }
    match labels.iter().find(|(key, value)| key.is_empty() || !short(key) || !short(value)) {
        Some((key, _)) => Err(format!(
            "`{key}`: key and value must have at most {NAME_BYTES_MAX} bytes, no control characters"
        )),
        None => Ok(()),
    }
}
