//! Wires what speaks to whom is outside: webhooks of lifecycles, and what sends notices, by webhook and by mail.

use std::sync::Arc;

use super::House;
use crate::clock::Clock;
use crate::config::{Config, SmtpTls};
use crate::lifecycles::Calls;
use crate::notify::Notices;
use crate::outside::{self, Caller, MailServer, Mailer, Privacy};

/// What sends webhooks of lifecycles, and what sends notices.
pub(super) fn senders(house: &House, config: &Config, clock: &Arc<dyn Clock>) -> (Calls, Notices) {
    let (engine, lease, drain) = (&house.engine, &house.crew.lease, house.crew.drain.clone());
    let caller = Caller::new(Arc::clone(clock), config.webhook.ca_file.clone());
    let mailer = mail_server(config).map(|(server, from)| (Mailer::new(Arc::clone(clock), server), from));
    let notices = Notices::new(engine.clone(), lease.clone(), caller.clone(), mailer);
    (Calls::new(engine.clone(), lease.clone(), caller, move || drain.is_on()), notices)
}

/// Where mail goes, and whom it comes from, if there is a mail server.
fn mail_server(config: &Config) -> Option<(MailServer, String)> {
    let smtp = config.smtp.clone();
    let server = MailServer {
        host: smtp.host?,
        port: u16::try_from(smtp.port).ok()?,
        privacy: match smtp.tls {
            SmtpTls::Starttls => Privacy::StartTls,
            SmtpTls::Tls => Privacy::Tls,
            SmtpTls::None => Privacy::None,
        },
        login: smtp.user.zip(smtp.password_file),
        ca_file: smtp.ca_file,
    };
    Some((server, smtp.from?))
}

/// Checks the files by which others are trusted, and by which they trust us.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    if let Some((server, _)) = mail_server(config) {
        outside::check_mail(&server).map_err(|why| anyhow::anyhow!("[smtp] cannot be used: {why}"))?;
    }
    let files = [("webhook.ca_file", &config.webhook.ca_file), ("traces.ca_file", &config.traces.ca_file)];
    for (key, file) in files {
        if let Some(file) = file {
            outside::check_authorities(file).map_err(|why| anyhow::anyhow!("{key} cannot be used: {why}"))?;
        }
    }
    Ok(())
}
