//! The command line of schedules.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use settled_proto::v1::{MissedPolicy, Overlap};

use super::values;
use super::{ChangeArgs, PageArgs};

/// The verbs of schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    Add(AddScheduleArgs),
    List(ScheduleListArgs),
    Show(ScheduleShowArgs),
    Edit(EditScheduleArgs),
    /// Let nothing be due until it is resumed. Nothing is made up for afterwards; runs go on
    Pause(ScheduleTargetArgs),
    /// End the pause of a schedule
    Resume(ScheduleTargetArgs),
    /// Fire it now, beside its times
    ///
    /// Its runs are yours. What settled does for itself (settled.*) is done within a second.
    #[command(
        after_help = "Examples:\n  settlectl schedule fire renew\n  settlectl schedule fire settled.retention"
    )]
    Fire(ScheduleTargetArgs),
    /// Remove a schedule. Runs that it has made go on
    Remove(ScheduleTargetArgs),
}

/// One schedule, to change it.
#[derive(Args, Debug)]
pub(crate) struct ScheduleTargetArgs {
    /// Name or id
    pub(crate) schedule: String,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Have something done again and again
///
/// CRON is five fields (minute, hour, day of month, month, day of week), six with the second first, or @hourly, @daily,
/// @weekly, @monthly, @yearly. A time of day in an hour that the clock repeats is due once, and one in an hour that it
/// skips right after it; with '*' in minute or hour it is due whenever the clock shows it.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("place").required(true).args(["servers", "labels", "resources", "subjects"]))]
#[command(group = ArgGroup::new("what").required(true).args(["operation", "enroll"]))]
#[command(after_help = "\
Examples:
  settlectl schedule add renew '30 2 * * *' --time-zone Europe/Berlin --do renew --package tls_certificate --label tier=web
  settlectl schedule add restart '@weekly' --do restart --resource web1/supervisor_program/queue --missed once
  settlectl schedule add deploy '0 6 * * mon-fri' --do update --package deployment --server web1 --server web2 \\
      --overlap queue --jitter 10m
  settlectl schedule add trials '0 8 1 * *' --enroll trial --subject user/42 --again
  settlectl schedule add renewals @daily --enroll certificate-renewal --label tier=web --package site --again")]
pub(crate) struct AddScheduleArgs {
    /// A name of your choice: a-z, 0-9, '-', '_' and '.'
    pub(crate) name: String,
    /// When it is due
    pub(crate) cron: String,
    /// The operation: install, update, remove, pause, resume, probe, or one of the package's own
    #[arg(long = "do", value_name = "OPERATION")]
    pub(crate) operation: Option<String>,
    /// Enroll in this lifecycle, instead of an operation: --subject, --server or --resource, or what has a --label
    #[arg(long, value_name = "LIFECYCLE")]
    pub(crate) enroll: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) terms: TermArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// What it is about.
#[derive(Args, Debug)]
pub(crate) struct PlaceArgs {
    /// The package; with --resource it is known already. With --enroll and --label: its resources there
    #[arg(long, conflicts_with = "resources")]
    pub(crate) package: Option<String>,
    /// Only resources of this name; for an install, how to name them
    #[arg(long = "name", value_name = "RESOURCE_NAME", conflicts_with = "resources")]
    pub(crate) resource_name: Option<String>,
    /// On this server; may be given several times
    #[arg(long = "server", value_name = "SERVER")]
    pub(crate) servers: Vec<String>,
    /// On servers that have this label when it fires; may be given several times, and then all must fit
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// On this resource: its id, or SERVER/PACKAGE/NAME; may be given several times
    #[arg(long = "resource", value_name = "RESOURCE")]
    pub(crate) resources: Vec<String>,
    /// A parameter, for install and update; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) set: Vec<(String, String)>,
    /// With --enroll: this subject, TYPE/ID; may be given several times
    #[arg(long = "subject", value_name = "TYPE/ID")]
    pub(crate) subjects: Vec<String>,
    /// With --enroll: what each begins with, a JSON object, or @FILE
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    pub(crate) payload: String,
    /// With --enroll: what is completed by then begins anew
    #[arg(long)]
    pub(crate) again: bool,
}

impl PlaceArgs {
    /// Whether anything of it is given.
    pub(crate) fn is_given(&self) -> bool {
        let one = self.package.is_some() || self.resource_name.is_some() || self.again;
        let lists = [&self.servers, &self.resources, &self.subjects].iter().any(|list| !list.is_empty());
        one || lists || !self.labels.is_empty() || !self.set.is_empty() || !self.payload.is_empty()
    }
}

/// On which terms.
#[derive(Args, Debug)]
pub(crate) struct TermArgs {
    /// The time zone whose clock CRON means; UTC by default
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
    /// While what came of an earlier time is open: leave it out, let it wait, or cancel that. 'skip' by default
    #[arg(long, value_enum)]
    pub(crate) overlap: Option<OverlapWord>,
    /// When no daemon was there in time: only record it, make up for the last, or for all. 'none' by default
    #[arg(long, value_enum)]
    pub(crate) missed: Option<MissedWord>,
    /// Make up only for what is not older, for instance 2h; with '--missed all' a day by default
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) missed_within: Option<Duration>,
    /// Fire up to so long after each time, always the same for one time; for instance 10m
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) jitter: Option<Duration>,
    /// Nothing is due before: RFC 3339, or local '2026-12-01 08:00'
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) starts: Option<Timestamp>,
    /// Nothing is due from then on: RFC 3339, or local '2026-12-01 08:00'
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) ends: Option<Timestamp>,
}

