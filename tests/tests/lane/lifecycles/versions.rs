//! New versions of a lifecycle under enrollments that are on their way.

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
