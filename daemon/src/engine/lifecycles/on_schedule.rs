//! Enrolling on schedule: what of it can be seen to be wrong when the schedule is made.

use super::super::{Engine, Refusal};
use super::enroll::subject_of;
use super::payload;
use crate::store::Unit;

impl Engine {
    /// Refuses to enrol in a lifecycle that is not there, subjects that it does not take or that do not exist, and a payload that is none.
    pub(in crate::engine) async fn check_enrolling(
        &self,
        unit: &mut Unit<'_>,
        code: &str,
        subjects: &[String],
        payload: &str,
    ) -> Result<(), Refusal> {
        let db = unit.db().await?;
        let lifecycle = self.lifecycle(db, code).await?;
        let version = self.version(db, lifecycle.id, lifecycle.revision).await?;
        payload::checked(payload, version.flow.payload_bytes_max)?;
        for subject in subjects {
            subject_of(unit, &version, subject).await?;
        }
        Ok(())
    }
}
