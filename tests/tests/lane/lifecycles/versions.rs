//! New versions of a lifecycle under enrollments that are on their way.

use settled::engine::Install;
use settled::store::queries::ResourceFilter;
use settled_tests::scripted::Play;
use settled_tests::sim::install;

use super::super::succeeded;
use super::*;

#[tokio::test]
async fn the_same_text_changes_nothing_and_a_stage_is_done_as_it_began() {
    let mut h = house(&[]).await;
    let first = lifecycle("", &[("one", ASK), ("two", ASK)]);
    assert_eq!(h.apply_mapped(&first, &[]).await.unwrap(), ["created"]);
    assert_eq!(h.apply_mapped(&first, &[]).await.unwrap(), ["unchanged"]);
    h.enroll("user/1").await;
    h.works().await;
    // The first stage has begun with version 1, which fails it after a rejection; the second is another one by now.
    let second = lifecycle("", &[("one", WORK), ("between", WORK), ("two", ASK)]);
    assert_eq!(h.apply_mapped(&second, &[]).await.unwrap(), ["changed"]);
    let begun = h.enrollment("user/1").await;
    assert_eq!((begun.revision, begun.status()), (1, Status::Processing));
    h.change("user/1", approve()).await.unwrap();
    h.works().await;
    let next = h.enrollment("user/1").await;
    assert_eq!((next.stage.as_str(), next.revision), ("between", 2));
}

#[tokio::test]
async fn a_version_without_a_stage_where_somebody_waits_needs_a_mapping() {
    let mut h = house(&[]).await;
    let gated = format!("gate = {{ when = \"payload.never\" }}\n{ASK}");
    h.apply(&lifecycle("", &[("one", &gated), ("two", ASK), ("three", ASK)])).await;
    for subject in ["user/1", "user/2", "user/3"] {
        h.enroll(subject).await;
    }
    h.works().await;
    h.change("user/3", Change::Advance).await.unwrap();
    h.works().await;
    let without = lifecycle("", &[("zero", ASK), ("three", ASK)]);
    let refused = h.apply_mapped(&without, &[]).await.unwrap_err().to_string();
    assert!(refused.contains("2 at `one`") && refused.contains("--map one=STAGE"), "{refused}");
    // `two` has begun for user/3, so it ends as it began, and goes on at what comes after it.
    assert!(!refused.contains("two"), "{refused}");
    for (from, to, part) in [("three", "zero", "still a stage"), ("one", "four", "no stage of the new")] {
        let refused = h.apply_mapped(&without, &[(from, to)]).await.unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(h.apply_mapped(&without, &[("one", "three")]).await.unwrap(), ["changed"]);
    h.change("user/3", approve()).await.unwrap();
    h.after(HOUR).await;
    for subject in ["user/1", "user/2", "user/3"] {
        let on = h.enrollment(subject).await;
        assert_eq!(
            (on.stage.as_str(), on.revision, on.status()),
            ("three", 2, Status::Processing),
            "{subject}"
        );
    }
    assert_eq!(h.enroll("user/4").await, "created");
    assert_eq!(h.enrollment("user/4").await.stage, "zero");
}

#[tokio::test]
async fn a_lifecycle_goes_when_nobody_goes_through_it_any_more() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", ASK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    let engine = h.w.daemon.engine.clone();
    let asked = h.w.asked("Lifecycles.Delete");
    let refused = engine.remove_lifecycle(asked, "c".to_owned()).await.unwrap_err().to_string();
    assert!(refused.starts_with("1 enrollments are not completed"), "{refused}");
    h.change("user/1", approve()).await.unwrap();
    let asked = h.w.asked("Lifecycles.Delete");
    engine.remove_lifecycle(asked, "c".to_owned()).await.unwrap();
    assert_eq!(h.log().await, ["one 1 succeeded"]);
    let asked = h.w.asked("Lifecycles.Delete");
    assert!(matches!(engine.remove_lifecycle(asked, "c".to_owned()).await, Err(Refusal::NotFound { .. })));
}

#[tokio::test]
async fn subjects_are_checked_and_linked() {
    let mut h = house(&["alpha"]).await;
    let top =
        "strict_subjects = true\n[subjects.user]\nid = \"integer\"\naliases = [\"users\"]\n[subjects.server]";
    h.apply(&lifecycle(top, &[("one", ASK)])).await;
    assert_eq!(h.enroll("user/42").await, "created");
    assert_eq!(h.enroll("users/042").await, "unchanged");
    assert_eq!(h.enroll("server/alpha").await, "created");
    let id = h.w.server_of("alpha").await.unwrap().id;
    assert_eq!(h.enroll(&format!("server/{id}")).await, "unchanged");
    assert_eq!(h.enrollment("server/alpha").await.subject.server, Some(id));
    for (subject, part) in [
        ("user/x", "of the form integer"),
        ("order/1", "`order` is not among the types"),
        ("server/beta", "there is no server `beta`"),
    ] {
        let refused = h.enroll_as(enroll(subject)).await.unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
    }
    let big = Enroll { payload: format!("{{\"a\":\"{}\"}}", "x".repeat(70_000)), ..enroll("user/1") };
    assert!(h.enroll_as(big).await.unwrap_err().to_string().contains("at most 65536"));
}

