//! A JSON value as YAML: blocks, plain keys, strings in double quotes (YAML 1.2 reads JSON's). No more is needed.

use serde_json::Value;

/// One document without its `---`.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                indent(depth, out);
                out.push_str(&plain_key(key));
                out.push(':');
                nested(value, depth, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, out);
                out.push('-');
                nested(item, depth, out);
            }
        }
        scalar => {
            indent(depth, out);
            out.push_str(&scalar.to_string());
            out.push('\n');
        }
    }
}

/// What follows `key:` or `-`: on the same line when it is a scalar or empty.
fn nested(value: &Value, depth: usize, out: &mut String) {
    let many = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if many {
        out.push('\n');
        block(value, depth + 1, out);
    } else {
        out.push(' ');
        block(value, 0, out);
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Keys that could be read as something else are quoted.
fn plain_key(key: &str) -> String {
    let plain = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&key);
    if plain { key.to_owned() } else { Value::from(key).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_blocks() {
        let value = json!({
            "name": "a: b\nc", "none": null, "n": 3, "list": [1, {"x": true, "y": []}], "map": {}, "on": "off",
        });
        let yaml = "list:\n  - 1\n  -\n    x: true\n    \"y\": []\nmap: {}\n\"n\": 3\nname: \"a: b\\nc\"\nnone: null\n\"on\": \"off\"\n";
        assert_eq!(document(&value), yaml);
    }
}
