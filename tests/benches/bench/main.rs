//! `make bench`: what settled costs, each number beside a raw baseline of the same run on the same machine. A table, and one JSON line each.
//!
//! `SETTLED_BENCH_SCALE=100` measures with 100 servers instead of 1 000. PostgreSQL is measured where its programs are.
//! Words choose: `cargo bench --package settled-tests -- drain sqlite` measures only that.

mod accept;
mod dispatch;
mod drain;
mod house;
mod raw;
mod report;
mod watch;

use settled_tests::postgres::Postgres;
use tempfile::TempDir;

use report::Report;

/// Where the store of one measurement is.
pub(crate) enum Place {
    /// A new SQLite file each.
    Sqlite,
    /// A new database each.
    Postgres(Postgres),
}

impl Place {
    fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The URL of an empty store, and the directory that it and the daemon live in.
    fn fresh(&self) -> anyhow::Result<(String, TempDir)> {
        let dir = tempfile::tempdir()?;
        let url = match self {
            Self::Sqlite => format!("sqlite://{}", dir.path().join("settled.db").display()),
            Self::Postgres(cluster) => cluster.fresh_database(),
        };
        Ok((url, dir))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let servers = std::env::var("SETTLED_BENCH_SCALE").ok().map_or(Ok(1_000), |text| text.parse())?;
    let chosen = Chosen::new();
    let mut report = Report::default();
    let mut places = vec![Place::Sqlite];
    match std::panic::catch_unwind(Postgres::start) {
        Ok(cluster) => places.push(Place::Postgres(cluster)),
        Err(_) => println!("PostgreSQL is not measured: its programs are not here"),
    }
    for place in places.iter().filter(|place| chosen.engine(place.name())) {
        raw::commits(place, &mut report).await?;
        if chosen.what("accept") {
            accept::engine(place, &mut report).await?;
            accept::grpc(place, &mut report).await?;
        }
        if chosen.what("drain") {
            drain::drain(place, servers, &mut report).await?;
        }
        if chosen.what("watch") {
            watch::watch(place, &mut report).await?;
        }
    }
    if chosen.what("watch") {
        watch::bare_stream(&mut report).await?;
        watch::idle(&mut report).await?;
    }
    if chosen.what("dispatch") {
        dispatch::dispatch(&mut report).await?;
    }
    report.print();
    Ok(())
}

/// What the words on the command line choose; no word chooses everything.
struct Chosen(Vec<String>);

const ENGINES: [&str; 2] = ["sqlite", "postgres"];

impl Chosen {
    fn new() -> Self {
        Self(std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect())
    }

    fn engine(&self, name: &str) -> bool {
        self.0.iter().any(|word| word == name) || !self.0.iter().any(|word| ENGINES.contains(&word.as_str()))
    }

    fn what(&self, name: &str) -> bool {
        self.0.iter().any(|word| word == name) || self.0.iter().all(|word| ENGINES.contains(&word.as_str()))
    }
}
