//! Endpoints outside that may be called: by webhooks of lifecycles and of notifiers.

/// Longest URL of a webhook, in bytes.
const URL_BYTES_MAX: usize = 2_000;

/// Why a URL is none that may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoint {
    /// It has another form.
    #[error("must be a URL like https://example.org/hook, without a user, a password or a fragment")]
    Form,
    /// What is sent would be seen on its way.
    #[error("must be https: what is sent over http can be read on its way")]
    Plain,
}

/// A URL that may be called: over TLS, or on this host, or as somebody says `plain`ly.
pub fn check_endpoint(url: &str, plain: bool) -> Result<(), NoEndpoint> {
    let uri: http::Uri = url.parse().map_err(|_| NoEndpoint::Form)?;
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else { return Err(NoEndpoint::Form) };
    if url.len() > URL_BYTES_MAX || url.contains('#') || authority.as_str().contains('@') || host.is_empty() {
        return Err(NoEndpoint::Form);
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_here || plain => Ok(()),
        Some("http") => Err(NoEndpoint::Plain),
        _ => Err(NoEndpoint::Form),
    }
}
