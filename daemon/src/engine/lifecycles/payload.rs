//! Payloads: JSON objects that stages hand on, and what expressions see of them.

use serde_json::{Map, Value as Json};

use super::super::Refusal;
use crate::domain::expression::Value;
use crate::domain::params::Outputs;

/// A payload in its one form: an object of at most so many bytes. Nothing is the empty one.
pub(super) fn checked(text: &str, bytes_max: usize) -> Result<String, Refusal> {
    if text.len() > bytes_max.saturating_mul(2) {
        return Err(too_large(text.len(), bytes_max));
    }
    let text = if text.trim().is_empty() { "{}" } else { text };
    let json: Json = serde_json::from_str(text)
        .map_err(|error| Refusal::field("payload", format!("is not JSON: {error}")))?;
    if !json.is_object() {
        return Err(Refusal::field("payload", "must be a JSON object, like {\"plan\": \"pro\"}"));
    }
    if has_rounded(&json) {
        let message =
            "has a whole number of more than 64 bits, which would be rounded: write it as a text, in quotes";
        return Err(Refusal::field("payload", message));
    }
    let text = json.to_string();
    if text.len() > bytes_max { Err(too_large(text.len(), bytes_max)) } else { Ok(text) }
}

/// Whether there is a number in it that may have been a whole one before it was read: those of more than 64 bits lose digits.
fn has_rounded(json: &Json) -> bool {
    /// The first whole number that has no place in 64 bits.
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    match json {
        Json::Number(number) => {
            number.as_i128().is_none() && number.as_f64().is_some_and(|number| number.abs() >= BEYOND / 2.0)
        }
        Json::Array(values) => values.iter().any(has_rounded),
        Json::Object(values) => values.values().any(has_rounded),
        Json::Null | Json::Bool(_) | Json::String(_) => false,
    }
}

fn too_large(bytes: usize, bytes_max: usize) -> Refusal {
    Refusal::field("payload", format!("has {bytes} bytes; at most {bytes_max} are allowed"))
}

/// A payload with other values put into it; `null` takes one away. The error is the end of a sentence about the stage.
pub(super) fn merged(payload: &str, with: Map<String, Json>, bytes_max: usize) -> Result<String, String> {
    let mut object = object(payload);
    for (name, value) in with {
        if value.is_null() {
            object.remove(&name);
        } else {
            object.insert(name, value);
        }
    }
    let text = Json::Object(object).to_string();
    if text.len() > bytes_max {
        return Err(format!("its payload would have {} bytes; at most {bytes_max} are allowed", text.len()));
    }
    Ok(text)
}

/// What a run has told, as values of a payload; an empty one takes a value away.
pub(super) fn told(outputs: &Outputs) -> Map<String, Json> {
    let value = |text: &String| if text.is_empty() { Json::Null } else { Json::String(text.clone()) };
    outputs.iter().map(|(name, text)| (name.clone(), value(text))).collect()
}

/// The object that a stored payload is.
pub(super) fn object(payload: &str) -> Map<String, Json> {
    match serde_json::from_str(payload) {
        Ok(Json::Object(object)) => object,
        _ => Map::new(),
    }
}

/// A payload as expressions see it.
pub(super) fn value(payload: &str) -> Value {
    value_of(&Json::Object(object(payload)))
}

fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nothing,
        Json::Bool(word) => Value::Bool(*word),
        Json::Number(number) => match number.as_i128() {
            Some(whole) => Value::Whole(whole),
            None => number.as_f64().map_or(Value::Nothing, Value::Number),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(values) => Value::List(values.iter().map(value_of).collect()),
        Json::Object(values) => {
            Value::Map(values.iter().map(|(name, value)| (name.clone(), value_of(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_an_object_of_a_limited_size() {
        assert_eq!(checked("", 10).ok().as_deref(), Some("{}"));
        assert_eq!(checked(" { \"a\" : 1 } ", 7).ok().as_deref(), Some("{\"a\":1}"));
        for (text, part) in [("[1]", "a JSON object"), ("{a}", "not JSON"), ("{\"a\":12}", "at most 7")] {
            let error = checked(text, 7).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn whole_numbers_are_never_rounded() {
        for number in ["9007199254740993", "18446744073709551615", "-9223372036854775808"] {
            let kept = checked(&format!("{{\"id\":{number}}}"), 100).expect("it fits 64 bits");
            let Value::Map(seen) = value(&kept) else { panic!("a payload is a map") };
            assert_eq!(seen["id"].text().as_deref(), Some(number));
        }
        for number in ["18446744073709551616", "-9223372036854775809", "[1, {\"x\": 1e300}]"] {
            let error = checked(&format!("{{\"id\":{number}}}"), 100).expect_err(number).to_string();
            assert!(error.contains("as a text"), "{error}");
        }
    }

    #[test]
    fn what_a_stage_tells_is_put_into_the_payload_and_nothing_takes_away() {
        let outputs = [("a", "2"), ("b", ""), ("c", "x")];
        let outputs = outputs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let after = merged(r#"{"a":1,"b":true}"#, told(&outputs), 100);
        assert_eq!(after.as_deref(), Ok(r#"{"a":"2","c":"x"}"#));
        assert!(merged("{}", told(&outputs), 10).is_err_and(|error| error.contains("at most 10")));
    }
}
