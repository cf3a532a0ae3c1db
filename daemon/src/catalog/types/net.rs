//! Ports, addresses and host names.

use std::net::IpAddr;

/// A port from 1 to 65535.
pub(super) fn port(raw: &str) -> Option<String> {
    number(raw).map(|port| port.to_string())
}

/// A port, or `first:last` with first below last. A range of one port is that port.
pub(super) fn port_range(raw: &str) -> Result<Option<String>, String> {
    let Some((first, last)) = raw.split_once(':') else { return Ok(port(raw)) };
    let (Some(first), Some(last)) = (number(first), number(last)) else { return Ok(None) };
    match first.cmp(&last) {
        std::cmp::Ordering::Less => Ok(Some(format!("{first}:{last}"))),
        std::cmp::Ordering::Equal => Ok(Some(first.to_string())),
        std::cmp::Ordering::Greater => Err(format!("the range ends before it begins: write {last}:{first}")),
    }
}

fn number(raw: &str) -> Option<u16> {
    let digits = !raw.is_empty() && raw.bytes().all(|b| b.is_ascii_digit());
    raw.parse::<u16>().ok().filter(|&port| digits && port != 0)
}

/// An address, or a network whose host bits are zero. The network of one address is that address.
pub(super) fn cidr(raw: &str) -> Result<Option<String>, String> {
    let (address, prefix) = match raw.split_once('/') {
        None => (raw, None),
        Some((address, prefix)) => (address, Some(prefix)),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return Ok(None) };
    let bits_all: u32 = if address.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix else { return Ok(Some(address.to_string())) };
    let digits = (1..=3).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
    let Some(prefix) = prefix.parse::<u32>().ok().filter(|&prefix| digits && prefix <= bits_all) else {
        return Err(format!("the part after the slash must be a number from 0 to {bits_all}"));
    };
    let network = network(address, prefix);
    if network != address {
        return Err(format!(
            "the address has bits beyond its prefix: write {network}/{prefix}, or {address}"
        ));
    }
    Ok(Some(if prefix == bits_all { address.to_string() } else { format!("{address}/{prefix}") }))
}

/// The address with every bit beyond the prefix cleared.
fn network(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::from((v6.to_bits() & mask).to_be_bytes())
        }
    }
}

/// A host name of RFC 1123 in lower case. One that looks like an address is refused.
pub(super) fn hostname(raw: &str) -> Option<String> {
    let lower = raw.to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let last_is_name = !lower.rsplit('.').next()?.bytes().all(|b| b.is_ascii_digit());
    (lower.len() <= 253 && last_is_name && lower.split('.').all(label)).then_some(lower)
}

/// A host name, or one with `*.` in front, which stands for one label.
pub(super) fn wildcard(raw: &str) -> Option<String> {
    let (star, rest) = raw.strip_prefix("*.").map_or(("", raw), |rest| ("*.", rest));
    hostname(rest).map(|name| format!("{star}{name}"))
}

/// An address in its shortest form.
pub(super) fn address(raw: &str) -> Option<String> {
    raw.parse::<IpAddr>().ok().map(|address| address.to_string())
}
