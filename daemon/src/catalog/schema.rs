//! The JSON Schema that editors use, held to the parser: they know the same keys and words, and every package that is sound is sound for
//! both.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::*;

const SCHEMA: &str = include_str!("../../../docs/package.schema.json");

/// What a schema has against a value: where, and which keyword. Knows the keywords that ours uses; any other one is a panic.
struct Validator {
    root: Value,
    found: Vec<String>,
}

impl Validator {
    fn found(value: &Value) -> Vec<String> {
        let mut validator = Self { root: serde_json::from_str(SCHEMA).unwrap(), found: Vec::new() };
        let root = validator.root.clone();
        validator.check(&root, value, "");
        validator.found
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut inner = Self { root: self.root.clone(), found: Vec::new() };
        inner.check(schema, value, "");
        inner.found.is_empty()
    }

    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        for (keyword, wanted) in schema.as_object().unwrap() {
            if !self.holds(keyword, wanted, schema, value, at) {
                self.found.push(format!("{at}: {keyword}"));
            }
        }
    }

    fn holds(&mut self, keyword: &str, wanted: &Value, schema: &Value, value: &Value, at: &str) -> bool {
        let number = || usize::try_from(wanted.as_u64().unwrap()).unwrap();
        let (text, list) = (value.as_str(), value.as_array());
        match keyword {
            "$schema" | "$defs" | "title" | "description" | "default" => true,
            "$ref" => {
                let target = self.root.pointer(wanted.as_str().unwrap().strip_prefix('#').unwrap());
                let target = target.unwrap_or_else(|| panic!("{wanted} leads nowhere")).clone();
                self.check(&target, value, at);
                true
            }
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64(),
                "boolean" => value.is_boolean(),
                other => panic!("the type {other} is not known here"),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => wanted == value,
            "anyOf" => wanted.as_array().unwrap().iter().any(|one| self.fits(one, value)),
            "pattern" => text.is_none_or(|text| matches(wanted.as_str().unwrap(), text)),
            "minLength" => text.is_none_or(|text| text.chars().count() >= number()),
            "maxLength" => text.is_none_or(|text| text.chars().count() <= number()),
            "minimum" => value.as_i64().is_none_or(|n| n >= wanted.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|n| n <= wanted.as_i64().unwrap()),
            "minItems" => list.is_none_or(|list| list.len() >= number()),
            "maxItems" => list.is_none_or(|list| list.len() <= number()),
            "uniqueItems" => {
                list.is_none_or(|list| list.iter().enumerate().all(|(n, one)| !list[..n].contains(one)))
            }
            "items" => {
                for (n, one) in list.into_iter().flatten().enumerate() {
                    self.check(wanted, one, &format!("{at}[{n}]"));
                }
                true
            }
            "required" => value.as_object().is_none_or(|object| {
                wanted.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
            }),
            "propertyNames" => value.as_object().is_none_or(|object| {
                object.keys().all(|name| self.fits(wanted, &Value::String(name.clone())))
            }),
            "properties" | "patternProperties" | "additionalProperties" => {
                self.members(keyword, schema, value, at)
            }
            other => panic!("the keyword {other} is not known here"),
        }
    }

    /// The members of an object that are the business of a keyword.
    fn members(&mut self, keyword: &str, schema: &Value, value: &Value, at: &str) -> bool {
        let mut allowed = true;
        for (name, member) in value.as_object().into_iter().flatten() {
            let named = schema.get("properties").and_then(|all| all.get(name));
            let patterns = schema.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
            let by_pattern =
                patterns.filter(|(pattern, _)| matches(pattern, name)).map(|(_, found)| found).next();
            let found = match keyword {
                "properties" => named,
                "patternProperties" => by_pattern,
                _ if named.is_some() || by_pattern.is_some() => None,
                _ => schema.get("additionalProperties"),
            };
            match found {
                Some(Value::Bool(false)) => allowed = false,
                Some(found) => self.check(&found.clone(), member, &format!("{at}.{name}")),
                None => {}
            }
        }
        allowed
    }
}

/// Whether a pattern of the schema matches. What looks ahead for any character at all is the one thing that our engine lacks.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, empty) = match pattern.strip_prefix("^(?=.)") {
        Some(rest) => (format!("^{rest}"), false),
        None => (pattern.to_owned(), true),
    };
    (empty || !text.is_empty()) && Regex::new(&pattern).unwrap().is_match(text)
}

fn found(text: &str) -> Vec<String> {
    Validator::found(&toml::from_str(text).unwrap())
}

/// A package that has every table.
const WHOLE: &str = r#"name = "thing"
summary = "A thing"
#top

[parameters.port]
type = "port"
summary = "x"
required = false

[parameters.secret]
type = "secret"
summary = "x"

[supported]
debian = ["12"]
#supported
[parameters.other]
summary = "x"
#parameter
[outputs.told]
summary = "x"
#output
[[rules]]
needs = ["port"]
#rule
[operations.install]
timeout = "1m"
#operation
[operations.install.proof]
state = "present"
"fact.port" = "$port"

[[operations.install.steps]]
title = "x"
script = "x"
secrets = ["secret"]
when = { port = { not = ["80"] } }
#step
[operations.update]
same_as = "install"

[operations.remove]
steps = [{ title = "x", script = "x" }]

