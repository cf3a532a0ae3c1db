//! The guard behind the door: every request comes through here, with the user id that the kernel vouches for, or with what a caller from the
//! network shows. A method that declares no right is not let through (P14).

mod lookups;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderValue};
use settled_proto::v1::Scope as WireScope;
use tonic::Status;

use self::lookups::Lookups;
use super::around::{Services, around};
use super::door::{Peer, house_of};
use super::methods::verb_of;
use super::reason::Reason;
use super::refusals::Traced;
use super::status;
use crate::auth::{Gate, NotLetIn, Principal, Role, Scope, Stranger, TOKEN, Token, Turned, Verb};
use crate::clock::{Clock, SparseEach};

/// Open to every caller who was let in; they tell nothing of servers.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// Tells its caller all that it is.
const WHO_AM_I: &str = "/settled.v1.Admin/WhoAmI";

/// What a balancer asks of health. Watching it takes a place for as long as it lasts, so that is for those who are known.
const HEALTH: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List"];

/// The principals of those whom Health answers without knowing them; they are let in nowhere else. So many by address, so that one who asks
/// without end uses up the share of few others, and all of them need little room.
const ANYBODIES: u64 = 256;

/// What a caller from the network is told who does not say who it is.
const NOBODY: &str = "settled does not know who asks: over TCP, show a token (authorization: Bearer TOKEN) or a client certificate";

/// What is told to whoever shows a token through the unix socket.
const NOT_HERE: &str = "a token counts over TCP with TLS only: through the unix socket the kernel says who asks, so leave it out, or whoever sends it is \
                        taken for somebody else than it thinks";

/// What a request says of who sends it.
struct Asks {
    peer: Option<Peer>,
    token: Option<HeaderValue>,
}

/// The token in an `authorization` header. The error is a sentence, and tells nothing of what was sent.
fn bearer(header: &HeaderValue) -> Result<Token, String> {
    let form = || "the authorization is not of the form `Bearer TOKEN`".to_owned();
    let (scheme, token) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(form)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(form());
    }
    Token::read(token.trim()).map_err(|error| error.to_string())
}

/// Stands before all services.
struct Guard {
    gate: Gate,
    clock: Arc<dyn Clock>,
    refused: SparseEach,
    /// Health answers whoever asks over TCP.
    open_health: bool,
    lookups: Lookups,
    rights: HashMap<&'static str, Right>,
}

/// What a method needs.
#[derive(Debug, Clone, Copy)]
struct Right {
    verb: Verb,
    /// Whether the caller's role must hold on all servers; otherwise the method itself looks at its scope.
    whole: bool,
}

/// The right that a method declares. What changes the fleet concerns all of it, whatever else it says of itself.
fn right_of(verb: i32, scope: i32) -> Option<Right> {
    let verb = verb_of(verb)?;
    let whole = match WireScope::try_from(scope) {
        Ok(WireScope::Installation) => true,
        Ok(WireScope::Server | WireScope::Filtered | WireScope::None) => verb == Verb::Administer,
        Ok(WireScope::Unspecified) | Err(_) => return None,
    };
    Some(Right { verb, whole })
}

