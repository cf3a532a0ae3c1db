//! Behind the door: every request comes through here, with the user id that the kernel vouches for. A method that declares no right is
//! not let through (P14).

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use settled_proto::v1::Verb as WireVerb;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::door::Peer;
use super::refusals::Traced;
use super::sparse::Sparse;
use crate::auth::{Gate, Principal, Role, Verb};
use crate::clock::Clock;

/// Open to every caller who was let in; they tell nothing of servers.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// Puts the guard before all services.
#[derive(Clone)]
pub(super) struct GuardLayer {
    guard: Arc<Guard>,
}

struct Guard {
    gate: Gate,
    clock: Arc<dyn Clock>,
    strangers: Sparse,
    denied: Sparse,
    rights: HashMap<&'static str, Verb>,
}

impl GuardLayer {
    pub(super) fn new(gate: Gate, clock: Arc<dyn Clock>) -> Self {
        let right = |&(path, verb, _scope): &(&'static str, i32, i32)| Some((path, verb_of(verb)?));
        let rights = settled_proto::ACCESS.iter().filter_map(right).collect();
        let (strangers, denied) = <(Sparse, Sparse)>::default();
        Self { guard: Arc::new(Guard { gate, clock, strangers, denied, rights }) }
    }
}

fn verb_of(number: i32) -> Option<Verb> {
    match WireVerb::try_from(number) {
        Ok(WireVerb::View) => Some(Verb::View),
        Ok(WireVerb::Operate) => Some(Verb::Operate),
        Ok(WireVerb::Administer) => Some(Verb::Administer),
        Ok(WireVerb::Unspecified) | Err(_) => None,
    }
}

impl Guard {
    /// Who asks, if it may.
    fn admit(&self, path: &str, peer: Option<&Peer>) -> Result<Principal, Status> {
        self.admit_uid(path, peer.map(|&Peer::Unix { uid }| uid))
    }

    fn admit_uid(&self, path: &str, uid: Option<u32>) -> Result<Principal, Status> {
        let uid = uid.ok_or_else(|| {
            Status::permission_denied(
                "the system does not tell who is asking: connect through the unix socket",
            )
        })?;
        let principal = self.gate.admit(uid).map_err(|stranger| {
            if let Some(more) = self.strangers.tell(self.clock.monotonic()) {
                tracing::warn!(uid, path, more, "a stranger was refused");
            }
            Status::permission_denied(stranger.to_string())
        })?;
        if OPEN.iter().any(|open| path.starts_with(open)) {
            return Ok(principal);
        }
        let Some(&needed) = self.rights.get(path) else {
            return Err(Status::unimplemented(format!(
                "this settled has no method `{}`",
                super::status::clipped(path, super::status::NAME_BYTES_MAX)
            )));
        };
        if !principal.role.may(needed) {
            if let Some(more) = self.denied.tell(self.clock.monotonic()) {
                tracing::warn!(
                    principal = principal.name, role = %principal.role, path, more, "a caller asked for more than it may"
                );
            }
            return Err(Status::permission_denied(format!(
                "{} has the role {} here, and this is for the role {}: whoever runs this settled gives roles in [access] of its configuration",
                principal.name,
                principal.role,
                Role::that_may(needed)
            )));
        }
        Ok(principal)
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: Arc::clone(&self.guard), inner }
    }
}

/// The services behind the door.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    guard: Arc<Guard>,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.guard.admit(request.uri().path(), request.extensions().get()) {
            Ok(principal) => {
                if let Some(traced) = request.extensions().get::<Arc<Traced>>() {
                    traced.asks(&principal.name);
                }
                request.extensions_mut().insert(principal);
                Box::pin(self.inner.call(request))
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::auth::Grants;
    use crate::clock::SystemClock;

    fn guard() -> Arc<Guard> {
        guard_of(Grants::default())
    }

    fn guard_of(grants: Grants) -> Arc<Guard> {
        GuardLayer::new(Gate::new(900, grants), Arc::new(SystemClock::new())).guard
    }

    #[test]
    fn p14_every_method_of_the_contract_declares_a_right_that_is_understood() {
        assert_eq!(guard().rights.len(), settled_proto::ACCESS.len());
        assert!(!settled_proto::ACCESS.is_empty());
    }

    #[test]
    fn p14_strangers_are_refused_everywhere_and_undeclared_methods_for_everyone() {
        let install = "/settled.v1.Resources/Install";
        let health = "/grpc.health.v1.Health/Check";
        let undeclared = "/settled.v1.Resources/Explode";
        let table = [
            (install, Some(0), None),
            (install, Some(900), None),
            (health, Some(0), None),
            (install, Some(1001), Some(Code::PermissionDenied)),
            (health, Some(1001), Some(Code::PermissionDenied)),
            (install, None, Some(Code::PermissionDenied)),
            (undeclared, Some(0), Some(Code::Unimplemented)),
            (undeclared, Some(1001), Some(Code::PermissionDenied)),
            ("/settled.v1.Resources/Install/", Some(0), Some(Code::Unimplemented)),
        ];
        for (path, uid, refused) in table {
            assert_eq!(guard().admit_uid(path, uid).err().map(|s| s.code()), refused, "{path} as {uid:?}");
        }
        let status = guard().admit_uid(install, Some(1001)).unwrap_err();
        assert!(status.message().contains("access.admins"), "{}", status.message());
    }

    #[test]
    fn p14_every_method_is_open_to_its_role_and_to_no_lower_one() {
        let mut grants = Grants::default();
        let roles = [(1001, Role::Viewer), (1002, Role::Operator), (1003, Role::Admin)];
        for (uid, role) in roles {
            grants.user(uid, role);
        }
        let guard = guard_of(grants);
        let mut refusals = 0;
        for &(path, verb, _) in settled_proto::ACCESS {
            let needed = Role::that_may(verb_of(verb).unwrap());
            for (uid, role) in roles {
                let admitted = guard.admit_uid(path, Some(uid));
                assert_eq!(admitted.is_ok(), role >= needed, "{path} as {role}");
                if let Err(status) = admitted {
                    refusals += 1;
                    assert_eq!(status.code(), Code::PermissionDenied, "{path} as {role}");
                    assert!(status.message().contains(&needed.to_string()), "{path}: {}", status.message());
                }
            }
        }
        assert!(refusals > 40, "{refusals}");
    }
}
