//! What the audit tells of a command beside who asked for what: from where, of which server, and what it changed, from what to what.
//! Refusals are noted here too. Secrets are named only, and a long value stands there as its digest.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::told::plain;
use super::{Asked, Engine};
use crate::auth::Verb;
use crate::domain::resource::Resource;
use crate::domain::server::Server;
use crate::store::{AuditResult, AuditRow, Command, StoreError, Touched, Unit};

/// Longest text of a refusal that is kept, in bytes.
const REFUSAL_BYTES_MAX: usize = 2_000;

/// One field that a command changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Which, for instance `web1/site/shop parameters.root`.
    pub field: String,
    /// What it was; absent when it was not there.
    pub old: Option<String>,
    /// What it is; absent when it is not there any more.
    pub new: Option<String>,
}

/// A command that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Who asked, as far as that is known.
    pub principal: String,
    /// Where from.
    pub peer: String,
    /// What the method takes.
    pub verb: Verb,
    /// `Resources.Install`.
    pub method: String,
    /// What the request names.
    pub object: String,
    /// The server that the request names, if it names one.
    pub server: String,
    /// The code of the contract: `PERMISSION_DENIED`.
    pub code: String,
    /// Why, as the caller was told.
    pub why: String,
}

/// A row with what stands in every one.
pub(super) fn row(asked: &Asked, result: AuditResult) -> AuditRow {
    AuditRow {
        principal: asked.principal.clone(),
        peer: asked.peer.clone(),
        verb: asked.verb.as_str(),
        method: asked.method.to_owned(),
        object: String::new(),
        server: String::new(),
        detail: String::new(),
        result,
        changes: String::new(),
        run_id: None,
    }
}

/// The server that was touched, if it is one.
pub(super) fn server_of(touched: &[Touched]) -> Option<String> {
    touched.iter().find_map(|touched| match touched {
        Touched::Server(before, after) => after.as_ref().or(before.as_ref()).map(|s| s.name.clone()),
        Touched::Resource(before, after) => {
            after.as_ref().or(before.as_ref()).map(|resource| resource.server_name.clone())
        }
    })
}

/// What was changed, as JSON; empty when nothing was.
pub(super) fn changes(touched: &[Touched]) -> String {
    let changed: Vec<_> = touched.iter().flat_map(changed).collect();
    if changed.is_empty() {
        return String::new();
    }
    // Texts and nothing else: writing them cannot fail.
    serde_json::to_string(&changed).unwrap_or_default()
}

fn changed(touched: &Touched) -> Vec<Changed> {
    let (name, before, after) = match touched {
        Touched::Server(before, after) => (
            before.as_ref().or(after.as_ref()).map(|s| s.name.clone()),
            before.as_ref().map(fields_of_server),
            after.as_ref().map(fields_of_server),
        ),
        Touched::Resource(before, after) => (
            before.as_ref().or(after.as_ref()).map(|r| format!("{}/{}/{}", r.server_name, r.package, r.name)),
            before.as_ref().map(fields_of_resource),
            after.as_ref().map(fields_of_resource),
        ),
    };
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let mut fields: Vec<_> = before.keys().chain(after.keys()).collect();
    fields.sort_unstable();
    fields.dedup();
    let name = name.unwrap_or_default();
    let changed = fields.into_iter().filter(|field| before.get(*field) != after.get(*field));
    changed
        .map(|field| Changed {
            field: format!("{name} {field}"),
            old: before.get(field).map(|value| plain(value)),
            new: after.get(field).map(|value| plain(value)),
        })
        .collect()
}

fn fields_of_server(server: &Server) -> BTreeMap<String, String> {
    let policy = &server.policy;
    let mut fields: BTreeMap<String, String> = [
        ("host", server.host.clone()),
        ("port", server.port.to_string()),
        ("user", server.user.clone()),
        ("host_key", server.host_key.clone()),
        ("status", server.status.to_string()),
        ("identity", server.identity.to_string()),
        ("time_zone", policy.time_zone.clone()),
        ("repair_dpkg", policy.repair_dpkg.to_string()),
        ("windows", policy.windows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    ]
    .map(|(field, value)| (field.to_owned(), value))
    .into();
    fields.extend(server.via.iter().map(|via| ("via".to_owned(), via.clone())));
    fields.extend(server.labels.iter().map(|(key, value)| (format!("labels.{key}"), value.clone())));
    fields
}

fn fields_of_resource(resource: &Resource) -> BTreeMap<String, String> {
    let parameters = resource.desired.iter();
    let parameters = parameters.map(|(name, value)| (format!("parameters.{name}"), value.clone()));
    let secrets = resource.secrets.iter().map(|name| (format!("secrets.{name}"), "(secret)".to_owned()));
    let status = ("status".to_owned(), resource.status.to_string());
    parameters.chain(secrets).chain([status]).collect()
}

/// What a caller has written, so that it can be kept whatever it is: a database takes no NUL.
fn storable(text: &str) -> String {
    let mut text = text.replace(char::is_control, " ");
    text.truncate(text.floor_char_boundary(REFUSAL_BYTES_MAX));
    text
}

struct Note(Refused);

#[async_trait]
impl Command for Note {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        let refused = &self.0;
        unit.audit(AuditRow {
            principal: refused.principal.clone(),
            peer: refused.peer.clone(),
            verb: refused.verb.as_str(),
            method: refused.method.clone(),
            object: storable(&refused.object),
            server: storable(&refused.server),
            detail: storable(&refused.why),
            result: AuditResult::Refused(refused.code.clone()),
            changes: String::new(),
            run_id: None,
        });
        Ok(())
    }
}

/// What was accepted before has come to its end.
struct NoteEnd {
    asked: Asked,
    object: &'static str,
    detail: String,
}

#[async_trait]
impl Command for NoteEnd {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        let (object, detail) = (self.object.to_owned(), self.detail.clone());
        unit.audit(AuditRow { object, detail, ..row(&self.asked, AuditResult::Done) });
        Ok(())
    }
}

impl Engine {
    /// Notes in the audit how something has ended that was accepted and then done outside of that commit.
    pub(super) async fn audit_end(
        &self,
        asked: Asked,
        object: &'static str,
        detail: String,
    ) -> Result<(), StoreError> {
        self.writer().commit(NoteEnd { asked, object, detail }).await
    }

    /// Notes a refusal in the audit, in a commit of its own: what was refused has written nothing.
    pub async fn note_refusal(&self, refused: Refused) -> Result<(), StoreError> {
        self.writer().commit(Note(refused)).await
    }
}