/// All schedules, and what came of each last
///
/// Those whose names begin with 'settled.' are built in: what settled does for itself.
#[derive(Args, Debug)]
pub(crate) struct ScheduleListArgs {
    /// Only those that are paused
    #[arg(long)]
    pub(crate) paused: bool,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// One schedule: its next times, and what became of those that have passed
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  settlectl schedule show renew --history 50")]
pub(crate) struct ScheduleShowArgs {
    /// Name or id
    pub(crate) schedule: String,
    /// How much of what was to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) history: u32,
}

/// Change a schedule
///
/// What is not given stays. Its runs are yours from then on. Of built-in ones only --cron, --time-zone and --jitter can be changed.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("edited").required(true).multiple(true).args([
    "cron", "operation", "enroll", "time_zone", "overlap", "missed", "missed_within", "jitter", "starts", "ends", "no_start", "no_end",
]))]
#[command(after_help = "\
Examples:
  settlectl schedule edit renew --cron '0 3 * * *' --missed once
  settlectl schedule edit renew --do renew --package tls_certificate --server web1
  settlectl schedule edit settled.retention --cron '15 4 * * *'")]
pub(crate) struct EditScheduleArgs {
    /// Name or id
    pub(crate) schedule: String,
    /// When it is due
    #[arg(long)]
    pub(crate) cron: Option<String>,
    /// Another target: the operation, and with it all that says where
    #[arg(long = "do", value_name = "OPERATION", conflicts_with = "enroll")]
    pub(crate) operation: Option<String>,
    /// Another target: enroll in this lifecycle, and with it all that says whom
    #[arg(long, value_name = "LIFECYCLE")]
    pub(crate) enroll: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) terms: TermArgs,
    /// It has begun
    #[arg(long, conflicts_with = "starts")]
    pub(crate) no_start: bool,
    /// It does not end
    #[arg(long, conflicts_with = "ends")]
    pub(crate) no_end: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// What becomes of overlapping occurrences, as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OverlapWord {
    Skip,
    Queue,
    #[value(name = "cancel_earlier", alias = "cancel-earlier")]
    CancelEarlier,
}

impl From<OverlapWord> for Overlap {
    fn from(word: OverlapWord) -> Self {
        match word {
            OverlapWord::Skip => Self::Skip,
            OverlapWord::Queue => Self::Queue,
            OverlapWord::CancelEarlier => Self::CancelEarlier,
        }
    }
}

/// What becomes of missed occurrences, as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MissedWord {
    None,
    Once,
    All,
}

impl From<MissedWord> for MissedPolicy {
    fn from(word: MissedWord) -> Self {
        match word {
            MissedWord::None => Self::None,
            MissedWord::Once => Self::Once,
            MissedWord::All => Self::All,
        }
    }
}

/// A point in time.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let why =
        || format!("'{text}' is no time: write 2026-12-01T08:00:00Z, or in local time '2026-12-01 08:00'");
    let local: jiff::civil::DateTime = text.parse().map_err(|_| why())?;
    local.to_zoned(jiff::tz::TimeZone::system()).map(|at| at.timestamp()).map_err(|_| why())
}
