//! Messages of the contract as JSON, by hand and in this one place: field names as in the .proto files, enums as
//! lower-case words, times as RFC 3339, 64-bit numbers as numbers, absent values as null, bytes as base64.

use serde_json::{Value, json};
use settled_proto::v1::{
    Change, CheckPackageResponse, CommandResponse, CreateServerResponse, CreateTokenResponse, Daemon,
    DamagedSecret, DeleteServerResponse, Difference, Drain, ForceUnlockServerResponse, GetIdentityResponse,
    GetStatusResponse, IdentityKind, Kind, LaneHeld, Observed, Package, Parameter, Position, Presence, Reach,
    Reason, ReconcileResponse, ReleasedLane, ReloadPackagesResponse, Resource, ResourceStatus, Role,
    RotateSecretsResponse, Server, ServerStatus, SettledRun, StaleRun, Supported, Token, WatchResponse,
    WhoAmIResponse, transition, watch_response,
};

mod audit;
mod backup;
mod lifecycles;
mod notifiers;
mod runs;
mod schedules;

#[cfg(test)]
use audit::audit_change;
pub(crate) use audit::{audit, audited};
pub(crate) use backup::backup;
#[cfg(test)]
use backup::{backup_end, backup_head};
pub(crate) use lifecycles::{applied, cleaned, enrolled, enrollment, execution, lifecycle, ran};
pub(crate) use notifiers::{delivery, notifier, notifier_story};
use runs::failure;
pub(crate) use runs::{follow, run, step};
pub(crate) use schedules::{fired, schedule, schedule_story};

use super::text;
use super::words::{Word, word};

fn time(at: Option<&prost_types::Timestamp>) -> Value {
    text::time(at).map_or(Value::Null, |t| t.to_string().into())
}

fn named<E: Word>(number: i32) -> Value {
    word::<E>(number).map_or(Value::Null, Value::from)
}

/// A message that may be absent.
fn maybe<M>(message: Option<&M>, convert: fn(&M) -> Value) -> Value {
    message.map_or(Value::Null, convert)
}

fn position(p: &Position) -> Value {
    json!({ "generation": p.generation, "seq": p.seq })
}

/// A page of a list.
pub(crate) fn page<M>(field: &str, rows: &[M], convert: fn(&M) -> Value, next_page_token: &str) -> Value {
    let rows: Vec<Value> = rows.iter().map(convert).collect();
    json!({ field: rows, "next_page_token": next_page_token })
}

/// A server.
pub(crate) fn server(s: &Server) -> Value {
    json!({
        "id": s.id,
        "name": s.name,
        "host": s.host,
        "port": s.port,
        "user": s.user,
        "host_key": s.host_key,
        "identity": named::<IdentityKind>(s.identity),
        "labels": s.labels,
        "status": named::<ServerStatus>(s.status),
        "reach": named::<Reach>(s.reach),
        "reach_detail": s.reach_detail,
        "last_seen": time(s.last_seen.as_ref()),
        "last_error": maybe(s.last_error.as_ref(), failure),
        "facts": s.facts,
        "created_at": time(s.created_at.as_ref()),
        "updated_at": time(s.updated_at.as_ref()),
        "seq": s.seq,
        "via": s.via,
        "time_zone": s.time_zone,
        "windows": s.windows,
        "repair_dpkg": s.repair_dpkg,
        "held": maybe(s.held.as_ref(), held),
    })
}

fn held(h: &LaneHeld) -> Value {
    json!({ "since": time(h.since.as_ref()), "step_id": h.step_id, "processes": h.processes })
}

/// The answer to `server unlock`.
pub(crate) fn unlocked_server(r: &ForceUnlockServerResponse) -> Value {
    json!({ "server": maybe(r.server.as_ref(), server), "step_ids": r.step_ids })
}

/// The answer to `server add`.
pub(crate) fn created_server(r: &CreateServerResponse) -> Value {
    json!({ "server": maybe(r.server.as_ref(), server), "run": maybe(r.run.as_ref(), run) })
}

/// The answer to `server remove`.
pub(crate) fn deleted_server(r: &DeleteServerResponse) -> Value {
    json!({ "forgotten_resource_ids": r.forgotten_resource_ids })
}

