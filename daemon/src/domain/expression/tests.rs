use proptest::prelude::*;

use super::*;

fn map(pairs: &[(&str, Value)]) -> Value {
    Value::Map(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn names() -> Value {
    map(&[
        ("subject", map(&[("type", text("user")), ("id", text("42"))])),
        (
            "payload",
            map(&[
                ("paid", Value::Bool(true)),
                ("told", text("true")),
                ("order", Value::Whole(9_007_199_254_740_993)),
                ("tries", Value::Whole(3)),
                ("plan", map(&[("name", text("pro"))])),
                ("tags", Value::List(vec![text("a"), Value::Number(2.5)])),
            ]),
        ),
        ("server", map(&[("facts", map(&[("cpus", text("10")), ("os", text("debian"))]))])),
        ("attempt", Value::Whole(2)),
        ("now", text("2026-03-01T10:00:00Z")),
    ])
}

#[test]
fn an_expression_has_the_value_that_one_reads() {
    let table = [
        ("payload.paid", true),
        ("payload.told", true),
        ("not payload.paid", false),
        ("payload.plan.name == 'pro'", true),
        ("payload.plan.name", false),
        ("payload.absent", false),
        ("payload.absent.more == nothing", true),
        ("payload.tries.more == nothing", true),
        ("payload.paid != nothing", true),
        ("server.facts.cpus >= 4", true),
        ("server.facts.cpus < 9", false),
        ("server.facts.cpus == \"10\"", true),
        ("server.facts.os > 4", false),
        ("server.facts.os != 4", true),
        ("subject.id == 42", true),
        ("subject.id in ['41', '42']", true),
        ("subject.id in [41, 42]", true),
        ("subject.id in []", false),
        ("'a' in payload.tags and '2.5' in payload.tags", true),
        ("'name' in payload.plan", true),
        ("'x' in payload.paid", false),
        ("attempt > 1 and (payload.tries <= 3 or false)", true),
        ("true or false and false", true),
        ("(true or false) and false", false),
        ("not (attempt == 2) or attempt == 2", true),
        ("now >= '2026-02-28T23:00:00Z'", true),
        ("payload.told == true", true),
        ("-1 < 0.5", true),
        ("attempt == 2.0 and payload.tries < 3.5", true),
        ("payload.order == 9007199254740993", true),
        ("payload.order == '9007199254740993'", true),
        ("payload.order == 9007199254740992 or payload.order == '9007199254740994'", false),
        ("payload.order in [9007199254740992, '9007199254740994']", false),
        ("payload.order > 9007199254740992 and payload.order < 9007199254740994", true),
    ];
    for (expression, holds) in table {
        let read = Expression::parse(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
        assert_eq!(read.holds(&names()), holds, "{expression}");
        assert_eq!(read.to_string(), expression);
    }
}

#[test]
fn what_is_no_expression_is_told_with_its_place() {
    let deep = format!("{}true", "not ".repeat(40));
    let long = format!("'{}'", "x".repeat(EXPRESSION_BYTES_MAX));
    let table = [
        ("", 0, "a value"),
        ("payload.paid and", 16, "a value"),
        ("user.id == 1", 0, "`user` is no name here"),
        ("payload..a", 0, "a dot too many"),
        ("payload.a = 1", 10, "`=` means nothing"),
        ("payload.a == 'x", 13, "not closed"),
        ("(payload.a", 10, "`)`"),
        ("payload.a payload.b", 10, "`and`, `or` or the end"),
        ("1.2.3 == 1", 0, "a number"),
        ("['a' 'b']", 5, "`,` or `]`"),
        ("and", 0, "needs a value"),
        (&deep, 132, "nested"),
        (&long, 0, "at most 1000"),
    ];
    for (expression, at, part) in table {
        let error = Expression::parse(expression).expect_err(expression);
        assert!(error.to_string().contains(part), "{expression}: {error}");
        assert_eq!(error.at, at, "{expression}: {error}");
    }
}

proptest! {
    /// Total: whatever is read has a value, and whatever is not is refused; nothing panics.
    #[test]
    fn every_text_is_an_expression_or_is_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "and", "or", "not", "in", "(", ")", "[", "]", ",", "==", "<", "payload.a", "subject", "attempt", "'x'", "7", "true", "nothing",
            ]),
            0..14,
        ),
    ) {
        if let Ok(read) = Expression::parse(&words.join(" ")) {
            prop_assert!(matches!(read.holds(&names()), true | false));
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in ".{0,60}") {
        drop(Expression::parse(&text));
    }
}
