//! The baseline of every durable answer: commits of one row, one after the other, on the same engine with the same settings.

use std::str::FromStr as _;

use settled::clock::{Clock as _, SystemClock};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::Place;
use crate::report::{Report, rate, spread};

const COMMITS: usize = 500;
const TABLE: &str = "CREATE TABLE bare (n BIGINT PRIMARY KEY, text TEXT NOT NULL)";
const ROW: &str = "INSERT INTO bare (n, text) VALUES ($1, $2)";

pub(crate) async fn commits(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let (url, _dir) = place.fresh()?;
    let clock = SystemClock::new();
    let mut times = Vec::with_capacity(COMMITS);
    macro_rules! rows {
        ($conn:expr) => {
            sqlx::query(TABLE).execute(&mut $conn).await?;
            for n in 0..COMMITS {
                let before = clock.monotonic();
                sqlx::query(ROW).bind(i64::try_from(n)?).bind("one row").execute(&mut $conn).await?;
                times.push(clock.monotonic().saturating_sub(before));
            }
        };
    }
    match place {
        Place::Sqlite => {
            let options = SqliteConnectOptions::from_str(&url)?.create_if_missing(true);
            let durable = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
            let mut conn = durable.connect().await?;
            rows!(conn);
        }
        Place::Postgres(_) => {
            let mut conn = PgConnection::connect(&url).await?;
            rows!(conn);
        }
    }
    let total = times.iter().sum();
    let [p50, p99] = spread(times);
    report.add(
        "raw: one-row commits, 1 client",
        place.name(),
        vec![("per_s", rate(COMMITS, total)), p50, p99],
    );
    Ok(())
}
