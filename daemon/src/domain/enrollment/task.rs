//! The name by which a worker speaks of what it has taken.

use std::fmt;
use std::str::FromStr;

use crate::domain::id::{BadId, EnrollmentId};

/// A piece of work that a worker has: the enrollment, and the number of what began for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskId {
    /// For whom.
    pub enrollment: EnrollmentId,
    /// See [`Enrollment::work_no`](super::Enrollment::work_no).
    pub work_no: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.enrollment, self.work_no)
    }
}

impl FromStr for TaskId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId(text.to_owned());
        let (enrollment, work_no) = text.split_once('.').ok_or_else(bad)?;
        Ok(Self { enrollment: enrollment.parse()?, work_no: work_no.parse().map_err(|_| bad())? })
    }
}
