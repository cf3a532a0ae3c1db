//! The nine requirements of the package pattern, one test each, for `firewall_rule` and `scheduled_task`: what a client sees of a package
//! from its acceptance until its record is gone, over a real socket. The server is scripted, so that a step can be held where it is.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod world;

use settled_proto::v1::watch_request::Start;
use settled_proto::v1::{
    CancelRunRequest, Change, Kind, ListResourcesRequest, ListRunsRequest, Outcome, Position, Presence,
    Reason, ResourceStatus, RunState, StepState, WatchRequest,
};
use settled_tests::scripted::Play;
use settled_tests::server::{fresh_id, observed};

use self::world::{
    NAME, PACKAGES, SERVER, Watcher, World, before_removal, completed, fails, is_gone, observed_since,
    options, step_runs, story, what,
};

#[tokio::test(flavor = "multi_thread")]
async fn nine_1_p1_a_record_is_pending_at_acceptance() {
    for package in &PACKAGES {
        let mut world = World::start(package, []).await;
        world.pause_server().await;
        let (answered, _) = world.install().await;
        assert_eq!(answered.status(), ResourceStatus::Pending, "{package:?}");
        assert_eq!(world.record().await.as_ref(), Some(&answered), "{package:?}");

        // What was acknowledged is durable: it outlives a daemon that ends without a word.
        let dir = world.daemon.kill().await;
        world.daemon = options(&world.remote).start_in(dir).await;
        assert_eq!(world.record().await.as_ref(), Some(&answered), "{package:?}");
        assert_eq!(world.remote.witness(), [], "nothing has run for {package:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_2_p1_a_run_is_queued_for_the_record() {
    for package in &PACKAGES {
        let world = World::start(package, []).await;
        world.pause_server().await;
        let (record, queued) = world.install().await;
        assert_eq!(record.open_run_id, queued.id, "{package:?}");
        assert_eq!(
            (queued.state(), queued.operation.as_str(), &queued.resource_id, queued.attempt),
            (RunState::Queued, "install", &record.id, 0),
            "{queued:?}"
        );
        let request = ListRunsRequest { resource_id: record.id.clone(), ..ListRunsRequest::default() };
        let runs = world.daemon.runs().list(request).await.unwrap().into_inner().runs;
        assert_eq!(runs.iter().map(|run| &run.id).collect::<Vec<_>>(), [&queued.id], "{package:?}");

        world.resume_server().await;
        let run = world.ends(&queued, Outcome::Succeeded).await;
        assert_eq!(run.attempt, 1, "waiting used no attempt: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_3_a_record_is_installing_while_its_steps_run() {
    for package in &PACKAGES {
        let world = World::start(package, [Play::held(), Play::exit(0)]).await;
        let mut watcher = world.watch(Start::FromNow(true)).await;
        let (_, run) = world.install().await;
        let seen = watcher.until(step_runs).await;
        assert_eq!(
            story(&seen),
            [(Change::Created, ResourceStatus::Pending), (Change::Updated, ResourceStatus::Installing)],
            "{package:?}"
        );
        assert_eq!(world.status().await, Some(ResourceStatus::Installing), "{package:?}");
        let running = world.run(&run.id).await;
        assert_eq!(running.state(), RunState::Running, "{running:?}");
        let steps: Vec<_> = running.steps.iter().map(|step| (step.title.as_str(), step.state())).collect();
        assert_eq!(steps, [(package.first_step, StepState::Running)]);

        world.remote.release(SERVER.1);
        world.ends(&run, Outcome::Succeeded).await;
        assert_eq!(world.status().await, Some(ResourceStatus::Active), "{package:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_4_p7_a_record_is_active_when_its_install_is_proven() {
    for package in &PACKAGES {
        let world = World::start(package, []).await;
        let (_, run) = world.install().await;
        let run = world.ends(&run, Outcome::Succeeded).await;
        let there = world.record().await.unwrap();
        assert_eq!(there.status(), ResourceStatus::Active, "{there:?}");
        assert_eq!((&there.last_error, there.open_run_id.as_str()), (&None, ""), "{there:?}");
        assert!(there.applied_known && there.applied == there.desired, "{there:?}");
        for (key, value) in package.parameters {
            assert_eq!(there.applied.get(*key).map(String::as_str), Some(*value), "{there:?}");
        }
        // Each step's payload ran, once.
        let run = world.run(&run.id).await;
        let ran: Vec<_> =
            world.remote.witness().into_iter().map(|ran| (ran.id.to_string(), ran.code)).collect();
        let told: Vec<_> = run.steps.iter().map(|step| (step.id.clone(), step.exit_code)).collect();
        assert_eq!(run.steps.len(), run.step_titles.len(), "{run:?}");
        assert_eq!(ran, told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_5_p7_a_record_is_failed_with_its_error_when_its_install_fails() {
    for package in &PACKAGES {
        let world = World::start(package, [fails(3, "not on this server\n")]).await;
        let (_, run) = world.install().await;
        let run = world.ends(&run, Outcome::Failed).await;
        assert_eq!(run.reason(), Reason::StepFailed, "{run:?}");
        let failed = world.record().await.unwrap();
        let error = failed.last_error.clone().unwrap();
        assert_eq!(
            (failed.status(), error.step.as_str(), error.exit_code, error.run_id.as_str()),
            (ResourceStatus::Failed, package.first_step, Some(3), run.id.as_str()),
            "{failed:?}"
        );
        assert!(error.last_lines.contains("not on this server"), "{error:?}");
        assert!(!error.message.is_empty(), "{error:?}");
        assert!(failed.applied.is_empty(), "{failed:?}");
        let seen = observed(&world.daemon, &world.path()).await;
        assert_eq!(seen.presence(), Presence::Absent, "a probe follows a failed change: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_6_p10_each_create_update_and_delete_is_a_transition() {
    for package in &PACKAGES {
        let world = World::start(package, []).await;
        let mut watcher = world.watch(Start::FromNow(true)).await;
        let id = world.installed().await.id;
        let (_, run) = world.update().await;
        world.ends(&run, Outcome::Succeeded).await;
        let updated = world.record().await.unwrap();
        let (key, value) = package.change;
        assert_eq!(updated.applied.get(key).map(String::as_str), Some(value), "{updated:?}");
        let (_, run) = world.remove().await;
        world.ends(&run, Outcome::Succeeded).await;

        let seen = watcher.until(is_gone).await;
        assert_eq!(
            story(&seen),
            [
                (Change::Created, ResourceStatus::Pending),
                (Change::Updated, ResourceStatus::Installing),
                (Change::Updated, ResourceStatus::Active),
                (Change::Updated, ResourceStatus::Active), // the new parameters are accepted
                (Change::Updated, ResourceStatus::Updating),
                (Change::Updated, ResourceStatus::Active),
                (Change::Updated, ResourceStatus::Removing),
                (Change::Gone, ResourceStatus::Removing),
            ],
            "{package:?}"
        );
        assert!(seen.iter().filter(|t| t.kind() == Kind::Resource).all(|t| t.object_id == id));
        let told: Vec<_> = seen.iter().filter_map(what).collect();
        assert!(told.windows(2).all(|two| two[0] != two[1]), "each tells a change: {told:#?}");
        let first = watcher.since.seq + 1;
        assert!(seen.iter().map(|t| t.seq).eq(first..first + seen.len() as u64), "without holes: {seen:?}");

        let again = WatchRequest { start: Some(Start::Since(watcher.since)), ..WatchRequest::default() };
        let stream = world.daemon.transitions().watch(again).await.unwrap().into_inner();
        let mut later = Watcher { stream, since: Position::default() };
        assert_eq!(later.until(is_gone).await, seen, "who comes later sees the same");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_7_p8_a_record_is_removing_at_once() {
    for package in &PACKAGES {
        let world = World::start(package, []).await;
        let there = world.installed().await;
        let ran = world.remote.witness();
        world.pause_server().await;
        let (answered, run) = world.remove().await;
        assert_eq!((answered.status(), &answered.id), (ResourceStatus::Removing, &there.id), "{package:?}");
        assert_eq!((run.state(), run.operation.as_str()), (RunState::Queued, "remove"), "{run:?}");
        assert_eq!(answered.open_run_id, run.id);
        assert_eq!(world.record().await, Some(answered), "{package:?}");
        assert_eq!(world.remote.witness(), ran, "nothing has run yet for {package:?}");

        world.resume_server().await;
        world.ends(&run, Outcome::Succeeded).await;
        assert_eq!(world.status().await, None, "{package:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_8_p8_a_record_is_gone_when_its_removal_succeeded() {
    for package in &PACKAGES {
        let world = World::start(package, [Play::exit(0)]).await;
        let there = world.installed().await;
        world.remote.script(NAME, [Play::held()]);
        let mut watcher = world.watch(Start::FromNow(true)).await;
        let (_, run) = world.remove().await;
        watcher.until(step_runs).await;
        assert_eq!(world.status().await, Some(ResourceStatus::Removing), "not before the step has ended");

        world.remote.release(SERVER.1);
        let run = world.ends(&run, Outcome::Succeeded).await;
        let gone = watcher.until(is_gone).await.pop().unwrap();
        assert_eq!(gone.object_id, there.id, "{package:?}");
        assert_eq!(world.record().await, None, "{package:?}");
        let listed =
            world.daemon.resources().list(ListResourcesRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.resources, [], "{package:?}");

        // The run keeps what it was about, and the name is free again.
        let run = world.run(&run.id).await;
        assert_eq!((run.resource_id.as_str(), run.resource.as_str()), (there.id.as_str(), NAME));
        world.remote.script(NAME, [Play::exit(0)]);
        assert_ne!(world.installed().await.id, there.id, "a new record");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_9_p8_the_earlier_status_comes_back_when_a_removal_fails() {
    use ResourceStatus::{Active, Failed, Paused};
    for package in &PACKAGES {
        for earlier in [Active, Failed, Paused] {
            if earlier == Paused && !package.can_pause {
                continue;
            }
            let world = World::start(package, []).await;
            before_removal(&world, earlier).await;
            world.remote.script(NAME, [fails(4, "it does not come off\n")]);
            let mut watcher = world.watch(Start::FromNow(true)).await;
            let (answered, run) = world.remove().await;
            assert_eq!(answered.status(), ResourceStatus::Removing, "{answered:?}");
            let run = world.ends(&run, Outcome::Failed).await;

            let seen =
                watcher.until(|t| t.kind() == Kind::Run && t.object_id == run.id && completed(t)).await;
            let back = world.record().await.unwrap();
            let error = back.last_error.clone().unwrap();
            assert_eq!(
                (back.status(), error.step.as_str(), error.exit_code, error.run_id.as_str()),
                (earlier, package.remove_step, Some(4), run.id.as_str()),
                "{back:?}"
            );
            assert!(error.last_lines.contains("it does not come off"), "{error:?}");
            assert_eq!(back.open_run_id, "", "{back:?}");
            assert!(!seen.iter().any(is_gone), "{seen:?}");
            let look = observed_since(&world, &error).await;
            assert_eq!(look, Presence::Present, "a probe tells what is still there: {package:?}");

            world.remote.script(NAME, [Play::exit(0)]);
            let (_, run) = world.remove().await;
            world.ends(&run, Outcome::Succeeded).await;
            assert_eq!(world.status().await, None, "asked for again, it goes: {package:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_9_p8_the_earlier_status_comes_back_when_a_removal_is_cancelled() {
    for package in &PACKAGES {
        let world = World::start(package, []).await;
        let there = world.installed().await;
        world.remote.script(NAME, [Play { after_term: std::time::Duration::ZERO, ..Play::held() }]);
        let mut watcher = world.watch(Start::FromNow(true)).await;
        let (_, run) = world.remove().await;
        watcher.until(step_runs).await;
        let cancel = CancelRunRequest { request_id: fresh_id(), run_id: run.id.clone() };
        world.daemon.runs().cancel(cancel).await.unwrap();

        let run = world.ends(&run, Outcome::Cancelled).await;
        let back = world.record().await.unwrap();
        assert_eq!((back.status(), &back.id), (ResourceStatus::Active, &there.id), "{back:?}");
        assert_eq!(back.last_error.map(|error| error.run_id), Some(run.id), "{package:?}");
        let ran = world.remote.witness().pop().unwrap();
        assert!(ran.gone.is_some() && ran.code != Some(0), "the server has ended it: {ran:?}");
    }
}
