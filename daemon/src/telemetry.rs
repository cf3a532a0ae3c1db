//! Where log lines go and how they look. It knows nothing about what is logged.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use tracing_subscriber::filter::EnvFilter;
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

/// Reads `log.level`. A filter that names nobody's target is accepted, as targets are not known beforehand.
///
/// # Errors
/// The text is no filter.
pub fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    // The tick's crate tells of every job at level info; whoever wants to read that can still name it.
    let level = if level.contains("tokio_cron_scheduler") {
        level.to_owned()
    } else {
        format!("tokio_cron_scheduler=warn,{level}")
    };
    EnvFilter::try_new(&level).map_err(|error| {
        anyhow::anyhow!(
            "log.level = {level:?} is no log filter ({error}): write error, warn, info, debug or trace, \
             or a list such as info,settled::dispatch=debug"
        )
    })
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
        for level in ["info", "warn,settled::dispatch=debug", "off"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        let message = filter("settled=loud").unwrap_err().to_string();
        assert!(message.contains("log.level") && message.contains("loud"), "{message}");
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
