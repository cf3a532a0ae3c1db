//! Schedules that enrol: whom, when again, and what overlaps.

use std::collections::BTreeMap;

use settled::domain::enrollment::{Enrollment, Status};
use settled::domain::id::EnrollmentId;
use settled::domain::schedule::{Enrolling, Fate, Overlap, Target, Whom};
use settled::engine::{ApplyLifecycle, Change, EditSchedule, Refusal};
use settled::store::AuditFilter;

use crate::fixture::{House, MINUTE, every, refused_field};

const ASKS: &str = "code = \"c\"\nname = \"C\"\n[subjects.user]\nid = \"integer\"\n\
                    [[stages]]\nname = \"one\"\naction = { approval = \"Well?\" }\n";

async fn apply(house: &House) {
    let ask =
        ApplyLifecycle { source: ASKS.to_owned(), mapping: BTreeMap::new(), secrets: [].into(), dry: false };
    house.engine().apply_lifecycle(house.asked("Lifecycles.Apply"), ask).await.unwrap();
}

fn subjects(names: &[&str]) -> Whom {
    Whom::Subjects(names.iter().map(|name| (*name).to_owned()).collect())
}

fn web(package: Option<&str>) -> Whom {
    Whom::Labelled {
        labels: [("tier".to_owned(), "web".to_owned())].into(),
        package: package.map(ToOwned::to_owned),
    }
}

fn enrolling(whom: Whom) -> Enrolling {
    Enrolling { lifecycle: "c".to_owned(), whom, payload: "{\"a\":1}".to_owned(), again: false }
}

fn minutely(enrolling: Enrolling) -> EditSchedule {
    EditSchedule { target: Some(Target::Enrolling(enrolling)), ..every("* * * * *") }
}

async fn enrollment(house: &House, id: EnrollmentId) -> Enrollment {
    house.engine().store().read().await.unwrap().db().enrollment(id).await.unwrap().unwrap()
}

/// Nobody is asked any more: the only stage is left out, so the enrollment is completed.
async fn completes(house: &House, subject: &str) {
    let asked = house.asked("Lifecycles.Advance");
    let named = format!("c/{subject}");
    house.engine().change_enrollment(asked, named, Change::Advance).await.unwrap();
}

pub(crate) async fn p1_an_occurrence_and_whom_it_enrolls_are_one_commit(house: House) {
    apply(&house).await;
    let id = house.add("look", minutely(enrolling(subjects(&["user/007", "user/8"])))).await.unwrap();
    house.go(MINUTE).await;
    let occurrence = house.history(id).await.remove(0);
    assert_eq!(
        (occurrence.fate, occurrence.enrollments.len(), occurrence.why.as_str()),
        (Fate::Fired, 2, "")
    );
    assert_eq!(house.schedule("look").await.open_enrollments, occurrence.enrollments);
    let first = enrollment(&house, occurrence.enrollments[0]).await;
    assert_eq!((first.subject.id.as_str(), first.payload.as_str()), ("7", "{\"a\":1}"));
    assert_eq!((first.principal.as_str(), first.created_at), ("unix:0", occurrence.at));
    let mut reader = house.engine().store().read().await.unwrap();
    let audit = reader.db().audited(&AuditFilter::default(), None, 3).await.unwrap();
    let told: Vec<_> = audit.iter().map(|row| (row.object.as_str(), row.detail.as_str())).collect();
    assert!(told.contains(&("c/user/7", "created, by the schedule look")), "{told:?}");
    assert!(told.contains(&("look", "due; 2 enrolled")), "{told:?}");
}

pub(crate) async fn p2_of_three_daemons_one_enrolls(house: House) {
    apply(&house).await;
    let id = house.add("look", minutely(enrolling(subjects(&["user/7"])))).await.unwrap();
    let (two, three) = (house.another().await, house.another().await);
    house.clock.move_to(settled::clock::Clock::monotonic(&*house.clock) + MINUTE);
    let all = tokio::join!(house.daemon.firing.step(), two.firing.step(), three.firing.step());
    for done in [all.0, all.1, all.2] {
        done.unwrap();
    }
    assert_eq!(house.words(id).await, ["due fired"]);
    assert_eq!(house.history(id).await[0].enrollments.len(), 1);
}

