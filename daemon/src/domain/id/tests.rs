//! Ids have one text each.

use super::RunId;
use ulid::Ulid;

#[test]
fn an_id_comes_back_from_its_text() {
    for id in [Ulid(0), Ulid(1), Ulid(u128::MAX), Ulid(0x0192_3456_789a_bcde_f012_3456_789a_bcde)].map(RunId)
    {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
    }
}

#[test]
fn order_of_ids_is_order_of_their_texts() {
    let ids = [0, 1, 31, 32, 1 << 64, u128::MAX].map(|n| RunId(Ulid(n)));
    assert!(ids.is_sorted_by_key(ToString::to_string));
}

#[test]
fn what_is_no_id_is_refused_and_named() {
    for text in
        ["", "x", "7ZZZZZZZZZZZZZZZZZZZZZZZZ", "7ZZZZZZZZZZZZZZZZZZZZZZZZU", "7ZZZZZZZZZZZZZZZZZZZZZZZZé"]
    {
        let refused = text.parse::<RunId>().expect_err(text);
        assert!(refused.to_string().contains(&format!("`{text}`")), "{refused}");
    }
}

/// 26 characters hold 130 bits: the two beyond an id must not vanish, or two texts would name one thing.
#[test]
fn a_text_beyond_128_bits_names_nothing() {
    assert!("8ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<RunId>().is_err());
    assert!("ZZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<RunId>().is_err());
}
