//! `[database]`: which store, without ever showing its password.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// `[database]`
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://PATH`, the path as it stands, or `postgres://USER@HOST/NAME`. May hold a password: `Debug` leaves it out.
    pub url: String,
}

impl Database {
    /// The URL without its password: for logs and messages.
    pub fn url_redacted(&self) -> String {
        redact(&self.url)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("url", &self.url_redacted()).finish()
    }
}

/// The URL of an SQLite file. What follows `sqlite://` is the path as it stands: nothing is escaped, and nothing is decoded.
pub(super) fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Hides the password in `scheme://user:password@host` and in `?password=`. Rather too much than too little: an
/// unescaped `/` or `@` inside a password does not make the rest of it visible.
fn redact(url: &str) -> String {
    let (head, tail) = match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let (user, host) = (&url[..at], &url[at..]);
            match user[scheme + 3..].find(':') {
                Some(colon) => (format!("{}:***", &user[..scheme + 3 + colon]), host),
                None => (user.to_owned(), host),
            }
        }
        _ => (String::new(), url),
    };
    let Some((place, query)) = tail.split_once('?') else { return head + tail };
    let query: Vec<_> = query
        .split('&')
        .map(|pair| if pair.starts_with("password=") { "password=***" } else { pair })
        .collect();
    format!("{head}{place}?{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_a_database_password_is_never_shown() {
        for url in [
            "postgres://settled:hunter2@db/settled",
            "postgres://settled:hun/ter2@db/settled",
            "postgres://settled:hunter2@hunter2@db/settled?sslmode=require",
            "postgres://settled@db/settled?sslmode=require&password=hunter2",
            "postgres:///settled?host=/run/postgresql&password=hunter2&user=settled",
        ] {
            let shown = format!("{:?}", Database { url: url.to_owned() });
            assert!(!shown.contains("ter2"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
            assert!(shown.contains("settled"), "{shown}");
        }
        assert_eq!(redact("sqlite:///var/lib/settled/settled.db"), "sqlite:///var/lib/settled/settled.db");
    }

    #[test]
    fn the_path_of_an_sqlite_file_survives_its_url() {
        for path in ["/tmp/50%?/a.db", "/tmp/50%25/a b.db", "/tmp/\u{e4}#/a.db"] {
            let url = sqlite_url(Path::new(path));
            assert_eq!(crate::store::sqlite_path(&url).as_deref(), Some(Path::new(path)), "{url}");
        }
    }
}
