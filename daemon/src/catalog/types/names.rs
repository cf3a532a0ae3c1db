//! Names that other programs define: Debian packages and their versions, databases, mail addresses.

use super::net;

/// Longest name of a Debian package, and longest version, in bytes.
const DEBIAN_BYTES_MAX: usize = 128;
/// Longest name in SQL, in bytes: `MySQL` and `MariaDB` take 64 characters.
const SQL_BYTES_MAX: usize = 64;
/// Longest mail address, and longest part of it before the `@`, in bytes (RFC 5321).
const EMAIL_BYTES_MAX: (usize, usize) = (254, 64);

/// A name as Debian Policy 5.6.7 has it. With a dash at its end apt would take it for a wish to remove.
pub(super) fn debian_package(raw: &str) -> Option<String> {
    let fits = (2..=DEBIAN_BYTES_MAX).contains(&raw.len())
        && raw.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && raw.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b))
        && !raw.ends_with('-');
    fits.then(|| raw.to_owned())
}

/// `[epoch:]upstream[-revision]` as Debian Policy 5.6.12 has it. The epoch 0 is left out, as apt does.
pub(super) fn debian_version(raw: &str) -> Option<String> {
    let (epoch, rest) = match raw.split_once(':') {
        Some((epoch, rest)) => (Some(epoch.parse::<u32>().ok().filter(|_| is_digits(epoch))?), rest),
        None => (None, raw),
    };
    let (upstream, revision) = rest.rsplit_once('-').map_or((rest, None), |(u, r)| (u, Some(r)));
    let part = |part: &str, more: &[u8]| {
        part.bytes().all(|b| b.is_ascii_alphanumeric() || b".+~".contains(&b) || more.contains(&b))
    };
    let fits = raw.len() <= DEBIAN_BYTES_MAX
        && upstream.starts_with(|first: char| first.is_ascii_digit())
        && part(upstream, b"-")
        && revision.is_none_or(|revision| !revision.is_empty() && part(revision, b""));
    let epoch = epoch.filter(|epoch| *epoch > 0).map_or_else(String::new, |epoch| format!("{epoch}:"));
    fits.then(|| format!("{epoch}{rest}"))
}

/// A name that needs no quotes in SQL.
pub(super) fn sql(raw: &str) -> Option<String> {
    let fits = raw.len() <= SQL_BYTES_MAX
        && raw.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && raw.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fits.then(|| raw.to_owned())
}

/// A mail address: words with dots between them (RFC 5322), `@`, and a host name with a dot. The host name is in lower case.
pub(super) fn email(raw: &str) -> Option<String> {
    let (local, domain) = raw.rsplit_once('@')?;
    let word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b))
    };
    let (bytes_max, local_bytes_max) = EMAIL_BYTES_MAX;
    let domain = net::hostname(domain).filter(|domain| domain.contains('.'))?;
    let fits = raw.len() <= bytes_max
        && local.len() <= local_bytes_max
        && !local.starts_with('-')
        && local.split('.').all(word);
    fits.then(|| format!("{local}@{domain}"))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}
