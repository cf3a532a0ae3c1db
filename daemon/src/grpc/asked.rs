//! Who asks for what under which request id: what every command hands to the engine beside its content (P2).

use prost::Message;
use settled_proto::v1;
use tonic::{Request, Status};
use zeroize::Zeroizing;

use super::Api;
use crate::auth::Principal;
use crate::engine::Asked;

/// A request that changes something, and so carries a request id.
pub(super) trait Command: Message {
    fn request_id(&mut self) -> &mut String;
}

macro_rules! commands {
    ($($name:ident)+) => {$(
        impl Command for v1::$name {
            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }
        }
    )+};
}

commands! {
    CreateServerRequest UpdateServerRequest RekeyServerRequest TakeoverServerRequest ForceUnlockServerRequest ProbeServerRequest PauseServerRequest ResumeServerRequest DeleteServerRequest
    InstallRequest UpdateResourceRequest RemoveResourceRequest PauseResourceRequest ResumeResourceRequest
    RetryResourceRequest ProbeResourceRequest DoRequest AdoptRequest CancelRunRequest
    ReloadPackagesRequest ReconcileRequest DrainRequest CreateTokenRequest RevokeTokenRequest
    CreateScheduleRequest UpdateScheduleRequest PauseScheduleRequest ResumeScheduleRequest FireScheduleRequest DeleteScheduleRequest
    ApplyLifecycleRequest RunLifecycleRequest DeleteLifecycleRequest EnrollRequest AdvanceEnrollmentRequest RetryEnrollmentRequest
    ResetEnrollmentRequest DecideEnrollmentRequest DeleteEnrollmentRequest CleanLifecyclesRequest
    CompleteTaskRequest FailTaskRequest DeferTaskRequest
}

impl Api {
    /// Takes the request id out of a command; the digest is of everything else. Maps are encoded in order of key, so equal requests
    /// have equal digests.
    pub(super) fn asked<M: Command>(
        &self,
        method: &'static str,
        request: Request<M>,
    ) -> Result<(Asked, M), Status> {
        let principal = principal(&request)?.name.clone();
        let mut message = request.into_inner();
        let request_id = std::mem::take(message.request_id());
        let content = Zeroizing::new(message.encode_to_vec());
        let digest = self.engine().fingerprint(&content);
        Ok((Asked { principal, method, request_id, digest }, message))
    }
}

/// Who asks, as the door has found out.
pub(super) fn principal<T>(request: &Request<T>) -> Result<&Principal, Status> {
    request.extensions().get().ok_or_else(|| Status::permission_denied("nobody knows who is asking"))
}
