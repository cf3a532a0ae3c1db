//! The service `Admin`.

use std::time::Duration;

use settled_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::asked::principal;
use super::stream::Answers;
use super::{Api, check, convert};
use crate::auth::Scope;
use crate::domain::server::{Reach, Server};
use crate::domain::time::Timestamp;
use crate::engine::{Asked, Damaged, DrainOrder, LEFT_MAX, Refusal, Rotation};

/// Most held lanes that `status` names.
const HELD_MAX: i64 = 5;
/// Most damaged secrets that `status` names.
const DAMAGED_TOLD_MAX: usize = 5;
/// How long `status` tells of notices that were given up.
const DEAD_TOLD_FOR: Duration = Duration::from_hours(24);
/// Runs that a drain tells of, at most.
const DRAIN_RUNS_MAX: i64 = 100;

impl Api {
    /// What everybody may hear of it.
    fn status_of_itself(&self) -> v1::GetStatusResponse {
        let about = self.engine().store().about();
        v1::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            installation_id: about.installation.to_string(),
            generation: about.generation.clone(),
            database: about.engine.clone(),
            started_at: Some(convert::time(self.parts.started_at)),
            ..v1::GetStatusResponse::default()
        }
    }

    async fn status(&self) -> Result<v1::GetStatusResponse, Refusal> {
        let engine = self.engine();
        let drain = self.drain_now().await?;
        let now = engine.clock().now();
        let mut reader = engine.store().read().await?;
        let mut db = reader.db();
        let (counts, seq) = (db.counts().await?, db.last_seq().await?);
        let (rows, held) = (db.daemons(now).await?, db.held_servers(HELD_MAX).await?);
        let rotation = engine.rotation(&mut db).await?;
        let dead = db.dead_deliveries(now - DEAD_TOLD_FOR).await?;
        drop(reader);
        let daemons = convert::daemons(&rows, engine.me(), &engine.catalog().digests())?;
        let of_servers = counts.reach.iter().filter_map(|(reach, n)| warning(reach, *n));
        let of_lanes = held.iter().filter_map(|server| held_too_long(server, now));
        let more = counts.held - i64::try_from(held.len()).unwrap_or(0);
        let more = (more > 0).then(|| format!("{more} more lanes are held. See all: settlectl server list"));
        let of_daemons = daemons.iter().filter_map(convert::daemon_warning);
        let of_notifiers = dead.iter().map(|(notifier, n)| not_told(notifier, *n));
        let warnings = self.parts.steward.warnings().into_iter();
        let warnings = warnings.chain(of_servers).chain(of_lanes).chain(more).chain(of_daemons);
        let of_secrets = unfinished(&rotation).into_iter().chain(damaged(&rotation.damaged));
        let warnings = warnings.chain(of_secrets).chain(of_notifiers).collect();
        Ok(v1::GetStatusResponse {
            seq: convert::count(seq),
            runs_queued: convert::count(counts.queued),
            runs_running: convert::count(counts.running),
            servers: counts.reach.iter().map(|(reach, n)| (reach.clone(), convert::count(*n))).collect(),
            warnings,
            lanes: u32::try_from(engine.hub().at_work()).unwrap_or(u32::MAX),
            drain,
            daemons,
            ..self.status_of_itself()
        })
    }

    /// How it drains, and what it waits for.
    async fn drain_now(&self) -> Result<Option<v1::Drain>, Refusal> {
        let Some(draining) = self.parts.steward.draining() else { return Ok(None) };
        let mut reader = self.engine().store().read().await?;
        let runs = reader.db().at_work(self.engine().me(), DRAIN_RUNS_MAX).await?;
        let now = self.engine().clock().now();
        let runs = runs.iter().map(|row| convert::run(row, None, now)).collect::<Result<_, _>>()?;
        Ok(Some(v1::Drain {
            since: Some(convert::time(draining.since)),
            who: draining.who,
            until: draining.until.map(convert::time),
            runs,
        }))
    }

    /// In a task of its own: a caller who goes away must not leave it on record and not done.
    async fn order(&self, asked: Asked, order: DrainOrder) -> Result<(), Refusal> {
        let stopping = self.parts.steward.draining().is_some_and(|draining| draining.until.is_some());
        if stopping && order != DrainOrder::Finish {
            return Err(Refusal::not_now(
                "settled was told to stop and ends when the runs at work have ended: it serves again after its next start \
                 (systemctl restart settled ends the wait)",
            ));
        }
        let api = self.clone();
        let ordering = tokio::spawn(async move {
            let who = asked.principal.clone();
            if api.engine().accept_drain(asked, order).await? {
                api.parts.steward.drain(order, &who);
            }
            Ok(())
        });
        ordering.await.map_err(|error| Refusal::Internal(format!("the drain broke: {error}")))?
    }
}

