//! How an operation breaks off after it has changed something: a program of the host that its steps use fails at one certain call, again and
//! again until it is mended, and every other call of it is the program's own. One mechanism for every package; `breaks.rs` has the calls.

use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::{Outcome, Resource, ResourceStatus, RetryResourceRequest, Run};
use settled_tests::server::fresh_id;

use crate::fixture::Scene;
use crate::story::{Script, Tale, Values, differences, owned};

/// A call of a program that fails, and what is to be seen then.
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
    /// What the run says, beside the program's own words.
    pub(crate) says: &'static str,
    /// Shows what is there then: what of the old still serves.
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
cat >/root/broken/program <<'END'
#!/bin/sh
real=/root/broken/${0##*/}
case $* in
CALLS)
    spared=$(cat /root/broken/spared)
    if [ "$spared" != 0 ]; then
        echo $((spared - 1)) >/root/broken/spared
        exec "$real" "$@"
    fi
    [ LATE = false ] || "$real" "$@"
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
            .replace("LATE", &at.late.to_string());
        self.host.run(&arm);
    }

    /// Its installation breaks off, is `failed`, and a retry brings it whole.
    pub(crate) async fn comes_at_the_second_go(&self, tale: &Tale, at: &Break) {
        self.breaks_at(at);
        let before = self.look();
        let (run, output) = self.install_goes(tale).await;
        self.broke_off(tale, at, &run, &output, &before).await;
        self.host.run(MEND);
        self.is_retried(tale).await;
    }

    /// An update breaks off in the middle; a retry brings what was asked for, and another update changes nothing more.
    pub(crate) async fn breaks_off_and_is_retried(&self, tale: &Tale, at: &Break) {
        self.breaks_at(at);
        let before = self.look();
        let (run, output) = self.went(self.update(tale, owned(at.with)).await).await;
        self.broke_off(tale, at, &run, &output, &before).await;
        self.host.answers().await;
        self.host.run(MEND);
        self.is_retried(tale).await;
        self.stands_now(tale, at.then).await;
        self.again_changes_nothing(tale).await;
        self.well(self.update(tale, tale.values(tale.change)).await).await;
        self.stands_now(tale, tale.changed).await;
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
        let request =
            RetryResourceRequest { request_id: fresh_id(), resource: tale.path(), ..Default::default() };
        self.well(ResourcesClient::new(self.channel.clone()).retry(request).await).await;
        let resource = self.of(tale).await;
        assert_eq!((resource.status(), &resource.last_error), (tale.done(), &None), "{resource:#?}");
    }

    async fn of(&self, tale: &Tale) -> Resource {
        self.found(tale.package, tale.package).await.unwrap()
    }
}
