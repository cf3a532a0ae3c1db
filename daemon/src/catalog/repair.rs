//! The one step that belongs to no package: an interrupted dpkg is brought to an end, so that a step that needs it can run.

use std::time::Duration;

use super::plan::PlannedStep;

/// Configuring may take long, and a KILL in the middle of it is what it is to mend.
pub const REPAIR_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Nothing is asked: files that were changed on the server stay, and new ones beside them have their default. `DEBIAN_FRONTEND` and
/// `NEEDRESTART_SUSPEND` are set for every step.
const SCRIPT: &str = "set -eu
dpkg --force-confdef --force-confold --configure -a
";

/// What people see of it.
pub const REPAIR_TITLE: &str = "Repair interrupted dpkg";

/// The repair that comes before a step. It has that step's time between TERM and KILL, which its run counts with.
pub fn repair_dpkg(before: &PlannedStep) -> PlannedStep {
    PlannedStep {
        title: REPAIR_TITLE.to_owned(),
        script: SCRIPT.to_owned(),
        env: Vec::new(),
        secrets: Vec::new(),
        timeout: REPAIR_TIMEOUT,
        kill_grace: before.kill_grace,
        needs_dpkg: true,
        busy_codes: Vec::new(),
        busy_says: Vec::new(),
        final_codes: Vec::new(),
    }
}