/// What is left to do of a rotation: a key that this daemon was never given, secrets that are sealed with a former master key, or a key in use
/// that is not in its place.
fn unfinished(rotation: &Rotation) -> Option<String> {
    let Rotation { key, left, main, missing, .. } = rotation;
    if let Some(missing) = missing {
        return Some(format!(
            "This daemon lacks the master key {missing}, with which secrets of the store are sealed: it begins nothing, and leaves all work to daemons \
             that have it. Put the file of that key beside that of its own, with .next behind the name, and have it read: systemctl reload settled \
             (docs/secrets.md)"
        ));
    }
    if *left > 0 {
        let left = if *left >= LEFT_MAX { format!("at least {left}") } else { left.to_string() };
        return Some(format!(
            "{left} secrets are not sealed with the master key {key} yet, and need the former one: settlectl secrets rotate goes on"
        ));
    }
    (key != main).then(|| {
        format!(
            "The master key in use, {key}, is only in the place of the next one: put it in the place of the former one (docs/secrets.md), before \
             anything else is put there"
        )
    })
}

/// Secrets that cannot be opened any more, whose they are, and what to do.
fn damaged(all: &[Damaged]) -> Vec<String> {
    let told = all.iter().take(DAMAGED_TOLD_MAX).map(|Damaged { owner, name, remedy }| {
        format!(
            "The secret `{name}` of {owner} cannot be opened any more: it is damaged in the database; {remedy}"
        )
    });
    let more = all.len().saturating_sub(DAMAGED_TOLD_MAX);
    let more = (more > 0).then(|| {
        format!("Beside these, {more} secrets or more cannot be opened any more: they are told of when some of these have been mended")
    });
    told.chain(more).collect()
}

/// A lane that has been held for too long, by what, and what to do.
fn held_too_long(server: &Server, now: Timestamp) -> Option<String> {
    let (held, name) = (server.held.as_ref()?, &server.name);
    let lives = match held.processes.join(", ") {
        none if none.is_empty() => String::new(),
        some => format!(", and processes of it live: {some}"),
    };
    Some(format!(
        "The lane of {name} has been held for {} s: step {} is not proven to have ended{lives}. End what lives there; if you know that \
         nothing of it does harm: settlectl server unlock {name} --reason TEXT",
        now.since(held.since).as_secs(),
        held.step
    ))
}

/// A notifier that was not told something, and what to do.
fn not_told(notifier: &str, n: i64) -> String {
    let notices = if n == 1 { "1 notice".to_owned() } else { format!("{n} notices") };
    format!(
        "The notifier {notifier} did not take {notices} for a day, so that nobody was told. See which and why: settlectl notifier \
         deliveries --notifier {notifier} --state dead; try it out: settlectl notifier test {notifier}"
    )
}

/// What is not well with servers of this reach, and what to do.
fn warning(reach: &str, n: i64) -> Option<String> {
    let servers = if n == 1 { "1 server".to_owned() } else { format!("{n} servers") };
    match Reach::parse(reach)? {
        Reach::Ok | Reach::Paused => None,
        Reach::Unreachable => Some(format!(
            "{servers} cannot be reached; settled keeps trying. See which: settlectl server list; and why: settlectl server show NAME"
        )),
        Reach::Refused => Some(format!(
            "{servers} refused settled (changed host key, refused login or missing sudo). See which: settlectl server list; why: \
             settlectl server show NAME; then settlectl server rekey (host key) or settlectl server edit"
        )),
    }
}

