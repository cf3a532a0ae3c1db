use settled_proto::v1::{
    ApplyLifecycleResponse, AuditChange, AuditEntry, CleanLifecyclesResponse, EnrollResponse, Enrollment,
    EnrollmentTarget, Evidence, Execution, Failure, FireScheduleResponse, FollowRunResponse,
    GetAuditResponse, Grounds, LastOccurrence, LateEvidence, Lifecycle, Occurrence, OperationTarget, Outcome,
    OutputStream, RefusedTarget, Run, RunDiagnostics, RunLifecycleResponse, RunState, Schedule, Step,
    Waiting, follow_run_response,
};
use settled_proto::v1::{BackupEnd, BackupHead, Bookmark, Transition};
use settled_proto::v1::{Delivery, Notifier};

use super::runs::{diagnostics, grounds, late, waiting};
use super::schedules::{enrollment_target, last_occurrence, occurrence, operation_target, refused_target};
use super::*;

#[test]
fn a_run_keeps_the_names_of_the_contract() {
    let run_message = Run {
        id: "01R".into(),
        state: RunState::Completed as i32,
        outcome: Outcome::Failed as i32,
        reason: Reason::StepFailed as i32,
        evidence: Evidence::ExitRecord as i32,
        seq: u64::MAX,
        r#try: 2,
        completed_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 250_000_000 }),
        failure: Some(Failure { exit_code: Some(0), ..Failure::default() }),
        ..Run::default()
    };
    let value = run(&run_message);
    let table = [
        ("state", json!("completed")),
        ("outcome", json!("failed")),
        ("reason", json!("step_failed")),
        ("evidence", json!("exit_record")),
        ("seq", json!(u64::MAX)),
        ("try", json!(2)),
        ("completed_at", json!("2023-11-14T22:13:20.25Z")),
        ("started_at", Value::Null),
        ("waiting", Value::Null),
        ("reconciled", json!(false)),
    ];
    for (field, expected) in table {
        assert_eq!(value[field], expected, "{field}");
    }
    assert_eq!(value["failure"]["exit_code"], json!(0));
    assert_eq!(failure(&Failure::default())["exit_code"], Value::Null);
}

/// The names of the fields of a message, as the contract compiled them.
fn contract(message: &str) -> Vec<String> {
    use prost_types::FileDescriptorSet;
    let files = <FileDescriptorSet as prost::Message>::decode(settled_proto::DESCRIPTORS).unwrap();
    let found = files.file.iter().flat_map(|f| &f.message_type).find(|m| m.name() == message).unwrap();
    let mut names: Vec<String> = found.field.iter().map(|f| f.name().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn no_field_of_the_contract_is_forgotten() {
    let table = [
        ("Server", server(&Server::default())),
        ("Package", package(&Package::default())),
        ("Supported", supported(&Supported::default())),
        ("Resource", resource(&Resource::default())),
        ("Run", run(&Run::default())),
        ("Step", step(&Step::default())),
        ("Waiting", waiting(&Waiting::default())),
        ("Failure", failure(&Failure::default())),
        ("Observed", observed(&Observed::default())),
        ("Difference", difference(&Difference::default())),
        ("GetStatusResponse", status(&GetStatusResponse::default())),
        ("Drain", drain(&Drain::default())),
        ("DrainResponse", drained(None)),
        ("Grounds", grounds(&Grounds::default())),
        ("LateEvidence", late(&LateEvidence::default())),
        ("RunDiagnostics", diagnostics(&RunDiagnostics::default())),
        ("ReconcileResponse", reconciled(&ReconcileResponse::default())),
        ("SettledRun", settled_run(&SettledRun::default())),
        ("ReleasedLane", released_lane(&ReleasedLane::default())),
        ("StaleRun", stale_run(&StaleRun::default())),
        ("Schedule", schedule(&Schedule::default())),
        ("OperationTarget", operation_target(&OperationTarget::default())),
        ("EnrollmentTarget", enrollment_target(&EnrollmentTarget::default())),
        ("LastOccurrence", last_occurrence(&LastOccurrence::default())),
        ("Occurrence", occurrence(&Occurrence::default())),
        ("RefusedTarget", refused_target(&RefusedTarget::default())),
        ("FireScheduleResponse", fired(&FireScheduleResponse::default())),
        ("RotateSecretsResponse", rotated(&RotateSecretsResponse::default())),
        ("DamagedSecret", damaged_secret(&DamagedSecret::default())),
        ("Token", token(&Token::default())),
        ("CreateTokenResponse", created_token(&CreateTokenResponse::default())),
        ("Notifier", notifier(&Notifier::default())),
        ("Delivery", delivery(&Delivery::default())),
        ("BackupHead", backup_head(&BackupHead::default())),
        ("BackupEnd", backup_end(&BackupEnd::default())),
        ("AuditEntry", audit(&AuditEntry::default())),
        ("AuditChange", audit_change(&AuditChange::default())),
        ("GetAuditResponse", audited(&GetAuditResponse::default())),
        ("CommandResponse", command(&CommandResponse::default())),
        ("CreateServerResponse", created_server(&CreateServerResponse::default())),
        ("DeleteServerResponse", deleted_server(&DeleteServerResponse::default())),
        ("ForceUnlockServerResponse", unlocked_server(&ForceUnlockServerResponse::default())),
        ("Lifecycle", lifecycle(&Lifecycle::default())),
        ("ApplyLifecycleResponse", applied(&ApplyLifecycleResponse::default())),
        ("RunLifecycleResponse", ran(&RunLifecycleResponse::default())),
        ("CleanLifecyclesResponse", cleaned(&CleanLifecyclesResponse::default())),
        ("Enrollment", enrollment(&Enrollment::default())),
        ("EnrollResponse", enrolled(&EnrollResponse::default())),
        ("Execution", execution(&Execution::default())),
        ("CheckPackageResponse", check(&CheckPackageResponse::default())),
    ];
    for (message, value) in table {
        let names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, contract(message), "{message}");
    }
}

#[test]
fn output_loses_no_byte() {
    let output = follow_run_response::Output {
        step_id: "01R.0.1.1".into(),
        data: vec![b'o', b'k', 0xff],
        next_offset: 3,
        truncated: false,
        offset: 0,
        stream: OutputStream::Combined as i32,
    };
    let value = follow(&FollowRunResponse { event: Some(follow_run_response::Event::Output(output)) });
    assert_eq!(value["output"]["data"], "b2v/");
    assert_eq!(value["output"]["text"], "ok\u{fffd}");
    assert_eq!(value["output"]["next_offset"], 3);
    assert_eq!(value["output"]["stream"], "combined");
}

#[test]
fn a_change_names_its_object_by_kind() {
    let object = transition::Object::Resource(Resource { id: "01X".into(), ..Resource::default() });
    let change = Transition {
        seq: 7,
        kind: Kind::Resource as i32,
        change: Change::Gone as i32,
        object: Some(object),
        ..Transition::default()
    };
    let position = Some(Position { generation: "G".into(), seq: 7 });
    let event = Some(watch_response::Event::Transition(change));
    let value = watch(&WatchResponse { position: position.clone(), event, commit_complete: true });
    assert_eq!(value["position"], json!({ "generation": "G", "seq": 7 }));
    assert_eq!(value["transition"]["change"], "gone");
    assert_eq!(value["transition"]["resource"]["id"], "01X");
    let event = Some(watch_response::Event::Bookmark(Bookmark { snapshot_complete: true }));
    assert_eq!(
        watch(&WatchResponse { position, event, commit_complete: true })["bookmark"]["snapshot_complete"],
        true
    );
}
