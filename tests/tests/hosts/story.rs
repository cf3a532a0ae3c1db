//! The story of a resource on a whole host, from its installation to its removal, with what goes wrong in between. It is the same for every
//! package; a [`Tale`] says what is special about one.

use std::collections::{BTreeMap, BTreeSet};

use settled::catalog::{Catalog, Given, ProbeReading, read_probe};
use settled::domain::params::Params;
use settled::domain::resource::Presence as Seen;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::{
    CommandResponse, DoRequest, GetResourceRequest, Outcome, PauseResourceRequest, Presence,
    ProbeResourceRequest, Resource, ResourceStatus, ResumeResourceRequest, Run, UpdateResourceRequest,
};
use settled_tests::server::{fresh_id, install};
use tonic::{Code, Response, Status};

use crate::broken::Break;
use crate::fixture::Scene;

pub(crate) type Values = &'static [(&'static str, &'static str)];
/// A script for `/bin/sh -e` on the host. What it is to show holds when it ends well.
pub(crate) type Script = &'static str;

/// What is special about a package. What is left empty is left out of the story.
pub(crate) struct Tale {
    pub(crate) package: &'static str,
    pub(crate) parameters: Values,
    pub(crate) secrets: Values,
    /// What is given with its removal.
    pub(crate) removal: Values,
    /// Done on the host before.
    pub(crate) before: Script,
    /// Shows that it is there.
    pub(crate) there: Script,
    /// What an update changes, and what shows that it did.
    pub(crate) change: Values,
    pub(crate) changed: Script,
    /// Shows that it is paused.
    pub(crate) paused: Script,
    /// An operation of its own, and what shows that it was done.
    pub(crate) own: Option<(&'static str, Script)>,
    /// Where its installation breaks off before it comes.
    pub(crate) coming: Option<&'static Break>,
    /// Where an update breaks off after it has changed something.
    pub(crate) breaks: &'static [Break],
    /// How an update is made to fail.
    pub(crate) fails: Trouble,
    /// How a removal is made to fail.
    pub(crate) stays: Trouble,
    /// Shows that it is gone, beside its probe.
    pub(crate) gone: Script,
}

/// How an operation is made to fail.
pub(crate) struct Trouble {
    /// What an update asks for.
    pub(crate) with: Values,
    /// Done on the host before.
    pub(crate) make: Script,
    /// What the run says.
    pub(crate) says: &'static str,
    /// Takes it back.
    pub(crate) mend: Script,
}

/// What a change could touch: files, but for logs, caches, data and what programs note by themselves; services and their processes; Debian
/// packages. Of settled's own notes the content counts.
const EVERYTHING: Script = r"
cd /
find etc home opt srv usr var -xdev \( -type d -printf '%p %M %u\n' -o -printf '%p %M %u %i %T@ %l\n' \) |
    grep -vE '^var/(backups|cache|log|tmp|lib/(apt|dpkg|mysql|php|private|redis|settled-host|settled-packages|systemd))'
find var/lib/settled-packages -type f ! -name errors ! -name refreshed ! -path '*/runs/*' -exec sha256sum {} + 2>/dev/null || :
systemctl list-units --no-legend --plain --type=service --state=active | grep -vE '^(ssh|systemd-|user|dbus)' | cut -d ' ' -f 1 |
    while read -r unit; do
        echo $unit $(systemctl show --property=ActiveEnterTimestampMonotonic $unit) $(find sys/fs/cgroup/system.slice/$unit -name cgroup.procs -exec cat {} + 2>/dev/null)
    done
dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n'
ufw status verbose
[ ! -e /run/mysqld/mysqld.sock ] || mariadb -Ne '
    SELECT * FROM mysql.global_priv; SELECT * FROM mysql.db; SELECT * FROM information_schema.schemata'
";
/// What a removal is to leave as it was.
const PACKAGES: Script = "dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' | grep '^installed'";

/// Others that were there before recommend these, or could do with them in place of what they have.
const KEPT_BY_APT: [&str; 7] =
    ["gawk", "libidn2-0", "libmpfr6", "libsigsegv2", "libunistring5", "psmisc", "tzdata"];

impl Tale {
    pub(crate) fn path(&self) -> String {
        format!("host/{0}/{0}", self.package)
    }

    pub(crate) fn done(&self) -> ResourceStatus {
        let one_time = ["deployment", "script"].contains(&self.package);
        if one_time { ResourceStatus::Success } else { ResourceStatus::Active }
    }

