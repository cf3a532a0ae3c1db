//! The binary itself on whole hosts: systemd, apt, ufw, a cable that is pulled, power that is cut.
//!
//! They need root, namespaces and mmdebstrap; where these are missing every test here is named as ignored. `SETTLED_CUT_S` says for how
//! many seconds the cable is pulled; `make cuts` pulls it for a minute.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod cable;
mod firewall;
mod fixture;
mod power;
