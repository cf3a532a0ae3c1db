//! Tokens over the socket's API: the secret is told once and never kept, names are taken until they are revoked, the audit has it all.

use settled::auth::{Role as Has, Shown, Token, Tokens as _};
use settled_proto::v1::{CreateTokenRequest, ListAuditRequest, ListTokensRequest, RevokeTokenRequest, Role};
use settled_tests::engine::Served;
use settled_tests::patience::until;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::fields;

fn new(request_id: &str, name: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        request_id: request_id.to_owned(),
        name: name.to_owned(),
        role: Role::Operator.into(),
        ..CreateTokenRequest::default()
    }
}

fn revocation(request_id: &str, token: &str) -> RevokeTokenRequest {
    RevokeTokenRequest { request_id: request_id.to_owned(), token: token.to_owned() }
}

#[tokio::test]
async fn p2_p14_a_secret_is_told_once_and_a_repeated_request_answers_the_token_without_it() {
    let api = Served::start().await;
    let answer = api.admin().create_token(new("t1", "ci")).await.unwrap().into_inner();
    let (token, secret) = (answer.token.unwrap(), answer.secret);
    assert_eq!((token.role(), token.principal.starts_with("unix:")), (Role::Operator, true));
    let lasts = token.expires_at.unwrap().seconds - token.created_at.unwrap().seconds;
    assert_eq!(lasts, 90 * 86_400);

    let again = api.admin().create_token(new("t1", "ci")).await.unwrap().into_inner();
    assert_eq!((again.token, again.secret.as_str()), (Some(token.clone()), ""));
    let refused = api.admin().create_token(new("t2", "ci")).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
    let info = refused.get_error_details().resource_info().cloned().unwrap();
    assert_eq!((info.resource_type.as_str(), info.resource_name), ("token", token.id.clone()));

    let listed = api.admin().list_tokens(ListTokensRequest::default()).await.unwrap().into_inner().tokens;
    assert_eq!(listed, [token]);
    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner().entries;
    assert!(audit.iter().all(|entry| entry.object == "token:ci"), "{audit:?}");
    let results: Vec<_> = audit.iter().map(|entry| (entry.code.as_str(), entry.detail.as_str())).collect();
    let accepted = ("", "operator, everywhere, for 90 days");
    assert_eq!(results, [("ALREADY_EXISTS", refused.message()), accepted]);
    // Whoever gives the secret by mistake does not put it on record.
    let wrong = api.admin().revoke_token(revocation("r0", &secret)).await.unwrap_err();
    assert_eq!(fields(&wrong), ["token"]);
    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner().entries;
    assert_eq!(audit[0].object, "token: (a secret)");
    let told = format!("{listed:?}{audit:?}{refused:?}{wrong:?}");
    assert!(!told.contains(&secret), "{told}");
}

#[tokio::test]
async fn p14_what_a_token_is_shows_at_once_and_its_use_is_noted() {
    let api = Served::start().await;
    let answer = api.admin().create_token(new("t1", "ci")).await.unwrap().into_inner();
    let secret = Token::read(&answer.secret).unwrap();
    let shown = async || api.engine.shown(&secret).await.unwrap();
    assert!(
        matches!(shown().await, Shown::Good { name, held } if name == "ci" && held.role() == Some(Has::Operator))
    );
    let stranger = Token::new(&[9; 32].into());
    assert_eq!(api.engine.shown(&stranger).await.unwrap(), Shown::Unknown);
    until("its use is noted", async || {
        let page = api.admin().list_tokens(ListTokensRequest::default()).await.unwrap().into_inner();
        page.tokens[0].last_used.is_some().then_some(())
    })
    .await;

    assert!(api.engine.held("ci").await.unwrap().is_some());
    let revoked = api.admin().revoke_token(revocation("r1", "ci")).await.unwrap().into_inner();
    assert!(revoked.token.as_ref().unwrap().revoked_at.is_some());
    assert_eq!(shown().await, Shown::Revoked("ci".to_owned()));
    assert!(api.engine.held("ci").await.unwrap().is_none());
    let again = api.admin().revoke_token(revocation("r1", "ci")).await.unwrap().into_inner();
    assert_eq!(again, revoked);
    let gone = api.admin().revoke_token(revocation("r2", "ci")).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);

    let next = api.admin().create_token(new("t2", "ci")).await.unwrap().into_inner();
    assert_ne!(next.secret, answer.secret, "the name is free, the secret another");
    assert_eq!(shown().await, Shown::Revoked("ci".to_owned()));
}
