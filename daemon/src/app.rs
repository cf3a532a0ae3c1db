//! SEAM: stands in for the composition root, which replaces this file.

use crate::config::Config;
use crate::process::Process;

/// Serves until it is asked to stop.
pub async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    tracing::info!(?config, "started");
    process.systemd.ready("serving");
    process.stop.soft().await;
    process.systemd.stopping("stopping");
    Ok(())
}

/// Checks what only the parts themselves can check: the packages.
pub fn check(_config: &Config) -> anyhow::Result<()> {
    Ok(())
}
