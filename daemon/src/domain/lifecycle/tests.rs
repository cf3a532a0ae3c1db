use Activation::{Cron, Hand};

use super::*;

fn flow(stages: &[&str]) -> Flow {
    let stage = |name: &&str| Stage {
        name: (*name).to_owned(),
        summary: String::new(),
        gate: None,
        action: Action::Approval { question: "?".to_owned(), by: Vec::new() },
        attempts: 3,
        backoff: BACKOFF_DEFAULT,
        max_wait: WAIT_DEFAULT,
        then: Then::Fail,
        windows: Vec::new(),
        blackouts: Vec::new(),
    };
    Flow {
        code: "c".to_owned(),
        name: "C".to_owned(),
        active: true,
        starts_at: None,
        ends_at: None,
        activation: Activation::Cron,
        time_zone: "UTC".to_owned(),
        payload_bytes_max: PAYLOAD_BYTES_DEFAULT,
        subjects: Subjects::default(),
        stages: stages.iter().map(stage).collect(),
        source: String::new(),
    }
}

fn mapping(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

fn at(stage: &str) -> Way {
    Way::Stage(stage.to_owned())
}

#[test]
fn a_stage_that_has_not_begun_follows_the_versions() {
    let (second, third) = (flow(&["a", "x", "c"]), flow(&["a", "y"]));
    let (to_x, to_y) = (mapping(&[("b", "x")]), mapping(&[("x", "y"), ("c", "y")]));
    let none = mapping(&[]);
    let steps = [Step { flow: &second, mapping: &to_x }, Step { flow: &third, mapping: &to_y }];
    for (stage, now) in [("a", at("a")), ("b", at("y")), ("c", at("y")), ("z", Way::Gone("z".to_owned()))] {
        assert_eq!(stage_now(stage, &steps), now, "{stage}");
    }
    assert_eq!(stage_now("b", &[]), at("b"));
    assert_eq!(stage_now("c", &[Step { flow: &third, mapping: &none }]), Way::Gone("c".to_owned()));
    // Somebody who was left behind by the second version is helped by what the third one says.
    let steps = [Step { flow: &third, mapping: &none }, Step { flow: &third, mapping: &to_y }];
    assert_eq!(stage_now("c", &steps), at("y"));
}

#[test]
fn a_stage_that_has_begun_is_done_as_it_began_and_what_follows_is_the_newest() {
    let own = flow(&["a", "b", "c"]);
    let none = mapping(&[]);
    let check = |stages: &[&str], pairs: &[(&str, &str)], done: &str, way: Way| {
        let (newest, pairs) = (flow(stages), mapping(pairs));
        let found = stage_after(done, &own, &[Step { flow: &newest, mapping: &pairs }]);
        assert_eq!(found, way, "{done} into {stages:?}");
    };
    check(&["a", "n", "b", "c"], &[], "a", at("n"));
    check(&["a", "c"], &[], "b", at("c"));
    check(&["a", "c"], &[("b", "a")], "b", at("a"));
    check(&["a", "b"], &[], "b", Way::Done);
    check(&["a"], &[], "b", Way::Gone("c".to_owned()));
    check(&["a", "d"], &[("c", "d")], "b", at("d"));
    check(&["a"], &[], "c", Way::Done);
    assert_eq!(stage_after("b", &own, &[]), at("c"));
    assert_eq!(stage_after("c", &own, &[]), Way::Done);
    assert_eq!(stage_after("z", &own, &[Step { flow: &own, mapping: &none }]), Way::Done);
}

#[test]
fn subjects_have_one_form() {
    let types = [
        ("user", IdForm::Integer, vec!["users", "member"]),
        ("order", IdForm::Uuid, vec![]),
        ("run", IdForm::Ulid, vec![]),
    ];
    let types = types.map(|(name, form, aliases)| {
        let aliases = aliases.into_iter().map(str::to_owned).collect();
        (name.to_owned(), SubjectType { form, aliases })
    });
    let open = Subjects { types: types.into(), strict: false };
    let strict = Subjects { strict: true, ..open.clone() };
    let table = [
        ("user/42", "user/42"),
        ("users/042", "user/42"),
        ("member/+7", "user/7"),
        ("order/6F9619FF-8B86-D011-B42D-00C04FC964FF", "order/6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("run/01jz3v6k8q0000000000000000", "run/01JZ3V6K8Q0000000000000000"),
    ];
    for (typed, canonical) in table {
        for subjects in [&open, &strict] {
            let (kind, id) = subjects.take(typed).expect(typed);
            assert_eq!(format!("{kind}/{id}"), canonical);
        }
    }
    assert_eq!(open.take("team/a/b"), Ok(("team".to_owned(), "a/b".to_owned())));
    let refused = |subjects: &Subjects, typed: &str| subjects.take(typed).expect_err(typed).to_string();
    assert!(refused(&strict, "team/a").contains("order, run, user"));
    for (typed, part) in [
        ("user", "TYPE/ID"),
        ("user/x", "of the form integer"),
        ("order/6f9619ff", "of the form uuid"),
        ("run/zzz", "of the form ulid"),
        ("User/1", "no type of subjects"),
        ("user/", "1 to 200 bytes"),
        ("team/a\nb", "no control characters"),
    ] {
        assert!(refused(&open, typed).contains(part), "{typed}: {}", refused(&open, typed));
    }
}

#[test]
fn a_lifecycle_rests_and_says_why() {
    let t = Timestamp;
    let lifecycle =
        |active, starts: Option<i64>, ends: Option<i64>, activation, run_at: Option<i64>| Lifecycle {
            id: LifecycleId(ulid::Ulid::nil()),
            code: "c".to_owned(),
            name: "C".to_owned(),
            active,
            starts_at: starts.map(t),
            ends_at: ends.map(t),
            activation,
            revision: 1,
            run_at: run_at.map(t),
            created_at: t(0),
            updated_at: t(0),
            version: 1,
        };
    let table = [
        (lifecycle(true, None, None, Cron, None), None, Some(100)),
        (lifecycle(false, None, None, Cron, None), Some(Rest::Inactive), None),
        (lifecycle(true, Some(101), None, Cron, None), Some(Rest::NotYet(t(101))), None),
        (lifecycle(true, Some(100), Some(101), Cron, None), None, Some(100)),
        (lifecycle(true, None, Some(100), Cron, None), Some(Rest::Over(t(100))), None),
        (lifecycle(true, None, None, Hand, None), Some(Rest::ByHand), None),
        (lifecycle(true, None, None, Hand, Some(49)), Some(Rest::ByHand), Some(49)),
        (lifecycle(true, None, None, Hand, Some(50)), None, Some(50)),
        (lifecycle(false, None, None, Hand, Some(50)), Some(Rest::Inactive), None),
    ];
    for (lifecycle, rest, until) in table {
        assert_eq!(lifecycle.rests(t(50), t(100)), rest, "{lifecycle:?}");
        assert_eq!(lifecycle.works_until(t(100)), until.map(t), "{lifecycle:?}");
    }
}
