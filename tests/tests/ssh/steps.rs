//! The step protocol over real connections: what depends on who carries it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use settled::clock::{Clock, SystemClock};
use settled::domain::id::{InstallationId, RunId};
use settled::domain::step::{Cause, Ended, StepId};
use settled::remote::step::{Layout, Steps};
use settled::remote::{Dpkg, Limits, Remote, StepSpec, StepStatus};

use crate::server::Server;
use crate::{PATIENCE, ssh, target};

fn spec(clock: &dyn Clock, script: &str) -> StepSpec {
    StepSpec {
        id: StepId { run: RunId(clock.ulid()), step: 0, attempt: 1, try_no: 1 },
        epoch: 1,
        script: script.to_owned(),
        env: Vec::new(),
        secrets: Vec::new(),
        dpkg: Dpkg::Unused,
        limits: Limits {
            timeout: Duration::from_mins(1),
            grace: Duration::from_secs(2),
            output_bytes_max: 1024 * 1024,
        },
    }
}

#[tokio::test]
async fn p9_a_cancel_and_a_claim_do_not_queue_behind_those_who_listen() {
    let sshd = Server::start();
    let clock = Arc::new(SystemClock::new());
    let state_dir = Some(sshd.folder().join("state").display().to_string());
    let layout = Layout { state_dir, ..Layout::default() };
    let steps = Steps::with_layout(ssh(), Arc::<SystemClock>::clone(&clock), layout);
    let target = target(&sshd);
    let installation = InstallationId(clock.ulid());
    steps.claim(&target, installation, 1).await.unwrap();
    let spec = spec(&*clock, "sleep 60");
    steps.start(&target, &spec).await.unwrap();

    // More listeners than there are ordinary channels, each for as long as the step lives.
    let listeners = join_all((0..9).map(|_| steps.attach(&target, spec.id, 0, PATIENCE)));
    let urgent = async {
        steps.claim(&target, installation, 2).await.unwrap();
        steps.cancel(&target, spec.id, 2).await.unwrap();
    };
    let (news, ()) = tokio::join!(listeners, async {
        tokio::time::timeout(PATIENCE / 2, urgent).await.expect("neither waits for a listener");
    });
    for news in news {
        let ended = StepStatus::Ended(Ended::Exited { code: 143, cause: Cause::Cancel });
        assert_eq!(news.unwrap().report.status, ended);
    }
}
