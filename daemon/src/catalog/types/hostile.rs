//! Hostile values against every type: each is refused, or kept in a form that is harmless. A type that is not in the table fails.

use std::sync::LazyLock;

use super::*;

/// A type, a value that it takes, and what its canonical forms look like: written down here once more, so that it guards the grammar.
struct Sample {
    kind: ParamType,
    good: &'static str,
    shape: Regex,
}

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(samples);

const HOST: &str = "[a-z0-9]([a-z0-9.-]*[a-z0-9])?";
const ADDRESS: &str = "[0-9a-f]*[.:][0-9a-f.:]*";
const NETWORK: &str = "[0-9a-f]*[.:][0-9a-f.:]*(/[0-9]{1,3})?";
const WORD: &str = "[A-Za-z0-9][A-Za-z0-9._+:-]*";
const PATH: &str = r"(/[^/\p{Cc}]+)+";
const REPOSITORY: &str = r#"[a-zA-Z0-9][^\s\p{Cc}"]*[:/][^\s\p{Cc}"]*"#;

fn sample(kind: ParamType, good: &'static str, shape: &str) -> Sample {
    Sample { kind, good, shape: Regex::new(&format!(r"\A(?:{shape})\z")).unwrap() }
}

/// The pattern of a list of what `one` matches.
fn list_of(one: &str) -> String {
    format!("{one}( {one})*")
}

fn samples() -> Vec<Sample> {
    let values = vec!["static".to_owned(), "php".to_owned()];
    vec![
        sample(ParamType::Text { bytes_max: 1024, pattern: None, multiline: false }, "a word", r"[^\p{Cc}]*"),
        sample(ParamType::Integer { min: -5, max: 99_999 }, "7", "0|-?[1-9][0-9]{0,4}"),
        sample(ParamType::Boolean, "yes", "true|false"),
        sample(ParamType::Enum { values }, "php", "static|php"),
        sample(ParamType::Port, "80", "[1-9][0-9]{0,4}"),
        sample(ParamType::PortRange, "80:90", "[1-9][0-9]{0,4}(:[1-9][0-9]{0,4})?"),
        sample(ParamType::Cidr, "192.0.2.0/24", NETWORK),
        sample(ParamType::CidrOrAny, "any", &format!("any|{NETWORK}")),
        sample(ParamType::Hostname, "www.example.org", HOST),
        sample(ParamType::Hostnames, "example.org *.a.example", &list_of(&format!(r"(\*\.)?{HOST}"))),
        sample(ParamType::Address, "2001:db8::7", ADDRESS),
        sample(ParamType::Addresses, "192.0.2.7 ::1", &list_of(ADDRESS)),
        sample(ParamType::Cidrs, "10.0.0.0/8 ::1", &list_of(NETWORK)),
        sample(ParamType::Words { pattern: None }, "mysql curl", &list_of(WORD)),
        sample(ParamType::Size, "16m", "0|[1-9][0-9]{0,15}[kmg]?"),
        sample(ParamType::DebianPackage, "nginx-full", "[a-z0-9][a-z0-9+.-]*[a-z0-9+.]"),
        sample(ParamType::DebianVersion, "1:1.22.1-9", "([1-9][0-9]*:)?[0-9][A-Za-z0-9.+~-]*"),
        sample(ParamType::SqlName, "shop_1", "[A-Za-z_][A-Za-z0-9_]{0,63}"),
        sample(
            ParamType::Email,
            "ann@example.org",
            &format!(r"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.][^\s\p{{Cc}}@]*@{HOST}"),
        ),
        sample(ParamType::Path, "/srv/a b", PATH),
        sample(
            ParamType::RelativePaths,
            "a/b\n.env",
            r"([^-/\s\p{Cc}][^\p{Cc}]*(\n[^-/\s\p{Cc}][^\p{Cc}]*)*)?",
        ),
        sample(ParamType::UnixUser, "www-data", "[A-Za-z_][A-Za-z0-9_.-]{0,31}"),
        sample(ParamType::Cron, "*/5 8-18 * * mon-fri", "@[a-z]+|[0-9a-z*/,-]+( [0-9a-z*/,-]+){4}"),
        sample(ParamType::Duration, "1h30m", "([1-9][0-9]*[dhms])+"),
        sample(ParamType::Url, "https://a.example/b", r#"https?://[^\s\p{Cc}"]+"#),
        sample(ParamType::GitUrl, "git@h.example:x.git", REPOSITORY),
        sample(ParamType::PathOrGitUrl, "/srv/site.git", &format!("{PATH}|{REPOSITORY}")),
        sample(ParamType::Secret { bytes_max: 100 }, "hunter2", "[^\\s\\S]"),
    ]
}

/// The payloads around a good value, and what is too long.
fn hostile(good: &str) -> Vec<String> {
    let long = ["a", "1", "/a", "a.", "🧪", "-"].map(|part| part.repeat(VALUE_BYTES_MAX));
    payloads::around(good).into_iter().chain(long).collect()
}

fn assert_harmless(sample: &Sample, raw: &str) {
    let (kind, word) = (&sample.kind, sample.kind.word());
    match kind.canonical(raw) {
        Ok(kept) => {
            assert!(sample.shape.is_match(&kept), "{word}: {raw:?} is kept as {kept:?}");
            assert_eq!(kind.canonical(&kept), Ok(kept.clone()), "{word}: canonical once is canonical");
            let dash = !matches!(kind, ParamType::Text { .. } | ParamType::Integer { .. });
            assert!(!(dash && kept.starts_with('-')), "{word}: {kept:?}");
        }
        Err(message) => {
            let clean = !message.chars().any(char::is_control) && message.chars().count() < 400;
            assert!(clean, "{word}: {raw:?} is refused with {message:?}");
        }
    }
}

#[test]
fn p11_two_hundred_hostile_values_of_every_type_are_refused_or_harmless() {
    for sample in &*SAMPLES {
        let values = hostile(sample.good);
        assert!(values.len() >= 200);
        for raw in values {
            assert_harmless(sample, &raw);
        }
        let secret = matches!(sample.kind, ParamType::Secret { .. });
        assert_eq!(sample.kind.canonical(sample.good).is_ok(), !secret, "{}", sample.kind.word());
    }
}

#[test]
fn no_type_is_forgotten() {
    let words: Vec<_> = SAMPLES.iter().map(|sample| sample.kind.word()).collect();
    assert_eq!(words, ParamType::WORDS);
}

proptest::proptest! {
    #[test]
    fn no_value_panics_and_every_canonical_form_is_stable(raw in "\\PC{0,40}|[-0-9a-zA-Z:/.*,@ ]{0,30}") {
        for sample in &*SAMPLES {
            assert_harmless(sample, &raw);
        }
    }
}
