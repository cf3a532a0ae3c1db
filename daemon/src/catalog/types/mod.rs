//! Parameter types: which values each takes, and the one canonical form of every value.
//!
//! A grammar here is about what the programs on a server accept, so that a bad value is refused before anything is stored.
//! Control characters are refused everywhere but in multi-line text, where line feed and tab are allowed.

use regex::Regex;

mod cron;
mod list;
mod names;
mod net;
mod path;
mod size;
mod text;
mod time;
mod url;

pub(super) use text::pattern;
pub(super) use time::{duration, shown as span_in_words};

/// Longest value of any parameter, in bytes.
pub const VALUE_BYTES_MAX: usize = 65_536;

/// The type of a parameter.
#[derive(Debug, Clone)]
pub enum ParamType {
    /// Text of one line, or of many.
    Text {
        /// Longest value, in bytes.
        bytes_max: usize,
        /// What the whole text must match.
        pattern: Option<Regex>,
        /// Whether line feed and tab are allowed.
        multiline: bool,
    },
    /// A whole number.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of a few words.
    Enum {
        /// The words.
        values: Vec<String>,
    },
    /// 1 to 65535.
    Port,
    /// A port, or `first:last`.
    PortRange,
    /// An IPv4 or IPv6 address or network.
    Cidr,
    /// An address, a network, or `any`.
    CidrOrAny,
    /// A host name in ASCII.
    Hostname,
    /// Host names of a site or a certificate; each may begin with `*.`.
    Hostnames,
    /// An IPv4 or IPv6 address.
    Address,
    /// Addresses.
    Addresses,
    /// Addresses and networks.
    Cidrs,
    /// Words.
    Words {
        /// What every word must match.
        pattern: Option<Regex>,
    },
    /// An amount of bytes.
    Size,
    /// The name of a Debian package.
    DebianPackage,
    /// The version of a Debian package.
    DebianVersion,
    /// The name of a database or a table.
    SqlName,
    /// A mail address.
    Email,
    /// An absolute path without `.` and `..`.
    Path,
    /// Relative paths, one per line.
    RelativePaths,
    /// The name of a user of the server.
    UnixUser,
    /// When something runs, as cron(8) of Debian accepts it.
    Cron,
    /// A span of time like `90s`, `10m` or `1h30m`.
    Duration,
    /// An http or https address.
    Url,
    /// The address of a git repository.
    GitUrl,
    /// An absolute path on the server, or the address of a git repository.
    PathOrGitUrl,
    /// Bytes that nobody sees.
    Secret {
        /// Longest value, in bytes.
        bytes_max: usize,
    },
}

impl ParamType {
    /// Every word for a type.
    pub const WORDS: [&'static str; 28] = [
        "text",
        "integer",
        "boolean",
        "enum",
        "port",
        "port_range",
        "cidr",
        "cidr_or_any",
        "hostname",
        "hostnames",
        "address",
        "addresses",
        "cidrs",
        "words",
        "size",
        "debian_package",
        "debian_version",
        "sql_name",
        "email",
        "path",
        "relative_paths",
        "unix_user",
        "cron",
        "duration",
        "url",
        "git_url",
        "path_or_git_url",
        "secret",
    ];

