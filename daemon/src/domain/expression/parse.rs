//! Reads expressions: words first, then what binds loosest (`or`) down to values and brackets.

use super::{EXPRESSION_BYTES_MAX, Node, ROOTS, Relation, Value};

/// Brackets and `not` within one another, at most: reading never runs out of stack.
const DEPTH_MAX: usize = 32;

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadExpression {
    /// The byte at which it stops making sense.
    pub at: usize,
    why: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(Value),
    Sign(&'static str),
}

/// Longer ones first.
const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ","];

pub(super) fn parse(text: &str) -> Result<Node, BadExpression> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(bad(0, format!("has {} bytes; at most {EXPRESSION_BYTES_MAX} are allowed", text.len())));
    }
    let mut reader = Reader { tokens: tokens(text)?, next: 0, end: text.len(), depth: 0 };
    let node = reader.or()?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.expected("`and`, `or` or the end")),
    }
}

fn bad(at: usize, why: impl Into<String>) -> BadExpression {
    BadExpression { at, why: why.into() }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, BadExpression> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text.len() - rest.len();
        let Some(first) = rest.chars().next() else { return Ok(found) };
        let (token, length) = if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else if matches!(first, '\'' | '"') {
            quoted(rest, first)
                .ok_or_else(|| bad(at, "a text is not closed with the quote that it began with"))?
        } else if first.is_ascii_digit() || first == '-' {
            number(rest).ok_or_else(|| bad(at, "a number is written like 4, -1 or 2.5"))?
        } else if first.is_ascii_alphabetic() || first == '_' {
            name(rest)
        } else {
            return Err(bad(at, format!("`{first}` means nothing here")));
        };
        found.push((at, token));
        rest = &rest[length..];
    }
}

fn quoted(rest: &str, quote: char) -> Option<(Token, usize)> {
    let inner = &rest[1..];
    let end = inner.find(quote)?;
    Some((Token::Text(inner[..end].to_owned()), end + 2))
}

fn number(rest: &str) -> Option<(Token, usize)> {
    let length = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '-' | '.')).unwrap_or(rest.len());
    let text = &rest[..length];
    let number = match text.parse() {
        Ok(whole) => Value::Whole(whole),
        Err(_) => Value::Number(text.parse().ok().filter(|number: &f64| number.is_finite())?),
    };
    Some((Token::Number(number), length))
}

fn name(rest: &str) -> (Token, usize) {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let length = rest.find(|c: char| !part(c)).unwrap_or(rest.len());
    (Token::Name(rest[..length].to_owned()), length)
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn expected(&self, what: &str) -> BadExpression {
        bad(self.at(), format!("here should be {what}"))
    }

    fn takes(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == Some(wanted);
        self.next += usize::from(found);
        found
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.takes(&Token::Name(word.to_owned()))
    }

    fn takes_sign(&mut self, sign: &'static str) -> bool {
        self.takes(&Token::Sign(sign))
    }

    fn or(&mut self) -> Result<Node, BadExpression> {
        let mut node = self.and()?;
        while self.takes_word("or") {
            node = Node::Or(Box::new(node), Box::new(self.and()?));
        }
        Ok(node)
    }

    fn and(&mut self) -> Result<Node, BadExpression> {
        let mut node = self.not()?;
        while self.takes_word("and") {
            node = Node::And(Box::new(node), Box::new(self.not()?));
        }
        Ok(node)
    }

    fn not(&mut self) -> Result<Node, BadExpression> {
        if !self.takes_word("not") {
            return self.relation();
        }
        self.deeper()?;
        let node = Node::Not(Box::new(self.not()?));
        self.depth -= 1;
        Ok(node)
    }

    fn relation(&mut self) -> Result<Node, BadExpression> {
        let one = self.value()?;
        let relation = match self.peek() {
            Some(Token::Sign("==")) => Relation::Equal,
            Some(Token::Sign("!=")) => Relation::Unequal,
            Some(Token::Sign("<=")) => Relation::AtMost,
            Some(Token::Sign(">=")) => Relation::AtLeast,
            Some(Token::Sign("<")) => Relation::Less,
            Some(Token::Sign(">")) => Relation::More,
            Some(Token::Name(word)) if word == "in" => Relation::In,
            _ => return Ok(one),
        };
        self.next += 1;
        Ok(Node::Relation(relation, Box::new(one), Box::new(self.value()?)))
    }

    fn value(&mut self) -> Result<Node, BadExpression> {
        if self.takes_sign("(") {
            self.deeper()?;
            let node = self.or()?;
            self.depth -= 1;
            return if self.takes_sign(")") { Ok(node) } else { Err(self.expected("`)`")) };
        }
        if self.takes_sign("[") {
            return self.list();
        }
        let at = self.at();
        let node = match self.peek() {
            Some(Token::Text(text)) => Node::Value(Value::Text(text.clone())),
            Some(Token::Number(number)) => Node::Value(number.clone()),
            Some(Token::Name(name)) => named(name, at)?,
            _ => return Err(self.expected("a value")),
        };
        self.next += 1;
        Ok(node)
    }

    fn list(&mut self) -> Result<Node, BadExpression> {
        self.deeper()?;
        let mut nodes = Vec::new();
        while !self.takes_sign("]") {
            nodes.push(self.value()?);
            if !self.takes_sign(",") && self.peek() != Some(&Token::Sign("]")) {
                return Err(self.expected("`,` or `]`"));
            }
        }
        self.depth -= 1;
        Ok(Node::List(nodes))
    }

    fn deeper(&mut self) -> Result<(), BadExpression> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(bad(self.at(), format!("is nested more than {DEPTH_MAX} levels deep")));
        }
        Ok(())
    }
}

fn named(name: &str, at: usize) -> Result<Node, BadExpression> {
    let value = match name {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "nothing" => Value::Nothing,
        "and" | "or" | "not" | "in" => {
            return Err(bad(at, format!("`{name}` needs a value before and after it")));
        }
        _ => {
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            if !ROOTS.contains(&path[0].as_str()) {
                let known = ROOTS.join(", ");
                return Err(bad(
                    at,
                    format!(
                        "`{}` is no name here; names begin with {known}, and texts stand in quotes",
                        path[0]
                    ),
                ));
            }
            if path.iter().any(String::is_empty) {
                return Err(bad(at, format!("`{name}` has a dot too many")));
            }
            return Ok(Node::Path(path));
        }
    };
    Ok(Node::Value(value))
}
