//! Where log lines go and how they look. It knows nothing about what is logged.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Changes what is logged while the process runs. Cheap to clone.
#[derive(Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Logs from this level on, as [`filter`] reads it.
    ///
    /// # Errors
    /// The text is no filter, or nothing is logged any more.
    pub fn set(&self, level: &str) -> anyhow::Result<()> {
        Ok(self.0.reload(filter(level)?)?)
    }
}

/// Begins to log. Once per process.
///
/// # Errors
/// `log.level` is no filter, the journal that was asked for is not there, or logging has begun already.
pub fn init(log: &Log) -> anyhow::Result<Level> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    tracing_subscriber::registry().with(output(log.format)?.with_filter(filter)).try_init()?;
    Ok(Level(handle))
}

/// Reads `log.level`. A filter that names nobody's target is accepted, as targets are not known beforehand; a word alone has to be a level,
/// since a mistyped one would be taken for a target, and silence everything else.
///
/// # Errors
/// The text is no filter.
pub fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let refused = |why: String| {
        anyhow::anyhow!(
            "log.level = {level:?} is no log filter ({why}): write error, warn, info, debug or trace, \
             or filters such as info,settled::dispatch=debug"
        )
    };
    let is_level_or_filter =
        |word: &str| word.is_empty() || word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok();
    if let Some(word) = level.split(',').map(str::trim).find(|word| !is_level_or_filter(word)) {
        return Err(refused(format!("`{word}` is no level")));
    }
    let filter = EnvFilter::try_new(level).map_err(|error| refused(error.to_string()))?;
    // The tick's crate tells of every job at level info; whoever wants to read that can still name it.
    if level.contains("tokio_cron_scheduler") {
        return Ok(filter);
    }
    Ok(filter.add_directive("tokio_cron_scheduler=warn".parse()?))
}

type Output = Box<dyn Layer<Registry> + Send + Sync>;

fn output(format: LogFormat) -> anyhow::Result<Output> {
    Ok(match format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
        LogFormat::Journald => tracing_journald::layer()
            .map_err(|error| {
                anyhow::anyhow!("log.format is journald, but the journal does not answer ({error}): set log.format to text or json")
            })?
            .boxed(),
        // The journal stamps each line itself and shows colour codes as garbage.
        LogFormat::Text if stderr_is_the_journal() => {
            fmt::layer().without_time().with_ansi(false).with_writer(std::io::stderr).boxed()
        }
        LogFormat::Text => {
            fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).boxed()
        }
    })
}

/// systemd names the device and inode of the stream that it gave us; standard error may have been redirected since.
fn stderr_is_the_journal() -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|announced| is_stream(&announced, std::io::stderr()))
}

fn is_stream(announced: &str, file: impl AsFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| announced == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_refused_by_name() {
        for level in ["info", "INFO", "warn,settled::dispatch=debug", "off", "warn,[run{id=7}]=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for (level, wrong) in [
            ("infos", "`infos` is no level"),
            ("warn,settled::dispatch", "`settled::dispatch` is no level"),
            ("settled=loud", "error parsing level filter"),
        ] {
            let message = filter(level).unwrap_err().to_string();
            let said = format!("log.level = {level:?} is no log filter");
            assert!(message.starts_with(&said), "as it was written: {message}");
            assert!(message.contains(wrong) && message.contains("write error, warn, info"), "{message}");
        }
    }

    #[test]
    fn the_tick_is_quiet_unless_it_is_named() {
        let quiet = |level| filter(level).unwrap().to_string().contains("tokio_cron_scheduler=warn");
        assert!(quiet("debug"));
        assert!(!quiet("info,tokio_cron_scheduler=debug"));
    }

    #[test]
    fn standard_error_is_the_journal_only_if_it_is_the_announced_stream() {
        let (one, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let stat = rustix::fs::fstat(&one).unwrap();
        let announced = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_stream(&announced, &one));
        assert!(!is_stream(&announced, &other));
        assert!(!is_stream("", &one));
    }
}
