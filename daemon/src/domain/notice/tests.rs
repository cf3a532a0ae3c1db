use ulid::Ulid;

use super::*;
use crate::domain::failure::Failure;
use crate::domain::id::{ResourceId, ServerId};
use crate::domain::params::{Outputs, Params};
use crate::domain::resource::{Difference, Observed, Presence, ResourceStatus};
use crate::domain::run::tests::fixture::{NOW, TIMINGS, apply, asking, completed, failure, queued};
use crate::domain::run::{Event, Position, RunState};
use crate::domain::server::{Held, IdentityKind, Policy, ServerStatus};
use crate::domain::step::StepId;
use crate::domain::verdict::{Evidence, Verdict};

fn words(events: &[NoticeEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.as_str()).collect()
}

fn ended(outcome: Outcome, reason: Option<Reason>, failure: Option<Failure>) -> Run {
    let (evidence, reconciled) = (Evidence::None, false);
    let verdict = Verdict { outcome, reason, evidence, reconciled, failure, at: NOW };
    Run {
        state: RunState::Completed { started_at: None, position: Position::default(), verdict },
        ..queued()
    }
}

#[test]
fn each_end_of_a_run_is_an_event_of_its_own_and_a_look_is_none() {
    let table = [
        (Outcome::Succeeded, None, NoticeEvent::RunSucceeded),
        (Outcome::Failed, Some(Reason::StepFailed), NoticeEvent::RunFailed),
        (Outcome::Failed, Some(Reason::Lost), NoticeEvent::RunFailed),
        (Outcome::Failed, Some(Reason::NeverStarted), NoticeEvent::RunNeverStarted),
        (Outcome::Cancelled, Some(Reason::Cancelled), NoticeEvent::RunCancelled),
        (Outcome::Blocked, Some(Reason::Forbidden), NoticeEvent::RunBlocked),
    ];
    for (outcome, reason, event) in table {
        let notice = of_run(&ended(outcome, reason, Some(failure("it broke")))).unwrap();
        assert_eq!((notice.event, notice.reason), (event, reason));
        assert_eq!(
            (notice.package.as_deref(), notice.resource.as_deref()),
            (Some("deployment"), Some("blog"))
        );
        assert!(notice.text.starts_with("update of web1/deployment/blog "), "{}", notice.text);
        assert_eq!(notice.detail, "unpack: it broke");
    }
    assert_eq!(of_run(&queued()), None, "it is open");
    assert_eq!(of_run(&apply(asking(), Event::Answered)), None, "a look is no work");
    assert_eq!(of_run(&completed()).unwrap().event, NoticeEvent::RunSucceeded);
}

#[test]
fn a_run_is_stuck_once_it_is_likely_stale() {
    let run = queued();
    let at = run.stale_at().unwrap();
    assert_eq!(of_stuck(&run, at), None);
    let told = of_stuck(&run, at + Duration::from_secs(7)).unwrap();
    assert_eq!((told.event, told.run), (NoticeEvent::RunStuck, Some(run.id)));
    assert!(told.detail.contains("nothing has happened to it for 3607 s"), "{}", told.detail);
    assert_eq!(of_stuck(&completed(), at + TIMINGS.queue_limit), None);
}

fn server() -> Server {
    Server {
        id: ServerId(Ulid(1)),
        name: "web1".into(),
        host: "192.0.2.1".into(),
        port: 22,
        user: "root".into(),
        host_key: String::new(),
        identity: IdentityKind::Agent,
        via: None,
        labels: BTreeMap::new(),
        policy: Policy::default(),
        status: ServerStatus::Success,
        reach: Reach::Ok,
        reach_detail: "why".into(),
        held: None,
        last_seen: None,
        last_error: None,
        facts: BTreeMap::new(),
        created_at: NOW,
        updated_at: NOW,
        version: 1,
        seq: 1,
    }
}

#[test]
fn a_server_is_told_of_when_its_reach_or_its_lane_changes() {
    use NoticeEvent::{LaneFreed, LaneHeld, ServerBack, ServerRefused, ServerUnreachable};
    let told = |before: &Server, after: &Server| {
        words(&of_server(before, after).iter().map(|notice| notice.event).collect::<Vec<_>>())
    };
    let reach = |reach| Server { reach, ..server() };
    let table = [
        (Reach::Ok, Reach::Ok, vec![]),
        (Reach::Ok, Reach::Unreachable, vec![ServerUnreachable]),
        (Reach::Unreachable, Reach::Unreachable, vec![]),
        (Reach::Unreachable, Reach::Refused, vec![ServerRefused]),
        (Reach::Refused, Reach::Ok, vec![ServerBack]),
        (Reach::Unreachable, Reach::Ok, vec![ServerBack]),
        (Reach::Ok, Reach::Paused, vec![]),
        (Reach::Paused, Reach::Ok, vec![]),
    ];
    for (before, after, expected) in table {
        assert_eq!(told(&reach(before), &reach(after)), words(&expected), "{before} to {after}");
    }
    let step = StepId { run: RunId(Ulid(7)), step: 0, attempt: 1, try_no: 1 };
    let held =
        Server { held: Some(Held { since: NOW, step, processes: vec!["4711 apt".into()] }), ..server() };
    assert_eq!(told(&server(), &held), words(&[LaneHeld]));
    assert_eq!(told(&held, &held), words(&[]));
    assert_eq!(told(&held, &server()), words(&[LaneFreed]));
    let both = Server { reach: Reach::Unreachable, ..held.clone() };
    let told = of_server(&server(), &both);
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].detail.as_str(), told[1].run), ("why", Some(RunId(Ulid(7)))));
    assert!(told[1].detail.contains("4711 apt"), "{}", told[1].detail);
}

