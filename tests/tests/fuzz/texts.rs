//! Texts that people write: definitions of packages and lifecycles, and the small languages in them. Each is understood or refused in words; what was
//! understood is understood again when it is read back from the store.

use settled::catalog::{Catalog, Problem, parse, parse_kept, parse_lifecycle, read_probe, read_told};
use settled::clock::zone;
use settled::domain::cron::Cron;
use settled::domain::expression::{Expression, Value};
use settled::domain::time::Timestamp;
use settled::domain::window::{Window, ever_open, opening};

use crate::driver::{Outcome, Session, texts_of};

/// A moment, in microseconds.
const NOW: Timestamp = Timestamp(1_764_180_000_000_000);

/// What a text is refused with tells where and why, and not everything that stood there.
fn refused(problems: &[Problem], text: &str) -> Outcome {
    let lines = u32::try_from(text.lines().count()).unwrap();
    match problems.iter().find(|p| p.message.is_empty() || p.message.len() > 10_000 || p.line > lines + 1) {
        Some(problem) => Err(format!("of {lines} lines: {problem:?}")),
        None if problems.is_empty() => Err("it is refused, and nothing is wrong".to_owned()),
        None => Ok("refused"),
    }
}

#[tokio::test]
async fn package_files_are_understood_or_refused() {
    const WORDS: [&str; 16] = [
        "[parameters.x]\ntype = \"secret\"\n",
        "type = \"list\"",
        "default = ",
        "when = \"$x\"",
        "proof = { state = \"present\" }",
        "requires = [",
        "\"\"\"",
        "'''",
        "[[operations.install.steps]]",
        "timeout = \"99999999d\"",
        "uses = [\"debian\"]",
        "pattern = \"((((a*)*)*)*)*$\"",
        "min = -9223372036854775808",
        "key = true",
        "[probe]\nscript = \"\"\n",
        "\u{0}",
    ];
    let catalog = Catalog::builtin().unwrap();
    let mut session = Session::new("packages", &WORDS, texts_of("daemon/packages", ".toml"));
    let read = async |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        match parse(&text) {
            Ok(definition) => {
                let again = parse_kept(&definition.text).map(|kept| kept.digest == definition.digest);
                drop(catalog.faults_of(definition, &[]));
                match again {
                    Ok(true) => Ok("read"),
                    other => Err(format!("as it is kept it is read as {other:?}")),
                }
            }
            Err(problems) => refused(&problems, &text),
        }
    };
    session.feed(read).await;
}

#[tokio::test]
async fn lifecycles_are_understood_or_refused() {
    const WORDS: [&str; 10] = [
        "[[stages]]\nname = \"x\"\n",
        "action = { work = \"q\" }",
        "gate = { probe = {}, when = \"a == 1\" }",
        "again = \"1s\"",
        "max_wait = \"99999999d\"",
        "blackouts = [\"Sat,Sun 00:00-24:00\"]",
        "attempts = 0",
        "mapping",
        "[subjects.server]",
        "action = { webhook = \"http://\" }",
    ];
    let mut session = Session::new("lifecycles", &WORDS, texts_of("docs/lifecycles", ".toml"));
    let read = async |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        match parse_lifecycle(&text) {
            Ok(_) => Ok("read"),
            Err(problems) => refused(&problems, &text),
        }
    };
    session.feed(read).await;
}

fn seeds(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[tokio::test]
async fn expressions_are_understood_or_refused() {
    const WORDS: [&str; 14] = [
        " and ",
        " or ",
        "not ",
        "(",
        ")",
        "'",
        " == ",
        " != ",
        " < ",
        " in ",
        "probe.facts.x",
        "[",
        "1e999",
        "-",
    ];
    let texts = [
        "probe.facts.days_left < 30",
        "probe.state == 'present' and probe.facts.days_left >= 30",
        "not (payload.a == 1 or payload.b != 'x')",
        "((((((((((1 == 1))))))))))",
    ];
    let pairs = [("days_left".to_owned(), "7".to_owned()), ("x".to_owned(), String::new())];
    let names = Value::texts(pairs.iter().map(|(key, value)| (key, value)));
    let read = async |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let Ok(expression) = Expression::parse(&text) else { return Ok("refused") };
        // Whether it holds is of no interest, that it is decided is.
        std::hint::black_box(expression.holds(&names));
        std::hint::black_box(expression.value(&names).text());
        Ok("read")
    };
    Session::new("expressions", &WORDS, seeds(&texts)).feed(read).await;
}

#[tokio::test]
async fn times_of_schedules_are_understood_or_refused() {
    const WORDS: [&str; 12] =
        ["*", "*/", "L", "W", "#", "?", "@daily", "MON-FRI", "1-59/7", ",", " ", "31 2"];
    let texts = ["5 4 * * *", "0 0 1 1 *", "*/15 9-17 * * MON-FRI", "0 0 L * *", "0 3 29 2 *"];
    let berlin = zone("Europe/Berlin").unwrap();
    let read = async |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let Ok(cron) = Cron::parse(&text) else { return Ok("refused") };
        let mut at = NOW;
        for _ in 0..5 {
            match cron.next(&berlin, at) {
                Some(next) if next > at => at = next,
                Some(next) => return Err(format!("after {at:?} comes {next:?}")),
                None => break,
            }
        }
        match Cron::parse(cron.as_str()) {
            Ok(_) => Ok("read"),
            Err(error) => Err(format!("read, but not again: {error}")),
        }
    };
    Session::new("crons", &WORDS, seeds(&texts)).feed(read).await;
}

#[tokio::test]
async fn windows_are_understood_or_refused() {
    const WORDS: [&str; 10] = [
        "daily ",
        "Mon-Fri ",
        "Sat,Sun ",
        "00:00-24:00",
        "23:59-00:01",
        "-",
        ":",
        ",",
        "first Mon ",
        "24:00",
    ];
    let texts = ["daily 01:00-02:00", "Sat,Sun 00:00-24:00", "Mon-Fri 22:00-04:00"];
    let berlin = zone("Europe/Berlin").unwrap();
    let read = async |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let Ok(window) = text.parse::<Window>() else { return Ok("refused") };
        std::hint::black_box(opening(std::slice::from_ref(&window), &berlin, NOW));
        std::hint::black_box(ever_open(std::slice::from_ref(&window), &[]));
        match window.to_string().parse::<Window>() {
            Ok(again) if again == window => Ok("read"),
            other => Err(format!("{window} is read again as {other:?}")),
        }
    };
    Session::new("windows", &WORDS, seeds(&texts)).feed(read).await;
}

#[tokio::test]
async fn what_probes_and_steps_print_is_understood_or_refused() {
    const WORDS: [&str; 8] =
        ["state=present\n", "state=absent\n", "fact.a=b\n", "fact.=\n", "=", "\n", "a=1\n", "\u{0}"];
    let texts =
        ["state=present\nfact.version=1.2\nfact.days_left=29\n", "url=https://example.org\nport=80\n"];
    let read = async |input: &[u8]| {
        std::hint::black_box(read_probe(input));
        match read_told(input) {
            Err(words) if words.len() > 10_000 => Err(format!("{} bytes of words", words.len())),
            _ => Ok("read"),
        }
    };
    Session::new("probes", &WORDS, seeds(&texts)).feed(read).await;
}