impl Guard {
    fn new(gate: Gate, open_health: bool, clock: Arc<dyn Clock>) -> Self {
        let right = |&(path, verb, scope): &(&'static str, i32, i32)| Some((path, right_of(verb, scope)?));
        let rights = settled_proto::ACCESS.iter().filter_map(right).collect();
        let (refused, lookups) = <(SparseEach, Lookups)>::default();
        Self { gate, clock, refused, open_health, lookups, rights }
    }

    /// Who asks, if it may. Whoever is known and may not is on record by its name, too.
    async fn admit(&self, path: &str, asks: Asks, traced: Option<&Traced>) -> Result<Principal, Status> {
        let principal = self.known(path, asks, traced).await?;
        if let Some(traced) = traced {
            traced.asks(&principal.name);
        }
        self.let_in(path, principal)
    }

    /// Who asks.
    async fn known(&self, path: &str, asks: Asks, traced: Option<&Traced>) -> Result<Principal, Status> {
        match asks.peer {
            Some(Peer::Unix { .. }) if asks.token.is_some() => {
                Err(Reason::TokenThroughSocket.status(NOT_HERE))
            }
            Some(Peer::Unix { uid }) => self.admit_uid(path, Some(uid)).await,
            Some(Peer::Network { address, certificate }) => {
                let shown = (certificate.as_deref(), asks.token);
                self.admit_network(path, address, shown, traced).await
            }
            None => self.admit_uid(path, None).await,
        }
    }

    /// Who asks from the network: whoever shows a token, or else a certificate.
    async fn admit_network(
        &self,
        path: &str,
        address: IpAddr,
        (certificate, token): (Option<&str>, Option<HeaderValue>),
        traced: Option<&Traced>,
    ) -> Result<Principal, Status> {
        if self.open_health && HEALTH.contains(&path) {
            let name = anybody(address);
            return Ok(Principal { name, role: Role::Viewer, scope: Scope::NOTHING });
        }
        let asked = self.asked(path);
        let admitted = match (token, certificate) {
            (Some(header), _) => {
                let token = bearer(&header)
                    .map_err(|words| self.unknown(Reason::BadCredentials, address, path, words))?;
                let _turn = self.lookups.turn(house_of(address)).await;
                self.gate.admit_token(&token, asked).await
            }
            (None, Some(name)) => self.gate.admit_certificate(name, asked),
            (None, None) => {
                return Err(self.unknown(Reason::NoCredentials, address, path, NOBODY.to_owned()));
            }
        };
        match admitted {
            Ok(principal) => Ok(principal),
            Err(NotLetIn::Later(why)) => {
                Err(status::later(Reason::RightsUnknown, NotLetIn::Later(why).to_string()))
            }
            Err(refused) => {
                // A token that was good once is on record by its name.
                if let (Some(traced), Some(name)) = (traced, refused.whose()) {
                    traced.asks(&name);
                }
                Err(self.unknown(Reason::BadCredentials, address, path, refused.to_string()))
            }
        }
    }

    /// Refuses a caller from the network of whom nothing is known that counts.
    fn unknown(&self, reason: Reason, address: IpAddr, path: &str, words: String) -> Status {
        if let Some(more) = self.refused.tell(&address.to_string(), self.clock.monotonic()) {
            tracing::warn!(%address, path, more, why = words, "a caller from the network was refused");
        }
        reason.status(words)
    }

    /// For what a method needs to be allowed, as far as that is to be looked up.
    fn asked(&self, path: &str) -> Option<Verb> {
        (path != WHO_AM_I).then(|| self.rights.get(path).map_or(Verb::View, |right| right.verb))
    }

    async fn admit_uid(&self, path: &str, uid: Option<u32>) -> Result<Principal, Status> {
        let uid = uid.ok_or_else(|| {
            Reason::NotAllowed
                .status("the system does not tell who is asking: connect through the unix socket")
        })?;
        match self.gate.admit(uid, self.asked(path)).await {
            Ok(principal) => Ok(principal),
            Err(Turned::Away(stranger)) => Err(self.strange(&stranger, path)),
            Err(Turned::Later(unclear)) => Err(status::unclear(&unclear)),
        }
    }

    /// Lets somebody who is known through to a method, if that is within its role.
    fn let_in(&self, path: &str, principal: Principal) -> Result<Principal, Status> {
        if OPEN.iter().any(|open| path.starts_with(open)) {
            return Ok(principal);
        }
        match self.rights.get(path).copied() {
            None => Err(Reason::NoSuchMethod.status(format!(
                "this settled has no method `{}`",
                status::clipped(path, status::NAME_BYTES_MAX)
            ))),
            Some(needed) if !principal.role.may(needed.verb) => {
                Err(self.denied(&principal, needed.verb, path))
            }
            Some(needed) if needed.whole && !principal.scope.is_whole() => {
                Err(self.confined(&principal, path))
            }
            Some(_) => Ok(principal),
        }
    }

    fn strange(&self, stranger: &Stranger, path: &str) -> Status {
        let uid = stranger.uid;
        if let Some(more) = self.refused.tell(&format!("unix:{uid}"), self.clock.monotonic()) {
            tracing::warn!(uid, path, more, "a stranger was refused");
        }
        Reason::Stranger.status(stranger.to_string())
    }

    fn confined(&self, who: &Principal, path: &str) -> Status {
        if let Some(more) = self.refused.tell(&who.name, self.clock.monotonic()) {
            tracing::warn!(principal = who.name, scope = %who.scope, path, more, "a caller asked for more than its servers");
        }
        Reason::ScopeTooSmall.status(format!(
            "what {} may do here, it may do on some servers ({}), and this is about all of them: {}",
            who.name,
            who.scope,
            who_gives(&who.name)
        ))
    }

    fn denied(&self, who: &Principal, needed: Verb, path: &str) -> Status {
        if let Some(more) = self.refused.tell(&who.name, self.clock.monotonic()) {
            tracing::warn!(principal = who.name, role = %who.role, path, more, "a caller asked for more than it may");
        }
        Reason::RoleTooLow.status(format!(
            "{} has the role {} here, and this is for the role {}: {}",
            who.name,
            who.role,
            Role::that_may(needed),
            who_gives(&who.name)
        ))
    }
}

/// The principal of whoever asks for health from an address. Of IPv6, whoever has one address has its whole network of 64 bits.
fn anybody(address: IpAddr) -> String {
    let mut hasher = DefaultHasher::new();
    house_of(address).hash(&mut hasher);
    format!("anybody:{}", hasher.finish() % ANYBODIES)
}

/// Where more than this principal may can be had.
fn who_gives(principal: &str) -> &'static str {
    if principal.starts_with(TOKEN) {
        "ask whoever gave you the token for one that may (settlectl token create)"
    } else {
        "whoever runs this settled gives roles in [access] of its configuration"
    }
}

