//! The gRPC contract of `settled`: the `.proto` files and the code generated from them.
//!
//! This crate knows nothing of the daemon or of the command line; both know it.

/// Package `settled.v1`: messages, clients and servers.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated from the .proto files")]
#[allow(rustdoc::all, reason = "proto comments are prose, not rustdoc")]
pub mod v1 {
    tonic::include_proto!("settled.v1");
}

/// The compiled descriptors, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/settled.fds"));

/// The right that each method declares: (path, number of [`v1::Verb`], number of [`v1::Scope`]).
pub const ACCESS: &[(&str, i32, i32)] = include!(concat!(env!("OUT_DIR"), "/access.rs"));

/// Largest message in either direction, in bytes; set on every client and server.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