    /// The word for the type in definitions and answers.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Integer { .. } => "integer",
            Self::Boolean => "boolean",
            Self::Enum { .. } => "enum",
            Self::Port => "port",
            Self::PortRange => "port_range",
            Self::Cidr => "cidr",
            Self::CidrOrAny => "cidr_or_any",
            Self::Hostname => "hostname",
            Self::Hostnames => "hostnames",
            Self::Address => "address",
            Self::Addresses => "addresses",
            Self::Cidrs => "cidrs",
            Self::Words { .. } => "words",
            Self::Size => "size",
            Self::DebianPackage => "debian_package",
            Self::DebianVersion => "debian_version",
            Self::SqlName => "sql_name",
            Self::Email => "email",
            Self::Path => "path",
            Self::RelativePaths => "relative_paths",
            Self::UnixUser => "unix_user",
            Self::Cron => "cron",
            Self::Duration => "duration",
            Self::Url => "url",
            Self::GitUrl => "git_url",
            Self::PathOrGitUrl => "path_or_git_url",
            Self::Secret { .. } => "secret",
        }
    }

    /// What a value looks like, in words for people.
    pub fn expected(&self) -> String {
        match self {
            Self::Text { bytes_max, pattern: Some(pattern), .. } => {
                format!("text of at most {bytes_max} bytes that matches {}", text::shown(pattern))
            }
            Self::Text { bytes_max, .. } => format!("text of at most {bytes_max} bytes"),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Boolean => "true or false".to_owned(),
            Self::Enum { values } => format!("one of {}", values.join(", ")),
            Self::Port => "a port from 1 to 65535".to_owned(),
            Self::PortRange => "a port like 80, or a range like 6000:6010".to_owned(),
            Self::Cidr => "an address like 192.0.2.7, or a network like 192.0.2.0/24 or 2001:db8::/32".to_owned(),
            Self::CidrOrAny => "any, an address like 192.0.2.7, or a network like 192.0.2.0/24".to_owned(),
            Self::Hostname => "a host name like www.example.org".to_owned(),
            Self::Hostnames => "host names like `example.org www.example.org *.example.net`".to_owned(),
            Self::Address => "an address like 192.0.2.7 or 2001:db8::7".to_owned(),
            Self::Addresses => "addresses like `127.0.0.1 2001:db8::7`".to_owned(),
            Self::Cidrs => "addresses and networks like `192.0.2.7 2001:db8::/32`".to_owned(),
            Self::Words { pattern: Some(pattern) } => {
                format!("words with a space between them, each of which matches {}", text::shown(pattern))
            }
            Self::Words { pattern: None } => "words like `mysql curl`, with a space between them".to_owned(),
            Self::Size => "a number of bytes like 512, 64k, 16m or 2g".to_owned(),
            Self::DebianPackage => "the name of a Debian package like nginx-full".to_owned(),
            Self::DebianVersion => "the version of a Debian package like 1.22.1-9+deb12u1".to_owned(),
            Self::SqlName => "a name of letters, digits and underscores like shop_1, at most 64".to_owned(),
            Self::Email => "a mail address like admin@example.org".to_owned(),
            Self::Path => "an absolute path like /srv/site".to_owned(),
            Self::RelativePaths => "relative paths like storage/uploads, one per line".to_owned(),
            Self::UnixUser => "the name of a user like www-data".to_owned(),
            Self::Cron => "five fields like `*/5 8-18 * * mon-fri`, or a word like @daily".to_owned(),
            Self::Duration => "a span of time like 90s, 10m or 1h30m".to_owned(),
            Self::Url => "an address like https://www.example.org/health".to_owned(),
            Self::GitUrl => {
                "a repository like https://git.example.org/site.git or git@git.example.org:site.git".to_owned()
            }
            Self::PathOrGitUrl => {
                "an absolute path like /srv/site.tar.gz, or a repository like https://git.example.org/site.git"
                    .to_owned()
            }
            Self::Secret { bytes_max } => format!("a secret of at most {bytes_max} bytes"),
        }
    }

    /// The canonical form of a value, or what is wrong with it. Applied to its own answer it changes nothing.
    pub fn canonical(&self, raw: &str) -> Result<String, String> {
        if raw.len() > VALUE_BYTES_MAX {
            return Err(format!("has {} bytes; at most {VALUE_BYTES_MAX} are allowed", raw.len()));
        }
        text::no_controls(raw, matches!(self, Self::Text { multiline: true, .. } | Self::RelativePaths))?;
        let parsed = match self {
            Self::Text { bytes_max, pattern, .. } => {
                return text::text(raw, *bytes_max, pattern.as_ref());
            }
            Self::Integer { min, max } => text::integer(raw, *min, *max),
            Self::Boolean => text::boolean(raw),
            Self::Enum { values } => values.iter().find(|value| *value == raw).cloned(),
            Self::Port => net::port(raw),
            Self::PortRange => net::port_range(raw)?,
            Self::CidrOrAny if raw.eq_ignore_ascii_case("any") => Some("any".to_owned()),
            Self::CidrOrAny if raw.ends_with("/0") => {
                return Err("a network of prefix 0 is every address of one kind only: write any".to_owned());
            }
            Self::Cidr | Self::CidrOrAny => net::cidr(raw)?,
            Self::Hostname => net::hostname(raw),
            Self::Hostnames => list::of(raw, |name| Ok(net::wildcard(name)))?,
            Self::Address => net::address(raw),
            Self::Addresses => list::of(raw, |one| Ok(net::address(one)))?,
            Self::Cidrs => list::of(raw, net::cidr)?,
            Self::Words { pattern } => list::of(raw, |word| Ok(list::word(word, pattern.as_ref())))?,
            Self::Size => size::canonical(raw),
            Self::DebianPackage => names::debian_package(raw),
            Self::DebianVersion => names::debian_version(raw),
            Self::SqlName => names::sql(raw),
            Self::Email => names::email(raw),
            Self::Path => path::absolute(raw)?,
            Self::RelativePaths => Some(path::relative_lines(raw)?),
            Self::UnixUser => text::unix_user(raw),
            Self::Cron => Some(cron::canonical(raw)?),
            Self::Duration => time::duration(raw).map(time::shown),
            Self::Url => url::http(raw)?,
            Self::PathOrGitUrl if raw.starts_with('/') => path::absolute(raw)?,
            Self::GitUrl | Self::PathOrGitUrl => url::git(raw)?,
            Self::Secret { .. } => {
                return Err("is a secret: give it as a secret, not as a parameter".to_owned());
            }
        };
        parsed.ok_or_else(|| format!("`{}` does not fit: expected {}", text::excerpt(raw), self.expected()))
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod payloads;
#[cfg(test)]
mod tests;