/// The services behind the guard. `open_health`: Health answers whoever asks over TCP.
pub(super) fn guarded(
    inner: impl Services,
    gate: Gate,
    open_health: bool,
    clock: Arc<dyn Clock>,
) -> impl Services {
    let guard = Arc::new(Guard::new(gate, open_health, clock));
    around(inner, guard, |mut request, inner, guard| async move {
        // Nobody behind the guard sees a token.
        let token = request.headers_mut().remove(AUTHORIZATION);
        let asks = Asks { peer: request.extensions().get().cloned(), token };
        let traced = request.extensions().get::<Arc<Traced>>().cloned();
        match guard.admit(request.uri().path(), asks, traced.as_deref()).await {
            Ok(principal) => {
                request.extensions_mut().insert(principal);
                inner.answer(request).await
            }
            Err(status) => status.into_http(),
        }
    })
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::auth::Grants;
    use crate::clock::SystemClock;

    fn guard() -> Guard {
        guard_of(Grants::default())
    }

    fn guard_of(grants: Grants) -> Guard {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Guard::new(Gate::new(900, grants, Arc::clone(&clock)), false, clock)
    }

    #[test]
    fn p14_every_method_of_the_contract_declares_a_right_that_is_understood() {
        assert_eq!(guard().rights.len(), settled_proto::ACCESS.len());
        assert!(!settled_proto::ACCESS.is_empty());
    }

    /// What becomes of a user who asks through the socket.
    async fn of_user(guard: &Guard, path: &str, uid: Option<u32>) -> Result<Principal, Status> {
        let peer = uid.map(|uid| Peer::Unix { uid });
        guard.admit(path, Asks { peer, token: None }, None).await
    }

    #[test]
    fn p10_who_asks_for_health_from_one_network_has_one_share_and_others_another() {
        let of = |text: &str| anybody(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        let shares: std::collections::HashSet<_> = (0..64).map(|n| of(&format!("192.0.2.{n}"))).collect();
        assert!((32..=64).contains(&shares.len()), "{shares:?}");
    }

    #[tokio::test]
    async fn p14_strangers_are_refused_everywhere_and_undeclared_methods_for_everyone() {
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
            let admitted = of_user(&guard(), path, uid).await;
            assert_eq!(admitted.err().map(|s| s.code()), refused, "{path} as {uid:?}");
        }
        let status = of_user(&guard(), install, Some(1001)).await.unwrap_err();
        assert!(status.message().contains("access.admins"), "{}", status.message());
    }

    #[tokio::test]
    async fn p14_every_method_is_open_to_its_role_and_to_no_lower_one() {
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
                let admitted = of_user(&guard, path, Some(uid)).await;
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

    #[tokio::test]
    async fn p14_from_the_network_nobody_is_let_in_anywhere_who_shows_nothing_that_counts() {
        let guard = guard();
        let paths = settled_proto::ACCESS.iter().map(|&(path, ..)| path);
        let others = ["/grpc.health.v1.Health/Check", "/settled.v1.Resources/Explode", "/", ""];
        let certificates = [None, Some("a.site".into())];
        for path in paths.chain(OPEN).chain(others) {
            for certificate in &certificates {
                for token in [None, Some("Bearer st_x"), Some("Basic cm9vdDo="), Some("Bearer"), Some("")] {
                    let peer = Peer::Network {
                        address: [192, 0, 2, 1].into(),
                        certificate: Clone::clone(certificate),
                    };
                    let token = token.map(HeaderValue::from_static);
                    let status = guard.admit(path, Asks { peer: Some(peer), token }, None).await.unwrap_err();
                    assert_eq!(status.code(), Code::Unauthenticated, "{path}: {status:?}");
                }
            }
        }
        let asks =
            Asks { peer: Some(Peer::Unix { uid: 0 }), token: Some(HeaderValue::from_static("Bearer st_x")) };
        assert_eq!(guard.admit(WHO_AM_I, asks, None).await.unwrap_err().code(), Code::Unauthenticated);
    }

    /// A user database that is away.
    struct Away;

    impl crate::auth::Members for Away {
        fn groups_of(&self, _: u32) -> Result<Option<Vec<u32>>, String> {
            Err("too many open files".to_owned())
        }
    }

    #[tokio::test]
    async fn p14_who_cannot_be_looked_up_is_told_to_ask_again_and_is_not_refused() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut grants = Grants::default();
        grants.group(50, Role::Operator);
        grants.user(1002, Role::Operator);
        let gate = Gate::with_members(900, grants, Arc::new(Away), Arc::clone(&clock));
        let guard = Guard::new(gate, false, clock);
        let install = "/settled.v1.Resources/Install";
        let status = of_user(&guard, install, Some(1001)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{}", status.message());
        let details = tonic_types::StatusExt::get_error_details(&status);
        assert!(details.retry_info().is_some_and(|info| info.retry_delay.is_some()));
        assert_eq!(of_user(&guard, install, Some(1002)).await.unwrap().role, Role::Operator);
    }
}
