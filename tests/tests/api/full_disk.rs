//! A full disk is one clear sentence, a certain answer, and no lasting harm.

use settled_proto::v1::{GetStatusRequest, ListResourcesRequest};
use settled_tests::disk::SmallDisk;
use settled_tests::engine::{Served, install};
use tonic::Code;
use tonic_types::StatusExt as _;

#[tokio::test]
async fn p1_a_full_disk_refuses_by_name_stores_nothing_and_is_over_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("not run: this user may not mount a small file system");
        return;
    };
    let api = Served::on(&disk).await;
    api.server("web1").await;
    disk.fill();
    // What was set aside before may take a few more.
    let mut accepted = 0;
    let status = loop {
        match api.resources().install(install(&format!("i{accepted}"), "web1", &format!("t{accepted}"))).await
        {
            Ok(_) => accepted += 1,
            Err(status) => break status,
        }
        assert!(accepted < 500, "the disk is not full");
    };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let place = disk.path().display();
    let said = format!("the daemon's disk is full: free space in {place}; nothing was stored");
    assert_eq!(status.message(), said);
    let quota = status.get_error_details().quota_failure().cloned().unwrap();
    assert_eq!(quota.violations[0].subject, "disk");

    // Reading goes on, and what was refused is not there.
    api.admin().get_status(GetStatusRequest {}).await.unwrap();
    let list = ListResourcesRequest { page_size: 500, ..ListResourcesRequest::default() };
    let stored = api.resources().list(list).await.unwrap().into_inner().resources;
    assert_eq!(stored.len(), accepted);

    disk.free();
    let again = install(&format!("i{accepted}"), "web1", &format!("t{accepted}"));
    api.resources().install(again).await.unwrap();
}