/// A package.
pub(crate) fn package(p: &Package) -> Value {
    let operations: Vec<Value> = p
        .operations
        .iter()
        .map(|o| {
            let parameters = parameters(&o.parameters);
            json!({ "name": o.name, "steps": o.steps, "exclusive": o.exclusive, "parameters": parameters })
        })
        .collect();
    let outputs: Vec<Value> =
        p.outputs.iter().map(|o| json!({ "name": o.name, "summary": o.summary, "type": o.r#type })).collect();
    json!({
        "name": p.name,
        "summary": p.summary,
        "digest": p.digest,
        "parameters": parameters(&p.parameters),
        "operations": operations,
        "source": p.source,
        "outputs": outputs,
        "requires": p.requires.iter().map(|r| json!({ "package": r.package, "when": r.when })).collect::<Vec<_>>(),
        "supported": p.supported.as_ref().map(supported),
        "single": p.single,
        "rules": p.rules,
    })
}

fn parameters(all: &[Parameter]) -> Vec<Value> {
    let one = |p: &Parameter| {
        json!({
            "name": p.name,
            "summary": p.summary,
            "type": p.r#type,
            "required": p.required,
            "default_value": p.default_value,
            "secret": p.secret,
            "key": p.key,
            "values": p.values,
        })
    };
    all.iter().map(one).collect()
}

/// Where a package works.
fn supported(s: &Supported) -> Value {
    let distributions: Vec<Value> =
        s.distributions.iter().map(|d| json!({ "name": d.name, "versions": d.versions })).collect();
    json!({ "distributions": distributions, "architectures": s.architectures, "hint": s.hint })
}

/// What is wrong with a definition.
pub(crate) fn check(r: &CheckPackageResponse) -> Value {
    let problems: Vec<Value> = r
        .problems
        .iter()
        .map(|p| json!({ "line": p.line, "field": p.field, "message": p.message }))
        .collect();
    json!({ "problems": problems })
}

/// A resource.
pub(crate) fn resource(r: &Resource) -> Value {
    json!({
        "id": r.id,
        "name": r.name,
        "server_id": r.server_id,
        "server": r.server,
        "package": r.package,
        "status": named::<ResourceStatus>(r.status),
        "desired": r.desired,
        "applied": r.applied,
        "applied_known": r.applied_known,
        "last_error": maybe(r.last_error.as_ref(), failure),
        "observed": maybe(r.observed.as_ref(), observed),
        "open_run_id": r.open_run_id,
        "applied_digest": r.applied_digest,
        "created_at": time(r.created_at.as_ref()),
        "updated_at": time(r.updated_at.as_ref()),
        "seq": r.seq,
        "secrets": r.secrets,
        "outputs": r.outputs,
    })
}

fn difference(d: &Difference) -> Value {
    json!({ "fact": d.fact, "expected": d.expected, "found": d.found })
}

fn observed(o: &Observed) -> Value {
    json!({
        "presence": named::<Presence>(o.presence),
        "facts": o.facts,
        "at": time(o.at.as_ref()),
        "differs": o.differs.iter().map(difference).collect::<Vec<_>>(),
    })
}

/// The answer to a command on a resource.
pub(crate) fn command(r: &CommandResponse) -> Value {
    json!({
        "resource": maybe(r.resource.as_ref(), resource),
        "run": maybe(r.run.as_ref(), run),
        "requirements": r.requirements.iter().map(run).collect::<Vec<_>>(),
    })
}

/// A change or a bookmark.
pub(crate) fn watch(r: &WatchResponse) -> Value {
    use watch_response::Event;
    let mut value =
        json!({ "position": maybe(r.position.as_ref(), position), "commit_complete": r.commit_complete });
    let event = match &r.event {
        None => None,
        Some(Event::Bookmark(b)) => Some(("bookmark", json!({ "snapshot_complete": b.snapshot_complete }))),
        Some(Event::Transition(t)) => Some(("transition", transition(t))),
    };
    if let (Some((name, event)), Some(fields)) = (event, value.as_object_mut()) {
        fields.insert(name.to_owned(), event);
    }
    value
}

fn transition(t: &settled_proto::v1::Transition) -> Value {
    use transition::Object;
    let mut value = json!({
        "seq": t.seq,
        "at": time(t.at.as_ref()),
        "kind": named::<Kind>(t.kind),
        "change": named::<Change>(t.change),
        "object_id": t.object_id,
        "server_id": t.server_id,
        "resource_id": t.resource_id,
        "run_id": t.run_id,
        "old_labels": t.old_labels.as_ref().map(|old| &old.labels),
    });
    let object = match &t.object {
        None => None,
        Some(Object::Server(s)) => Some(("server", server(s))),
        Some(Object::Resource(r)) => Some(("resource", resource(r))),
        Some(Object::Run(r)) => Some(("run", run(r))),
        Some(Object::Step(s)) => Some(("step", step(s))),
        Some(Object::Schedule(s)) => Some(("schedule", schedule(s))),
        Some(Object::Enrollment(e)) => Some(("enrollment", enrollment(e))),
    };
    if let (Some((name, object)), Some(fields)) = (object, value.as_object_mut()) {
        fields.insert(name.to_owned(), object);
    }
    value
}

/// How the daemon is.
pub(crate) fn status(s: &GetStatusResponse) -> Value {
    json!({
        "version": s.version,
        "installation_id": s.installation_id,
        "generation": s.generation,
        "seq": s.seq,
        "database": s.database,
        "started_at": time(s.started_at.as_ref()),
        "runs_queued": s.runs_queued,
        "runs_running": s.runs_running,
        "servers": s.servers,
        "warnings": s.warnings,
        "lanes": s.lanes,
        "drain": maybe(s.drain.as_ref(), drain),
        "daemons": s.daemons.iter().map(daemon).collect::<Vec<_>>(),
    })
}

fn daemon(d: &Daemon) -> Value {
    json!({
        "id": d.id,
        "version": d.version,
        "started_at": time(d.started_at.as_ref()),
        "lanes": d.lanes,
        "answers": d.answers,
        "other_packages": d.other_packages,
        "serves": d.serves,
    })
}

/// Who asks.
pub(crate) fn whoami(answer: &WhoAmIResponse) -> Value {
    json!({
        "principal": answer.principal,
        "role": named::<Role>(answer.role),
        "servers": answer.servers,
    })
}

/// A daemon that begins nothing new.
pub(crate) fn drain(d: &Drain) -> Value {
    json!({
        "since": time(d.since.as_ref()),
        "who": d.who,
        "until": time(d.until.as_ref()),
        "runs": d.runs.iter().map(run).collect::<Vec<_>>(),
    })
}

/// The answer to `drain`, as it stands after the waiting.
pub(crate) fn drained(d: Option<&Drain>) -> Value {
    json!({ "drain": maybe(d, drain) })
}

/// What a reload has changed.
pub(crate) fn reloaded(r: &ReloadPackagesResponse) -> Value {
    json!({ "changed": r.changed })
}

/// What the reconciler did.
pub(crate) fn reconciled(r: &ReconcileResponse) -> Value {
    json!({
        "examined": r.examined,
        "settled": r.settled.iter().map(settled_run).collect::<Vec<_>>(),
        "released": r.released.iter().map(released_lane).collect::<Vec<_>>(),
        "likely_stale": r.likely_stale.iter().map(stale_run).collect::<Vec<_>>(),
        "grace_until": time(r.grace_until.as_ref()),
    })
}

fn settled_run(r: &SettledRun) -> Value {
    json!({
        "run_id": r.run_id,
        "server": r.server,
        "reason": named::<Reason>(r.reason),
        "settles_by": time(r.settles_by.as_ref()),
        "settled_at": time(r.settled_at.as_ref()),
    })
}

fn released_lane(l: &ReleasedLane) -> Value {
    json!({ "server": l.server, "owner": l.owner })
}

fn stale_run(r: &StaleRun) -> Value {
    json!({
        "run_id": r.run_id,
        "server": r.server,
        "progress_at": time(r.progress_at.as_ref()),
        "settles_by": time(r.settles_by.as_ref()),
    })
}

/// A token.
pub(crate) fn token(t: &Token) -> Value {
    json!({
        "id": t.id,
        "name": t.name,
        "role": named::<Role>(t.role),
        "scope": t.scope,
        "principal": t.principal,
        "created_at": time(t.created_at.as_ref()),
        "expires_at": time(t.expires_at.as_ref()),
        "last_used": time(t.last_used.as_ref()),
        "revoked_at": time(t.revoked_at.as_ref()),
    })
}

/// The answer to `identity show`.
pub(crate) fn identity(r: &GetIdentityResponse) -> Value {
    json!({ "authorized_key": r.authorized_key, "fingerprint": r.fingerprint })
}

/// The answer to `secrets rotate`.
pub(crate) fn rotated(r: &RotateSecretsResponse) -> Value {
    let damaged: Vec<_> = r.damaged.iter().map(damaged_secret).collect();
    json!({ "key_id": r.key_id, "resealed": r.resealed, "left": r.left, "damaged": damaged })
}

fn damaged_secret(d: &DamagedSecret) -> Value {
    json!({ "owner": d.owner, "name": d.name, "remedy": d.remedy })
}

/// The answer to `token create`: the only one with the secret.
pub(crate) fn created_token(r: &CreateTokenResponse) -> Value {
    json!({ "token": maybe(r.token.as_ref(), token), "secret": r.secret })
}

#[cfg(test)]
mod tests;
