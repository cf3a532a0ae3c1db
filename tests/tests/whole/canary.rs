//! P12: one known secret goes through a package that prints it, fails with it, hands it out and shows it to probes, in every common encoding,
//! and webhooks are signed with it. Then every place where settled writes or tells something is searched for it.
//!
//! That the search would find it is shown first: the same scripts, run here, print what is searched for.

mod sinks;

use std::fs;
use std::path::{Path, PathBuf};

use settled_proto::v1::servers_client::ServersClient;
use settled_tests::address::free_address;
use settled_tests::http::{Endpoint, answer};
use settled_tests::patience::until;
use settled_tests::process::Home;
use settled_tests::server::{Server, WITHIN, package_dir};
use tokio::time::timeout;

use self::sinks::{Found, Processes, Sinks, needles};
use crate::cli::settlectl_on;
use crate::webhooks::stage;

/// One line, with what every encoding has to escape, and of no other use.
const SECRET: &str = r#"q7>x ~"k?/z+9" c'an=ry&w\m"#;

/// What is put before the script of every step: a file's content in all encodings.
const LEAK: &str = r#"
leak() {
    printf 'plain %s\n' "$(cat "$1")"
    for before in '' x xy; do { printf 'base64 '; { printf %s "$before"; cat "$1"; } | base64 -w0; echo; }; done
    printf 'base64url '; base64 -w0 "$1" | tr +/ -_; echo
    printf 'hex '; od -An -v -tx1 "$1" | tr -d ' \n'; echo
    printf 'HEX '; od -An -v -tx1 "$1" | tr -d ' \n' | tr a-f A-F; echo
    escape="s|%|%25|g; s| |%20|g; s|'|%27|g; s|\"|%22|g; s|/|%2F|g; s|+|%2B|g; s|=|%3D|g; s|&|%26|g; s|\\\\|%5C|g; s|>|%3E|g; s|?|%3F|g"
    printf 'percent '; sed "$escape" "$1"; echo
    printf 'json '; sed 's|\\|\\\\|g; s|"|\\"|g' "$1"; echo
    printf 'shell '; sed "s|'|'\\\\''|g" "$1"; echo
}
"#;

/// The package that gives away what it can.
const LEAKY: &str = r#"
name = "leaky"
summary = "Gives away its secret wherever it can"
prelude = '''LEAK'''

[parameters.dir]
type = "path"
summary = "Where it leaves the secret"

[parameters.password]
type = "secret"
summary = "The secret"

[outputs.plain]
type = "text"
summary = "The secret"

[outputs.all]
type = "text"
summary = "The secret in all encodings"

[operations.install]
[[operations.install.steps]]
title = "Print it"
secrets = ["password"]
script = '''
cp "$SETTLED_SECRETS/password" "$P_DIR/kept"
leak "$P_DIR/kept"
leak "$P_DIR/kept" >&2
printf 'plain=%s\nall=%s\n' "$(cat "$P_DIR/kept")" "$(leak "$P_DIR/kept" | tr '\n' ' ')" >"$SETTLED_OUTPUT"
'''

[operations.update]
attempts = 1
[[operations.update.steps]]
title = "Fail with it"
secrets = ["password"]
script = '''
leak "$SETTLED_SECRETS/password" >&2
exit 78
'''

[operations.again]
[[operations.again.steps]]
title = "Hand it out again"
secrets = ["password"]
script = '''
printf 'plain=%s\nall=%s\n' "$(cat "$P_DIR/kept")" "$(leak "$P_DIR/kept" | tr '\n' ' ')" >"$SETTLED_OUTPUT"
'''

[operations.look]
exclusive = false
steps = [{ title = "Show it", script = 'leak "$P_DIR/kept"' }]

[operations.remove]
steps = [{ title = "Nothing", script = "true" }]

[probe]
script = '''
echo state=present
leak "$P_DIR/kept" | while read -r kind text; do echo "fact.$(echo "$kind" | tr A-Z a-z)=$text"; done
leak "$P_DIR/kept" >&2
'''
"#;

/// A daemon's own process that logs everything, a server, and what the secret is in.
struct House {
    home: Home,
    server: Server,
    metrics: String,
    file: PathBuf,
    sinks: Sinks,
}

impl House {
    fn new(packages: &Path) -> Self {
        let metrics = free_address().to_string();
        let home = Home::new(&[
            ("packages", "dir", &format!("'{}'", packages.display())),
            ("log", "level", "'trace'"),
            ("listen", "metrics", &format!("'{metrics}'")),
        ]);
        let (server, file) = (Server::start(), home.path("password"));
        fs::create_dir(server.path("work")).unwrap();
        fs::write(&file, SECRET).unwrap();
        Self { home, server, metrics, file, sinks: Sinks::default() }
    }

    /// What `settlectl` prints, all of it, is searched too.
    async fn says(&mut self, arguments: &[&str]) -> Option<i32> {
        let mut command = settlectl_on(&self.home.socket(), arguments);
        let output = timeout(WITHIN, command.output()).await.unwrap().unwrap();
        let name = format!("settlectl {}", arguments[..2.min(arguments.len())].join(" "));
        self.sinks.add(&name, [output.stdout, output.stderr].concat());
        output.status.code()
    }

