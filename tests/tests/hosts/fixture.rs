//! A daemon, a host, and a package whose installation takes as long as the test wants.

use std::process::Command;

use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::servers_client::ServersClient;
use settled_proto::v1::{
    AdoptRequest, CommandResponse, CreateServerRequest, Evidence, FollowRunRequest, GetResourceRequest,
    GetRunRequest, Outcome, PauseResourceRequest, ProbeResourceRequest, RemoveResourceRequest, Resource,
    ResumeResourceRequest, Run, RunState, UpdateResourceRequest, follow_run_response::Event,
};
use settled_tests::host::Host;
use settled_tests::patience::until_within;
use settled_tests::process::{Daemon, Home, program};
use settled_tests::server::{fresh_id, install, package_dir};
use tempfile::TempDir;
use tonic::transport::Channel;

/// Where everything that happens on the host is written down: by the script of the step, and by dpkg's.
pub(crate) const WITNESS: &str = "/var/tmp/witness";
/// Where the Debian package lies.
const DEB: &str = "srv/slow.deb";
/// No step takes longer once it may go on, however busy the machine.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(240);

/// `before`, `dpkg` and `after` are where an installation waits: before apt, while dpkg configures, and when all is done.
const DEFINITION: &str = r#"
name = "slow"
summary = "A Debian package that is installed slowly"

[probe]
script = '''
version=$(dpkg-query -W -f '${db:Status-Status} ${Version}' slow 2>/dev/null || true)
case $version in
"installed "*) echo state=present; echo "fact.version=${version#* }" ;;
*) echo state=absent ;;
esac
'''

[operations.install]
proof = { state = "present", "fact.version" = "1.0" }
timeout = "10m"

[[operations.install.steps]]
title = "Install with apt"
dpkg = true
script = '''
echo "begin $SETTLED_STEP" >>/var/tmp/witness
while [ -e /var/tmp/before ]; do sleep 0.1; done
apt-get install -y -q /srv/slow.deb
echo "installed $SETTLED_STEP" >>/var/tmp/witness
while [ -e /var/tmp/after ]; do sleep 0.1; done
echo "end $SETTLED_STEP" >>/var/tmp/witness
'''

[operations.remove]
steps = [{ title = "Remove with apt", script = "apt-get remove -y -q slow", dpkg = true }]
"#;

/// Counts, so that its output tells what was lost of it.
const POSTINST: &str = "#!/bin/sh\necho configuring >>/var/tmp/witness\nn=0\n\
                        while [ -e /var/tmp/dpkg ]; do n=$((n + 1)); echo \"waited $n\"; sleep 0.1; done\necho \"in all $n\" >>/var/tmp/witness\n";

/// A host, a daemon that knows it as `host`, and what both need.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) home: Home,
    pub(crate) channel: Channel,
    daemon: Option<Daemon>,
    packages: TempDir,
}

/// Where a daemon lives that has the packages of this folder beside those that it comes with.
fn home_with(packages: &TempDir) -> Home {
    let dir = format!("'{}'", packages.path().display());
    Home::new(&[
        ("packages", "dir", &dir),
        ("lane", "unreachable_retry_s", "2"),
        ("ssh", "connect_timeout_s", "2"),
        ("ssh", "keepalive_s", "1"),
        ("run", "backoff_s", "1"),
    ])
}

impl Scene {
    /// An installation will wait at `at`: `before`, `dpkg`, `after`.
    pub(crate) async fn new(at: &[&str]) -> Self {
        let host = host_with(at).await;
        let packages = package_dir("slow", DEFINITION);
        let home = home_with(&packages);
        let (daemon, channel) = (Some(home.start()), home.channel());
        home.serves().await;
        let scene = Self { host, home, channel, daemon, packages };
        scene.register(&scene.host, "host").await;
        scene
    }

    /// Registers a host as `name`, and waits until the daemon has met it.
    pub(crate) async fn register(&self, host: &Host, name: &str) {
        let request = CreateServerRequest { repair_dpkg: true, ..host.record(name) };
        let answer = ServersClient::new(self.channel.clone()).create(request).await.unwrap().into_inner();
        let (met, _) = self.completed(&answer.run.unwrap().id).await;
        assert_eq!(met.outcome(), Outcome::Succeeded, "{met:#?}");
    }

    /// Asks for something on the host; answers its run.
    pub(crate) async fn ask(&self, package: &str, name: &str, parameters: &[(&str, &str)]) -> String {
        self.ask_on("host", package, name, parameters).await
    }

