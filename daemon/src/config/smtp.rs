//! `[smtp]`: where mail of notifiers goes, and what can be wrong with that.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Config;
use super::rules::Fault;
use crate::domain::notice::is_address;

/// `[smtp]`
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The mail server: a name or an address. Without it there is no e-mail.
    pub host: Option<String>,
    /// Its port.
    pub port: u32,
    /// How the connection to it is kept from others.
    pub tls: SmtpTls,
    /// Who settled is to it, if it asks.
    pub user: Option<String>,
    /// File with the password of that user, which nobody else may read.
    pub password_file: Option<PathBuf>,
    /// The address that mail comes from.
    pub from: Option<String>,
    /// File with the authorities, in PEM, that it is checked by, instead of the host's.
    pub ca_file: Option<PathBuf>,
}

/// `smtp.tls`
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// TLS is begun before anything is told; a server that does not offer it is told nothing.
    Starttls,
    /// TLS from the first byte on.
    Tls,
    /// None: only to a mail server on this host.
    None,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: None,
            port: 587,
            tls: SmtpTls::Starttls,
            user: None,
            password_file: None,
            from: None,
            ca_file: None,
        }
    }
}

/// What is wrong with where mail goes.
pub(super) fn faults(config: &Config) -> impl Iterator<Item = Fault> {
    let smtp = &config.smtp;
    [host(smtp), sender(smtp), login(smtp), privacy(smtp)].into_iter().flatten()
}

fn fault(text: &str, keys: &[&'static str]) -> Fault {
    Fault { text: text.to_owned(), keys: keys.to_vec() }
}

fn host(smtp: &Smtp) -> Option<Fault> {
    match smtp.host.as_deref() {
        None if smtp.user.is_some() || smtp.from.is_some() => Some(fault(
            "smtp.host is missing, so there is no e-mail: name the mail server, or leave [smtp] out",
            &["smtp.host"],
        )),
        Some(host)
            if host.is_empty()
                || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') =>
        {
            Some(fault("smtp.host must be a name or an address, without port", &["smtp.host"]))
        }
        _ => None,
    }
}

fn sender(smtp: &Smtp) -> Option<Fault> {
    smtp.host.as_ref()?;
    let is_good = smtp.from.as_deref().is_some_and(is_address);
    let text = "smtp.from must be the address that mail comes from, like settled@example.org";
    (!is_good).then(|| fault(text, &["smtp.from"]))
}

fn login(smtp: &Smtp) -> Option<Fault> {
    if smtp.user.as_deref().is_some_and(|user| user.is_empty() || user.chars().any(char::is_control)) {
        return Some(fault("smtp.user must be a name", &["smtp.user"]));
    }
    let text = "smtp.user and smtp.password_file belong together: give both, or none for a mail server that does not ask";
    (smtp.user.is_some() != smtp.password_file.is_some())
        .then(|| fault(text, &["smtp.user", "smtp.password_file"]))
}

fn privacy(smtp: &Smtp) -> Option<Fault> {
    let host = smtp.host.as_deref()?;
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let text = "smtp.tls = none is for a mail server on this host alone, since what is told could be read on its way: use starttls or tls";
    (smtp.tls == SmtpTls::None && !is_here).then(|| fault(text, &["smtp.tls", "smtp.host"]))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources, Surroundings};

    fn with(settings: &[(&str, &str)]) -> Result<Config, String> {
        let env = settings.iter().map(|(key, value)| (format!("SETTLED_SMTP__{key}"), (*value).to_owned()));
        let sources = Sources { env: env.collect(), ..Sources::default() };
        Config::load(&sources, &Surroundings::bare("/home/ann")).map_err(|faults| faults.to_string())
    }

    #[test]
    fn p13_mail_that_cannot_be_sent_is_refused_by_name() {
        let good = [("HOST", "mail.example.org"), ("FROM", "settled@example.org")];
        assert!(with(&[]).is_ok() && with(&good).is_ok());
        let login = [("USER", "settled"), ("PASSWORD_FILE", "/etc/settled/smtp")];
        assert!(with(&[&good[..], &login].concat()).is_ok());
        assert!(with(&[("HOST", "::1"), good[1], ("TLS", "none"), ("PORT", "25")]).is_ok());
        let table: [(&[(&str, &str)], &str); 8] = [
            (&good[..1], "smtp.from"),
            (&good[1..], "smtp.host"),
            (&[good[0], ("FROM", "Settled <settled@example.org>")], "smtp.from"),
            (&[("HOST", "mail example.org"), good[1]], "smtp.host"),
            (&[good[0], good[1], login[0]], "smtp.password_file"),
            (&[good[0], good[1], login[1]], "smtp.password_file"),
            (&[good[0], good[1], ("TLS", "none")], "smtp.tls"),
            (&[good[0], good[1], ("PORT", "0")], "smtp.port"),
        ];
        for (settings, key) in table {
            let message = with(settings).unwrap_err();
            assert!(message.contains(key), "{settings:?}: {message}");
        }
    }
}
