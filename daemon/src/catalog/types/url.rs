//! Addresses of web pages and git repositories. No passwords in them: those are secrets.

use super::net;

const PASSWORD: &str = "must not have a user name or password in it: give that as a secret";

/// `http://` or `https://`, a host, and what follows.
pub(super) fn http(raw: &str) -> Result<Option<String>, String> {
    let Some((scheme, rest)) = scheme(raw).filter(|(scheme, _)| matches!(scheme.as_str(), "http" | "https"))
    else {
        return Ok(None);
    };
    let (authority, tail) = cut(rest);
    if authority.contains('@') {
        return Err(PASSWORD.to_owned());
    }
    Ok(host_port(authority).filter(|_| plain(tail)).map(|host| format!("{scheme}://{host}{tail}")))
}

/// `https`, `http`, `ssh` and `file` addresses, and the short form `user@host:path` of ssh.
///
/// Neither user, host nor path may begin with a dash: git would hand it on as an option.
pub(super) fn git(raw: &str) -> Result<Option<String>, String> {
    let Some((scheme, rest)) = scheme(raw) else { return Ok(git_short(raw)) };
    let (authority, tail) = cut(rest);
    match scheme.as_str() {
        "http" | "https" => http(raw),
        "file" => Ok((authority.is_empty() && tail.len() > 1 && plain(tail)).then(|| raw.to_owned())),
        "ssh" => {
            let (user, host) = match authority.rsplit_once('@') {
                None => (None, authority),
                Some((user, _)) if user.contains(':') => return Err(PASSWORD.to_owned()),
                Some((user, host)) => (Some(user), host),
            };
            let fits = user.is_none_or(is_user) && tail.len() > 1 && plain(tail);
            let user = user.map(|user| format!("{user}@")).unwrap_or_default();
            Ok(host_port(host).filter(|_| fits).map(|host| format!("ssh://{user}{host}{tail}")))
        }
        _ => Ok(None),
    }
}

fn git_short(raw: &str) -> Option<String> {
    let (login, path) = raw.split_once(':')?;
    let (user, host) = login.split_once('@')?;
    let fits = is_user(user) && !path.is_empty() && !path.starts_with(['-', ':']) && plain(path);
    net::hostname(host).filter(|_| fits).map(|host| format!("{user}@{host}:{path}"))
}

fn is_user(user: &str) -> bool {
    super::text::unix_user(user).is_some()
}

/// The scheme in lower case, and what follows `://`.
fn scheme(raw: &str) -> Option<(String, &str)> {
    raw.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest))
}

/// The authority, and the path with all that follows.
fn cut(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// A host name, an IPv4 address or a bracketed IPv6 address, with a port or without.
fn host_port(authority: &str) -> Option<String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (inner, after) = rest.split_once(']')?;
        let address: std::net::Ipv6Addr = inner.parse().ok()?;
        return with_port(&format!("[{address}]"), after);
    }
    let (host, after) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    let address = host.parse::<std::net::Ipv4Addr>().ok().map(|address| address.to_string());
    with_port(&address.or_else(|| net::hostname(host))?, after)
}

fn with_port(host: &str, after: &str) -> Option<String> {
    match after.strip_prefix(':') {
        Some(port) => net::port(port).map(|port| format!("{host}:{port}")),
        None => after.is_empty().then(|| host.to_owned()),
    }
}

/// The characters that RFC 3986 allows after the authority.
fn plain(tail: &str) -> bool {
    tail.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b))
}
