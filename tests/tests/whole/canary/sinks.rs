//! Where settled writes or tells something, gathered as bytes, and the search in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use prost::Message;
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::{
    FollowRunRequest, GetStatusRequest, ListAuditRequest, ListResourcesRequest, ListRunsRequest, Position,
    WatchRequest,
};
use settled_tests::http::page;
use settled_tests::server::WITHIN;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

use super::SECRET;

/// How often the processes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// What is searched for: the secret in every encoding. Of base64 what does not depend on what stands around it.
pub(super) fn needles() -> Vec<(String, Vec<u8>)> {
    let secret = SECRET.as_bytes();
    let mut all = vec![("plain".to_owned(), secret.to_vec())];
    for before in 0..3 {
        let framed = [&b"xy"[..before], secret].concat();
        let (from, last) = ((before * 8).div_ceil(6), usize::from(framed.len() % 3 != 0));
        let text = STANDARD_NO_PAD.encode(&framed);
        all.push((format!("base64 behind {before}"), text.as_bytes()[from..text.len() - last].to_vec()));
    }
    let text = URL_SAFE_NO_PAD.encode(secret);
    all.push(("base64url".to_owned(), text.as_bytes()[..text.len() - 1].to_vec()));
    all.push(("hex".to_owned(), hex::encode(secret).into_bytes()));
    all.push(("HEX".to_owned(), hex::encode_upper(secret).into_bytes()));
    let percent = |byte: &u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'~' => char::from(*byte).to_string(),
        other => format!("%{other:02X}"),
    };
    all.push(("percent".to_owned(), secret.iter().map(percent).collect::<String>().into_bytes()));
    let json = serde_json::to_string(SECRET).unwrap();
    all.push(("json".to_owned(), json.as_bytes()[1..json.len() - 1].to_vec()));
    all.push(("shell".to_owned(), SECRET.replace('\'', "'\\''").into_bytes()));
    all
}

/// Where something was found, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) sink: String,
    pub(super) encoding: String,
}

/// What was gathered.
#[derive(Default)]
pub(super) struct Sinks(BTreeMap<String, Vec<u8>>);

impl Sinks {
    pub(super) fn add(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.entry(name.to_owned()).or_default().extend(bytes);
    }