    /// Asks for something on a server; answers its run.
    pub(crate) async fn ask_on(
        &self,
        server: &str,
        package: &str,
        name: &str,
        parameters: &[(&str, &str)],
    ) -> String {
        let request = install(server, package, name, parameters);
        let answer = ResourcesClient::new(self.channel.clone()).install(request).await.unwrap().into_inner();
        answer.run.unwrap().id
    }

    /// Asks for new values of a resource of the host; answers the run.
    pub(crate) async fn ask_update(&self, package: &str, name: &str, parameters: &[(&str, &str)]) -> String {
        let request = UpdateResourceRequest {
            request_id: fresh_id(),
            resource: format!("host/{package}/{name}"),
            parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Default::default()
        };
        let answer = ResourcesClient::new(self.channel.clone()).update(request).await.unwrap().into_inner();
        answer.run.unwrap().id
    }

    /// Asks for the removal of a resource of the host; answers the run.
    pub(crate) async fn ask_removal(&self, package: &str, name: &str) -> String {
        self.removal(package, name).await.unwrap().run.unwrap().id
    }

    /// The sentence with which the removal of a resource of the host is refused.
    pub(crate) async fn refused_removal(&self, package: &str, name: &str) -> String {
        self.removal(package, name).await.unwrap_err().message().to_owned()
    }

