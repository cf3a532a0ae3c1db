//! How an operation breaks off after it has changed something. At one certain call of a program of the host the step is killed with all of its
//! processes; asked for again, that call fails, again and again until the program is mended. Every other call, and every call that is not of a
//! step, is the program's own. One mechanism for every package; `breaks.rs` has the calls.

use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::{
    CommandResponse, Evidence, Outcome, Reason, Resource, ResourceStatus, RetryResourceRequest, Run,
    StepState,
};
use settled_tests::server::fresh_id;

use tonic::{Response, Status};

use crate::fixture::Scene;
use crate::story::{Script, Tale, Values, differences, owned};

/// A call of a program at which a step is killed, and that fails then, and what is to be seen.
pub(crate) struct Break {
    /// Where the program is; the first file that fits a pattern of the shell.
    pub(crate) program: &'static str,
    /// Which calls fail: a pattern of the shell for all arguments, with a space between them.
    pub(crate) calls: &'static str,
    /// So many of these calls go well first.
    pub(crate) spared: u32,
    /// It does its work before it fails: the change is there, and nobody is told.
    pub(crate) late: bool,
    /// What the update asks for.
    pub(crate) with: Values,
    /// The step is killed there, and does not come there again.
    pub(crate) once: bool,
    /// Shows what is there when it was killed; if it is empty, `meanwhile` does.
    pub(crate) killed: Script,
    /// What the run says, beside the program's own words.
    pub(crate) says: &'static str,
    /// Shows what is there when it failed: what of the old still serves.
    pub(crate) meanwhile: Script,
    /// Shows that the update is there, once it was retried.
    pub(crate) then: Script,
}

/// Puts a program of this name over the one at `PROGRAM`, by a mount, so that whoever calls it, by whatever path, calls this one.
const ARM: &str = r#"
program=$(ls -d PROGRAM | head -n 1)
mkdir -p /root/broken
cp -p "$program" "/root/broken/${program##*/}"
echo SPARED >/root/broken/spared
: >/root/broken/kills
cat >/root/broken/program <<'END'
#!/bin/sh
real=/root/broken/${0##*/}
group=$(sed -n 's/^0:://p' /proc/self/cgroup)
case $group:$* in
*/settled-step-*.scope:CALLS)
    spared=$(cat /root/broken/spared)
    if [ "$spared" != 0 ]; then
        echo $((spared - 1)) >/root/broken/spared
        exec "$real" "$@"
    fi
    [ LATE = false ] || "$real" "$@"
    if [ -e /root/broken/kills ]; then
        echo SPARED >/root/broken/spared
        rm /root/broken/kills
        echo 1 >"/sys/fs/cgroup$group/cgroup.kill"
        sleep 60
    fi
    [ ONCE = false ] || exec "$real" "$@"
    echo "${0##*/} is broken" >&2
    exit 9
    ;;
esac
exec "$real" "$@"
END
chmod 755 /root/broken/program
echo "$program" >/root/broken/where
mount --bind /root/broken/program "$program"
"#;
const MEND: &str = r#"umount -l "$(cat /root/broken/where)"; rm -rf /root/broken"#;

impl Scene {
    fn breaks_at(&self, at: &Break) {
        let arm = ARM
            .replace("PROGRAM", at.program)
            .replace("CALLS", at.calls)
            .replace("SPARED", &at.spared.to_string())
            .replace("LATE", &at.late.to_string())
            .replace("ONCE", &at.once.to_string());
        self.host.run(&arm);
    }

    /// Its installation breaks off, is `failed`, and a retry brings it whole.
    pub(crate) async fn comes_at_the_second_go(&self, tale: &Tale, at: &Break) {
        self.breaks_at(at);
        let before = self.look();
        let asked = self.install_goes(tale).await;
        let failed = self.is_killed_and_fails(tale, at, asked, &before).await;
        self.host.run(MEND);
        if failed {
            self.is_retried(tale).await;
        }
    }

