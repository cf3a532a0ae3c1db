//! Who asks for what under which request id: what every command hands to the engine beside its content (P2).

use std::sync::Arc;

use prost::Message;
use settled_proto::v1;
use tonic::{Request, Status};
use zeroize::Zeroizing;

use super::door::Peer;
use super::refusals::Traced;
use super::{Api, methods, status};
use crate::auth::{Principal, Token, Verb};
use crate::engine::Asked;

/// A request that changes something, and so carries a request id.
pub(super) trait Command: Message {
    fn request_id(&mut self) -> &mut String;

    /// What it is about.
    fn named(&self) -> Named;
}

/// What a request is about, as it says itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The object.
    pub(super) object: String,
    /// The server that it is, or is on; empty when the request names none.
    pub(super) server: String,
}

impl Named {
    pub(super) fn object(name: &str) -> Self {
        Self { object: name.to_owned(), server: String::new() }
    }

    fn server(name: &str) -> Self {
        Self { object: name.to_owned(), server: name.to_owned() }
    }

    /// One that is to be; its name is the package's, when none is given.
    fn new_resource(server: &str, package: &str, name: &str) -> Self {
        Self::resource(&format!("{server}/{package}/{}", if name.is_empty() { package } else { name }))
    }

    /// By its path, `web1/site/shop`, or by its id.
    fn resource(path: &str) -> Self {
        let server = path.split_once('/').map(|(server, _)| server).unwrap_or_default();
        Self { object: path.to_owned(), server: server.to_owned() }
    }
}

/// A token by its name. Whoever gives the token itself by mistake must not find it on record.
fn token(named: &str) -> String {
    if Token::read(named).is_ok() { "token: (a secret)".to_owned() } else { format!("token:{named}") }
}

macro_rules! commands {
    ($($request:ident is $named:expr;)+) => {$(
        impl Command for v1::$request {
            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }

            fn named(&self) -> Named {
                let named: fn(&Self) -> Named = $named;
                named(self)
            }
        }
    )+};
}

commands! {
    CreateServerRequest is |m| Named::server(&m.name);
    UpdateServerRequest is |m| Named::server(&m.server);
    RekeyServerRequest is |m| Named::server(&m.server);
    TakeoverServerRequest is |m| Named::server(&m.server);
    ForceUnlockServerRequest is |m| Named::server(&m.server);
    ProbeServerRequest is |m| Named::server(&m.server);
    PauseServerRequest is |m| Named::server(&m.server);
    ResumeServerRequest is |m| Named::server(&m.server);
    DeleteServerRequest is |m| Named::server(&m.server);
    InstallRequest is |m| Named::new_resource(&m.server, &m.package, &m.name);
    AdoptRequest is |m| Named::new_resource(&m.server, &m.package, &m.name);
    UpdateResourceRequest is |m| Named::resource(&m.resource);
    RemoveResourceRequest is |m| Named::resource(&m.resource);
    PauseResourceRequest is |m| Named::resource(&m.resource);
    ResumeResourceRequest is |m| Named::resource(&m.resource);
    RetryResourceRequest is |m| Named::resource(&m.resource);
    ProbeResourceRequest is |m| Named::resource(&m.resource);
    DoRequest is |m| Named::resource(&m.resource);
    CancelRunRequest is |m| Named::object(&m.run_id);
    ReloadPackagesRequest is |_| Named::object("packages");
    ReconcileRequest is |_| Named::object("installation");
    DrainRequest is |_| Named::object("daemon");
    RotateSecretsRequest is |_| Named::object("master key");
    CreateTokenRequest is |m| Named::object(&format!("token:{}", m.name));
    RevokeTokenRequest is |m| Named::object(&token(&m.token));
    CreateNotifierRequest is |m| Named::object(&format!("notifier:{}", m.name));
    TestNotifierRequest is |m| Named::object(&format!("notifier:{}", m.notifier));
    DeleteNotifierRequest is |m| Named::object(&format!("notifier:{}", m.notifier));
    CreateScheduleRequest is |m| Named::object(&m.name);
    UpdateScheduleRequest is |m| Named::object(&m.schedule);
    PauseScheduleRequest is |m| Named::object(&m.schedule);
    ResumeScheduleRequest is |m| Named::object(&m.schedule);
    FireScheduleRequest is |m| Named::object(&m.schedule);
    DeleteScheduleRequest is |m| Named::object(&m.schedule);
    ApplyLifecycleRequest is |_| Named::object("a lifecycle");
    RunLifecycleRequest is |m| Named::object(&m.code);
    DeleteLifecycleRequest is |m| Named::object(&m.code);
    EnrollRequest is |m| Named::object(&format!("{}/{}", m.lifecycle, m.subject));
    AdvanceEnrollmentRequest is |m| Named::object(&m.enrollment);
    RetryEnrollmentRequest is |m| Named::object(&m.enrollment);
    ResetEnrollmentRequest is |m| Named::object(&m.enrollment);
    DecideEnrollmentRequest is |m| Named::object(&m.enrollment);
    DeleteEnrollmentRequest is |m| Named::object(&m.enrollment);
    CleanLifecyclesRequest is |_| Named::object("enrollments and their log");
    CompleteTaskRequest is |m| Named::object(&m.task_id);
    FailTaskRequest is |m| Named::object(&m.task_id);
    DeferTaskRequest is |m| Named::object(&m.task_id);
}

impl Api {
    /// Takes the request id out of a command; the digest is of everything else. Maps are encoded in order of key, so equal requests
    /// have equal digests.
    pub(super) fn asked<M: Command>(
        &self,
        method: &'static str,
        request: Request<M>,
    ) -> Result<(Asked, M), Status> {
        let asked = asked_anew(method, &request, request.get_ref().named())?;
        let mut message = request.into_inner();
        let request_id = std::mem::take(message.request_id());
        let content = Zeroizing::new(message.encode_to_vec());
        let digest = self.engine().fingerprint(&content);
        Ok((Asked { request_id, digest, ..asked }, message))
    }
}

/// Who asks for what, of a request that changes nothing and is done each time that it comes: it has no request id.
pub(super) fn asked_anew<T>(
    method: &'static str,
    request: &Request<T>,
    named: Named,
) -> Result<Asked, Status> {
    let principal = principal(request)?.name.clone();
    if let Some(traced) = request.extensions().get::<Arc<Traced>>() {
        traced.names(named);
    }
    let verb = methods::named(method).map_or(Verb::Administer, |method| method.verb);
    let (request_id, digest, peer) = (String::new(), String::new(), peer(request));
    Ok(Asked { principal, method, request_id, digest, peer, verb })
}

/// Who asks, as the door has found out.
pub(super) fn principal<T>(request: &Request<T>) -> Result<&Principal, Status> {
    request.extensions().get().ok_or_else(status::nobody)
}

/// Where a request came from, in words.
pub(super) fn peer<T>(request: &Request<T>) -> String {
    request.extensions().get().map(Peer::to_string).unwrap_or_default()
}