fn resource(observed: Option<Observed>) -> Resource {
    Resource {
        id: ResourceId(Ulid(2)),
        server: ServerId(Ulid(1)),
        server_name: "web1".into(),
        package: "site".into(),
        name: "shop".into(),
        status: ResourceStatus::Active,
        desired: Params::new(),
        former: None,
        applied: None,
        secrets: Vec::new(),
        outputs: Outputs::new(),
        ours: true,
        last_error: None,
        observed,
        open_run: None,
        created_at: NOW,
        updated_at: NOW,
        version: 1,
        seq: 1,
    }
}

fn seen(presence: Presence, differs: Vec<Difference>) -> Observed {
    Observed { presence, facts: BTreeMap::new(), differs, at: NOW }
}

#[test]
fn a_resource_is_told_of_when_it_begins_to_differ_and_when_it_agrees_again() {
    let difference = Difference { fact: "version".into(), expected: "1".into(), found: "8".into() };
    let drifted = resource(Some(seen(Presence::Drifted, vec![difference])));
    let (fine, unseen) = (resource(Some(seen(Presence::Present, Vec::new()))), resource(None));
    let told =
        |before: Option<&Resource>, after| of_resource(before, after).map(|notice| notice.event.as_str());
    assert_eq!(told(Some(&unseen), &fine), None);
    assert_eq!(told(Some(&fine), &drifted), Some("resource_drifted"));
    assert_eq!(told(None, &drifted), Some("resource_drifted"), "what is not known is told");
    assert_eq!(told(Some(&drifted), &drifted), None, "once");
    assert_eq!(told(Some(&drifted), &fine), Some("resource_agrees"));
    assert_eq!(told(Some(&drifted), &unseen), None);
    let notice = of_resource(Some(&fine), &drifted).unwrap();
    assert_eq!(notice.text, "web1/site/shop is not as it was applied");
    assert_eq!(notice.detail, "version is `8`, not `1`");
}

#[test]
fn somebody_hears_of_what_fits_all_that_they_want() {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let packages =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|&name| name.to_owned()).collect() };
    let of_run = of_run(&completed()).unwrap();
    let of_server = of_server(&server(), &Server { reach: Reach::Unreachable, ..server() }).remove(0);
    let wants = |wanted: &[(&str, &str)], named: &[&str]| Wanted {
        events: NoticeEvent::ALL.iter().copied().collect(),
        labels: labels(wanted),
        packages: packages(named),
    };
    let web = labels(&[("tier", "web"), ("site", "fra")]);
    let table = [
        (wants(&[], &[]), true, true),
        (wants(&[("tier", "web")], &[]), true, true),
        (wants(&[("tier", "web"), ("site", "ber")], &[]), false, false),
        (wants(&[("zone", "")], &[]), false, false),
        (wants(&[], &["deployment", "site"]), true, false),
        (wants(&[], &["site"]), false, false),
        (Wanted { events: [NoticeEvent::ServerUnreachable].into(), ..wants(&[], &[]) }, false, true),
    ];
    for (wanted, run, server) in table {
        assert_eq!((wanted.fits(&of_run, &web), wanted.fits(&of_server, &web)), (run, server), "{wanted:?}");
    }
}

#[test]
fn what_was_not_taken_is_sent_again_ever_more_rarely_for_a_day() {
    let pause = |attempt, random| again(NOW, attempt, None, NOW, random).unwrap().since(NOW);
    assert_eq!(pause(1, 0), Duration::from_secs(5));
    assert!(pause(1, 999) > Duration::from_secs(9) && pause(1, 999) < Duration::from_secs(10), "spread");
    assert_eq!(pause(4, 0), Duration::from_secs(40));
    assert_eq!(pause(30, 0), PAUSE_MAX / 2);
    assert_eq!(pause(u32::MAX, 0), PAUSE_MAX / 2);
    let asked = |seconds| again(NOW, 1, Some(Duration::from_secs(seconds)), NOW, 0).unwrap().since(NOW);
    assert_eq!(asked(90), Duration::from_secs(90));
    assert_eq!(asked(1), Duration::from_secs(5), "not sooner than without");
    assert_eq!(asked(1_000_000), PAUSE_MAX, "nobody puts us off for long");

    let (mut now, mut tries) = (NOW, 0);
    while let Some(next) = again(NOW, tries + 1, None, now, 500) {
        assert!(next > now);
        (now, tries) = (next, tries + 1);
    }
    assert_eq!(now, NOW + SENT_FOR, "the last try is at the end of the day");
    assert!((20..60).contains(&tries), "{tries}");
}

#[test]
fn an_address_needs_no_quoting_and_holds_nothing_else() {
    for good in ["ops@example.org", "a.b+c@mail.example.org", "root@localhost"] {
        assert!(is_address(good), "{good}");
    }
    let bad = [
        "",
        "ops",
        "@example.org",
        "ops@",
        "a b@example.org",
        "ops@example.org\r\nDATA",
        "Ops <ops@example.org>",
        "<ops@example.org>",
        "\"a\"@example.org",
        "ops@exa mple.org",
        "a..b@example.org",
        "ops@-example.org",
        "\u{fc}@example.org",
    ];
    for bad in bad {
        assert!(!is_address(bad), "{bad}");
    }
}
