//! DESIGN's table of resource statuses, as text: one row per operation, read by the test.

use super::{Declared, Fate, ResourceStatus as S, at_accept, at_end, in_lane};
use crate::domain::operation::Operation;
use crate::domain::verdict::Outcome;

/// `earlier` = the status before acceptance; `in progress`, `done` = what the operation declares.
const LIFE: &str = "
operation | in the lane | success | not, before started | not, after started
install   | in progress | done    | failed              | failed
update    | updating    | done    | earlier             | failed
rollback  | updating    | as it was if paused, else done | earlier | earlier
pause     | updating    | paused  | earlier             | earlier
resume    | updating    | active  | earlier             | earlier
remove    | removing    | gone    | earlier             | earlier
probe     | earlier     | earlier | earlier             | earlier
register  | earlier     | earlier | earlier             | earlier
";

/// What a command makes of the status at once; `-` = refused.
const ACCEPT: &str = "
earlier    | install | update  | rollback | pause   | resume | remove   | probe
pending    | pending | -       | -        | -       | -      | removing | pending
installing | -       | -       | -        | -       | -      | -        | installing
active     | -       | active  | active   | active  | -      | removing | active
success    | -       | success | success  | success | -      | removing | success
failed     | pending | failed  | failed   | -       | -      | removing | failed
updating   | -       | -       | -        | -       | -      | -        | updating
removing   | -       | -       | -        | -       | -      | -        | removing
paused     | -       | paused  | paused   | -       | paused | removing | paused
";

const DECLARED: [Declared; 2] = [
    Declared { in_progress: S::Installing, success: S::Active },
    Declared { in_progress: S::Updating, success: S::Success },
];

fn rows(table: &str) -> Vec<Vec<&str>> {
    table.trim().lines().map(|line| line.split('|').map(str::trim).collect()).collect()
}

fn fate(cell: &str, earlier: S, declared: Declared) -> Fate {
    match cell {
        "gone" => Fate::Gone,
        "earlier" => Fate::Status(earlier),
        "in progress" => Fate::Status(declared.in_progress),
        "as it was if paused, else done" if earlier == S::Paused => Fate::Status(earlier),
        "done" | "as it was if paused, else done" => Fate::Status(declared.success),
        word => Fate::Status(S::parse(word).expect(word)),
    }
}

#[test]
fn the_status_follows_the_operation_as_the_table_says() {
    for row in &rows(LIFE)[1..] {
        let operation = Operation::from_word(row[0]);
        for &earlier in S::ALL {
            for declared in DECLARED {
                let context = format!("{operation} from {earlier}");
                let expected = |column: usize| fate(row[column], earlier, declared);
                let end = |outcome, started| at_end(&operation, outcome, started, earlier, declared);
                assert_eq!(Fate::Status(in_lane(&operation, earlier, declared)), expected(1), "{context}");
                assert_eq!(end(Outcome::Succeeded, true), expected(2), "{context}");
                assert_eq!(end(Outcome::Succeeded, false), expected(2), "{context}");
                for outcome in [Outcome::Failed, Outcome::Cancelled, Outcome::Blocked] {
                    assert_eq!(end(outcome, false), expected(3), "{context}, {outcome} before started");
                    assert_eq!(end(outcome, true), expected(4), "{context}, {outcome} after started");
                }
            }
        }
    }
}

#[test]
fn p1_acceptance_shows_at_once_what_the_table_says() {
    let table = rows(ACCEPT);
    assert_eq!(table.len(), 1 + S::ALL.len());
    for row in &table[1..] {
        let earlier = S::parse(row[0]).expect(row[0]);
        for (word, cell) in table[0].iter().zip(row).skip(1) {
            let accepted = at_accept(&Operation::from_word(word), earlier);
            assert_eq!(accepted.ok(), S::parse(cell), "{word} while {earlier}");
        }
    }
}

#[test]
fn p8_a_removal_that_does_not_succeed_gives_back_exactly_the_earlier_status() {
    for &earlier in S::ALL {
        for outcome in [Outcome::Failed, Outcome::Cancelled, Outcome::Blocked] {
            for started in [false, true] {
                let fate = at_end(&Operation::Remove, outcome, started, earlier, DECLARED[0]);
                assert_eq!(fate, Fate::Status(earlier));
            }
        }
    }
}

#[test]
fn a_refusal_says_what_to_do_instead() {
    let refused = at_accept(&Operation::Install, S::Active).expect_err("installed");
    assert_eq!(
        refused.to_string(),
        "`install` is not possible while the resource is `active`; it is installed: use update"
    );
}
