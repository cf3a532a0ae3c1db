//! The one step that belongs to no package: an interrupted dpkg is brought to an end, so that a step that needs it can run.

use std::time::Duration;

use super::plan::{DPKG_KILL_GRACE, PlannedStep};

/// Configuring may take long, and a KILL in the middle of it is what it is to mend.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Nothing is asked: files that were changed on the server stay, and new ones beside them have their default. `DEBIAN_FRONTEND` and
/// `NEEDRESTART_SUSPEND` are set for every step.
const SCRIPT: &str = "set -eu
dpkg --force-confdef --force-confold --configure -a
";

/// The repair.
pub fn repair_dpkg() -> PlannedStep {
    PlannedStep {
        title: "Repair interrupted dpkg".to_owned(),
        script: SCRIPT.to_owned(),
        env: Vec::new(),
        secrets: Vec::new(),
        timeout: TIMEOUT,
        kill_grace: Some(DPKG_KILL_GRACE),
        needs_dpkg: true,
        busy_codes: Vec::new(),
        final_codes: Vec::new(),
    }
}
