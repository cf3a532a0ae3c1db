use super::*;
use crate::domain::lifecycle::{Action, Given, Then};
use crate::domain::operation::Operation;

const WHOLE: &str = r#"
code = "certificate-renewal"
name = "Renew a certificate"
active = false
starts_at = 2026-03-01T00:00:00Z
ends_at = "2027-03-01T00:00:00+01:00"
activation = "hand"
time_zone = "Europe/Berlin"
payload_bytes_max = 1024
strict_subjects = true
windows = ["daily 02:00-04:00"]

[subjects.server]
aliases = ["host"]
[subjects.order]
id = "integer"

[[stages]]
name = "renew"
summary = "Ask the authority"
attempts = 5
backoff = "10m"
max_wait = "2d"
then = "go_on"
windows = []
blackouts = ["Sat,Sun 00:00-24:00"]
gate = { probe = { package = "site", name = { from = "payload.site" } }, when = "probe.facts.days_left < 30", until = "payload.not_before", again = "1h" }
[stages.action]
operation = "renew"
package = "tls_certificate"
server = "web1"
name = { from = "payload.site" }

[[stages]]
name = "tell"
action = { script = "echo told=yes > $SETTLED_OUTPUT", user = "deploy" }

[[stages]]
name = "ask"
action = { approval = "Is it well?", by = ["unix:0"] }

[[stages]]
name = "bill"
action = { work = "billing", lease = "5m" }

[[stages]]
name = "mark"
action = { operation = "install", package = "site", set = { port = 443, on = true, release = { from = "payload.release" } } }
"#;

#[test]
fn a_definition_is_read_as_it_stands() {
    let flow = parse_lifecycle(WHOLE).expect("it is in order");
    assert_eq!(
        (flow.code.as_str(), flow.active, flow.activation),
        ("certificate-renewal", false, Activation::Hand)
    );
    let dates = [flow.starts_at, flow.ends_at].map(|at| at.map(|at| at.0));
    assert_eq!(dates, [Some(1_772_323_200_000_000), Some(1_803_855_600_000_000)]);
    assert_eq!((flow.payload_bytes_max, flow.subjects.strict), (1024, true));
    assert_eq!(flow.subjects.take("host/web1"), Ok(("server".to_owned(), "web1".to_owned())));
    let [renew, tell, ask, bill, mark] = &flow.stages[..] else { panic!("{:#?}", flow.stages) };
    assert_eq!((renew.attempts, renew.backoff.as_secs(), renew.max_wait.as_secs()), (5, 600, 2 * 86_400));
    assert_eq!((renew.then, renew.windows.len(), renew.blackouts.len()), (Then::GoOn, 0, 1));
    assert_eq!((tell.attempts, tell.backoff.as_secs(), tell.max_wait.as_secs()), (3, 3_600, 7 * 86_400));
    assert_eq!((tell.then, tell.windows.len()), (Then::Fail, 1), "the windows of the lifecycle");
    let gate = renew.gate.as_ref().expect("a gate");
    assert!(gate.probe.is_some() && gate.when.is_some() && gate.until.is_some());
    assert_eq!(gate.again.as_secs(), 3_600);
    let Action::Operation { operation, target, .. } = &renew.action else { panic!("{renew:?}") };
    assert_eq!(
        (operation, &target.server),
        (&Operation::Own("renew".to_owned()), &Some(Given::Fixed("web1".to_owned())))
    );
    assert!(matches!(&tell.action, Action::Script { user, .. } if user == "deploy"));
    assert!(matches!(&ask.action, Action::Approval { by, .. } if by == &["unix:0"]));
    assert!(
        matches!(&bill.action, Action::Work { queue, lease } if queue == "billing" && lease.as_secs() == 300)
    );
    let Action::Operation { set, .. } = &mark.action else { panic!("{mark:?}") };
    let given = |name: &str| set.get(name).cloned().expect("it is set");
    assert_eq!(
        (given("port"), given("on")),
        (Given::Fixed("443".to_owned()), Given::Fixed("true".to_owned()))
    );
    assert!(matches!(given("release"), Given::From(_)));
}

