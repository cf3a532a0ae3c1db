//! What callers from the network are shown: read at the start and on a reload, and by itself when the files have changed, as they do when a
//! certificate is renewed.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::living::Living;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::domain::time::Timestamp;
use crate::grpc::{Credentials, Network, Origins, Tls, TlsFiles};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long before its end `status` tells of a certificate.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// The files that the configuration names, when there is anything to serve with them.
pub(super) fn files(listen: &config::Listen) -> Option<TlsFiles> {
    let config::Tls { cert, key, client_ca } = &listen.tls;
    listen.tcp?;
    Some(TlsFiles { cert: cert.clone()?, key: key.clone()?, client_ca: client_ca.clone() })
}

/// Checks that certificate and key can be used.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    read(config).map(drop)
}

/// Reads what callers are to be shown, if there is TCP at all.
pub(super) fn read(config: &Config) -> anyhow::Result<Option<Credentials>> {
    files(&config.listen)
        .map(|files| Ok(Credentials::read(&files, !config.listen.web.origins.is_empty())?))
        .transpose()
}

/// Listens on TCP, if that is configured.
pub(super) async fn listen(config: &Config) -> anyhow::Result<Option<Network>> {
    let (Some(address), Some(credentials)) = (config.listen.tcp, read(config)?) else { return Ok(None) };
    let tls = Arc::new(Tls::new(credentials));
    let origins = Arc::new(Origins::new(&config.listen.web.origins));
    let network = Network::bind(address, tls, config.listen.tcp_health, origins).await;
    network.map(Some).with_context(|| format!("listen.tcp = {address} cannot be listened on"))
}

/// The state in which the files of a configuration are now.
pub(super) fn stamp(listen: &config::Listen) -> Stamp {
    let Some(TlsFiles { cert, key, client_ca }) = files(listen) else { return Stamp::new() };
    [Some(cert), Some(key), client_ca].iter().flatten().map(|path| stamp_of(path)).collect()
}

/// Sees to it that what is shown is what the files hold.
pub(super) struct Certificates {
    tls: Arc<Tls>,
    /// Whose pages may call from browsers.
    origins: Arc<Origins>,
    living: Arc<Living>,
    clock: Arc<dyn Clock>,
    /// Why what the files hold now is not shown.
    refused: RwLock<Option<String>>,
}

/// A state of the files: what tells it from another one.
pub(super) type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

impl Certificates {
    /// Those that callers from the network are shown, if there are any, watched until `stop`. `read`: the state of the files before they were
    /// read.
    pub(super) fn watched(
        network: Option<&Network>,
        read: Stamp,
        (living, clock): (&Arc<Living>, &Arc<dyn Clock>),
        stop: &CancellationToken,
    ) -> Option<Arc<Self>> {
        let (tls, origins) = (Arc::clone(&network?.tls), Arc::clone(&network?.origins));
        let (living, clock) = (Arc::clone(living), Arc::clone(clock));
        let certificates = Arc::new(Self { tls, origins, living, clock, refused: RwLock::default() });
        tokio::spawn(Arc::clone(&certificates).watch(read, stop.clone()));
        Some(certificates)
    }

    /// Shows these from here on.
    pub(super) fn replace(&self, credentials: Credentials) {
        self.tls.replace(credentials);
        self.set_refused(None);
    }

    /// Lets pages of these origins call from here on.
    pub(super) fn let_in(&self, origins: &[String]) {
        self.origins.replace(origins);
    }

    /// Whether that was not so before.
    fn set_refused(&self, why: Option<String>) -> bool {
        let mut refused = self.refused.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = *refused != why;
        *refused = why;
        is_news
    }

    /// Looks at the files until `stop`. What has changed is read once it has been at rest from one look to the next: who renews a
    /// certificate writes its key, too.
    async fn watch(self: Arc<Self>, mut shown: Stamp, stop: CancellationToken) {
        let mut last = shown.clone();
        loop {
            let pause = self.clock.sleep_until(self.clock.monotonic() + LOOK_EVERY);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            let now = stamp(&self.living.config().listen);
            // What could not be read is tried again: it may have been for want of a descriptor.
            if now != shown && now == last && self.read_again() {
                shown.clone_from(&now);
            }
            last = now;
        }
    }

    /// Whether what the files hold is shown now.
    fn read_again(&self) -> bool {
        match read(&self.living.config()) {
            Ok(Some(credentials)) => {
                self.replace(credentials);
                tracing::info!("the certificate for callers from the network was renewed");
                true
            }
            Ok(None) => true,
            Err(error) => {
                let why = format!("{error:#}");
                if self.set_refused(Some(why.clone())) {
                    tracing::warn!(
                        error = why,
                        "the files of listen.tls have changed and cannot be used; the certificate as it was is shown on"
                    );
                }
                false
            }
        }
    }

    /// What is not well with the certificate, and what to do.
    pub(super) fn warnings(&self) -> Vec<String> {
        let refused = self.refused.read().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = refused.map(|why| {
            format!("{why}. The certificate as it was before is shown on. Put the files in order: they are read again when they change")
        });
        let expiry = self.tls.expires().and_then(|at| expiry(at, self.clock.now()));
        refused.into_iter().chain(expiry).collect()
    }
}

fn stamp_of(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// What is to be said of a certificate that is good until then.
fn expiry(at: Timestamp, now: Timestamp) -> Option<String> {
    const NEXT: &str = "Renew it and put it in the place of listen.tls.cert: it is read by itself";
    if now >= at {
        return Some(format!(
            "The certificate for callers from the network has expired: they do not come in any more. {NEXT}"
        ));
    }
    let left = at.since(now);
    (left < WARN_BEFORE).then(|| {
        format!("The certificate for callers from the network expires in {} h. {NEXT}", left.as_secs() / 3600)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_of_before_it_expires_and_after() {
        let now = Timestamp(1_000_000_000_000);
        let table = [(15 * 86_400, ""), (2 * 3600, "expires in 2 h"), (0, "has expired")];
        for (left, said) in table {
            let told = expiry(now + Duration::from_secs(left), now).unwrap_or_default();
            assert_eq!(told.is_empty(), said.is_empty(), "{told}");
            assert!(told.contains(said), "{told}");
        }
    }
}
