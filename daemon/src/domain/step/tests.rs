//! A step has one name.

use super::StepId;
use crate::domain::id::RunId;
use ulid::Ulid;

#[test]
fn a_step_id_comes_back_from_its_text() {
    let id = StepId { run: RunId(Ulid(1 << 100)), step: 0, attempt: 1, try_no: u32::MAX };
    assert_eq!(id.to_string(), "00000100000000000000000000.0.1.4294967295");
    assert_eq!(id.to_string().parse(), Ok(id));
}

#[test]
fn no_other_text_names_a_step() {
    let run = RunId(Ulid(1 << 100));
    for rest in [
        "",
        ".",
        ".0.1",
        ".0.1.1.1",
        ".0.1.1.",
        ".00.1.1",
        ".+0.1.1",
        ".0.1.-1",
        ".0.1.4294967296",
        ".0.1. 1",
    ] {
        let text = format!("{run}{rest}");
        assert!(text.parse::<StepId>().is_err(), "{text}");
    }
    // A directory on a server has the exact name of its step.
    assert!("7zzzzzzzzzzzzzzzzzzzzzzzzz.0.1.1".parse::<StepId>().is_err());
}
