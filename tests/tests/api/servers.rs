//! Commands about servers: ways through jump hosts, host keys, takeovers, force-unlock; and what the audit keeps of them.

use settled::domain::id::{RunId, ServerId};
use settled::domain::server::Reach;
use settled::domain::step::StepId;
use settled::engine::{LaneError, Takeover};
use settled_proto::v1::{
    AuditEntry, CreateServerRequest, DeleteServerRequest, ForceUnlockServerRequest, GetServerRequest,
    ListAuditRequest, ListRunsRequest, RekeyServerRequest, Server, TakeoverServerRequest,
    UpdateServerRequest, Windows,
};
use settled_tests::engine::Served;
use tonic::{Code, Status};

use crate::fields;

fn named(name: &str, via: &str) -> CreateServerRequest {
    CreateServerRequest {
        request_id: format!("server-{name}"),
        name: name.to_owned(),
        host: "192.0.2.1".to_owned(),
        via: via.to_owned(),
        ..CreateServerRequest::default()
    }
}

async fn add(api: &Served, name: &str, via: &str) -> Result<Server, Status> {
    let answer = api.servers().create(named(name, via)).await?.into_inner();
    Ok(answer.server.expect("the answer has the server"))
}

async fn reroute(api: &Served, name: &str, via: &str) -> Result<Server, Status> {
    let request = UpdateServerRequest {
        request_id: format!("{name}-by-{via}"),
        server: name.to_owned(),
        via: Some(via.to_owned()),
        ..UpdateServerRequest::default()
    };
    Ok(api.servers().update(request).await?.into_inner())
}

async fn newest(api: &Served) -> AuditEntry {
    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    audit.entries.into_iter().next().expect("a command was accepted")
}

#[track_caller]
fn told(entry: &AuditEntry, method: &str, detail: &str) {
    assert_eq!(
        (entry.method.as_str(), entry.object.as_str(), entry.detail.as_str()),
        (method, "web1", detail)
    );
}

#[tokio::test]
async fn a_jump_host_is_named_by_name_or_id_and_can_be_taken_away() {
    let api = Served::start().await;
    let gate = add(&api, "gate", "").await.unwrap();
    assert_eq!(gate.via, "");
    assert_eq!(add(&api, "inner", &gate.id).await.unwrap().via, "gate");
    let get = GetServerRequest { server: "inner".to_owned() };
    assert_eq!(api.servers().get(get.clone()).await.unwrap().into_inner().via, "gate");
    assert_eq!(reroute(&api, "inner", "").await.unwrap().via, "");
    assert_eq!(reroute(&api, "inner", "gate").await.unwrap().via, "gate");
    assert_eq!(api.servers().get(get).await.unwrap().into_inner().via, "gate");
}

#[tokio::test]
async fn a_way_in_a_circle_or_through_too_many_is_refused() {
    let api = Served::start().await;
    for (name, via) in [("a", ""), ("b", "a"), ("c", "b"), ("d", "c")] {
        add(&api, name, via).await.unwrap();
    }
    let refused = |status: Status, part: &str| {
        assert_eq!(fields(&status), ["via"]);
        assert!(status.message().contains(part), "{}", status.message());
    };
    refused(add(&api, "e", "d").await.unwrap_err(), "at most 3");
    refused(reroute(&api, "a", "d").await.unwrap_err(), "circle");
    refused(reroute(&api, "a", "b").await.unwrap_err(), "circle");
    // Three are behind `a` already.
    add(&api, "other", "").await.unwrap();
    refused(reroute(&api, "a", "other").await.unwrap_err(), "at most 3");
    // Two are behind `b`: through one more they are three.
    reroute(&api, "b", "other").await.unwrap();
}

#[tokio::test]
async fn a_jump_host_in_use_is_not_removed() {
    let api = Served::start().await;
    // A server that another one needs has no open run here: nobody has queued one but its registration, which is settled first.
    add(&api, "gate", "").await.unwrap();
    add(&api, "inner", "gate").await.unwrap();
    let gate: ServerId = api.server_id("gate").await;
    cancel_all(&api, gate).await;
    let delete =
        |id: &str| DeleteServerRequest { request_id: id.to_owned(), server: "gate".to_owned(), forget: true };
    let status = api.servers().delete(delete("d1")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("inner") && status.message().contains("--direct"), "{status}");
    reroute(&api, "inner", "").await.unwrap();
    api.servers().delete(delete("d2")).await.unwrap();
}