    /// An update breaks off in the middle; a retry brings what was asked for, and another update changes nothing more.
    pub(crate) async fn breaks_off_and_is_retried(&self, tale: &Tale, at: &Break) {
        self.breaks_at(at);
        let before = self.look();
        let asked = self.went(self.update(tale, owned(at.with)).await).await;
        self.is_killed_and_fails(tale, at, asked, &before).await;
        self.host.answers().await;
        self.host.run(MEND);
        self.is_retried(tale).await;
        self.stands_now(tale, at.then).await;
        self.again_changes_nothing(tale).await;
        self.well(self.update(tale, tale.values(tale.change)).await).await;
        self.stands_now(tale, tale.changed).await;
    }

    /// The step was killed. The run is lost, unless a look settles it: all is there, or nothing is, and another attempt follows by itself. Asked
    /// for again, it fails at the same call. `false`: it came through by itself.
    async fn is_killed_and_fails(&self, tale: &Tale, at: &Break, asked: (Run, String), before: &str) -> bool {
        let (run, output) = asked;
        let lost = run.steps.iter().filter(|step| step.state() == StepState::Lost).count();
        assert_eq!(lost, 1, "it was not killed: {run:#?}\n{output}");
        let again = match (run.outcome(), run.evidence(), run.attempt) {
            (Outcome::Failed, Evidence::None, 1) => {
                self.is_lost(tale, at, &run, before).await;
                self.retry_of(tale).await
            }
            (Outcome::Succeeded, Evidence::Probe, 1) => {
                self.stands_now(tale, at.then).await;
                self.update(tale, owned(at.with)).await
            }
            (Outcome::Succeeded, Evidence::ExitRecord, 2) if at.once => return false,
            _ => {
                self.broke_off(tale, at, &run, &output, before).await;
                return true;
            }
        };
        let (run, output) = self.went(again).await;
        self.broke_off(tale, at, &run, &output, before).await;
        true
    }

    /// Nobody knows how far it came, and that is what is said; what is promised to serve serves.
    async fn is_lost(&self, tale: &Tale, at: &Break, run: &Run, before: &str) {
        assert_eq!(run.reason(), Reason::Lost, "{run:#?}");
        let resource = self.of(tale).await;
        assert_eq!(resource.status(), ResourceStatus::Failed, "{resource:#?}");
        assert_eq!(resource.last_error.unwrap().run_id, run.id);
        let changed = differences(before, &self.look());
        assert!(!changed.is_empty(), "{}: it was killed before anything was changed", tale.package);
        self.host.comes_to(if at.killed.is_empty() { at.meanwhile } else { at.killed }).await;
    }

    /// It failed and says where, something had been changed by then, and what is promised to serve serves.
    async fn broke_off(&self, tale: &Tale, at: &Break, run: &Run, output: &str, before: &str) {
        assert_eq!(run.outcome(), Outcome::Failed, "{run:#?}\n{output}");
        let resource = self.of(tale).await;
        assert_eq!(resource.status(), ResourceStatus::Failed, "{resource:#?}");
        let error = resource.last_error.unwrap();
        assert_eq!(error.run_id, run.id, "{error:#?}");
        let program = at.program.rsplit('/').next().unwrap().replace('*', "");
        for words in [&program, "is broken", at.says] {
            assert!(error.last_lines.contains(words), "{words}: {error:#?}\n{output}");
        }
        let changed = differences(before, &self.look());
        assert!(!changed.is_empty(), "{}: it broke off before anything was changed", tale.package);
        self.host.comes_to(at.meanwhile).await;
    }

    async fn is_retried(&self, tale: &Tale) {
        self.well(self.retry_of(tale).await).await;
        let resource = self.of(tale).await;
        assert_eq!((resource.status(), &resource.last_error), (tale.done(), &None), "{resource:#?}");
    }

    async fn retry_of(&self, tale: &Tale) -> Result<Response<CommandResponse>, Status> {
        let request =
            RetryResourceRequest { request_id: fresh_id(), resource: tale.path(), ..Default::default() };
        ResourcesClient::new(self.channel.clone()).retry(request).await
    }

    async fn of(&self, tale: &Tale) -> Resource {
        self.found(tale.package, tale.package).await.unwrap()
    }
}