    /// Every file below a directory; one that goes away meanwhile is none.
    pub(super) fn add_files(&mut self, name: &str, dir: &Path) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.map(|entry| entry.unwrap()) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                self.add_files(name, &entry.path());
            } else if kind.is_file() {
                self.add(name, fs::read(entry.path()).unwrap_or_default());
            }
        }
    }

    pub(super) fn found(&self) -> Vec<Found> {
        let needles = needles();
        let each = self.0.iter().flat_map(|(sink, bytes)| {
            let has = |(_, needle): &&(String, Vec<u8>)| memchr::memmem::find(bytes, needle).is_some();
            let there = needles.iter().filter(has).map(|(encoding, _)| encoding.clone());
            there.map(|encoding| Found { sink: sink.clone(), encoding }).collect::<Vec<_>>()
        });
        each.collect()
    }

    /// A sink that is empty would prove nothing.
    pub(super) fn are_all_there(&self) {
        let empty: Vec<_> =
            self.0.iter().filter(|(_, bytes)| bytes.is_empty()).map(|(name, _)| name).collect();
        assert!(empty.is_empty(), "{empty:?}");
        for (sink, word) in [
            ("Follow", "plain *"),
            ("Watch", "plain *"),
            ("the tables", "plain *"),
            ("audit", "Resources.Install"),
            ("metrics", "settled_"),
            ("the log and standard error", "TRACE"),
            ("data_dir", "plain *"),
            ("backup", "plain *"),
            ("arguments and environments", "leaky"),
        ] {
            let bytes = self.0.get(sink).unwrap_or_else(|| panic!("{sink} was not gathered"));
            assert!(memchr::memmem::find(bytes, word.as_bytes()).is_some(), "{sink} has no {word:?}");
        }
    }

    /// What the API tells of all that has been.
    pub(super) async fn of_the_api(&mut self, channel: Channel, metrics: &str) {
        let mut admin = AdminClient::new(channel.clone());
        let status = admin.get_status(GetStatusRequest {}).await.unwrap().into_inner();
        self.keep("GetStatus", &status);
        let audit = ListAuditRequest { page_size: 500, ..ListAuditRequest::default() };
        self.keep("audit", &admin.list_audit(audit).await.unwrap().into_inner());
        let resources = ResourcesClient::new(channel.clone()).list(ListResourcesRequest::default()).await;
        self.keep("lists", &resources.unwrap().into_inner());
        let list = ListRunsRequest { page_size: 500, ..ListRunsRequest::default() };
        let runs = RunsClient::new(channel.clone()).list(list).await.unwrap().into_inner();
        self.keep("lists", &runs);
        for run in &runs.runs {
            self.follow(channel.clone(), &run.id).await;
        }
        let start = Start::Since(Position { generation: status.generation, seq: 0 });
        self.watch(channel, start, status.seq).await;
        self.add("metrics", page(metrics, "/metrics").await.into_bytes());
    }

    /// As it goes over the wire, and as a log would print it.
    fn keep(&mut self, name: &str, message: &(impl Message + std::fmt::Debug)) {
        self.add(name, message.encode_to_vec());
        self.add(name, format!("{message:?}").into_bytes());
    }

    async fn follow(&mut self, channel: Channel, run: &str) {
        let request = FollowRunRequest { run_id: run.to_owned(), output_offset: 0 };
        let mut stream = RunsClient::new(channel).follow(request).await.unwrap().into_inner();
        let mut output = Vec::new();
        while let Some(piece) = timeout(WITHIN, stream.next()).await.unwrap() {
            let piece = piece.unwrap();
            self.keep("Follow", &piece);
            if let Some(settled_proto::v1::follow_run_response::Event::Output(piece)) = piece.event {
                output.extend(piece.data);
            }
        }
        // Put together, whatever the pieces are.
        self.add("Follow", output);
    }

    async fn watch(&mut self, channel: Channel, start: Start, to: u64) {
        let request = WatchRequest { start: Some(start), ..WatchRequest::default() };
        let mut stream = TransitionsClient::new(channel).watch(request).await.unwrap().into_inner();
        let mut at = 0;
        while at < to {
            let told = timeout(WITHIN, stream.next()).await.unwrap().unwrap().unwrap();
            self.keep("Watch", &told);
            at = told.position.map_or(at, |position| position.seq);
        }
    }

    /// Every value of every row of every table, wherever its bytes lie in the file.
    pub(super) async fn of_the_tables(&mut self, path: &Path) {
        let options = SqliteConnectOptions::new().filename(path);
        let options = options.collation("C", |a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut conn: SqliteConnection = options.connect().await.unwrap();
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table'";
        let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap();
        assert!(tables.len() > 10, "{tables:?}");
        for table in tables {
            let sql = sqlx::AssertSqlSafe(format!("SELECT * FROM \"{table}\""));
            for row in sqlx::query(sql).fetch_all(&mut conn).await.unwrap() {
                let bytes = (0..row.len()).map(|n| row.try_get_unchecked::<Option<Vec<u8>>, _>(n).unwrap());
                bytes.flatten().for_each(|bytes| self.add("the tables", bytes));
            }
        }
    }
}

/// Arguments and environments of all processes of this machine, looked at again and again.
pub(super) struct Processes {
    enough: Sender<()>,
    looking: JoinHandle<Vec<u8>>,
}

impl Processes {
    pub(super) fn watched() -> Self {
        let (enough, asked) = channel();
        let looking = std::thread::spawn(move || {
            let mut seen = std::collections::HashSet::new();
            while asked.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                look(&mut seen);
            }
            seen.into_iter().flatten().collect()
        });
        Self { enough, looking }
    }

    pub(super) fn seen(self) -> Vec<u8> {
        drop(self.enough);
        self.looking.join().unwrap()
    }
}

fn look(seen: &mut std::collections::HashSet<Vec<u8>>) {
    for process in fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
        for file in ["cmdline", "environ"] {
            // Most entries are no processes, and processes go away.
            if let Ok(bytes) = fs::read(process.join(file)) {
                seen.insert(bytes);
            }
        }
    }
}
