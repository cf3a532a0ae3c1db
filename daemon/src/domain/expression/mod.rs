//! Conditions of lifecycles: a small language that always comes to an end with a value.
//!
//! It has values, names, comparisons, `in`, `not`, `and`, `or` and brackets; no loops, no functions, no arithmetic. What does not exist is
//! `nothing`, so that no name can break a stage. How values are stored or sent is not known here.

mod parse;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

pub use parse::BadExpression;

/// Longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1_000;

/// What a name may begin with.
pub const ROOTS: [&str; 10] =
    ["subject", "payload", "server", "resource", "probe", "stage", "attempt", "deferrals", "is_retry", "now"];

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// It does not exist.
    Nothing,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number: every one of 64 bits is itself, as ids must be.
    Whole(i128),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// A map of texts.
    pub fn texts<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        Self::Map(pairs.into_iter().map(|(name, text)| (name.clone(), Self::Text(text.clone()))).collect())
    }

    /// What stands below it under this name.
    fn below(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(values) => values.get(name),
            _ => None,
        }
    }

    /// Only `true` is true, as a word or as a text: whatever else there is must be compared.
    fn holds(&self) -> bool {
        match self {
            Self::Bool(holds) => *holds,
            Self::Text(text) => text == "true",
            _ => false,
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Whole(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "beside a fraction it is as exact as that can be")]
            Self::Whole(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        }
    }

    /// As the text of a parameter; `None` for what has no text: nothing, lists and maps.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Bool(holds) => Some(holds.to_string()),
            Self::Whole(number) => Some(number.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::Nothing | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// A text is read as a number beside a number, and as `true` or `false` beside one of these.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            (Self::Whole(_) | Self::Number(_), Self::Whole(_) | Self::Number(_) | Self::Text(_))
            | (Self::Text(_), Self::Whole(_) | Self::Number(_)) => match (self.whole(), other.whole()) {
                (Some(one), Some(other)) => Some(one.cmp(&other)),
                _ => self.number()?.partial_cmp(&other.number()?),
            },
            (Self::Bool(_), Self::Bool(_) | Self::Text(_)) | (Self::Text(_), Self::Bool(_)) => {
                self.text()?.partial_cmp(&other.text()?)
            }
            (one, other) => (one == other).then_some(Ordering::Equal),
        }
    }

    fn holds_in(&self, all: &Self) -> bool {
        match all {
            Self::List(values) => values.iter().any(|value| self.compare(value) == Some(Ordering::Equal)),
            Self::Map(values) => self.text().is_some_and(|name| values.contains_key(&name)),
            _ => false,
        }
    }
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
}

impl Relation {
    fn holds(self, one: &Value, other: &Value) -> bool {
        let order = one.compare(other);
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::More => order == Some(Ordering::Greater),
            Self::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Self::In => one.holds_in(other),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Value(Value),
    List(Vec<Node>),
    Path(Vec<String>),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Relation(Relation, Box<Node>, Box<Node>),
}

impl Node {
    fn value(&self, names: &Value) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::List(nodes) => Value::List(nodes.iter().map(|node| node.value(names)).collect()),
            Self::Path(path) => {
                let found = path.iter().try_fold(names, |value, name| value.below(name));
                found.cloned().unwrap_or(Value::Nothing)
            }
            Self::Not(node) => Value::Bool(!node.value(names).holds()),
            Self::And(one, other) => Value::Bool(one.value(names).holds() && other.value(names).holds()),
            Self::Or(one, other) => Value::Bool(one.value(names).holds() || other.value(names).holds()),
            Self::Relation(relation, one, other) => {
                Value::Bool(relation.holds(&one.value(names), &other.value(names)))
            }
        }
    }
}

/// An expression that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    root: Node,
}

impl Expression {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, BadExpression> {
        Ok(Self { text: text.to_owned(), root: parse::parse(text)? })
    }

    /// Its value among these names, a map.
    pub fn value(&self, names: &Value) -> Value {
        self.root.value(names)
    }

    /// Whether its value is true.
    pub fn holds(&self, names: &Value) -> bool {
        self.value(names).holds()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
