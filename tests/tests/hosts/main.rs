//! The binary itself on whole hosts: systemd, apt, ufw, a cable that is pulled, power that is cut.
//!
//! They need root and namespaces; where these are missing every test here is named as ignored. `SETTLED_CUT_S` says for how
//! many seconds the cable is pulled; `make cuts` pulls it for a minute.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod adopted;
mod breaks;
mod broken;
mod cable;
mod catalogue;
mod firewall;
mod fixture;
mod groups;
mod hazards;
mod hostile;
mod interpreted;
mod locks;
mod lost;
mod power;
mod redis;
mod session;
mod sources;
mod story;
mod supervisor;
mod tales;
mod upstream;

/// Who is root in CI is told when hosts cannot be started there: an ignored test is easily overlooked.
#[test]
fn in_ci_root_can_start_hosts() {
    let must = std::env::var_os("CI").is_some() && rustix::process::geteuid().is_root();
    assert!(
        cfg!(hosts) || !must,
        "this machine cannot start hosts: is it allowed to make namespaces, and is `ip` there?"
    );
}