    pub(crate) fn values(&self, more: Values) -> Params {
        owned(self.parameters).into_iter().chain(owned(more)).collect()
    }
}

pub(crate) fn owned(values: Values) -> Params {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What differs between two looks at the host.
pub(crate) fn differences(before: &str, after: &str) -> String {
    let lines = |look: &'_ str| look.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, after) = (lines(before), lines(after));
    let gone = before.difference(&after).map(|line| format!("- {line}\n"));
    let new = after.difference(&before).map(|line| format!("+ {line}\n"));
    gone.chain(new).collect()
}

impl Scene {
    fn resources(&self) -> ResourcesClient<tonic::transport::Channel> {
        ResourcesClient::new(self.channel.clone())
    }

    async fn resource(&self, path: &str) -> Option<Resource> {
        let request = GetResourceRequest { resource: path.to_owned() };
        match self.resources().get(request).await {
            Ok(resource) => Some(resource.into_inner()),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("the resource cannot be read: {status}"),
        }
    }

    /// How what was asked for went; says how long it took.
    pub(crate) async fn went(&self, answer: Result<Response<CommandResponse>, Status>) -> (Run, String) {
        let run = answer.unwrap().into_inner().run.unwrap();
        let (run, output) = self.completed(&run.id).await;
        let seconds = |at: Option<prost_types::Timestamp>| {
            let at = at.unwrap();
            f64::from(u32::try_from(at.seconds % 100_000).unwrap()) + f64::from(at.nanos) / 1e9
        };
        let took = seconds(run.completed_at) - seconds(run.started_at);
        println!(
            "{:<20} {:<10} {:<10} {took:5.1} s",
            run.package,
            run.operation,
            run.outcome().as_str_name()
        );
        (run, output)
    }

    pub(crate) async fn well(&self, answer: Result<Response<CommandResponse>, Status>) -> Run {
        let (run, output) = self.went(answer).await;
        assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:#?}\n{output}");
        run
    }

    pub(crate) async fn update(
        &self,
        tale: &Tale,
        changes: Params,
    ) -> Result<Response<CommandResponse>, Status> {
        let request = UpdateResourceRequest {
            request_id: fresh_id(),
            resource: tale.path(),
            parameters: changes.into_iter().collect(),
            ..Default::default()
        };
        self.resources().update(request).await
    }

    async fn remove(&self, tale: &Tale) -> Result<Response<CommandResponse>, Status> {
        let request = settled_proto::v1::RemoveResourceRequest {
            request_id: fresh_id(),
            resource: tale.path(),
            parameters: owned(tale.removal),
            ..Default::default()
        };
        self.resources().remove(request).await
    }

    /// The record is like this, a script on the host bears it out, and so does the probe.
    async fn stands(&self, tale: &Tale, status: ResourceStatus, presence: Presence, shown: Script) {
        let request = ProbeResourceRequest { request_id: fresh_id(), resource: tale.path() };
        self.well(self.resources().probe(request).await).await;
        let resource = self.resource(&tale.path()).await.unwrap();
        assert_eq!(resource.status(), status, "{resource:#?}");
        assert_eq!(resource.observed.as_ref().unwrap().presence(), presence, "{resource:#?}");
        // nginx answers a reload before its new workers serve; nothing else takes its time here.
        self.host.comes_to(shown).await;
    }

    /// Puts it there, changes it, has it fail and mends it.
    pub(crate) async fn arrives(&self, tale: &Tale) {
        self.host.run(tale.before);
        if let Some(at) = tale.coming {
            self.comes_at_the_second_go(tale, at).await;
        } else {
            let (run, output) = self.install_goes(tale).await;
            assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:#?}\n{output}");
        }
        self.stands(tale, tale.done(), Presence::Present, tale.there).await;
        self.again_changes_nothing(tale).await;

        self.well(self.update(tale, owned(tale.change)).await).await;
        self.stands(tale, tale.done(), Presence::Present, tale.changed).await;
        self.what_is_not_loaded_proves_nothing(tale);
        if !tale.paused.is_empty() {
            self.pauses(tale).await;
        }
        if let Some((operation, shown)) = tale.own {
            self.does(tale, operation).await;
            self.stands(tale, tale.done(), Presence::Present, shown).await;
        }
        for at in tale.breaks {
            self.breaks_off_and_is_retried(tale, at).await;
        }
        self.fails_and_is_mended(tale).await;
    }

    pub(crate) async fn install_goes(&self, tale: &Tale) -> (Run, String) {
        let mut request = install("host", tale.package, tale.package, tale.parameters);
        request.secrets =
            tale.secrets.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect();
        self.went(self.resources().install(request).await).await
    }

    pub(crate) async fn stands_now(&self, tale: &Tale, shown: Script) {
        self.stands(tale, tale.done(), Presence::Present, shown).await;
    }

    /// All that a change could touch, as it is now.
    pub(crate) fn look(&self) -> String {
        self.host.run(EVERYTHING)
    }

    pub(crate) async fn again_changes_nothing(&self, tale: &Tale) {
        let before = self.look();
        self.well(self.update(tale, Params::new()).await).await;
        let after = self.look();
        let differences = differences(&before, &after);
        assert!(differences.is_empty(), "{}: asked for again, it changed\n{differences}", tale.package);
    }

    /// A step that is lost between writing and loading leaves its mark: then the files are no proof (P7).
    fn what_is_not_loaded_proves_nothing(&self, tale: &Tale) {
        let mark = match tale.package {
            "firewall" => "changing",
            "mariadb" | "nginx" | "php" | "redis" | "supervisor_program" => "changed",
            _ => return,
        };
        let mark = format!("/var/lib/settled-packages/{0}.{0}.{mark}", tale.package);
        self.host.run(&format!("touch {mark}"));
        let seen = self.seen(tale);
        assert_eq!(seen.presence, None, "{}: {seen:#?}", tale.package);
        self.host.run(&format!("rm {mark}"));
    }

    /// What the probe of its package tells.
    fn seen(&self, tale: &Tale) -> ProbeReading {
        let definition = Catalog::builtin().unwrap().get(tale.package).unwrap();
        let secrets = tale.secrets.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec()));
        let secrets: BTreeMap<_, _> = secrets.collect();
        let parameters = definition.check(&tale.values(tale.change), &secrets, Given::Install).unwrap();
        let probe = definition.probe_plan(tale.package, &parameters).unwrap();
        read_probe(self.host.run_with(&probe.env, &probe.script).as_bytes())
    }

