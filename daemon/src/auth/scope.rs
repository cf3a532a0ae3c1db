//! Scopes: on which servers somebody may do what its role allows. A scope is a list of selectors, of which one has to fit.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Selectors of one scope at most.
pub const SELECTORS_MAX: usize = 64;
/// Longest name of a server, and longest key and value of a label, in bytes: those of the servers themselves.
const PART_BYTES_MAX: usize = 63;

/// The servers on which somebody may do what its role allows. What is on other servers is not there for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All servers, and what belongs to none.
    Whole,
    /// Servers that one of these fits; none when there are no selectors.
    Of(Vec<Selector>),
}

/// Picks servers. Its text is `label:KEY=VALUE` or `server:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// Servers with this label.
    Label {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// The server of this name.
    Server(String),
}

/// How a selector is written.
const FORM: &str = "label:KEY=VALUE (servers with this label) or server:NAME (the server of this name)";

/// Why a text is no selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSelector {
    /// It has another form.
    #[error("must be {FORM}")]
    Form,
    /// No server can have this name.
    #[error(
        "must name a server after `server:`: at most {PART_BYTES_MAX} of a-z, 0-9, '-' and '.', beginning with a letter or digit"
    )]
    Name,
    /// No server can have this label.
    #[error(
        "must have a key and a value of at most {PART_BYTES_MAX} bytes after `label:`, without control characters"
    )]
    Label,
}

impl Scope {
    /// No server at all.
    pub const NOTHING: Self = Self::Of(Vec::new());

    /// Whether a server of this name, with these labels, belongs to it.
    pub fn covers(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Whole => true,
            Self::Of(selectors) => selectors.iter().any(|selector| selector.fits(name, labels)),
        }
    }

    /// Whether all servers belong to it.
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// The servers of one or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, _) | (_, Self::Whole) => Self::Whole,
            (Self::Of(mut all), Self::Of(more)) => {
                all.extend(more);
                all.sort();
                all.dedup();
                Self::Of(all)
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("all servers"),
            Self::Of(selectors) if selectors.is_empty() => f.write_str("no server"),
            Self::Of(selectors) => {
                for (i, selector) in selectors.iter().enumerate() {
                    write!(f, "{}{selector}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }
    }
}

impl Selector {
    fn fits(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Label { key, value } => labels.get(key) == Some(value),
            Self::Server(server) => server == name,
        }
    }
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        if let Some(name) = text.strip_prefix("server:") {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let is_name =
                name.starts_with(letter) && name.chars().all(|c| letter(c) || matches!(c, '-' | '.'));
            let is_short = name.len() <= PART_BYTES_MAX;
            return if is_name && is_short {
                Ok(Self::Server(name.to_owned()))
            } else {
                Err(BadSelector::Name)
            };
        }
        let Some(label) = text.strip_prefix("label:") else { return Err(BadSelector::Form) };
        let (key, value) = label.split_once('=').ok_or(BadSelector::Form)?;
        let fits = |part: &str| part.len() <= PART_BYTES_MAX && !part.chars().any(char::is_control);
        if key.is_empty() || !fits(key) || !fits(value) {
            return Err(BadSelector::Label);
        }
        Ok(Self::Label { key: key.to_owned(), value: value.to_owned() })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label { key, value } => write!(f, "label:{key}={value}"),
            Self::Server(name) => write!(f, "server:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(texts: &[&str]) -> Scope {
        Scope::Of(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn p14_a_selector_is_read_strictly_and_written_as_it_was_read() {
        for text in
            ["server:web1", "server:a.b-c", "label:env=prod", "label:env=", "label:a=b=c", "label:ort=Köln"]
        {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
        let long = |before: &str| format!("{before}{}", "a".repeat(PART_BYTES_MAX + 1));
        let table = [
            ("", BadSelector::Form),
            ("web1", BadSelector::Form),
            ("*", BadSelector::Form),
            ("Server:web1", BadSelector::Form),
            ("label:env", BadSelector::Form),
            ("server:", BadSelector::Name),
            ("server:web1 ", BadSelector::Name),
            ("server:Web1", BadSelector::Name),
            ("server:-a", BadSelector::Name),
            (&long("server:"), BadSelector::Name),
            ("label:=prod", BadSelector::Label),
            ("label:a=b\n", BadSelector::Label),
            (&long("label:a="), BadSelector::Label),
            (&format!("{}=", long("label:")), BadSelector::Label),
        ];
        for (text, bad) in table {
            assert_eq!(text.parse::<Selector>(), Err(bad), "{text}");
        }
    }

    #[test]
    fn p14_a_scope_covers_what_one_of_its_selectors_fits_and_nothing_else() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (prod, test, none) =
            (labels(&[("env", "prod"), ("a", "b")]), labels(&[("env", "test")]), labels(&[]));
        let scope = selectors(&["label:env=prod", "server:web1"]);
        let table = [
            (&scope, "db1", &prod, true),
            (&scope, "db1", &test, false),
            (&scope, "db1", &none, false),
            (&scope, "web1", &none, true),
            (&scope, "web11", &none, false),
            (&scope, "prod", &labels(&[("prod", "env")]), false),
            (&Scope::Whole, "db1", &none, true),
            (&Scope::NOTHING, "db1", &prod, false),
        ];
        for (scope, name, labels, covers) in table {
            assert_eq!(scope.covers(name, labels), covers, "{name} {labels:?} in {scope}");
        }
    }

    #[test]
    fn scopes_come_together_and_all_of_them_is_more_than_some() {
        let (web, prod) = (selectors(&["server:web1"]), selectors(&["label:env=prod", "server:web1"]));
        assert_eq!(web.clone().or(prod.clone()).to_string(), "label:env=prod, server:web1");
        assert_eq!(web.clone().or(Scope::NOTHING), web);
        assert_eq!(prod.or(Scope::Whole), Scope::Whole);
        assert_eq!(
            [Scope::Whole, Scope::NOTHING].map(|scope| scope.to_string()),
            ["all servers", "no server"]
        );
    }
}
