//! Typical mistakes of an author, and where the answer points.

use super::*;

const GOOD: &str = r#"name = "thing"
summary = "A thing"

[parameters.port]
type = "port"
summary = "Where it listens"
default = 80

[parameters.password]
type = "secret"
summary = "Who may"

[operations.install]
attempts = 5

[operations.install.proof]
state = "present"
"fact.port" = "$port"

[[operations.install.steps]]
title = "Put it there"
script = "true"
secrets = ["password"]
when = { port = ["80", "81"] }

[operations.update]
same_as = "install"

[operations.remove]
steps = [{ title = "Take it away", script = "true" }]

[probe]
script = "echo state=absent"
"#;

/// Replaces one line of the good definition (from 1), or adds lines at the end for 0, and compares the problems.
fn check(line: usize, text: &str, expected: &[&str]) {
    let mut lines: Vec<&str> = GOOD.lines().collect();
    match line {
        0 => lines.push(text),
        line => lines[line - 1] = text,
    }
    let problems = parse(&lines.join("\n")).map(|_| ()).expect_err("there is a mistake");
    let shown: Vec<_> = problems.iter().map(|p| format!("{}:{}: {}", p.line, p.field, p.message)).collect();
    assert_eq!(shown.len(), expected.len(), "`{text}`: {shown:#?}");
    for (shown, expected) in shown.iter().zip(expected) {
        assert!(shown.starts_with(expected), "`{text}`: {shown}");
    }
}

#[test]
fn a_good_definition_is_read_whole() {
    let definition = parse(GOOD).unwrap();
    assert_eq!((definition.name.as_str(), definition.summary.as_str()), ("thing", "A thing"));
    assert_eq!(definition.digest, hex::encode(Sha256::digest(GOOD)));
    let names: Vec<_> =
        definition.parameters.iter().map(|p| (p.name.as_str(), p.required, p.secret())).collect();
    assert_eq!(names, [("port", false, false), ("password", true, true)], "in the order of the text");
    assert_eq!(definition.parameters[0].default.as_deref(), Some("80"));
    let operations: Vec<_> =
        definition.operations.iter().map(|(name, o)| (name.as_str(), o.exclusive)).collect();
    assert_eq!(operations, [("install", true), ("probe", false), ("remove", true), ("update", true)]);
    assert_eq!(definition.operations["update"].attempts_max, Some(5), "same as install");
}

#[test]
fn an_operation_may_have_thresholds_of_its_own() {
    let text = GOOD.replace("attempts = 5", "queue_limit = \"2h\"\nexpected_runtime = \"40s\"");
    let definition = parse(&text).unwrap();
    let told = |name: &str| {
        let operation = &definition.operations[name];
        (operation.queue_limit, operation.expected_runtime)
    };
    let own = (Some(std::time::Duration::from_hours(2)), Some(std::time::Duration::from_secs(40)));
    assert_eq!([told("install"), told("update"), told("remove")], [own, own, (None, None)]);
}

#[test]
fn only_an_own_operation_that_looks_runs_beside_the_lane() {
    let with = |operation: &str, more: &str, step: &str| {
        let step = format!("{{ title = \"Look\", script = \"ps\"{step} }}");
        parse(&format!("{GOOD}[operations.{operation}]\nexclusive = false\n{more}\nsteps = [{step}]\n"))
    };
    let look = &with("look", "timeout = \"5s\"", "").unwrap().operations["look"];
    assert_eq!((look.exclusive, look.changes, look.attempts_max), (false, false, Some(1)));

    let said = |operation: &str, more: &str, step: &str| {
        let problems = with(operation, more, step).unwrap_err();
        let fields = problems.iter().map(|problem| problem.field.clone()).collect::<Vec<_>>();
        assert!(fields.iter().all(|field| field.starts_with("operations.")), "{problems:?}");
        fields.join(" ")
    };
    assert_eq!(said("pause", "", ""), "operations.pause.exclusive");
    for key in [
        "attempts = 2",
        "changes = false",
        "kill_grace = \"2s\"",
        "retry_on_timeout = true",
        "success = \"success\"",
    ] {
        let (word, _) = key.split_once(' ').unwrap();
        assert_eq!(said("look", key, ""), format!("operations.look.{word}"));
    }
    for key in [
        "busy = [3]",
        "busy_says = [\"no\"]",
        "dpkg = true",
        "final = [3]",
        "kill_grace = \"2s\"",
        "secrets = [\"password\"]",
    ] {
        let (word, _) = key.split_once(' ').unwrap();
        assert_eq!(said("look", "", &format!(", {key}")), format!("operations.look.steps[0].{word}"));
    }
    assert_eq!(said("look", "", " }, { title = \"Again\", script = \"ps\""), "operations.look.steps");
    let copy = format!(
        "{GOOD}[operations.look]\nexclusive = false\nsteps = [{{ title = \"Look\", script = \"ps\" }}]\n\
         [operations.pause]\nsame_as = \"look\"\n"
    );
    assert_eq!(parse(&copy).unwrap_err()[0].field, "operations.pause.same_as");
}