pub(crate) async fn whom_labels_mean_is_looked_at_when_it_fires(house: House) {
    apply(&house).await;
    let servers = house.add("look", minutely(enrolling(web(None)))).await.unwrap();
    let things = house.add("things", minutely(enrolling(web(Some("thing"))))).await.unwrap();
    house.go(MINUTE).await;
    let nobody = house.history(things).await.remove(0);
    assert_eq!(nobody.fate, Fate::Refused);
    assert_eq!(nobody.why, "there is no server with the labels tier=web and `thing` on it");
    for (name, label) in [("web1", "web"), ("db1", "db")] {
        house.server(name, &[("tier", label)]).await;
        house.thing(name, "a").await;
    }
    house.go(MINUTE).await;
    for (id, expected) in [(servers, "server/web1"), (things, "resource/web1/thing/a")] {
        let occurrence = house.history(id).await.pop().unwrap();
        assert_eq!((occurrence.fate, occurrence.enrollments.len()), (Fate::Fired, 1), "{occurrence:?}");
        let enrolled = enrollment(&house, occurrence.enrollments[0]).await;
        assert_eq!(enrolled.subject.to_string(), expected);
        assert!(enrolled.subject.server.is_some(), "it is linked");
    }
    // One more that fits: it alone is enrolled, and the other stays as it is.
    house.server("web2", &[("tier", "web")]).await;
    house.go(MINUTE).await;
    let occurrence = house.history(servers).await.pop().unwrap();
    assert_eq!((occurrence.fate, occurrence.enrollments.len()), (Fate::Fired, 1));
    assert_eq!(occurrence.why, "1 enrolled, 1 were enrolled before");
    house.go(MINUTE).await;
    let occurrence = house.history(servers).await.pop().unwrap();
    assert_eq!((occurrence.fate, occurrence.why.as_str()), (Fate::Skipped, "all 2 were enrolled before"));
}

pub(crate) async fn what_is_completed_begins_anew_only_when_the_schedule_says_so(house: House) {
    apply(&house).await;
    let once = enrolling(subjects(&["user/7"]));
    let id = house.add("look", minutely(once.clone())).await.unwrap();
    house.go(MINUTE).await;
    completes(&house, "user/7").await;
    house.go(MINUTE).await;
    let again = Enrolling { again: true, ..once };
    let edit = EditSchedule { target: Some(Target::Enrolling(again)), ..EditSchedule::default() };
    house.edit(edit).await.unwrap();
    house.go(MINUTE).await;
    house.go(MINUTE).await;
    assert_eq!(house.words(id).await, ["due fired", "due skipped", "due fired", "due skipped"]);
    let all = house.history(id).await;
    assert_eq!(all[0].enrollments, all[2].enrollments, "one per lifecycle and subject");
    assert_eq!(enrollment(&house, all[0].enrollments[0]).await.status(), Status::Pending);
}

pub(crate) async fn what_overlaps_waits_until_all_are_through(house: House) {
    apply(&house).await;
    let again = Enrolling { again: true, ..enrolling(subjects(&["user/7"])) };
    let queue = EditSchedule { overlap: Some(Overlap::Queue), ..minutely(again) };
    let id = house.add("look", queue).await.unwrap();
    house.go(MINUTE).await;
    house.go(MINUTE).await;
    let waits = house.history(id).await.pop().unwrap();
    assert_eq!(waits.fate, Fate::Waiting);
    assert_eq!(waits.why, "waits for the enrollment c/user/7 of an earlier occurrence");
    assert_eq!(house.daemon.firing.step().await.unwrap(), 0, "it is under way still");
    completes(&house, "user/7").await;
    assert_eq!(house.daemon.firing.step().await.unwrap(), 1);
    assert_eq!(house.words(id).await, ["due fired", "due fired"]);
}