#[test]
fn a_webhook_goes_over_tls_or_stays_on_this_host_or_says_so() {
    for (url, more) in [
        ("https://example.org/hook?a=1", ""),
        ("http://127.0.0.1:8080/hook", ""),
        ("http://[::1]/hook", ""),
        ("http://localhost/hook", ""),
        ("http://example.org/hook", ", plain = true, timeout = \"1m\""),
    ] {
        let action = format!("action = {{ webhook = \"{url}\", secret = \"billing\"{more} }}");
        let text = format!("code = \"c\"\nname = \"C\"\n[[stages]]\nname = \"a\"\n{action}\n");
        let flow = parse_lifecycle(&text).unwrap_or_else(|problems| panic!("{url}: {problems:?}"));
        let Action::Webhook { url: read, secret, timeout } = &flow.stages[0].action else {
            panic!("{flow:?}")
        };
        assert_eq!((read.as_str(), secret.as_str()), (url, "billing"));
        assert_eq!(timeout.as_secs(), if more.is_empty() { 10 } else { 60 });
    }
}

#[test]
fn what_is_wrong_is_told_by_line_and_field() {
    let stage = "[[stages]]\nname = \"a\"\naction = { approval = \"?\" }\n";
    let top = |lines: &str| format!("code = \"c\"\nname = \"C\"\n{lines}\n{stage}");
    let one = |lines: &str| format!("code = \"c\"\nname = \"C\"\n[[stages]]\nname = \"a\"\n{lines}\n");
    let table = [
        ("code = \"c\"\nname = \"C\"".to_owned(), ": stages: a lifecycle has at least one stage"),
        (format!("name = \"C\"\n{stage}"), ": code: `code` is missing"),
        (top("activ = true"), ":3: activ: unknown key (did you mean `active`?)"),
        (top("starts_at = 2026-03-01"), ":3: starts_at: must be a time with its offset"),
        (
            top("starts_at = 2026-03-01T00:00:00Z\nends_at = 2026-03-01T00:00:00Z"),
            ":4: ends_at: must be later",
        ),
        (top("activation = \"cronn\""), ":3: activation: must be one of cron, hand"),
        (top("strict_subjects = true"), ":3: strict_subjects: with no type declared"),
        (top("[subjects.user]\nid = \"number\""), ":4: subjects.user.id: must be one of string, integer"),
        (
            top("[subjects.a]\naliases = [\"b\"]\n[subjects.b]"),
            ":5: subjects.b.aliases: a name stands for one",
        ),
        (top("[subjects.server]\nid = \"ulid\""), ":4: subjects.server.id: servers and resources are known"),
        (top("windows = [\"never\"]"), ":3: windows: `never` is not a window"),
        (format!("{}{stage}", top("")), ":7: stages[1]: there are two stages `a`"),
        (one(""), ":3: stages[0].action: `action` is missing"),
        (one("action = {}"), ":5: stages[0].action: needs exactly one of operation, script, approval, work"),
        (one("action = { approval = \"?\", work = \"q\" }"), "needs exactly one of"),
        (one("action = { operation = \"install\" }"), "stages[0].action.package: an install needs"),
        (one("action = { operation = \"pause\", package = \"p\", set = { a = 1 } }"), "take no parameters"),
        (one("action = { operation = \"update\", name = \"x\" }"), "action.package: is missing"),
        (one("action = { operation = \"update\", set = { a = [1] } }"), "action.set.a: must be a value"),
        (one("action = { operation = \"update\", set = { a = { of = \"x\" } } }"), "action.set.a"),
        (one("action = { approval = \"?\" }\nthen = \"go_on\""), ":6: stages[0].then: without a gate"),
        (
            one("action = { approval = \"?\" }\ngate = { }"),
            ":6: stages[0].gate: needs `when`, `until` or `probe`",
        ),
        (one("action = { approval = \"?\" }\ngate = { when = \"user.id == 1\" }"), "`user` is no name here"),
        (
            one("action = { approval = \"?\" }\nattempts = 0"),
            ":6: stages[0].attempts: must be a whole number",
        ),
        (one("action = { approval = \"?\" }\nbackoff = \"soon\""), ":6: stages[0].backoff: must be a span"),
        (one("action = { webhook = \"https://a.org/\" }"), "stages[0].action.secret: `secret` is missing"),
        (one("action = { webhook = \"http://a.org/\", secret = \"s\" }"), "action.webhook: must be https"),
        (one("action = { webhook = \"https://u:p@a.org/\", secret = \"s\" }"), "without a user, a password"),
        (one("action = { webhook = \"/hook\", secret = \"s\" }"), "must be a URL"),
        (one("action = { webhook = \"ftp://a.org/\", secret = \"s\" }"), "must be a URL"),
    ];
    for (text, expected) in table {
        let problems = parse_lifecycle(&text).expect_err(&text);
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|line| line.contains(expected)), "{text}\n{expected}\n{told:#?}");
    }
}