#[tokio::test]
async fn p14_another_host_key_is_in_the_audit_with_the_one_before() {
    let api = Served::start().await;
    api.server("web1").await;
    let key = |letter: &str| format!("SHA256:{}", letter.repeat(43));
    let rekey = |letter: &str| RekeyServerRequest {
        request_id: format!("rekey-{letter}"),
        server: "web1".to_owned(),
        host_key: key(letter),
    };
    let server = api.servers().rekey(rekey("A")).await.unwrap().into_inner();
    assert_eq!(server.host_key, key("A"));
    told(&newest(&api).await, "Servers.Rekey", &format!("none -> {}", key("A")));
    api.servers().rekey(rekey("B")).await.unwrap();
    told(&newest(&api).await, "Servers.Rekey", &format!("{} -> {}", key("A"), key("B")));
    // It is met again before work goes on: once for its registration, once for each key.
    let id = api.server_id("web1").await;
    let open = api.engine.store().read().await.unwrap().db().open_runs_of(id, 10).await.unwrap();
    assert_eq!(open.iter().filter(|run| run.operation.as_str() == "register").count(), 3);
}

#[tokio::test]
async fn p14_a_takeover_is_in_the_audit_and_ends_a_refusal() {
    let api = Served::start().await;
    api.server("web1").await;
    let id = api.server_id("web1").await;
    let hold = api.engine.take_lane(id).await.unwrap();
    api.engine.set_reach(hold, Reach::Refused, "another installation".to_owned()).await.unwrap();
    for (force, word, how) in [(false, "asked", Takeover::Asked), (true, "forced", Takeover::Forced)] {
        let request = TakeoverServerRequest { request_id: word.to_owned(), server: "web1".to_owned(), force };
        let server = api.servers().takeover(request).await.unwrap().into_inner();
        assert_eq!((server.reach(), server.reach_detail.as_str()), (settled_proto::v1::Reach::Ok, ""));
        told(&newest(&api).await, "Servers.Takeover", word);
        assert_eq!(api.engine.takeover(id).await.unwrap(), Some(how));
    }
}

#[tokio::test]
async fn p14_an_unlock_frees_the_lane_and_is_in_the_audit_with_its_reason() {
    let api = Served::start().await;
    api.server("web1").await;
    let id = api.server_id("web1").await;
    let unlock = |id: &str| ForceUnlockServerRequest {
        request_id: id.to_owned(),
        server: "web1".to_owned(),
        reason: "its disk is gone".to_owned(),
    };
    let status = api.servers().force_unlock(unlock("u1")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "nothing holds the lane: {status}");

    let hold = api.engine.take_lane(id).await.unwrap();
    let step = StepId { run: RunId(api.engine.clock().ulid()), step: 0, attempt: 1, try_no: 1 };
    api.engine.taken_over(hold, Takeover::Asked, vec![step]).await.unwrap();
    let answer = api.servers().force_unlock(unlock("u2")).await.unwrap().into_inner();
    assert_eq!(answer.step_ids, [step.to_string()]);
    told(&newest(&api).await, "Servers.ForceUnlock", "its disk is gone");
    assert_eq!(api.servers().force_unlock(unlock("u2")).await.unwrap().into_inner(), answer, "P2");

    let mut reader = api.engine.store().read().await.unwrap();
    let lane = reader.db().lane(id).await.unwrap().unwrap();
    assert_eq!((lane.owner, lane.epoch), (None, hold.epoch + 1));
    let open = reader.db().unresolved(id).await.unwrap();
    assert_eq!(
        open.iter().map(|row| row.abandon).collect::<Vec<_>>(),
        [true],
        "the server has yet to confirm"
    );
    drop(reader);
    let answer = api.engine.set_reach(hold, Reach::Unreachable, "away".to_owned()).await;
    assert!(matches!(answer, Err(LaneError::Lost)), "{answer:?}");
}

