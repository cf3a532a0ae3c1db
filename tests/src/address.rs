//! Addresses of this machine for whoever listens later, or never.

use std::iter::repeat_with;
use std::net::{SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// An address of this machine where nobody listens now. Its port is none of those that outgoing connections get, of which another test could
/// have it before it is listened on.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let numbers =
        repeat_with(|| process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)));
    let ports = numbers.map(|n| 20_000 + u16::try_from(n % 12_000).expect("less than 12,000"));
    let mut addresses = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("there are always more")
}
