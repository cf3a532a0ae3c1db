//! The socket: never taken from a live daemon, taken over from a dead one, never open to the world; and an end that does not hang.

use std::os::unix::fs::PermissionsExt as _;

use settled::grpc::{self, BindError};
use settled_proto::v1::{GetStatusRequest, WatchRequest};
use settled_tests::engine::Served;
use tonic::Code;

use crate::soon;

#[tokio::test]
async fn the_socket_of_a_live_daemon_is_not_taken() {
    let api = Served::start().await;
    let error = grpc::bind(api.socket(), None).await.unwrap_err();
    assert!(matches!(error, BindError::Live(_)), "{error}");
    assert!(error.to_string().contains(&api.socket().display().to_string()), "{error}");
    api.admin().get_status(GetStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn the_socket_that_a_dead_daemon_left_is_replaced_and_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settled.sock");
    drop(grpc::bind(&path, None).await.unwrap());
    assert!(path.exists(), "a dead daemon leaves its socket");
    let listener = grpc::bind(&path, None).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let (caller, accepted) = tokio::join!(tokio::net::UnixStream::connect(&path), listener.accept());
    caller.unwrap();
    accepted.unwrap();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else is left: {left:?}");
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone_and_an_unknown_group_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settled.sock");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(grpc::bind(&path, None).await.unwrap_err(), BindError::NotASocket(_)));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let other = dir.path().join("other.sock");
    let error = grpc::bind(&other, Some("no-such-group-here")).await.unwrap_err();
    assert!(matches!(error, BindError::NoGroup(_)), "{error}");
    assert!(error.to_string().contains("listen.unix_group"), "{error}");
    assert!(!other.exists());
}

#[tokio::test]
async fn a_stop_ends_streams_with_unavailable_and_serving_within_its_deadline() {
    let mut api = Served::start().await;
    let mut watch = api.transitions().watch(WatchRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().expect("a bookmark comes at once");
    // A caller that connects and says nothing must not hold the daemon.
    let silent = tokio::net::UnixStream::connect(api.socket()).await.unwrap();
    soon("the end of serving", api.ended()).await.unwrap();
    let status = soon("the end of the stream", watch.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("connect again"), "{status:?}");
    drop(silent);
}
