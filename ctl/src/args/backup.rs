//! The command line of `backup`.

use std::path::PathBuf;

use clap::Args;

/// Copy everything that settled has stored into a file
///
/// The copy is taken while settled works on, and is as of one moment. Secrets in it are sealed. The master key, the
/// configuration and package files are not in it: docs/backup.md tells what else to keep, and how all of it is put back.
/// With PostgreSQL use pg_dump.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl backup /var/backups/settled/today.db
  settlectl backup - | zstd > today.db.zst")]
pub(crate) struct BackupArgs {
    /// Where it goes: a file that is not there yet, or - for standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Take the place of a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}
