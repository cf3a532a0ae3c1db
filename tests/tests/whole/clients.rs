//! The clients that docs/clients shows, against a daemon that works: in Rust, in Python by generated code and by reflection, and as a page sends
//! it. What the pages show is what runs here.

mod follow;
mod install;
mod reasons;
mod refusal;
mod silence;
mod watch;
mod work;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use settled_proto::v1::{
    ApplyLifecycleRequest, EnrollRequest, EnrollmentStatus, GetEnrollmentRequest, Outcome, Role,
};
use settled_tests::address::free_address;
use settled_tests::daemon::{Options, TestDaemon};
use settled_tests::patience::until;
use settled_tests::server::{Server, fresh_id, package_dir};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::tls::page::PANEL;
use crate::tls::world::{Authority, NAME, dns, ip, listening, token};

/// A guard against hangs.
const WITHIN: Duration = Duration::from_secs(60);
/// Where the examples are that are not written in Rust.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
/// Where `.ci/setup` puts what Python needs.
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../clients/bin/python");

const GREETING: &str = r#"
name = "greeting"
summary = "Greets somebody"

[parameters.whom]
type = "text"
summary = "Whom"

[operations.install]
[[operations.install.steps]]
title = "Greet"
script = 'echo "hello, $P_WHOM"'

[operations.remove]
[[operations.remove.steps]]
title = "Say goodbye"
script = 'true'
"#;

/// A daemon that works, which is reached in each way that there is.
struct Site {
    daemon: TestDaemon,
    _server: Server,
    _packages: TempDir,
    files: TempDir,
    authority: Authority,
    /// Where it listens to the network.
    address: SocketAddr,
    /// What a client is told in its environment.
    environment: Vec<(&'static str, String)>,
}

impl Site {
    async fn open() -> Self {
        Self::open_with(Options::default()).await
    }

    async fn open_with(options: Options) -> Self {
        let packages = package_dir("greeting", GREETING);
        let (authority, address, files) = (Authority::new(), free_address(), tempfile::tempdir().unwrap());
        authority.vouch(vec![ip(address.ip()), dns(NAME)], 2100).put(files.path());
        std::fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
        let options = options
            .set("LISTEN__WEB__ORIGINS", PANEL)
            .set("PACKAGES__DIR", &packages.path().display().to_string());
        let daemon = listening(options, address, files.path()).start().await;
        let server = Server::start();
        server.register(&daemon, "web").await;
        let secret = token(&daemon, "example", Role::Operator, 1).await;
        std::fs::write(files.path().join("token"), &secret).unwrap();
        let source = "code = \"example\"\nname = \"Example\"\n[[stages]]\nname = \"one\"\naction = { work = \"examples\" }\n";
        let apply =
            ApplyLifecycleRequest { request_id: fresh_id(), source: source.to_owned(), ..Default::default() };
        daemon.lifecycles().apply(apply).await.unwrap();
        let file = |name: &str| files.path().join(name).display().to_string();
        let environment = vec![
            ("SETTLED_CA", file("ca.pem")),
            ("NODE_EXTRA_CA_CERTS", file("ca.pem")),
            ("SETTLED_TOKEN_FILE", file("token")),
            ("SETTLED_TOKEN", secret),
            ("SETTLED_ORIGIN", PANEL.to_owned()),
            ("SETTLED_ENDPOINT", address.to_string()),
        ];
        Self { daemon, _server: server, _packages: packages, files, authority, address, environment }
    }

    /// Has clients come elsewhere.
    fn to(mut self, endpoint: impl Fn(&Self) -> String) -> Self {
        let endpoint = endpoint(&self);
        self.environment.retain(|(key, _)| *key != "SETTLED_ENDPOINT");
        self.environment.push(("SETTLED_ENDPOINT", endpoint));
        self
    }

    fn endpoint(&self) -> &str {
        self.told("SETTLED_ENDPOINT")
    }

    fn told(&self, key: &str) -> &str {
        self.environment.iter().find(|(told, _)| *told == key).map(|(_, value)| value).unwrap()
    }