/// Ends what is queued on a server.
async fn cancel_all(api: &Served, server: ServerId) {
    let open = api.engine.store().read().await.unwrap().db().open_runs_of(server, 10).await.unwrap();
    for run in open {
        let request = settled_proto::v1::CancelRunRequest {
            request_id: format!("cancel-{}", run.id),
            run_id: run.id.to_string(),
        };
        api.runs().cancel(request).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_allowed_on_a_server_is_shown_changed_part_by_part_and_audited() {
    let api = Served::start().await;
    let server = add(&api, "web1", "").await.unwrap();
    assert_eq!((server.time_zone.as_str(), server.windows.len(), server.repair_dpkg), ("UTC", 0, false));
    let edit = |id: &str| UpdateServerRequest {
        request_id: id.to_owned(),
        server: "web1".to_owned(),
        ..UpdateServerRequest::default()
    };
    let windows =
        |texts: &[&str]| Some(Windows { windows: texts.iter().map(|&text| text.to_owned()).collect() });
    let runs = async || {
        let all = ListRunsRequest { server: "web1".to_owned(), ..ListRunsRequest::default() };
        api.runs().list(all).await.unwrap().into_inner().runs.len()
    };
    let before = runs().await;

    let set = windows(&["Mon,Tue,Wed,Thu,Fri 22:00-06:00", "Sun,Sat 00:00-24:00"]);
    let request =
        UpdateServerRequest { windows: set, time_zone: Some("europe/berlin".to_owned()), ..edit("set") };
    let server = api.servers().update(request).await.unwrap().into_inner();
    assert_eq!(server.windows, ["Mon-Fri 22:00-06:00", "Sat,Sun 00:00-24:00"]);
    assert_eq!(server.time_zone, "Europe/Berlin");
    told(
        &newest(&api).await,
        "Servers.Update",
        "time zone: UTC -> Europe/Berlin; windows: always open -> Mon-Fri 22:00-06:00, Sat,Sun 00:00-24:00",
    );

    let request = UpdateServerRequest { repair_dpkg: Some(true), ..edit("repair") };
    let server = api.servers().update(request).await.unwrap().into_inner();
    assert_eq!((server.windows.len(), server.repair_dpkg), (2, true), "what is not named stays");
    told(&newest(&api).await, "Servers.Update", "repair of dpkg: no -> yes");

    let request = UpdateServerRequest { windows: windows(&[]), ..edit("open") };
    let server = api.servers().update(request).await.unwrap().into_inner();
    assert!(server.windows.is_empty() && server.repair_dpkg && server.time_zone == "Europe/Berlin");
    assert_eq!(runs().await, before, "how it is reached has not changed: it need not be met again");
}

#[tokio::test]
async fn labels_change_alone_and_their_transition_tells_what_they_were() {
    let api = Served::start().await;
    let added = add(&api, "web1", "").await.unwrap();
    let edit = |id: &str, set: &[(&str, &str)], remove: &[&str]| UpdateServerRequest {
        request_id: id.to_owned(),
        server: "web1".to_owned(),
        set_labels: set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        remove_labels: remove.iter().map(|key| (*key).to_owned()).collect(),
        ..UpdateServerRequest::default()
    };
    let labels = |server: &Server| server.labels.clone().into_iter().collect::<Vec<_>>();
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());

    let one = edit("one", &[("site", "berlin"), ("tier", "web")], &[]);
    let one = api.servers().update(one).await.unwrap().into_inner();
    assert_eq!(labels(&one), [pair("site", "berlin"), pair("tier", "web")]);
    let two = edit("two", &[("site", "oslo")], &["tier", "never-there"]);
    let two = api.servers().update(two).await.unwrap().into_inner();
    assert_eq!(labels(&two), [pair("site", "oslo")]);
    let queue = open_runs(&api, &added.id).await;
    assert_eq!(
        queue, 1,
        "another label is no reason to meet the server again: only its registration is queued"
    );

    let mut reader = api.engine.store().read().await.unwrap();
    let transitions = reader.db().transitions(0, 100).await.unwrap();
    let old = |seq: u64| {
        let row = transitions.iter().find(|t| t.seq == i64::try_from(seq).unwrap()).unwrap();
        row.old_labels().unwrap()
    };
    assert_eq!(old(added.seq), None);
    assert_eq!(old(one.seq), Some([].into()));
    assert_eq!(old(two.seq), Some([pair("site", "berlin"), pair("tier", "web")].into()));

    let bad = edit("bad", &[("", "x")], &[]);
    let refused = api.servers().update(bad).await.unwrap_err();
    assert_eq!(fields(&refused), ["set_labels"]);
    assert!(
        refused.message().ends_with("no control characters"),
        "its reason stands behind the key: {refused:?}"
    );
    let bad = edit("bad", &[], &[""]);
    assert_eq!(fields(&api.servers().update(bad).await.unwrap_err()), ["remove_labels"]);
}

async fn open_runs(api: &Served, server: &str) -> usize {
    let request = ListRunsRequest { server: server.to_owned(), ..ListRunsRequest::default() };
    api.runs().list(request).await.unwrap().into_inner().runs.len()
}
