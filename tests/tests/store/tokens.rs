//! Tokens: found by the digest of their secret, one live token per name, and gone when the audit is.

use settled::domain::time::Timestamp;
use settled::store::StoreError;
use settled::store::retention::Horizon;
use settled::store::tokens::TokenRow;

use crate::fixture::House;

fn row(id: &str, name: &str) -> TokenRow {
    TokenRow {
        id: id.to_owned(),
        name: name.to_owned(),
        role: "operator".to_owned(),
        scope: TokenRow::scope_text(&["server:web1".to_owned()]),
        principal: "unix:0".to_owned(),
        created_at: 5,
        expires_at: 7,
        last_used: None,
        revoked_at: None,
    }
}

async fn insert(house: &House, row: TokenRow, digest: &'static str) -> Result<(), StoreError> {
    house
        .write(move |unit| {
            let row = row.clone();
            Box::pin(async move { unit.insert_token(&row, digest).await })
        })
        .await
}

async fn revoke(house: &House, id: &'static str) -> Result<(), StoreError> {
    house.write(move |unit| Box::pin(async move { unit.revoke_token(id).await })).await
}

pub(crate) async fn p14_a_token_is_found_by_its_digest_until_it_is_revoked_and_its_name_is_free_then(
    house: House,
) {
    let first = row("01A", "ci");
    insert(&house, first.clone(), "d1").await.unwrap();
    let mut reader = house.read().await;
    assert_eq!(reader.db().token_by_digest("d1").await.unwrap(), Some(first.clone()));
    assert_eq!(first.scope().unwrap(), ["server:web1"]);
    assert_eq!(reader.db().token_by_digest("d2").await.unwrap(), None);
    for named in ["ci", "01A"] {
        assert_eq!(reader.db().live_token(named).await.unwrap(), Some(first.clone()));
    }
    let twin = insert(&house, row("01B", "ci"), "d2").await;
    assert!(matches!(&twin, Err(StoreError::Duplicate(what)) if what == "name"), "{twin:?}");

    house.write(|unit| Box::pin(async move { unit.use_token("01A").await })).await.unwrap();
    revoke(&house, "01A").await.unwrap();
    assert!(matches!(revoke(&house, "01A").await, Err(StoreError::Conflict)), "once");
    let found = reader.db().token_by_digest("d1").await.unwrap().unwrap();
    assert!(found.revoked_at.is_some() && found.last_used.is_some(), "{found:?}");
    assert_eq!(reader.db().live_token("ci").await.unwrap(), None);

    insert(&house, row("01B", "ci"), "d2").await.unwrap();
    let ids = |rows: Vec<TokenRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(reader.db().tokens("", 9).await.unwrap()), ["01B", "01A"]);
    assert_eq!(ids(reader.db().tokens("01B", 9).await.unwrap()), ["01A"]);
}

pub(crate) async fn tokens_that_are_over_go_with_the_audit_and_others_stay(house: House) {
    insert(&house, row("01A", "old"), "d1").await.unwrap();
    insert(&house, TokenRow { expires_at: 0, ..row("01B", "expired") }, "d2").await.unwrap();
    insert(&house, TokenRow { expires_at: i64::MAX, ..row("01C", "good") }, "d3").await.unwrap();
    revoke(&house, "01A").await.unwrap();
    let expire = async |audit| {
        let never = Timestamp(0);
        let horizon = Horizon { runs: never, transitions: never, requests: never, audit };
        house.write(move |unit| Box::pin(async move { unit.expire(horizon, 5).await })).await.unwrap()
    };
    assert_eq!(expire(Timestamp(1)).await, 1);
    assert_eq!(expire(Timestamp(i64::MAX)).await, 1);
    let left = house.read().await.db().tokens("", 9).await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].name, "good");
}
