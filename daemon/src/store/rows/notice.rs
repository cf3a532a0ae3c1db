//! Rows of notifiers and of what they are told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{clean, corrupt, from_json, to_json, word};
use crate::domain::notice::{Notice, NoticeEvent, Wanted};
use crate::domain::operation::Operation;
use crate::domain::verdict::Reason;
use crate::store::StoreError;

/// A notifier as stored, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct NotifierRow {
    pub id: String,
    pub name: String,
    pub kind: String,
    pub url: String,
    pub recipients: String,
    pub events: String,
    pub labels: String,
    pub packages: String,
    pub principal: String,
    pub created_at: i64,
}

impl NotifierRow {
    /// This one with what it is to be told of.
    #[must_use]
    pub fn wanting(self, wanted: &Wanted) -> Self {
        let events: Vec<_> = wanted.events.iter().map(|event| event.as_str()).collect();
        Self {
            events: to_json(&events),
            labels: to_json(&wanted.labels),
            packages: to_json(&wanted.packages),
            ..self
        }
    }

    /// This one with these recipients.
    #[must_use]
    pub fn to(self, recipients: &[String]) -> Self {
        Self { recipients: to_json(recipients), ..self }
    }

    /// What it is to be told of.
    pub fn wanted(&self) -> Result<Wanted, StoreError> {
        let events: Vec<String> = from_json("events", &self.events)?;
        let event = |name: &String| word("event", name, NoticeEvent::parse);
        let packages: BTreeSet<String> = from_json("packages", &self.packages)?;
        let labels: BTreeMap<String, String> = from_json("labels", &self.labels)?;
        Ok(Wanted { events: events.iter().map(event).collect::<Result<_, _>>()?, labels, packages })
    }

    /// To whom it writes.
    pub fn recipients(&self) -> Result<Vec<String>, StoreError> {
        from_json("recipients", &self.recipients)
    }
}

/// What a notifier is told, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct DeliveryRow {
    pub seq: i64,
    pub notifier_id: String,
    pub notifier: String,
    pub notice: String,
    pub state: String,
    pub attempt: i64,
    pub due: i64,
    pub taken_by: Option<String>,
    pub last_error: String,
    pub created_at: i64,
    pub ended_at: Option<i64>,
}

impl DeliveryRow {
    /// Names it among all, however often it is sent. The time tells it from others of the same number in a store that was restored.
    pub fn id(&self) -> String {
        format!("{}.{}.{}", self.notifier_id, self.seq, self.created_at)
    }

    /// What is told.
    pub fn notice(&self) -> Result<Notice, StoreError> {
        let json: NoticeJson = from_json("notice", &self.notice)?;
        json.try_into()
    }
}

#[derive(Serialize, Deserialize)]
struct NoticeJson {
    event: String,
    server: String,
    package: Option<String>,
    resource: Option<String>,
    operation: Option<String>,
    run: Option<String>,
    reason: Option<String>,
    text: String,
    detail: String,
}

/// How a notice is stored.
pub(in crate::store) fn notice_to_json(notice: &Notice) -> String {
    to_json(&NoticeJson {
        event: notice.event.to_string(),
        server: notice.server.clone(),
        package: notice.package.clone(),
        resource: notice.resource.clone(),
        operation: notice.operation.as_ref().map(ToString::to_string),
        run: notice.run.map(|run| run.to_string()),
        reason: notice.reason.map(|reason| reason.to_string()),
        text: clean(&notice.text),
        detail: clean(&notice.detail),
    })
}

impl TryFrom<NoticeJson> for Notice {
    type Error = StoreError;

    fn try_from(json: NoticeJson) -> Result<Self, StoreError> {
        let reason = json.reason.map(|reason| word("reason", &reason, Reason::parse)).transpose()?;
        let run = json.run.map(|run| run.parse().map_err(|_| corrupt("run id", &run))).transpose()?;
        Ok(Self {
            event: word("event", &json.event, NoticeEvent::parse)?,
            server: json.server,
            package: json.package,
            resource: json.resource,
            operation: json.operation.map(|operation| Operation::from_word(&operation)),
            run,
            reason,
            text: json.text,
            detail: json.detail,
        })
    }
}
