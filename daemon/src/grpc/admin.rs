//! The service `Admin`.

use settled_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::pages::Page;
use super::{Api, convert};
use crate::domain::server::Reach;
use crate::domain::time::Timestamp;
use crate::engine::Refusal;
use crate::store::AuditRow;

impl Api {
    async fn status(&self) -> Result<v1::GetStatusResponse, Refusal> {
        let engine = self.engine();
        let about = engine.store().about();
        let (counts, seq, rows) = {
            let mut reader = engine.store().read().await?;
            let mut db = reader.db();
            (db.counts().await?, db.last_seq().await?, db.daemons(engine.clock().now()).await?)
        };
        let daemons = convert::daemons(&rows, engine.me(), &engine.catalog().digests())?;
        let of_servers = counts.reach.iter().filter_map(|(reach, n)| warning(reach, *n));
        let of_daemons = daemons.iter().filter_map(convert::daemon_warning);
        let warnings =
            self.parts.steward.warnings().into_iter().chain(of_servers).chain(of_daemons).collect();
        Ok(v1::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            installation_id: about.installation.to_string(),
            generation: about.generation.clone(),
            seq: convert::count(seq),
            database: about.engine.clone(),
            started_at: Some(convert::time(self.parts.started_at)),
            runs_queued: convert::count(counts.queued),
            runs_running: convert::count(counts.running),
            servers: counts.reach.iter().map(|(reach, n)| (reach.clone(), convert::count(*n))).collect(),
            warnings,
            lanes: u32::try_from(engine.hub().at_work()).unwrap_or(u32::MAX),
            daemons,
        })
    }

    async fn audit(&self, m: v1::ListAuditRequest) -> Result<v1::ListAuditResponse, Refusal> {
        let list = v1::ListAuditRequest::default();
        let page = Page::new(self.engine(), "Admin.ListAudit", &list, m.page_size, &m.page_token)?;
        let rows = self.engine().store().read().await?.db().audited(&page.after, page.limit()).await?;
        let (entries, next_page_token) =
            page.cut(rows.into_iter().map(entry).collect(), |e: &v1::AuditEntry| &e.id);
        Ok(v1::ListAuditResponse { entries, next_page_token })
    }
}

/// What is not well with servers of this reach, and what to do.
fn warning(reach: &str, n: i64) -> Option<String> {
    let servers = if n == 1 { "1 server".to_owned() } else { format!("{n} servers") };
    match Reach::parse(reach)? {
        Reach::Ok | Reach::Paused => None,
        Reach::Unreachable => Some(format!(
            "{servers} cannot be reached; settled keeps trying. See which: settlectl server list"
        )),
        Reach::Refused => Some(format!(
            "{servers} refused settled (changed host key, refused login or missing sudo). See which and why: \
             settlectl server list; then settlectl server edit"
        )),
    }
}

fn entry((at, row): (i64, AuditRow)) -> v1::AuditEntry {
    v1::AuditEntry {
        id: row.id,
        at: Some(convert::time(Timestamp(at))),
        principal: row.principal,
        method: row.method,
        object: row.object,
        detail: row.detail,
        result: row.result,
        run_id: row.run_id.unwrap_or_default(),
    }
}

#[async_trait]
impl v1::admin_server::Admin for Api {
    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        self.status().await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn reconcile(
        &self,
        request: Request<v1::ReconcileRequest>,
    ) -> Result<Response<v1::ReconcileResponse>, Status> {
        let (asked, _) = self.asked("Admin.Reconcile", request)?;
        let audit_id = self.engine().accept_reconcile(asked).await.map_err(|r| self.refuse(r))?;
        let report = self.parts.steward.reconcile().await.map_err(|r| self.refuse(r))?;
        if let Some(audit_id) = audit_id {
            self.engine().audit_reconcile(audit_id, &report).await.map_err(|r| self.refuse(r))?;
        }
        Ok(Response::new(convert::reconciled(&report)))
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        self.audit(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }
}