#[test]
fn mistyped_keys_and_types_are_named_with_a_guess() {
    check(
        2,
        "sumary = \"x\"",
        &["0:summary: `summary` is missing", "2:sumary: unknown key (did you mean `summary`?)"],
    );
    check(5, "type = \"prot\"", &["5:parameters.port.type: `prot` is not a type (did you mean `port`?)"]);
    check(7, "defualt = 80", &["7:parameters.port.defualt: unknown key (did you mean `default`?)"]);
    check(0, "[extra]\nx = 1", &["34:extra: unknown key; known here are name, "]);
    check(
        22,
        "scirpt = \"true\"",
        &[
            "20:operations.install.steps[0].script: `script` is missing",
            "22:operations.install.steps[0].scirpt: unknown key (did",
        ],
    );
}

#[test]
fn shared_texts_that_are_not_there_are_named_with_a_guess_and_the_table_is_not_for_authors() {
    check(
        3,
        "uses = [\"debain\"]",
        &[
            "3:uses: there is no shared text `debain` (did you mean `debian`?); there are base, debian, service",
        ],
    );
    check(3, "uses = [\"debian\", \"debian\"]", &["3:uses: `debian` is there twice"]);
    check(3, "uses = \"debian\"", &["3:uses: must be a list of texts"]);
    check(0, "[shared]\nx = \"x\"", &["34:shared: is what settled adds to a definition that it keeps"]);
    // What is wrong further down keeps the line that it has in its author's file.
    check(
        22,
        "uses = [\"debian\"]\nscirpt = \"true\"",
        &["20:", "22:", "23:operations.install.steps[0].scirpt: "],
    );
}

#[test]
fn where_a_package_works_is_read_strictly() {
    let check = |inside: &str, expected: &str| check(3, &format!("supported = {{ {inside} }}"), &[expected]);
    check("", "3:supported: names neither");
    check("debain = [\"12\"], ubuntu = true", "3:supported.debain: unknown key (did you mean `debian`?)");
    for wrong in ["[]", "false", "12", "[12]", "[\"\"]", "[\"12; reboot\"]"] {
        check(&format!("debian = {wrong}, ubuntu = true"), "3:supported.debian: must be a list of versions");
    }
    check("architectures = [\"x 64\"]", "3:supported.architectures: must be words");
    check("debian = true, hint = \"\"", "3:supported.hint: must be one line");
}

#[test]
fn rules_must_ask_for_something_that_makes_sense() {
    let with = GOOD.replace(
        "\n[parameters.password]",
        "\n[parameters.note]\ntype = \"text\"\nsummary = \"x\"\nrequired = false\n\n[parameters.password]",
    );
    let check = |rule: &str, expected: &str| {
        let text = format!("{with}\n[[rules]]\n{rule}\n");
        let problems = parse(&text).expect_err(rule);
        let line = |n: u32| n - u32::try_from(with.lines().count()).unwrap() - 1;
        let shown: Vec<_> =
            problems.iter().map(|p| format!("{}:{}: {}", line(p.line), p.field, p.message)).collect();
        assert!(shown.len() == 1 && shown[0].starts_with(expected), "`{rule}`: {shown:#?}");
    };
    assert!(parse(&format!("{with}\n[[rules]]\nneeds = [\"note\"]\n")).is_ok());
    check("", "1:rules[0]: asks for nothing");
    check("say = \"no\"", "1:rules[0]: asks for nothing");
    check("needs = [\"nte\"]", "2:rules[0].needs: `nte` is not a parameter (did you mean `note`?)");
    check("needs = [\"port\"]", "2:rules[0].needs: `port` always has a value");
    check("excludes = [\"password\"]", "2:rules[0].excludes: `password` always has a value");
    check(
        "excludes = [\"note\"]\nneeds = [\"note\"]",
        "2:rules[0].excludes: `note` cannot be needed and left out",
    );
    check("when = { port = \"x\" }\nneeds = [\"note\"]", "2:rules[0].when.port: `x` does not fit");
    check(
        "when = { port = { not = [] } }\nneeds = [\"note\"]",
        "2:rules[0].when.port: must be a list of texts",
    );
    check("need = [\"note\"]\nexcludes = [\"note\"]", "2:rules[0].need: unknown key (did you mean `needs`?)");
}