    async fn pauses(&self, tale: &Tale) {
        let resource = tale.path();
        let request = PauseResourceRequest { request_id: fresh_id(), resource, ..Default::default() };
        self.well(self.resources().pause(request).await).await;
        self.stands(tale, ResourceStatus::Paused, Presence::Paused, tale.paused).await;
        let resource = tale.path();
        let request = ResumeResourceRequest { request_id: fresh_id(), resource, ..Default::default() };
        self.well(self.resources().resume(request).await).await;
        self.stands(tale, ResourceStatus::Active, Presence::Present, tale.changed).await;
    }

    async fn does(&self, tale: &Tale, operation: &str) {
        let (resource, operation) = (tale.path(), operation.to_owned());
        let request = DoRequest { request_id: fresh_id(), resource, operation, ..Default::default() };
        self.well(self.resources().r#do(request).await).await;
    }

    async fn fails_and_is_mended(&self, tale: &Tale) {
        self.host.run(tale.fails.make);
        let (run, output) = self.went(self.update(tale, owned(tale.fails.with)).await).await;
        self.is_a_failure(tale, &run, &output, &tale.fails, ResourceStatus::Failed).await;
        self.host.run(tale.fails.mend);
        self.well(self.update(tale, tale.values(tale.change)).await).await;
        self.stands(tale, tale.done(), Presence::Present, tale.changed).await;
        assert!(self.resource(&tale.path()).await.unwrap().last_error.is_none());
    }

    async fn is_a_failure(
        &self,
        tale: &Tale,
        run: &Run,
        output: &str,
        trouble: &Trouble,
        status: ResourceStatus,
    ) {
        assert_eq!(run.outcome(), Outcome::Failed, "{run:#?}\n{output}");
        assert!(output.contains(trouble.says), "{run:#?}\n{output}");
        let resource = self.resource(&tale.path()).await.unwrap();
        assert_eq!(resource.status(), status, "{resource:#?}");
        let error = resource.last_error.unwrap();
        assert_eq!(error.run_id, run.id, "{error:#?}");
        assert!(error.last_lines.contains(trouble.says), "{error:#?}");
    }

    /// Asks for a removal that cannot be done: it stands as before. What others require is refused before anything begins.
    pub(crate) async fn stays(&self, tale: &Tale) {
        self.host.run(tale.stays.make);
        let answer = self.remove(tale).await;
        if let Err(refused) = &answer {
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
            assert!(refused.message().contains(tale.stays.says), "{refused:?}");
            let resource = self.resource(&tale.path()).await.unwrap();
            assert_eq!((resource.status(), &resource.last_error), (tale.done(), &None), "{resource:#?}");
            return;
        }
        let (run, output) = self.went(answer).await;
        self.is_a_failure(tale, &run, &output, &tale.stays, tale.done()).await;
        self.host.run(tale.stays.mend);
        self.stands(tale, tale.done(), Presence::Present, tale.changed).await;
    }

    /// Removes it.
    pub(crate) async fn leaves(&self, tale: &Tale) {
        self.well(self.remove(tale).await).await;
        assert!(self.resource(&tale.path()).await.is_none());
        let seen = self.seen(tale);
        assert_eq!(seen.presence, Some(Seen::Absent), "{}: {seen:#?}", tale.package);
        // As above: a server that serves no more may still answer for a moment.
        self.host.comes_to(tale.gone).await;
    }

    /// Which Debian packages the host has.
    pub(crate) fn packages(&self) -> String {
        self.host.run(PACKAGES)
    }

    /// The host has the same Debian packages as then, but for those that apt would not take away either.
    pub(crate) fn has_only(&self, packages: &str) {
        let now = self.packages();
        let differences = differences(packages, &now);
        let kept =
            |line: &&str| KEPT_BY_APT.iter().any(|name| line.starts_with(&format!("+ installed {name} ")));
        let wrong: Vec<_> = differences.lines().filter(|line| !kept(line)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