pub(crate) async fn what_comes_later_begins_anew_what_came_earlier_and_nobody_else(house: House) {
    apply(&house).await;
    let by_hand = settled::engine::Enroll {
        lifecycle: "c".to_owned(),
        subject: "user/1".to_owned(),
        payload: String::new(),
        at: None,
        again: false,
        cancel: false,
    };
    house.engine().enroll(house.asked("Lifecycles.Enroll"), by_hand).await.unwrap();
    let both = enrolling(subjects(&["user/1", "user/7"]));
    let cancel = EditSchedule { overlap: Some(Overlap::CancelEarlier), ..minutely(both) };
    let id = house.add("look", cancel).await.unwrap();
    house.go(MINUTE).await;
    house.go(MINUTE).await;
    let all = house.history(id).await;
    assert_eq!((all[0].enrollments.len(), &all[0].enrollments), (1, &all[1].enrollments));
    let seven = enrollment(&house, all[1].enrollments[0]).await;
    assert_eq!((seven.subject.id.as_str(), seven.version), ("7", 2), "it began anew");
    assert_eq!(house.schedule("look").await.open_enrollments, [seven.id]);
}

pub(crate) async fn enrolling_that_cannot_be_is_refused_by_field_and_told_when_it_fires(house: House) {
    apply(&house).await;
    let with = |whom| enrolling(whom);
    let table = [
        (Enrolling { lifecycle: "d".into(), ..with(subjects(&["user/7"])) }, "lifecycle", "no lifecycle `d`"),
        (Enrolling { lifecycle: String::new(), ..with(subjects(&["user/7"])) }, "lifecycle", "is missing"),
        (Enrolling { payload: "[]".into(), ..with(subjects(&["user/7"])) }, "payload", "JSON object"),
        (with(subjects(&["user/x"])), "subjects", "integer"),
        (with(subjects(&["server/web7"])), "subjects", "no server `web7`"),
        (with(subjects(&[])), "subjects", "is empty"),
        (with(web(Some("thong"))), "package", "thong"),
    ];
    for (enrolling, field, part) in table {
        let (named, told) = refused_field(house.add("look", minutely(enrolling.clone())).await);
        assert_eq!(named, format!("target.enrollment.{field}"), "{enrolling:?}");
        assert!(told.contains(part), "{told}");
    }
    // What is wrong only by then.
    house.server("web1", &[]).await;
    let id = house.add("look", minutely(with(subjects(&["server/web1", "user/7"])))).await.unwrap();
    house.gone("web1").await;
    house.go(MINUTE).await;
    let occurrence = house.history(id).await.remove(0);
    assert_eq!((occurrence.fate, occurrence.enrollments.len()), (Fate::Fired, 1));
    assert_eq!(occurrence.refused, [("server/web1".to_owned(), "there is no server `web1`".to_owned())]);
    let gone = house.engine().remove_lifecycle(house.asked("Lifecycles.Remove"), "c".to_owned()).await;
    assert!(matches!(gone, Err(Refusal::NotNow { .. })), "{gone:?}");
}

pub(crate) async fn p14_who_may_not_any_more_enrolls_nobody(house: House) {
    apply(&house).await;
    let asked = house.asked_by("unix:4711", "Schedules.Create");
    let ask = minutely(enrolling(subjects(&["user/7"])));
    house.engine().add_schedule(asked, "look".to_owned(), ask).await.unwrap();
    house.go(MINUTE).await;
    let occurrence = house.history(house.schedule("look").await.id).await.pop().unwrap();
    assert_eq!((occurrence.fate, occurrence.enrollments.len()), (Fate::Refused, 0));
    // By hand it is whoever asks who enrols.
    house.engine().fire_schedule(house.asked("Schedules.Fire"), "look".to_owned()).await.unwrap();
    let occurrence = house.history(occurrence.schedule).await.pop().unwrap();
    assert_eq!(occurrence.fate, Fate::Fired);
    assert_eq!(enrollment(&house, occurrence.enrollments[0]).await.principal, "unix:0");
}