[probe]
script = "x"
#probe
"#;

/// The whole package with a line put in at a place, and as the type of the parameter `other`, or of the output `told`.
fn with(place: &str, line: &str, kind: &str) -> String {
    let more = if kind == "enum" { "\nvalues = [\"a\"]" } else { "" };
    let (table, other) =
        if place == "output" { ("told]", "[parameters.other]") } else { ("other]", "[outputs.told]") };
    let text = WHOLE.replace(table, &format!("{table}\ntype = \"{kind}\"{more}"));
    let text = text.replace(other, &format!("{other}\ntype = \"port\""));
    let text = if kind == "secret" { text.replace("[\"secret\"]", "[\"secret\", \"other\"]") } else { text };
    text.replace(&format!("#{place}\n"), &format!("{line}\n"))
}

/// The keys that the parser knows at a place: it tells them when there is one that it does not.
fn known_keys(place: &str, kind: &str) -> BTreeSet<String> {
    let text = with(place, "zzzzzzzzzz = 1", kind);
    assert!(!found(&text).is_empty(), "{place}: an unknown key is a mistake in the schema too");
    let problems = parse(&text).expect_err(place);
    let [problem] = &problems[..] else { panic!("{place}: {problems:#?}") };
    let keys = problem.message.strip_prefix("unknown key; known here are ").unwrap();
    keys.split(", ").map(str::to_owned).collect()
}

fn schema_keys(pointer: &str) -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_sound_package_is_sound_for_the_schema() {
    let page = include_str!("../../../docs/packages.md");
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let builtin = BUILTIN.iter().map(|(name, text)| (*name, (*text).to_owned()));
    let others = [("example", example.to_owned()), ("whole", with("", "", "text"))];
    for (name, text) in builtin.chain(others) {
        assert!(parse(&text).is_ok(), "{name}: {:#?}", parse(&text).err());
        assert_eq!(found(&text), [""; 0], "{name}");
    }
}

#[test]
fn the_schema_knows_the_keys_of_the_parser_and_no_others() {
    for (place, pointer) in [
        ("top", "/properties"),
        ("supported", "/$defs/supported/properties"),
        ("rule", "/$defs/rule/properties"),
        ("operation", "/$defs/operation/properties"),
        ("step", "/$defs/step/properties"),
        ("probe", "/$defs/probe/properties"),
    ] {
        assert_eq!(known_keys(place, "text"), schema_keys(pointer), "{place}");
    }
    let of_parameters = ParamType::WORDS.iter().flat_map(|kind| known_keys("parameter", kind)).collect();
    assert_eq!(schema_keys("/$defs/parameter/properties"), of_parameters);
    let kinds = ParamType::WORDS.iter().filter(|kind| !["secret", "relative_paths"].contains(kind));
    let of_outputs = kinds.flat_map(|kind| known_keys("output", kind)).collect();
    assert_eq!(schema_keys("/$defs/output/properties"), of_outputs);
}

#[test]
fn the_schema_knows_the_words_of_the_parser() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let words = |pointer: &str| -> Vec<String> {
        serde_json::from_value(schema.pointer(pointer).unwrap().clone()).unwrap()
    };
    assert_eq!(words("/$defs/type/enum"), ParamType::WORDS);
    assert_eq!(words("/properties/uses/items/enum"), shared::BUILTIN.map(|(name, _)| name));
    for key in ["in_progress", "success"] {
        for word in words(&format!("/$defs/{key}/enum")) {
            assert!(
                parse(&with("operation", &format!("{key} = \"{word}\""), "text")).is_ok(),
                "{key} {word}"
            );
        }
    }
}

#[test]
fn what_is_wrong_for_the_schema_is_wrong_for_the_parser() {
    for (place, line, expected) in [
        ("top", "single = \"yes\"", ".single: type"),
        ("top", "uses = [\"debain\"]", ".uses[0]: enum"),
        ("supported", "ubuntu = false", ".supported.ubuntu: anyOf"),
        ("rule", "say = 1", ".rules[0].say: type"),
        ("operation", "attempts = 0", ".operations.install.attempts: minimum"),
        ("operation", "kill_grace = \"\"", ".operations.install.kill_grace: pattern"),
        ("operation", "kill_grace = \"1s1m\"", ".operations.install.kill_grace: pattern"),
        ("operation", "success = \"failed\"", ".operations.install.success: enum"),
        ("step", "busy = [256]", ".operations.install.steps[0].busy[0]: maximum"),
        ("step", "dpkg = 1", ".operations.install.steps[0].dpkg: type"),
        ("probe", "timeout = 5", ".probe.timeout: type"),
        ("parameter", "default = \"\"", ".parameters.other.default: anyOf"),
    ] {
        let text = with(place, line, "text");
        let shown = found(&text);
        assert!(shown.iter().any(|one| one == expected), "{line}: {shown:?}");
        assert!(parse(&text).is_err(), "{line}");
    }
    for (from, to) in [
        ("name = \"thing\"", "name = \"Thing\""),
        ("state = \"present\"", "state = \"drifted\""),
        ("fact.port", "port"),
    ] {
        let text = with("", "", "text").replacen(from, to, 1);
        assert!(!found(&text).is_empty() && parse(&text).is_err(), "{to}");
    }
}