#[tokio::test]
async fn a_subject_that_was_made_anew_under_its_name_is_linked_anew() {
    let mut h = house(&["alpha"]).await;
    let put = async |h: &mut House| {
        let run = h.w.install("alpha", "thing", "one").await.unwrap();
        h.w.end(run, seconds(60)).await.unwrap();
        h.w.resource("alpha/thing/one").await.unwrap().unwrap().id
    };
    let (subject, first) = ("resource/alpha/thing/one", put(&mut h).await);
    h.apply(&lifecycle(
        "",
        &[("ask", &format!("gate = {{ when = \"resource.status == 'active'\" }}\n{ASK}"))],
    ))
    .await;
    assert_eq!(h.enroll(subject).await, "created");
    let again = || Enroll { again: true, cancel: true, ..enroll(subject) };
    for way in ["enroll", "again", "reset"] {
        let before = h.w.resource("alpha/thing/one").await.unwrap().unwrap().id;
        assert_eq!(h.enrollment(subject).await.subject.resource, Some(before), "{way}");
        let run = h.w.remove("alpha/thing/one").await.unwrap();
        h.w.end(run, seconds(60)).await.unwrap();
        let now = put(&mut h).await;
        assert!(now != before && now != first);
        match way {
            "enroll" => assert_eq!(h.enroll(subject).await, "linked"),
            "again" => assert_eq!(h.enroll_as(again()).await.unwrap(), "reset"),
            _ => h.change(subject, Change::Reset { payload: String::new(), cancel: true }).await.unwrap(),
        }
        assert_eq!(h.enrollment(subject).await.subject.resource, Some(now), "{way}");
        h.works().await;
        h.after(seconds(600)).await;
        assert_eq!(h.status(subject).await, Status::Processing, "{way}: its gate sees the resource");
    }
    assert_eq!(h.enroll(subject).await, "unchanged");
}

#[tokio::test]
async fn whoever_is_looked_at_or_offered_at_a_stage_that_goes_needs_a_mapping_and_a_late_one_helps() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", WORK), ("two", ASK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    let without = lifecycle("", &[("two", ASK)]);
    let refused = h.apply_mapped(&without, &[]).await.unwrap_err().to_string();
    assert!(refused.contains("1 at `one`"), "{refused}");
    assert_eq!(h.apply_mapped(&without, &[("one", "two")]).await.unwrap(), ["changed"]);
    // The offer stands until its time is over; then it goes on where the mapping says.
    let task = h.take("q").await.unwrap();
    h.done(task, Done::Deferred { until: h.w.clock.now(), why: "later".to_owned() }).await.unwrap();
    h.works().await;
    let on = h.enrollment("user/1").await;
    assert_eq!((on.stage.as_str(), on.revision, on.status()), ("two", 2, Status::Processing));
}

#[tokio::test]
async fn the_record_of_a_script_that_was_given_up_goes_when_the_script_has_ended() {
    for again in [true, false] {
        let mut h = house(&["alpha"]).await;
        h.apply(&lifecycle("", &[("one", "action = { script = \"true\" }")])).await;
        h.w.remote.decide(|_, _| Play::held());
        h.enroll("server/alpha").await;
        h.look().await;
        let run = h.run_of("server/alpha").await;
        h.w.until(run, seconds(20), |run| run.live_step().is_some()).await.unwrap();
        h.w.go(seconds(5)).await.unwrap();
        if again {
            // Who begins anew comes back to it.
            h.enroll_as(Enroll { again: true, cancel: true, ..enroll("server/alpha") }).await.unwrap();
        } else {
            h.change("server/alpha", Change::Remove { cancel: true }).await.unwrap();
        }
        assert_eq!(scripts(&h).await, 1, "it still runs");
        h.w.end(run, seconds(60)).await.unwrap();
        assert_eq!(scripts(&h).await, usize::from(again));
    }
}

#[tokio::test]
async fn a_script_that_somebody_has_installed_by_hand_is_theirs_whatever_it_says_of_a_stage() {
    let mut h = house(&["alpha"]).await;
    let values = [("script", "true"), ("lifecycle", "c"), ("stage", "one")];
    let parameters = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let ask = Install { parameters, ..install("alpha", "stage_script", "mine") };
    let asked = h.w.asked("Resources.Install");
    let answer = h.w.daemon.engine.install(asked, ask).await.unwrap();
    let run = answer.run.unwrap().id.parse().unwrap();
    succeeded(&h.w.end(run, seconds(60)).await.unwrap());
    assert_eq!(scripts(&h).await, 1);
}

/// How many records of scripts there are.
async fn scripts(h: &House) -> usize {
    let mut reader = h.w.daemon.engine.store().read().await.unwrap();
    let filter = ResourceFilter { package: Some("stage_script".to_owned()), ..Default::default() };
    reader.db().resources(&filter, "", 100).await.unwrap().len()
}

#[tokio::test]
async fn records_of_scripts_go_with_the_end_of_their_enrollment() {
    let mut h = house(&["alpha"]).await;
    let script = "action = { script = \"true\" }";
    h.apply(&lifecycle("", &[("one", script), ("ask", ASK), ("two", script)])).await;
    h.enroll("server/alpha").await;
    h.works().await;
    assert_eq!(scripts(&h).await, 1, "it tells how the script ran last");
    h.change("server/alpha", approve()).await.unwrap();
    h.works().await;
    assert_eq!((h.status("server/alpha").await, scripts(&h).await), (Status::Completed, 0));
    h.enroll_as(Enroll { again: true, ..enroll("server/alpha") }).await.unwrap();
    h.works().await;
    assert_eq!(scripts(&h).await, 1);
    h.change("server/alpha", Change::Remove { cancel: true }).await.unwrap();
    assert_eq!(scripts(&h).await, 0, "also when it is taken out");
}