#[test]
fn broken_toml_is_told_by_its_line_alone() {
    check(2, "summary = \"no end", &["2:: "]);
    check(3, "name = \"again\"", &["3:: duplicate key"]);
    let both = parse("name = \nsummary = [1,\n[probe\n").unwrap_err();
    assert!(both.len() >= 2 && both[0].line == 1, "{both:?}");
}

#[test]
fn wrong_values_are_told_with_what_to_write() {
    check(1, "name = \"Thing-1\"", &["1:name: must be 1 to 40 lower case letters"]);
    check(1, "name = 7", &["1:name: must be text in quotes, not a number"]);
    check(7, "default = \"http\"", &["7:parameters.port.default: `http` does not fit: expected a port"]);
    check(7, "required = true\ndefault = 1", &["7:parameters.port.required: a parameter with a default"]);
    check(
        11,
        "summary = \"x\"\ndefault = \"x\"",
        &["12:parameters.password.default: a secret has no default"],
    );
    check(14, "attempts = 0", &["14:operations.install.attempts: must be a whole number from 1 to 100"]);
    check(14, "queue_limit = \"2d\"", &["14:operations.install.queue_limit: must be a span of time"]);
    check(14, "expected_runtime = 40", &["14:operations.install.expected_runtime: must be text"]);
    check(14, "timeout = \"10\"", &["14:operations.install.timeout: must be a span of time"]);
    check(14, "timeout = \"2d\"", &["14:operations.install.timeout: must be a span of time from 1s to 1d"]);
    check(
        14,
        "kill_grace = \"2h\"",
        &["14:operations.install.kill_grace: must be a span of time from 1s to 1h"],
    );
    check(
        14,
        "timeout = \"90s\"\nexpected_runtime = \"91s\"",
        &[
            "15:operations.install.expected_runtime: 1m31s is longer than the `timeout` of all its steps together",
        ],
    );
    check(22, "script = \" \"", &["22:operations.install.steps[0].script: must be shell text"]);
    check(24, "busy = [78]", &["24:operations.install.steps[0].busy: exit code 78 cannot mean both"]);
    check(24, "busy = [0]", &["24:operations.install.steps[0].busy: must be a list of exit codes"]);
}

#[test]
fn references_must_lead_somewhere() {
    check(
        23,
        "secrets = [\"pasword\"]",
        &[
            "9:parameters.password: no step takes this secret",
            "23:operations.install.steps[0].secrets: `pasword` is not",
        ],
    );
    check(
        24,
        "when = { prt = \"80\" }",
        &["24:operations.install.steps[0].when.prt: `prt` is not a parameter (did you mean `port`?)"],
    );
    check(24, "when = { port = \"x\" }", &["24:operations.install.steps[0].when.port: `x` does not fit"]);
    check(
        24,
        "when = { password = { given = true } }",
        &["24:operations.install.steps[0].when.password: `password` is a secret"],
    );
    check(
        18,
        "\"fact.port\" = \"$prt\"",
        &["18:operations.install.proof.fact.port: `prt` is not a parameter"],
    );
    check(27, "same_as = \"instal\"", &["27:operations.update.same_as: there is no [operations.instal]"]);
    check(26, "[operations.probe]", &["26:operations.probe: a probe is written [probe]"]);
}

#[test]
fn only_statuses_that_fit_are_accepted() {
    for word in ["installing", "updating"] {
        assert!(parse(&GOOD.replace("attempts = 5", &format!("in_progress = \"{word}\""))).is_ok(), "{word}");
    }
    for word in ["pending", "active", "success", "failed", "removing", "paused", "done", ""] {
        check(14, &format!("in_progress = \"{word}\""), &["14:operations.install.in_progress: "]);
    }
    for word in ["pending", "installing", "failed", "updating", "removing", "paused", "done"] {
        check(14, &format!("success = \"{word}\""), &["14:operations.install.success: "]);
    }
    check(
        30,
        "success = \"success\"\nsteps = [{ title = \"x\", script = \"x\" }]",
        &["30:operations.remove.success: unknown key"],
    );
}

#[test]
fn p7_a_proof_that_the_state_before_would_satisfy_is_refused() {
    check(18, "", &["27:operations.update.same_as: the proof needs a fact"]);
    check(
        17,
        "state = \"absent\"",
        &["16:operations.install.proof: the proof cannot be `absent`", "27:operations.update"],
    );
    check(
        30,
        "proof = { state = \"present\" }\nsteps = [{ title = \"x\", script = \"x\" }]",
        &["30:operations.remove.proof: the proof must be `absent`"],
    );
    check(
        32,
        "[probe.shows]\nstate = \"present\"\n\"fact.port\" = \"$prot\"\n[probe]",
        &["34:probe.shows.fact.port: `prot` is not a parameter"],
    );
    check(32, "[probe.shows]\nstate = \"paused\"\n[probe]", &["32:probe.shows: must be `present`"]);
    check(
        32,
        "[prob]",
        &["16:operations.install.proof: needs a [probe]", "32:prob: unknown key (did you mean `probe`?)"],
    );
}