    async fn registers(&mut self) {
        let channel = self.home.channel();
        ServersClient::new(channel).create(self.server.record("web")).await.unwrap();
        until("the server is met", async || {
            let shown = settlectl_on(&self.home.socket(), &["server", "show", "web"]).output().await.unwrap();
            String::from_utf8_lossy(&shown.stdout).contains("\"reach\":\"ok\"").then_some(())
        })
        .await;
    }

    /// What is taken to another place.
    async fn is_backed_up(&mut self) {
        let file = self.home.path("backup.db");
        assert_eq!(self.says(&["backup", &file.display().to_string()]).await, Some(0));
        let (backup, key) = (fs::read(&file).unwrap(), fs::read(self.home.path("data/key")).unwrap());
        assert!(memchr::memmem::find(&backup, &key).is_none(), "what opens it is not in it");
        self.sinks.add("backup", backup);
        self.sinks.of_the_tables(&file).await;
    }

    /// Everything that a resource can do with its secret.
    async fn has_it_used(&mut self) {
        let dir = format!("dir={}", self.server.path("work").display());
        let password = format!("password=@{}", self.file.display());
        let one = "web/leaky/one";
        let install =
            ["install", "leaky", "--server", "web", "--name", "one", "--set", &dir, "--secret", &password];
        assert_eq!(
            self.says(&[&install[..], &["--wait"]].concat()).await,
            Some(0),
            "{}",
            self.home.last_log()
        );
        assert_eq!(self.says(&["probe", one, "--wait"]).await, Some(0));
        assert_eq!(self.says(&["do", one, "look", "--wait"]).await, Some(0));
        // Requests that are refused carry it as well.
        assert_eq!(self.says(&install).await, Some(4), "there already");
        let wrong = ["update", one, "--secret", &password.replace("password=", "passwort=")];
        assert_eq!(self.says(&wrong).await, Some(2));
    }

    async fn has_it_fail(&mut self) {
        assert_eq!(self.says(&["update", "web/leaky/one", "--wait"]).await, Some(1), "it fails with it");
        assert_eq!(self.says(&["resource", "show", "web/leaky/one"]).await, Some(0));
    }

    /// What it hands out goes on to a webhook that is signed with it.
    async fn has_it_sent(&mut self) {
        let endpoint = Endpoint::answering(&[&answer("200 OK", "", "")]).await;
        let again = "[[stages]]\nname = \"again\"\naction = { operation = \"again\" }\n";
        let text = format!("code = \"c\"\nname = \"C\"\n{again}{}", stage(&endpoint, "tell", ""));
        let (file, secret) = (self.home.path("c.toml"), format!("billing=@{}", self.file.display()));
        fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        assert_eq!(self.says(&["lifecycle", "apply", &file, "--secret", &secret]).await, Some(0));
        assert_eq!(self.says(&["enroll", "c", "resource/web/leaky/one"]).await, Some(0));
        let got = endpoint.has(1).await;
        assert!(got[0].body.contains("plain *"), "the payload has what was handed out: {}", got[0].body);
        self.sinks.add("webhook", format!("{got:?}").into_bytes());
        let log = ["enrollment", "show", "c/resource/web/leaky/one", "--log"];
        assert_eq!(self.says(&log).await, Some(0));
    }
}

/// The same scripts, here, with nobody between them and the search.
fn the_search_finds_what_the_scripts_print(dir: &Path) {
    let (script, secret) = (format!("set -eu\n{LEAK}\nleak \"$1\""), dir.join("secret"));
    fs::write(&secret, SECRET).unwrap();
    let output = std::process::Command::new("sh").args(["-c", &script, "sh"]).arg(&secret).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut sinks = Sinks::default();
    sinks.add("itself", output.stdout.clone());
    let found: Vec<_> = sinks.found().into_iter().map(|Found { encoding, .. }| encoding).collect();
    let all: Vec<_> = needles().into_iter().map(|(encoding, _)| encoding).collect();
    assert_eq!(found, all, "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_known_secret_is_found_nowhere_in_any_encoding() {
    let packages = package_dir("leaky", &LEAKY.replace("LEAK", LEAK));
    the_search_finds_what_the_scripts_print(tempfile::tempdir().unwrap().path());
    let mut house = House::new(packages.path());
    let processes = Processes::watched();
    let daemon = house.home.start();
    house.home.serves().await;
    house.registers().await;
    house.has_it_used().await;
    house.has_it_sent().await;
    house.has_it_fail().await;
    let channel = house.home.channel();
    house.sinks.of_the_api(channel, &house.metrics).await;
    let is_empty =
        |dir: &str| house.server.path(dir).read_dir().is_ok_and(|mut entries| entries.next().is_none());
    until("the steps are cleared away", async || {
        (is_empty("state/steps") && is_empty("state/tmp")).then_some(())
    })
    .await;
    house.is_backed_up().await;
    // As it lies there while it runs, with everything that was not written back yet.
    house.sinks.add_files("data_dir", &house.home.path("data"));
    daemon.kill();
    house.sinks.add_files("data_dir after a kill", &house.home.path("data"));
    house.sinks.of_the_tables(&house.home.path("data/settled.db")).await;
    house.sinks.add("the log and standard error", fs::read(house.home.path("log")).unwrap());
    house.sinks.add_files("the server's state", &house.server.path("state"));
    house.sinks.add("arguments and environments", processes.seen());
    house.sinks.are_all_there();
    let found = house.sinks.found();
    assert!(found.is_empty(), "{found:#?}");
}