    fn command(&self, program: &str, arguments: &[&OsStr]) -> Command {
        let mut command = Command::new(program);
        let environment = self.environment.iter().map(|(key, value)| (*key, value.as_str()));
        command.args(arguments).envs(environment).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Enrolls a subject, and waits until its work is done.
    async fn is_worked_on(&self, subject: &str) {
        let enroll = EnrollRequest {
            request_id: fresh_id(),
            lifecycle: "example".to_owned(),
            subject: subject.to_owned(),
            ..Default::default()
        };
        self.daemon.lifecycles().enroll(enroll).await.unwrap();
        let done = until("the work is done", async || {
            let request = GetEnrollmentRequest { enrollment: format!("example/{subject}") };
            let found = self.daemon.lifecycles().get_enrollment(request).await.unwrap().into_inner();
            (found.status() == EnrollmentStatus::Completed).then_some(found)
        })
        .await;
        assert!(done.payload.contains("done"), "{done:?}");
    }
}

/// Examples of one language: a program, and the files that it runs.
struct Examples<'a> {
    site: &'a Site,
    program: &'a str,
    dir: PathBuf,
    ending: &'static str,
}

impl Examples<'_> {
    fn start(&self, task: &str, arguments: &[&str]) -> Child {
        let file = self.dir.join(format!("{task}.{}", self.ending));
        let arguments: Vec<&OsStr> =
            [file.as_os_str()].into_iter().chain(arguments.iter().map(OsStr::new)).collect();
        let started = self.site.command(self.program, &arguments).spawn();
        started.unwrap_or_else(|error| panic!("{} is needed: run .ci/setup ({error})", self.program))
    }

    /// Everything that it writes until it has ended, and whether it has ended well.
    async fn ends(&self, task: &str, arguments: &[&str]) -> (String, bool) {
        let output = timeout(WITHIN, self.start(task, arguments).wait_with_output()).await;
        let output = output.expect("it ends").unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    }

    /// Everything that it writes, when it has ended well.
    async fn writes(&self, task: &str, arguments: &[&str]) -> String {
        let (text, is_well) = self.ends(task, arguments).await;
        assert!(is_well, "{task}: {text}");
        text
    }

    /// Every task, as its page says.
    async fn work(&self, name: &str) {
        let id = fresh_id();
        let first = self.writes("install", &[&id, "web", name]).await;
        let (run, outcome) = first.trim().split_once(' ').unwrap_or_else(|| panic!("{first}"));
        assert_eq!(outcome, "OUTCOME_SUCCEEDED");
        assert_eq!(self.writes("install", &[&id, "web", name]).await, first, "asked twice, done once");
        assert_eq!(self.writes("follow", &[run]).await, format!("hello, {name}\n"));

        let position = self.site.files.path().join(format!("{name}.position")).display().to_string();
        let mut eye = Eye::of(self.start("watch", &[&position]));
        eye.sees(&format!("web/greeting/{name} CHANGE_SNAPSHOT")).await;
        until("the position is kept", async || Path::new(&position).exists().then_some(())).await;
        drop(eye);
        let other = format!("{name}-other");
        self.writes("install", &[&fresh_id(), "web", &other]).await;
        let mut eye = Eye::of(self.start("watch", &[&position]));
        let seen = eye.sees(&format!("web/greeting/{other} CHANGE_CREATED")).await;
        assert_eq!(seen, 1, "what was seen before does not come again");

        let mut worker = Eye::of(self.start("work", &["examples"]));
        self.site.is_worked_on(&format!("user/{name}")).await;
        worker.sees(&format!("user/{name}")).await;
    }
}

/// What an example writes that goes on for ever.
struct Eye {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Eye {
    fn of(mut child: Child) -> Self {
        let out = child.stdout.take().unwrap();
        Self { lines: BufReader::new(out).lines(), _child: child }
    }

    /// Reads up to this line; answers how many came.
    async fn sees(&mut self, wanted: &str) -> usize {
        for count in 1.. {
            let line = timeout(WITHIN, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("in vain: {wanted}")).unwrap();
            if line.unwrap_or_else(|| panic!("it ended before {wanted}")) == wanted {
                return count;
            }
        }
        unreachable!("there are not that many lines")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_rust_do_what_their_pages_say() {
    let site = Site::open().await;
    let shared = site.daemon.channel();
    let channel = move || shared.clone();
    let run = install::install(channel(), &fresh_id(), "web", "rust").await.unwrap().unwrap();
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:?}");
    let mut out = Vec::new();
    follow::follow(channel(), &run.id, &mut out).await.unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "hello, rust\n");

    let mut kept = None;
    for (name, resource) in [("rust", "rust"), ("more", "rust-more")] {
        if name == "more" {
            install::install(channel(), &fresh_id(), "web", resource).await.unwrap().unwrap();
        }
        let (seen, heard) = mpsc::channel();
        let watching = tokio::spawn(watch::watch(channel.clone(), kept.take(), move |changes, position| {
            let names = changes.iter().filter_map(|change| match &change.object {
                Some(settled_proto::v1::transition::Object::Resource(resource)) => {
                    Some(resource.name.clone())
                }
                _ => None,
            });
            seen.send((names.collect::<Vec<_>>(), position.clone())).ok();
        }));
        let (names, position) =
            until("the resource is seen", async || heard.try_iter().find(|(names, _)| !names.is_empty()))
                .await;
        watching.abort();
        assert_eq!(names, [resource], "the first that is seen is what is new");
        // Everything of this install is over by then; the next one begins after it.
        kept = Some(last_of(&site, position).await);
    }