#[async_trait]
impl v1::admin_server::Admin for Api {
    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        if !self.sight(&request)?.is_whole() {
            return Ok(Response::new(self.status_of_itself()));
        }
        self.status().await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let principal = principal(&request)?;
        let servers = match &principal.scope {
            Scope::Whole => Vec::new(),
            Scope::Of(selectors) => selectors.iter().map(ToString::to_string).collect(),
        };
        let (principal, role) = (principal.name.clone(), convert::role(principal.role).into());
        Ok(Response::new(v1::WhoAmIResponse { principal, role, servers }))
    }

    async fn reconcile(
        &self,
        request: Request<v1::ReconcileRequest>,
    ) -> Result<Response<v1::ReconcileResponse>, Status> {
        let (asked, _) = self.asked("Admin.Reconcile", request)?;
        let is_new = self.engine().accept_reconcile(asked.clone()).await.map_err(|r| self.refuse(r))?;
        let report = self.parts.steward.reconcile().await.map_err(|r| self.refuse(r))?;
        if is_new {
            self.engine().audit_reconcile(asked, &report).await.map_err(|r| self.refuse(r))?;
        }
        Ok(Response::new(convert::reconciled(&report)))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let (asked, message) = self.asked("Admin.Drain", request)?;
        let mode: v1::DrainMode = check::word("mode", message.mode).map_err(|r| self.refuse(r))?;
        let order = match mode {
            v1::DrainMode::Unspecified | v1::DrainMode::Finish => DrainOrder::Finish,
            v1::DrainMode::Detach => DrainOrder::Detach,
            v1::DrainMode::Cancel => DrainOrder::Cancel,
        };
        self.order(asked, order).await.map_err(|r| self.refuse(r))?;
        let drain = self.drain_now().await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(v1::DrainResponse { drain }))
    }

    async fn get_identity(
        &self,
        _: Request<v1::GetIdentityRequest>,
    ) -> Result<Response<v1::GetIdentityResponse>, Status> {
        let key = self.engine().login_key().await.map_err(|r| self.refuse(r))?;
        let comment = format!("settled@{}", self.engine().store().about().installation);
        let (authorized_key, fingerprint) = (key.authorized_key(&comment), key.fingerprint());
        Ok(Response::new(v1::GetIdentityResponse { authorized_key, fingerprint }))
    }

    async fn rotate_secrets(
        &self,
        request: Request<v1::RotateSecretsRequest>,
    ) -> Result<Response<v1::RotateSecretsResponse>, Status> {
        let (asked, _) = self.asked("Admin.RotateSecrets", request)?;
        let Rotation { key, resealed, left, damaged, .. } =
            self.engine().rotate_secrets(asked).await.map_err(|r| self.refuse(r))?;
        let told = |Damaged { owner, name, remedy }| v1::DamagedSecret { owner, name, remedy };
        let damaged = damaged.into_iter().map(told).collect();
        Ok(Response::new(v1::RotateSecretsResponse { key_id: key, resealed, left, damaged }))
    }

    type BackupStream = Answers<v1::BackupResponse>;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        self.backed_up(&request).await.map(Response::new)
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let (asked, message) = self.asked("Admin.CreateToken", request)?;
        self.token_made(asked, message).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        self.tokens(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let (asked, message) = self.asked("Admin.RevokeToken", request)?;
        self.token_revoked(asked, message).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn create_notifier(
        &self,
        request: Request<v1::CreateNotifierRequest>,
    ) -> Result<Response<v1::CreateNotifierResponse>, Status> {
        let (asked, message) = self.asked("Admin.CreateNotifier", request)?;
        self.notifier_made(asked, message).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn list_notifiers(
        &self,
        request: Request<v1::ListNotifiersRequest>,
    ) -> Result<Response<v1::ListNotifiersResponse>, Status> {
        self.notifiers(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn get_notifier(
        &self,
        request: Request<v1::GetNotifierRequest>,
    ) -> Result<Response<v1::GetNotifierResponse>, Status> {
        self.notifier(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn test_notifier(
        &self,
        request: Request<v1::TestNotifierRequest>,
    ) -> Result<Response<v1::TestNotifierResponse>, Status> {
        let (asked, message) = self.asked("Admin.TestNotifier", request)?;
        self.notifier_tested(asked, message).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn delete_notifier(
        &self,
        request: Request<v1::DeleteNotifierRequest>,
    ) -> Result<Response<v1::DeleteNotifierResponse>, Status> {
        let (asked, message) = self.asked("Admin.DeleteNotifier", request)?;
        self.notifier_deleted(asked, message).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn list_deliveries(
        &self,
        request: Request<v1::ListDeliveriesRequest>,
    ) -> Result<Response<v1::ListDeliveriesResponse>, Status> {
        self.deliveries(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        self.audit(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn get_audit(
        &self,
        request: Request<v1::GetAuditRequest>,
    ) -> Result<Response<v1::GetAuditResponse>, Status> {
        self.audited(request.get_ref()).await.map(Response::new).map_err(|r| self.refuse(r))
    }
}
