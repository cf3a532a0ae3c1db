//! The step protocol.
