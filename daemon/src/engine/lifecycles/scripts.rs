//! The records of what scripts of stages did on servers: one for each stage and subject, as long as the enrollment goes on.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::super::{Engine, Refusal};
use crate::domain::enrollment::{Enrollment, Status};
use crate::domain::lifecycle::Action;
use crate::domain::params::Params;
use crate::domain::resource::Resource;
use crate::store::Unit;

/// The package that runs the scripts of stages.
pub(super) const STAGE_SCRIPT: &str = "stage_script";
/// Longest name of a resource, in bytes.
const NAME_BYTES_MAX: usize = 63;

impl Engine {
    /// Lets go of the records of an enrollment that has come to its end: they hold its payload. One whose run is still open stays.
    pub(super) async fn forget_scripts(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
    ) -> Result<(), Refusal> {
        let (mut names, subject) = (BTreeSet::new(), enrollment.subject.to_string());
        for revision in 1..=enrollment.revision {
            let version = self.version(unit.db().await?, enrollment.lifecycle, revision).await?;
            let scripts = version.flow.stages.iter().filter(|s| matches!(s.action, Action::Script { .. }));
            names.extend(scripts.map(|stage| name_of(&enrollment.code, &stage.name, &subject)));
        }
        for name in names {
            for id in unit.db().await?.stage_scripts(&name).await? {
                let found = unit.resource(id).await?;
                if let Some(mut resource) = found.filter(|resource| resource.open_run.is_none()) {
                    unit.delete_resource(&mut resource).await?;
                }
            }
        }
        Ok(())
    }

    /// Lets go of a record whose script has ended after its enrollment was taken out: nobody comes back to it.
    pub(in crate::engine) async fn keep_while_enrolled(
        &self,
        unit: &mut Unit<'_>,
        resource: Option<Resource>,
    ) -> Result<Option<Resource>, Refusal> {
        match resource {
            Some(mut record) if record.package == STAGE_SCRIPT && !is_enrolled(unit, &record).await? => {
                unit.delete_resource(&mut record).await?;
                Ok(None)
            }
            other => Ok(other),
        }
    }
}

/// Whether the subject whose stage left this record is enrolled still, and not at its end.
async fn is_enrolled(unit: &mut Unit<'_>, record: &Resource) -> Result<bool, Refusal> {
    let told = |name: &str| record.desired.get(name).map_or("", String::as_str);
    let (code, kind, id) = (told("lifecycle"), told("subject_type"), told("subject_id"));
    if record.name != name_of(code, told("stage"), &format!("{kind}/{id}")) {
        // Somebody has made it by hand: it is theirs.
        return Ok(true);
    }
    let db = unit.db().await?;
    let Some(lifecycle) = db.lifecycle_by_code(code).await? else { return Ok(false) };
    let found = db.enrollment_of(lifecycle.id, kind, id).await?;
    Ok(found.is_some_and(|enrollment| enrollment.status() != Status::Completed))
}

/// What a script is told of its stage.
pub(super) fn parameters(enrollment: &Enrollment, script: &str, user: &str) -> Params {
    let mut all = told(enrollment);
    all.insert("script".to_owned(), script.to_owned());
    all.insert("user".to_owned(), user.to_owned());
    all
}

/// What everything that a stage has done on a server is told of it.
pub(super) fn told(enrollment: &Enrollment) -> Params {
    let execution = enrollment.execution();
    [
        ("lifecycle", enrollment.code.clone()),
        ("stage", enrollment.stage.clone()),
        ("attempt", execution.to_string()),
        ("deferrals", enrollment.deferrals.to_string()),
        ("is_retry", (execution > 1).to_string()),
        ("subject_type", enrollment.subject.kind.clone()),
        ("subject_id", enrollment.subject.id.clone()),
        ("payload", enrollment.payload.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The name of the record of a stage.
pub(super) fn name(enrollment: &Enrollment) -> String {
    name_of(&enrollment.code, &enrollment.stage, &enrollment.subject.to_string())
}

/// Readable, and unique by a hash of all that it stands for.
fn name_of(code: &str, stage: &str, subject: &str) -> String {
    let whole = format!("{code}\0{stage}\0{subject}");
    let tail = hex::encode(&Sha256::digest(whole)[..8]);
    let mut name = format!("{code}.{stage}");
    name.truncate(NAME_BYTES_MAX - tail.len() - 1);
    format!("{name}.{tail}")
}
