//! The catalogue as its users see it: load, check, plan.

use std::collections::BTreeMap;

use super::*;
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::resource::ResourceStatus;

const DEFINITION: &str = r#"name = "thing"
summary = "A thing"
prelude = "hello() { :; }"

[parameters.port]
type = "port"
summary = "Where it listens"
default = 80
key = true

[parameters.home]
type = "path"
summary = "Where it lives"
fixed = true

[parameters.note]
type = "text"
summary = "A word"
required = false

[parameters.password]
type = "secret"
summary = "Who may"
max = 8

[operations.install]
timeout = "5m"

[[operations.install.steps]]
title = "Always"
script = "hello"
secrets = ["password"]

[[operations.install.steps]]
title = "With a note"
script = "true"
when = { note = { given = true } }
timeout = "10s"
busy = [100]
final = []
dpkg = true

[operations.renew]
steps = [{ title = "Only 81", script = "true", when = { port = "81" } }]

[operations.remove]
steps = [{ title = "Away", script = "true" }]
"#;

fn params(values: &[(&str, &str)]) -> Params {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn secrets(value: &str) -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([("password".to_owned(), value.as_bytes().to_vec())])
}

fn fields(answer: Result<Params, Vec<FieldProblem>>) -> Vec<String> {
    answer.unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_built_in_packages_are_sound() {
    let catalog = Catalog::builtin().unwrap_or_else(|problems| panic!("{problems:#?}"));
    let names: Vec<_> = catalog.iter().map(|definition| definition.name.as_str()).collect();
    let expected = [
        "apt_package",
        "database",
        "database_user",
        "deployment",
        "firewall",
        "firewall_rule",
        "mariadb",
        "mysql",
        "nginx",
        "php",
        "redis",
        "scheduled_task",
        "script",
        "site",
        "stage_script",
        "supervisor_program",
        "tls_certificate",
    ];
    assert_eq!(names, expected);
    // A secret, or a script that runs again, leaves nothing that a probe could tell from before: nothing proves them.
    let unproven = ["database_user", "redis", "script", "stage_script", "tls_certificate"];
    for definition in catalog.iter() {
        let (install, name) = (&definition.operations["install"], definition.name.as_str());
        // What a stage has done is for the stage to say: there is nothing to look at.
        assert_eq!(definition.probe.is_none(), name == "stage_script", "{name}");
        assert!(definition.operations.contains_key("update"), "{name}");
        assert_eq!(install.proof.is_none(), unproven.contains(&name), "{name}");
    }
    // What can be seen of these all the same is compared, and adopted by.
    for name in unproven {
        let shown = catalog.get(name).unwrap().shown();
        assert_eq!(shown.is_some(), name != "stage_script", "{name}");
    }
    let deployment = catalog.get("deployment").unwrap();
    for operation in ["install", "update", "rollback"] {
        let declared = deployment.operations[operation].declared;
        assert_eq!(
            (declared.in_progress, declared.success),
            (ResourceStatus::Updating, ResourceStatus::Success),
            "{operation}"
        );
    }
    let rule = catalog.get("firewall_rule").unwrap().operations["install"].declared;
    assert_eq!((rule.in_progress, rule.success), (ResourceStatus::Installing, ResourceStatus::Active));
}

/// Otherwise a run of it would be shown as likely stale by a threshold that knows nothing of it.
#[test]
fn every_built_in_operation_says_how_long_it_usually_takes() {
    for definition in Catalog::builtin().unwrap().iter() {
        for (name, operation) in definition.operations.iter().filter(|(name, _)| *name != "probe") {
            assert!(operation.expected_runtime.is_some(), "{}: {name}", definition.name);
        }
    }
}

/// apt is called in one way, with what keeps it from asking and from waiting for ever.
#[test]
fn no_package_calls_apt_in_a_way_of_its_own() {
    for definition in Catalog::builtin().unwrap().iter() {
        assert!(!definition.source().contains("apt-get -y"), "{}", definition.name);
    }
}

#[test]
fn what_a_definition_uses_comes_before_its_own_text_and_is_kept_with_it() {
    let using = |uses: &str| DEFINITION.replacen("prelude", &format!("uses = {uses}\nprelude"), 1);
    let definition = parse(&using(r#"["service", "debian"]"#)).unwrap();
    let plan = definition.plan(&Operation::Install, "r1", &params(&[("home", "/x")]), None).unwrap();
    let [_, (_, debian), (_, service), _] = shared::BUILTIN;
    assert_eq!(plan.steps[0].script, ["set -eu\n", service, debian, "hello() { :; }\n", "hello\n"].concat());
    assert!(plan.steps[0].env.contains(&("SETTLED_PACKAGE".to_owned(), "thing".to_owned())));

    assert_eq!(definition.source(), using(r#"["service", "debian"]"#));
    let kept = parse_kept(&definition.text).unwrap();
    assert_eq!(
        (&kept.digest, &kept.text, &kept.prelude),
        (&definition.digest, &definition.text, &definition.prelude)
    );
    assert_ne!(definition.digest, parse(DEFINITION).unwrap().digest);
}

/// The program that reads a kept definition may have other shared texts, or none of that name.
#[test]
fn a_kept_definition_has_the_shared_texts_of_its_day() {
    let kept = format!("uses = [\"old\"]\n{DEFINITION}\n[shared]\nold = \"old() {{ :; }}\\n\"\n");
    let definition = parse_kept(&kept).unwrap();
    assert!(definition.prelude.starts_with("old() { :; }\nhello()"), "{}", definition.prelude);
    assert_eq!(definition.text, kept);
}

#[test]
fn every_built_in_definition_is_the_same_when_it_is_read_from_where_it_is_kept() {
    for definition in Catalog::builtin().unwrap().iter() {
        let kept = parse_kept(&definition.text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(format!("{kept:?}"), format!("{definition:?}"));
    }
}

/// Whatever may meet dpkg's lock says so: a foreign lock is waited for, and a kill would leave dpkg in pieces.
#[test]
fn a_step_that_calls_apt_says_that_it_needs_dpkg() {
    for definition in Catalog::builtin().unwrap().iter() {
        for (operation, found) in &definition.operations {
            for step in &found.steps {
                let mut words = step.script.split_ascii_whitespace();
                let calls = words.any(|word| ["apt", "bring", "bring_version", "take_away"].contains(&word));
                let place = format!("{}: {operation}: {}", definition.name, step.title);
                assert_eq!(calls, step.needs_dpkg, "{place}");
            }
        }
    }
}

#[test]
fn the_documentation_tells_every_type_and_its_example_is_sound() {
    let page = include_str!("../../../docs/packages.md");
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let definition = parse(example).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(definition.text.lines().count() <= 35, "a simple package stays short");
    for word in ParamType::WORDS {
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
    for definition in Catalog::builtin().unwrap().iter() {
        assert!(page.contains(&format!("\n| `{}` |", definition.name)), "{}", definition.name);
    }
    for (name, text) in shared::BUILTIN {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
        for function in text.lines().filter_map(|line| line.strip_suffix("() {")) {
            assert!(row.contains(&format!("`{function}")), "{name}: {function}");
        }
    }
}

#[test]
fn a_folder_overrides_by_name_and_its_problems_are_told_together() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.toml"), DEFINITION.replace("\"thing\"", "\"firewall_rule\"")).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "not a definition").unwrap();
    let catalog = Catalog::builtin().unwrap().with_dir(dir.path()).unwrap();
    assert_eq!(catalog.iter().count(), Catalog::builtin().unwrap().iter().count());
    assert_eq!(catalog.get("firewall_rule").unwrap().summary, "A thing");

    std::fs::write(dir.path().join("b.toml"), DEFINITION.replace("\"thing\"", "\"firewall_rule\"")).unwrap();
    std::fs::write(dir.path().join("c.toml"), "name = \"c\"\n").unwrap();
    let problems = Catalog::builtin().unwrap().with_dir(dir.path()).unwrap_err();
    let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(shown[0].contains("b.toml: name: `firewall_rule` is defined in"), "{shown:#?}");
    assert!(shown.iter().any(|problem| problem.contains("c.toml: summary")), "{shown:#?}");

    let problems = Catalog::default().with_dir(&dir.path().join("missing")).unwrap_err();
    assert!(problems[0].to_string().contains("missing: cannot be read"), "{problems:?}");
}

#[test]
fn an_install_is_completed_with_defaults_and_made_canonical() {
    let definition = parse(DEFINITION).unwrap();
    let complete =
        definition.check(&params(&[("home", "/srv//x/")]), &secrets("pw"), Given::Install).unwrap();
    assert_eq!(complete, params(&[("home", "/srv/x"), ("port", "80")]));
    assert_eq!(definition.key_values(&complete), [("port".to_owned(), "80".to_owned())]);
}

#[test]
fn every_wrong_value_is_named_at_once() {
    let definition = parse(DEFINITION).unwrap();
    let given = params(&[("port", "http"), ("prot", "1"), ("password", "pw")]);
    let shown = fields(definition.check(&given, &secrets("123456789"), Given::Install));
    let expected = [
        "parameters.password: is a secret",
        "parameters.prot: the package `thing` has no parameter of this name (did you mean `port`?)",
        "parameters.port: `http` does not fit",
        "parameters.home: a value is required: an absolute path",
        "secrets.password: has 9 bytes; at most 8",
    ];
    assert_eq!(shown.len(), expected.len(), "{shown:#?}");
    for (shown, expected) in shown.iter().zip(expected) {
        assert!(shown.starts_with(expected), "{shown}");
    }
    let given = BTreeMap::from([("note".to_owned(), b"x".to_vec())]);
    let shown = fields(definition.check(&params(&[("home", "/x")]), &given, Given::Install));
    assert_eq!(
        shown,
        [
            "secrets.note: is not a secret: give it as an ordinary parameter",
            "secrets.password: a value is required"
        ]
    );
}

#[test]
fn an_update_keeps_what_is_not_given_and_empties_what_is_given_empty() {
    let definition = parse(DEFINITION).unwrap();
    let current = params(&[("home", "/x"), ("port", "81"), ("note", "n"), ("gone", "1")]);
    let given = Given::Update { current: &current, current_secrets: &["password".to_owned()] };
    let none = BTreeMap::new();
    for (change, expected) in [
        (params(&[]), params(&[("home", "/x"), ("port", "81"), ("note", "n")])),
        (params(&[("note", ""), ("port", "")]), params(&[("home", "/x"), ("port", "80")])),
        (params(&[("port", "82")]), params(&[("home", "/x"), ("port", "82"), ("note", "n")])),
    ] {
        assert_eq!(definition.check(&change, &none, given), Ok(expected), "{change:?}");
    }
    let shown = fields(definition.check(&params(&[("home", "/y")]), &none, given));
    assert!(shown[0].starts_with("parameters.home: cannot change after the install; it is /x"), "{shown:?}");
    let shown = fields(definition.check(
        &params(&[]),
        &none,
        Given::Update { current: &current, current_secrets: &[] },
    ));
    assert_eq!(shown, ["secrets.password: a value is required"]);
}

#[test]
fn p11_a_plan_has_fixed_scripts_and_the_values_in_the_environment() {
    let definition = parse(DEFINITION).unwrap();
    let evil = "'; rm -rf / #$(reboot)`";
    let (old, new) = (
        params(&[("home", "/x"), ("port", "80")]),
        params(&[("home", "/x"), ("port", "81"), ("note", evil)]),
    );
    let plan = definition.plan(&Operation::Install, "r1", &new, Some(&old)).unwrap();
    let titles: Vec<_> = plan.steps.iter().map(|step| step.title.as_str()).collect();
    assert_eq!(titles, ["Always", "With a note"]);
    assert_eq!(plan.steps[0].script, "set -eu\nhello() { :; }\nhello\n");
    assert!(plan.steps.iter().all(|step| !step.script.contains(evil)));
    let env: Vec<_> = plan.steps[0].env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let note = format!("P_NOTE={evil}");
    assert_eq!(
        env,
        [
            "SETTLED_PACKAGE=thing",
            "SETTLED_NAME=r1",
            "P_PORT=81",
            "OLD_PORT=80",
            "P_HOME=/x",
            "OLD_HOME=/x",
            &note,
            "OLD_NOTE="
        ]
    );
    assert_eq!(plan.steps[0].secrets, ["password"]);
    let (first, second) = (&plan.steps[0], &plan.steps[1]);
    assert_eq!(
        (first.timeout.as_secs(), &first.busy_codes[..], &first.final_codes[..]),
        (300, &[75][..], &[78][..])
    );
    assert_eq!(
        (second.timeout.as_secs(), &second.busy_codes[..], &second.final_codes[..]),
        (10, &[100][..], &[][..])
    );
    assert!(second.needs_dpkg && !first.needs_dpkg && plan.exclusive);
}

#[test]
fn p9_a_step_that_needs_dpkg_has_ten_minutes_to_end_unless_the_definition_says_otherwise() {
    let values = params(&[("home", "/x"), ("note", "y")]);
    let check = |old: &str, new: &str, expected: [Option<u64>; 2], longest: u64| {
        assert!(DEFINITION.contains(old));
        let definition = parse(&DEFINITION.replacen(old, new, 1)).unwrap();
        let plan = definition.plan(&Operation::Install, "r1", &values, None).unwrap();
        let graces: Vec<_> = plan.steps.iter().map(|step| step.kill_grace.map(|g| g.as_secs())).collect();
        assert_eq!(graces, expected, "{new}");
        assert_eq!(plan.kill_grace(std::time::Duration::from_secs(30)).as_secs(), longest, "{new}");
    };
    check("dpkg = true", "dpkg = true", [None, Some(600)], 600);
    check("dpkg = true", "", [None, None], 30);
    check("dpkg = true", "dpkg = true\nkill_grace = \"20m\"", [None, Some(1200)], 1200);
    check("timeout = \"5m\"", "timeout = \"5m\"\nkill_grace = \"7s\"", [Some(7), Some(7)], 7);
}

#[test]
fn a_plan_leaves_out_steps_whose_condition_does_not_hold() {
    let definition = parse(DEFINITION).unwrap();
    let values = params(&[("home", "/x"), ("port", "80")]);
    assert_eq!(definition.plan(&Operation::Install, "r1", &values, None).unwrap().steps.len(), 1);
    let error = definition.plan(&Operation::Own("renew".to_owned()), "r1", &values, None).unwrap_err();
    assert!(matches!(error, PlanError::NothingToDo { .. }), "{error}");
    let values = params(&[("port", "81")]);
    assert!(definition.plan(&Operation::Own("renew".to_owned()), "r1", &values, None).is_ok());
}

#[test]
fn what_a_package_cannot_do_is_answered_with_what_it_can() {
    let definition = parse(DEFINITION).unwrap();
    let none = Params::new();
    assert!(definition.probe_plan("r1", &none).is_none());
    for operation in [Operation::Pause, Operation::Probe, Operation::Register, Operation::Own("x".to_owned())]
    {
        let error = definition.plan(&operation, "r1", &none, None).unwrap_err().to_string();
        assert!(error.ends_with("; it can install, remove, renew"), "{error}");
    }
    let task = Catalog::builtin().unwrap().get("scheduled_task").unwrap();
    let probe = task.plan(&Operation::Probe, "r1", &none, None).unwrap();
    assert!(!probe.exclusive && probe.steps.len() == 1);
    assert_eq!(probe.steps[0].script, task.probe_plan("r1", &none).unwrap().script);
}

/// The problems of a set of packages with these requirements, by name.
fn requiring(packages: &[(&str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, requires) in packages {
        let step = "steps = [{ title = \"Do\", script = \"true\" }]";
        let text = format!(
            "name = \"{name}\"\nsummary = \"It\"\nrequires = {requires}\n[parameters.kind]\ntype = \"text\"\nsummary = \"Which\"\nrequired = false\n\
             [operations.install]\n{step}\n[operations.remove]\n{step}\n"
        );
        std::fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
    }
    let problems = Catalog::builtin().unwrap().with_dir(dir.path()).map(|_| ()).err().unwrap_or_default();
    problems.iter().map(|p| format!("{}:{}", p.problem.field, p.problem.message)).collect()
}

#[test]
fn requirements_are_names_that_somebody_defines_and_lead_nowhere_back() {
    assert_eq!(
        requiring(&[("a", r#"["b", "nginx"]"#), ("b", r#"[{ package = "nginx", when = { kind = "x" } }]"#)]),
        [""; 0]
    );
    assert_eq!(
        requiring(&[("a", r#"["ngnix"]"#)]),
        ["requires[0]:there is no package `ngnix` (did you mean `nginx`?)"]
    );
    let round = requiring(&[
        ("a", r#"["nginx", "b"]"#),
        ("b", r#"["c"]"#),
        ("c", r#"[{ package = "a", when = { kind = "x" } }]"#),
    ]);
    assert_eq!(round.len(), 3, "{round:#?}");
    assert_eq!(
        round[0],
        "requires[1]:`a` would in the end require itself: b, which requires c, which requires a"
    );
    assert_eq!(requiring(&[("a", r#"["a"]"#)]), ["requires[0]:`a` would in the end require itself: a"]);
    for (requires, part) in [
        ("\"b\"", "must be a list"),
        ("[7]", "must be the name of a package or a table, not a number"),
        ("[\"B!\"]", "must be 1 to 40 lower case letters"),
        ("[{ package = \"nginx\", when = { kid = \"x\" } }]", "`kid` is not a parameter"),
        ("[{ packag = \"nginx\" }]", "unknown key"),
    ] {
        let problems = requiring(&[("a", requires)]);
        assert!(problems.iter().any(|p| p.contains(part)), "{requires}: {problems:?}");
    }
}

#[test]
fn a_site_requires_php_only_when_it_is_one_of_php() {
    let site = Catalog::builtin().unwrap().get("site").unwrap();
    let needs = |kind: &str| site.needs(&Params::from([("kind".to_owned(), kind.to_owned())])).join(" ");
    assert_eq!((needs("static").as_str(), needs("php").as_str()), ("nginx", "nginx php"));
    assert_eq!(site.requires[1].when_in_words(), "kind is php");
}

#[test]
fn what_a_definition_requires_is_looked_for_in_what_is_loaded_and_in_what_comes_with_it() {
    let text = |name: &str, requires: &str| {
        let step = "steps = [{ title = \"Do\", script = \"true\" }]";
        format!(
            "name = \"{name}\"\nsummary = \"It\"\nrequires = {requires}\n[operations.install]\n{step}\n[operations.remove]\n{step}\n"
        )
    };
    let faults = |requires: &str, others: &[String]| -> Vec<String> {
        let definition = parse(&text("a", requires)).unwrap();
        let found = Catalog::builtin().unwrap().faults_of(definition, others);
        found.iter().map(|p| format!("{}:{}:{}", p.line, p.field, p.message)).collect()
    };
    let b = text("b", "[\"a\"]");
    assert_eq!(faults("[\"nginx\", \"b\"]", &[text("b", "[]"), "no definition".to_owned()]), [""; 0]);
    assert_eq!(faults("[\"nginx\", \"b\"]", &[]), ["3:requires[1]:there is no package `b`"]);
    assert_eq!(
        faults("[\"b\"]", &[b]),
        ["3:requires[0]:`a` would in the end require itself: b, which requires a"]
    );
}

#[test]
fn a_resource_that_was_asked_for_by_an_older_definition_has_the_defaults_of_what_came_since() {
    let definition = parse(&DEFINITION.replacen("required = false", "default = \"/new\"", 1)).unwrap();
    let new =
        definition.parameters.iter().find(|parameter| parameter.default.as_deref() == Some("/new")).unwrap();
    let plan = definition.plan(&Operation::Install, "r1", &Params::new(), None).unwrap();
    let variable = format!("P_{}", new.name.to_ascii_uppercase());
    assert!(plan.steps[0].env.contains(&(variable, "/new".to_owned())));
}
