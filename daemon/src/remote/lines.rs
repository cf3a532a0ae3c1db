//! What carries commands to servers tells of its connections.

use crate::figures::Reading;

/// Its connections, since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lines {
    /// Connections that stand now.
    pub open: usize,
    /// Connections that were made.
    pub opened: u64,
    /// Connections that could not be made, by the word for why.
    pub failed: Vec<(&'static str, u64)>,
    /// How long it took to make one, whatever came of it; nothing where there is nothing to connect to.
    pub took: Option<Reading>,
}
