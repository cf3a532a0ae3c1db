//! Runs with their steps, what they wait for and what was seen, as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use settled_proto::v1::{
    Evidence, Failure, FollowRunResponse, Freshness, Grounds, LateEvidence, Outcome, OutputStream, Presence,
    Priority, Reason, Run, RunDiagnostics, RunState, Step, StepState, WaitReason, Waiting,
    follow_run_response,
};

use super::{maybe, named, time};

/// A run.
pub(crate) fn run(r: &Run) -> Value {
    let steps: Vec<Value> = r.steps.iter().map(step).collect();
    json!({
        "id": r.id,
        "server_id": r.server_id,
        "server": r.server,
        "resource_id": r.resource_id,
        "resource": r.resource,
        "package": r.package,
        "digest": r.digest,
        "operation": r.operation,
        "exclusive": r.exclusive,
        "state": named::<RunState>(r.state),
        "outcome": named::<Outcome>(r.outcome),
        "reason": named::<Reason>(r.reason),
        "evidence": named::<Evidence>(r.evidence),
        "reconciled": r.reconciled,
        "failure": maybe(r.failure.as_ref(), failure),
        "waiting": maybe(r.waiting.as_ref(), waiting),
        "position": r.position,
        "attempt": r.attempt,
        "max_attempts": r.max_attempts,
        "step": r.step,
        "try": r.r#try,
        "principal": r.principal,
        "retry_of": r.retry_of,
        "cancel_requested": r.cancel_requested,
        "accepted_at": time(r.accepted_at.as_ref()),
        "started_at": time(r.started_at.as_ref()),
        "completed_at": time(r.completed_at.as_ref()),
        "settles_by": time(r.settles_by.as_ref()),
        "step_titles": r.step_titles,
        "steps": steps,
        "summary": r.summary,
        "seq": r.seq,
        "epoch": r.epoch,
        "freshness": named::<Freshness>(r.freshness),
        "stale_at": time(r.stale_at.as_ref()),
        "grounds": maybe(r.grounds.as_ref(), grounds),
        "diagnostics": maybe(r.diagnostics.as_ref(), diagnostics),
        "priority": named::<Priority>(r.priority),
        "outputs": r.outputs,
        "parameters": r.parameters,
    })
}

/// A step.
pub(crate) fn step(s: &Step) -> Value {
    json!({
        "id": s.id,
        "title": s.title,
        "index": s.index,
        "attempt": s.attempt,
        "try": s.r#try,
        "state": named::<StepState>(s.state),
        "exit_code": s.exit_code,
        "why": s.why,
        "started_at": time(s.started_at.as_ref()),
        "ended_at": time(s.ended_at.as_ref()),
        "output_bytes": s.output_bytes,
        "output_bytes_max": s.output_bytes_max,
        "truncated": s.truncated,
        "late": maybe(s.late.as_ref(), late),
    })
}

pub(super) fn grounds(g: &Grounds) -> Value {
    json!({
        "source": g.source,
        "step_id": g.step_id,
        "exit_code": g.exit_code,
        "cause": g.cause,
        "why": g.why,
        "boot_id_before": g.boot_id_before,
        "boot_id_now": g.boot_id_now,
        "lane_free": g.lane_free,
        "processes": g.processes,
        "presence": named::<Presence>(g.presence),
        "facts": g.facts,
    })
}

pub(super) fn late(l: &LateEvidence) -> Value {
    json!({ "at": time(l.at.as_ref()), "text": l.text, "grounds": maybe(l.grounds.as_ref(), grounds) })
}

pub(super) fn diagnostics(d: &RunDiagnostics) -> Value {
    json!({
        "progress_at": time(d.progress_at.as_ref()),
        "stale_after_s": d.stale_after_s,
        "owner": d.owner,
        "owner_lease_until": time(d.owner_lease_until.as_ref()),
        "owner_alive": d.owner_alive,
        "lane_epoch": d.lane_epoch,
        "unresolved_step_ids": d.unresolved_step_ids,
    })
}

pub(super) fn waiting(w: &Waiting) -> Value {
    json!({
        "reason": named::<WaitReason>(w.reason),
        "who": w.who,
        "since": time(w.since.as_ref()),
        "next_try": time(w.next_try.as_ref()),
    })
}

pub(super) fn failure(f: &Failure) -> Value {
    json!({
        "step": f.step,
        "exit_code": f.exit_code,
        "message": f.message,
        "last_lines": f.last_lines,
        "run_id": f.run_id,
        "at": time(f.at.as_ref()),
    })
}

/// A piece of a run's story. Output carries `data` (base64, every byte) and `text` (what of it can be read).
pub(crate) fn follow(r: &FollowRunResponse) -> Value {
    use follow_run_response::Event;
    match &r.event {
        None => json!({}),
        Some(Event::Run(r)) => json!({ "run": run(r) }),
        Some(Event::Step(s)) => json!({ "step": step(s) }),
        Some(Event::Output(o)) => json!({ "output": {
            "step_id": o.step_id,
            "data": BASE64.encode(&o.data),
            "text": String::from_utf8_lossy(&o.data),
            "offset": o.offset,
            "next_offset": o.next_offset,
            "stream": named::<OutputStream>(o.stream),
            "truncated": o.truncated,
        }}),
    }
}