    async fn removal(&self, package: &str, name: &str) -> Result<CommandResponse, tonic::Status> {
        let resource = format!("host/{package}/{name}");
        let request = RemoveResourceRequest { request_id: fresh_id(), resource, ..Default::default() };
        let answer = ResourcesClient::new(self.channel.clone()).remove(request).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Registers what is on the host; answers the run.
    pub(crate) async fn ask_adoption(
        &self,
        package: &str,
        name: &str,
        parameters: &[(&str, &str)],
    ) -> String {
        let request = AdoptRequest {
            request_id: fresh_id(),
            server: "host".to_owned(),
            package: package.to_owned(),
            name: name.to_owned(),
            parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Default::default()
        };
        let answer = ResourcesClient::new(self.channel.clone()).adopt(request).await.unwrap().into_inner();
        answer.run.unwrap().id
    }

    pub(crate) async fn ask_pause(&self, path: &str) -> String {
        let (request_id, resource) = (fresh_id(), path.to_owned());
        let request = PauseResourceRequest { request_id, resource, ..Default::default() };
        let answer = ResourcesClient::new(self.channel.clone()).pause(request).await.unwrap();
        answer.into_inner().run.unwrap().id
    }

    pub(crate) async fn ask_resume(&self, path: &str) -> String {
        let (request_id, resource) = (fresh_id(), path.to_owned());
        let request = ResumeResourceRequest { request_id, resource, ..Default::default() };
        let answer = ResourcesClient::new(self.channel.clone()).resume(request).await.unwrap();
        answer.into_inner().run.unwrap().id
    }

    /// The resource of the host as it stands; `None` when there is none.
    pub(crate) async fn found(&self, package: &str, name: &str) -> Option<Resource> {
        let request = GetResourceRequest { resource: format!("host/{package}/{name}") };
        ResourcesClient::new(self.channel.clone()).get(request).await.ok().map(tonic::Response::into_inner)
    }

    /// The resource of the host, after a look at it.
    pub(crate) async fn looked_at(&self, package: &str, name: &str) -> Resource {
        let request =
            ProbeResourceRequest { request_id: fresh_id(), resource: format!("host/{package}/{name}") };
        let answer = ResourcesClient::new(self.channel.clone()).probe(request).await.unwrap().into_inner();
        self.completed(&answer.run.unwrap().id).await;
        self.found(package, name).await.unwrap()
    }

    /// What waits there goes on.
    pub(crate) fn go_on(&self, place: &str) {
        std::fs::remove_file(self.host.file(&format!("/var/tmp/{place}"))).unwrap();
    }

    /// The daemon dies, and another one is started.
    pub(crate) async fn kill_daemon(&mut self) {
        self.daemon.take().unwrap().kill();
        self.daemon = Some(self.home.start());
        self.home.serves().await;
    }

    /// The daemon dies with all that it has stored. Another one begins with nothing, is told of the host, and takes it over.
    pub(crate) async fn lose_the_store(&mut self) {
        self.daemon.take().unwrap().kill();
        self.home = home_with(&self.packages);
        (self.daemon, self.channel) = (Some(self.home.start()), self.home.channel());
        self.home.serves().await;
        self.register(&self.host, "host").await;
        self.settlectl("settlectl server takeover host");
    }

    /// Types a command, whose words have no quotes in them.
    pub(crate) fn settlectl(&self, command: &str) {
        let endpoint = format!("unix:{}", self.home.socket().display());
        let words = command.strip_prefix("settlectl ").unwrap().split(' ');
        let mut settlectl = Command::new(program("settlectl"));
        let said = settlectl.args(["--endpoint", &endpoint]).args(words).output().unwrap();
        assert!(said.status.success(), "{command}: {said:?}");
    }

    pub(crate) async fn run(&self, id: &str) -> Run {
        let request = GetRunRequest { run_id: id.to_owned() };
        RunsClient::new(self.channel.clone()).get(request).await.unwrap().into_inner()
    }

    /// Waits until the run has completed: the run as it is then, and what its steps wrote.
    pub(crate) async fn completed(&self, id: &str) -> (Run, String) {
        let run = until_within(WITHIN, "the run completes", async || {
            Some(self.run(id).await).filter(|run| run.state() == RunState::Completed)
        })
        .await;
        let request = FollowRunRequest { run_id: id.to_owned(), output_offset: 0 };
        let mut story = RunsClient::new(self.channel.clone()).follow(request).await.unwrap().into_inner();
        let mut output = Vec::new();
        while let Some(piece) = story.message().await.unwrap() {
            if let Some(Event::Output(piece)) = piece.event {
                output.extend(piece.data);
            }
        }
        (run, String::from_utf8(output).unwrap())
    }

    /// Whatever was cut, and whoever died: apt ran once, to its end, and all that it wrote is there.
    pub(crate) async fn ends_well_and_once(&self, run: &str) {
        let (run, output) = self.completed(run).await;
        let verdict = (run.outcome(), run.evidence(), run.attempt);
        assert_eq!(verdict, (Outcome::Succeeded, Evidence::ExitRecord, 1), "{run:#?}");
        assert_eq!(run.steps.len(), 1, "{run:#?}");
        for once in ["begin", "configuring", "installed", "end"] {
            assert_eq!(self.times(once), 1, "{once}: {}", self.host.read(WITNESS));
        }
        let waited = output.lines().filter(|line| line.starts_with("waited ")).count();
        let last =
            self.host.read(WITNESS).lines().find_map(|line| line.strip_prefix("in all ")?.parse().ok());
        assert_eq!(Some(waited), last, "output was lost or doubled: {output}");
        assert_eq!(self.host.run("dpkg --audit; dpkg-query -W -f '${db:Status-Status}' slow"), "installed");
    }

    /// How often this stands in the witness.
    pub(crate) fn times(&self, what: &str) -> usize {
        self.host.read(WITNESS).lines().filter(|line| line.starts_with(what)).count()
    }
}

/// A host where the installation of `slow` will wait at `at`: `before`, `dpkg`, `after`.
pub(crate) async fn host_with(at: &[&str]) -> Host {
    let waits: Vec<_> = at.iter().map(|place| format!("var/tmp/{place}")).collect();
    let deb = debian_package();
    let mut files: Vec<(&str, &[u8])> = waits.iter().map(|path| (path.as_str(), &b""[..])).collect();
    files.push((DEB, &deb));
    Host::start(&files).await
}

/// `slow` 1.0, as `dpkg-deb` makes it.
fn debian_package() -> Vec<u8> {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (tree, deb) = (dir.path().join("tree"), dir.path().join("slow.deb"));
    std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control =
        "Package: slow\nVersion: 1.0\nArchitecture: all\nMaintainer: tests\nDescription: takes its time\n";
    std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
    std::fs::write(tree.join("DEBIAN/postinst"), POSTINST).unwrap();
    let runs = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(tree.join("DEBIAN/postinst"), runs).unwrap();
    let built = Command::new("dpkg-deb").arg("--build").args([&tree, &deb]).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    std::fs::read(deb).unwrap()
}

/// The run succeeds; answers what it wrote.
pub(crate) async fn well(scene: &Scene, run: String) -> String {
    let (run, output) = scene.completed(&run).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:#?}\n{output}");
    output
}

/// The run fails for good, and says so.
pub(crate) async fn wrong(scene: &Scene, run: String, words: &str) {
    let (run, output) = scene.completed(&run).await;
    assert_eq!((run.outcome(), run.attempt), (Outcome::Failed, 1), "{run:#?}\n{output}");
    assert!(output.contains(words), "{output}");
}