#[test]
fn install_and_remove_are_never_missing() {
    let problems = parse("name = \"x\"\nsummary = \"x\"").unwrap_err();
    let shown: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        shown,
        [
            "[operations.install] is missing: every package has it",
            "[operations.remove] is missing: every package has it"
        ]
    );
}

#[test]
fn a_definition_that_is_too_long_is_refused_unread() {
    let problems = parse(&"#".repeat(DEFINITION_BYTES_MAX + 1)).unwrap_err();
    assert!(problems[0].message.contains("at most 262144"), "{problems:?}");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        drop(parse(&text));
    }

    #[test]
    fn no_cut_or_change_of_a_definition_panics(from in 0..GOOD.len(), length in 0..80_usize, with in "[\\[\\]{}='\"a-z\n.$0-9-]{0,20}") {
        let to = (from + length).min(GOOD.len());
        let text = format!("{}{with}{}", &GOOD[..from], &GOOD[to..]);
        if let Err(problems) = parse(&text) {
            let lines = u32::try_from(text.lines().count() + 1).unwrap();
            proptest::prop_assert!(!problems.is_empty() && problems.iter().all(|problem| problem.line <= lines));
        }
    }
}

#[test]
fn outputs_are_shown_values_on_one_line() {
    let output = |keys: &str| format!("[outputs.release]\nsummary = \"Which\"\n{keys}");
    check(0, &output("type = \"secret\""), &["36:outputs.release.type: an output is shown"]);
    check(
        0,
        &output("type = \"relative_paths\""),
        &["36:outputs.release.type: an output stands on one line"],
    );
    check(
        0,
        &output("type = \"text\"\nmax = 2000"),
        &["36:outputs.release.type: an output has at most 1024"],
    );
    check(0, &output("type = \"port\"\nkey = true"), &["37:outputs.release.key: unknown key"]);
    let one = |n: u32| format!("[outputs.o{n}]\ntype = \"port\"\nsummary = \"A port\"\n");
    let many: Vec<_> = (0..17).map(one).collect();
    check(0, &many.concat(), &["82:outputs: has 17 outputs; at most 16 are allowed"]);
    let good = format!("{GOOD}\n{}", output("type = \"text\"\nmax = 40"));
    assert_eq!(parse(&good).unwrap().outputs[0].name, "release");
}

#[test]
fn an_operation_takes_parameters_of_its_own_for_one_run() {
    let with = |operation: &str, more: &str| {
        let table = format!(
            "\n[operations.{operation}.parameters.purge]\ntype = \"boolean\"\nsummary = \"x\"\n{more}\n"
        );
        format!("{GOOD}{table}")
    };
    let good = with("remove", "default = false")
        .replace("script = \"true\" }]", "script = \"true\", when = { purge = true } }]");
    let definition = parse(&good).unwrap();
    let names = |operation: &str| -> Vec<&str> {
        definition.operations[operation].parameters.iter().map(|p| p.name.as_str()).collect()
    };
    assert_eq!((names("remove"), names("install")), (vec!["purge"], vec![]));

    let at = GOOD.lines().count() + 2;
    let table = [
        (
            with("install", ""),
            "operations.install.parameters: only a removal and operations of your own take parameters",
        ),
        (with("remove", "key = true"), "operations.remove.parameters.purge: `key` and `fixed`"),
        (
            with("remove", "").replace("boolean", "secret"),
            "operations.remove.parameters.purge: a secret belongs to the resource",
        ),
        (
            with("remove", "").replace("s.purge", "s.port"),
            "operations.remove.parameters.port: is a parameter of the package already",
        ),
    ];
    for (text, expected) in table {
        let problems = parse(&text).expect_err(expected);
        let [problem] = &problems[..] else { panic!("{problems:#?}") };
        let shown = format!("{}: {}", problem.field, problem.message);
        assert!(shown.starts_with(expected), "{shown}");
        assert!([13, u32::try_from(at).unwrap()].contains(&problem.line), "{problem:?}");
    }
    let proof = good.replace(
        "[probe]",
        "[operations.remove.proof]\nstate = \"absent\"\n\"fact.x\" = \"$purge\"\n[probe]",
    );
    let problems = parse(&proof).expect_err("it is of one run");
    assert!(problems[0].message.contains("`purge` is not a parameter"), "{problems:?}");
}
