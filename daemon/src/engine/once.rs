//! Ask twice, get one (P2): the same request id with the same content gives the same answer; with other content it is refused.

use serde::{Deserialize, Serialize};

use super::{Planned, Refusal, audit};
use crate::auth::Verb;
use crate::store::rows::{
    DeliveryRow, EnrollmentRow, LifecycleRow, NotifierRow, OccurrenceRow, ResourceRow, RunRow, ScheduleRow,
    ServerRow,
};
use crate::store::tokens::TokenRow;
use crate::store::{AuditResult, AuditRow, Unit, Wants};

/// Longest request id, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Who asks, for what, under which request id.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The principal's name.
    pub principal: String,
    /// `Resources.Install`.
    pub method: &'static str,
    /// Chosen by the caller.
    pub request_id: String,
    /// Keyed digest of the request's content.
    pub digest: String,
    /// Where the request came from; empty for what settled does by itself.
    pub peer: String,
    /// What the method takes.
    pub verb: Verb,
}

/// What a command answers: the objects as they were stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The server.
    pub server: Option<ServerRow>,
    /// The resource.
    pub resource: Option<ResourceRow>,
    /// The run.
    pub run: Option<RunRow>,
    /// The lifecycle.
    #[serde(default)]
    pub lifecycle: Option<Box<LifecycleRow>>,
    /// The enrollment.
    #[serde(default)]
    pub enrollment: Option<Box<EnrollmentRow>>,
    /// Ids of other objects concerned.
    pub ids: Vec<String>,
    /// The runs in front that install what is required.
    #[serde(default)]
    pub required: Vec<RunRow>,
    /// The schedule.
    #[serde(default)]
    pub schedule: Option<Box<ScheduleRow>>,
    /// What became of its occurrence.
    #[serde(default)]
    pub occurrence: Option<Box<OccurrenceRow>>,
    /// The token.
    #[serde(default)]
    pub token: Option<Box<TokenRow>>,
    /// The notifier.
    #[serde(default)]
    pub notifier: Option<Box<NotifierRow>>,
    /// What it is told.
    #[serde(default)]
    pub delivery: Option<Box<DeliveryRow>>,
    /// Only of a dry run: what else there is to tell.
    #[serde(skip)]
    pub plan: Option<Planned>,
}

impl Answer {
    /// The server that it is about.
    fn server_name(&self) -> Option<&str> {
        let of_run = || self.run.as_ref().map(|run| run.server_name.as_str());
        let of_resource = || self.resource.as_ref().map(|resource| resource.server_name.as_str());
        self.server.as_ref().map(|server| server.name.as_str()).or_else(of_run).or_else(of_resource)
    }
}

impl Asked {
    /// Checks the form of the request id.
    pub fn check(&self) -> Result<(), Refusal> {
        let id = &self.request_id;
        if id.is_empty() {
            return Err(Refusal::field(
                "request_id",
                "is missing: send a fresh id (a ULID or UUID), and the same one when you repeat the request",
            ));
        }
        if id.len() > REQUEST_ID_BYTES_MAX || id.chars().any(char::is_control) {
            return Err(Refusal::field(
                "request_id",
                format!("must have 1 to {REQUEST_ID_BYTES_MAX} bytes and no control characters"),
            ));
        }
        Ok(())
    }

    /// What [`Asked::recall`] looks at.
    pub(super) fn wants(&self, wants: &mut Wants) {
        wants.request(&self.principal, self.method, &self.request_id);
    }

    /// The answer that was given before, if it was.
    pub(super) async fn recall(&self, unit: &mut Unit<'_>) -> Result<Option<Answer>, Refusal> {
        let Some(kept) = unit.request(&self.principal, self.method, &self.request_id).await? else {
            return Ok(None);
        };
        if kept.digest != self.digest {
            return Err(Refusal::field(
                "request_id",
                "was used before with other content: use a fresh id for a new request",
            ));
        }
        let answer = serde_json::from_str(&kept.answer).map_err(|e| {
            Refusal::Internal(format!("the answer kept for this request id cannot be read: {e}"))
        })?;
        Ok(Some(answer))
    }

    /// Keeps the answer, and notes the command in the audit. The last act of an accepted command.
    pub(super) async fn keep(
        &self,
        unit: &mut Unit<'_>,
        answer: &Answer,
        object: String,
    ) -> Result<(), Refusal> {
        self.keep_with(unit, answer, object, String::new()).await
    }

    /// The same; the audit tells `detail` too.
    pub(super) async fn keep_with(
        &self,
        unit: &mut Unit<'_>,
        answer: &Answer,
        object: String,
        detail: String,
    ) -> Result<(), Refusal> {
        let text = serde_json::to_string(answer)
            .map_err(|e| Refusal::Internal(format!("the answer cannot be kept: {e}")))?;
        unit.keep_request((&self.principal, self.method, &self.request_id), &self.digest, &text).await?;
        self.note(unit, answer, object, detail);
        Ok(())
    }

    /// Notes in the audit what an accepted command has done.
    pub(super) fn note(&self, unit: &mut Unit<'_>, answer: &Answer, object: String, detail: String) {
        let touched = unit.touched();
        let server = answer.server_name().map(str::to_owned).or_else(|| audit::server_of(&touched));
        unit.audit(AuditRow {
            object,
            server: server.unwrap_or_default(),
            detail,
            changes: audit::changes(&touched),
            run_id: answer.run.as_ref().map(|run| run.id.clone()),
            ..audit::row(self, AuditResult::Accepted)
        });
    }
}