    let (seen, heard) = mpsc::channel();
    let working = tokio::spawn(work::work(channel(), "examples", move |task| {
        let subject = task.enrollment.as_ref().map(|enrollment| enrollment.subject_id.clone());
        seen.send(subject).map_err(|error| error.to_string())?;
        Ok("{\"done\": true}".to_owned())
    }));
    site.is_worked_on("user/rust").await;
    working.abort();
    assert_eq!(heard.try_recv().unwrap().as_deref(), Some("rust"));
}

/// The position after everything that has happened, in the generation of that one.
async fn last_of(site: &Site, seen: settled_proto::v1::Position) -> settled_proto::v1::Position {
    let start = settled_proto::v1::watch_request::Start::FromNow(true);
    let request = settled_proto::v1::WatchRequest { start: Some(start), ..Default::default() };
    let mut stream = site.daemon.transitions().watch(request).await.unwrap().into_inner();
    let now = stream.message().await.unwrap().unwrap().position.unwrap();
    assert_eq!(now.generation, seen.generation);
    now
}

/// The examples in Python, beside code that is generated for them.
async fn generated() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_to(dir.path(), |text| text);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/proto");
    let files = std::fs::read_dir(format!("{root}/settled/v1")).unwrap().map(|file| file.unwrap().path());
    let made = Command::new(PYTHON)
        .args(["-m", "grpc_tools.protoc", "-I", root])
        .args([
            format!("--python_out={0}", dir.path().display()),
            format!("--grpc_python_out={0}", dir.path().display()),
        ])
        .args(files)
        .status()
        .await
        .expect("Python's gRPC is needed: run .ci/setup");
    assert!(made.success());
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_python_by_generated_code_do_what_their_pages_say() {
    let site = Site::open().await;
    let dir = generated().await;
    let examples = Examples { site: &site, program: PYTHON, dir: dir.path().to_owned(), ending: "py" };
    examples.work("generated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_python_by_reflection_do_what_their_pages_say() {
    // Through the socket, where the kernel says who asks.
    let site = Site::open().await.to(|site| format!("unix:{}", site.daemon.socket().display()));
    let dir = tempfile::tempdir().unwrap();
    copy_to(dir.path(), |text| text.replace("from generated import V1", "from reflected import V1"));
    let examples = Examples { site: &site, program: PYTHON, dir: dir.path().to_owned(), ending: "py" };
    examples.work("reflected").await;
}

fn copy_to(dir: &Path, edit: impl Fn(String) -> String) {
    for file in std::fs::read_dir(EXAMPLES).unwrap() {
        let path = file.unwrap().path();
        if path.extension() == Some(OsStr::new("py")) {
            std::fs::write(
                dir.join(path.file_name().unwrap()),
                edit(std::fs::read_to_string(&path).unwrap()),
            )
            .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_pages_do_what_their_pages_say() {
    let site = Site::open().await.to(|site| format!("https://{}", site.endpoint()));
    let examples = Examples { site: &site, program: "node", dir: EXAMPLES.into(), ending: "mjs" };
    examples.work("page").await;
}

/// Whoever copies all that there is for each piece that comes takes minutes.
#[tokio::test]
async fn a_large_answer_is_read_by_a_page_before_anybody_waits() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/whole/clients/large.mjs");
    let page = format!("{EXAMPLES}/settled.mjs");
    let reading = Command::new("node").args([script, &page]).kill_on_drop(true).output();
    let output = timeout(WITHIN, reading).await.expect("it is read in time").unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), (4 << 20).to_string());
}

/// Each block of code on a page, by what it is marked with, and the file that runs.
#[test]
fn the_pages_of_clients_show_the_code_that_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for page in ["clients", "clients/install", "clients/follow", "clients/watch", "clients/work"] {
        let path = root.join("docs").join(format!("{page}.md"));
        let read = || std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
        let made = with_code(&read(), &root);
        if std::env::var_os("SETTLED_WRITE_PAGES").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = read();
        assert!(
            kept == made,
            "docs/{page}.md shows other code than runs: write it anew with SETTLED_WRITE_PAGES=1 and this test"
        );
        assert!(kept.contains("```"), "docs/{page}.md shows no code");
    }
}

/// The page with what the files hold that it names: a line like <!-- tests/clients/install.py -->, then a block.
fn with_code(page: &str, root: &Path) -> String {
    let mut made = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        made.push_str(line);
        made.push('\n');
        let Some(name) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        let opening = lines.next().expect("a block follows the name of its file");
        assert!(opening.starts_with("```"), "{name}: {opening}");
        let code = std::fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        made.push_str(opening);
        made.push('\n');
        made.push_str(&code);
        made.push_str("```\n");
        lines.find(|line| *line == "```").expect("a block ends");
    }
    made
}
