//! What holds for every run at every moment, whatever happens to it. No store is needed for these; they share its random walks.

use proptest::prelude::*;
use settled::clock::SystemClock;
use settled::domain::operation::Operation;
use settled::domain::resource::{Fate, ResourceStatus};
use settled::domain::run::{Phase, Progress, Run, RunState, Subject};
use settled::domain::time::Timestamp;
use settled::domain::verdict::{Evidence, Outcome, Reason};

use crate::fixture::{TIMINGS, new_resource, new_run, new_server};
use crate::walk::Walk;

fn run(operation: &str, earlier: ResourceStatus, attempts_max: u32) -> Run {
    let clock = SystemClock::new();
    let mut run = new_run(&clock, &new_resource(&clock, &new_server(&clock, "web1"), "blog"));
    if let Subject::Resource { earlier: status, .. } = &mut run.subject {
        *status = earlier;
    }
    let accepted_at = Timestamp(1_000_000);
    let operation = Operation::from_word(operation);
    Run { operation, attempts_max, accepted_at, queue_until: accepted_at + TIMINGS.queue_limit, ..run }
}

fn check_always(before: &Run, after: &Run) {
    assert_eq!(after.version, before.version + 1);
    assert!(after.position().attempt <= after.attempts_max);
    assert!(after.position().attempt >= before.position().attempt, "attempts are never given back");
    assert!(after.payload >= before.payload, "what may have run may have run");
    assert_eq!(after.settles_by().is_some(), after.verdict().is_none());
    assert_eq!(after.live_step().is_some(), matches!(&after.state, RunState::Running(p) if stepping(p)));
    if let RunState::Running(progress) = &after.state {
        assert!(stepping(progress) || !after.cancel_requested, "a cancel between two tries is done at once");
    }
}

const fn stepping(progress: &Progress) -> bool {
    matches!(progress.phase, Phase::Stepping { .. })
}

fn check_verdict(run: &Run) {
    let Some(verdict) = run.verdict() else { return };
    let succeeded = verdict.outcome == Outcome::Succeeded;
    assert_eq!(succeeded, verdict.reason.is_none());
    if succeeded {
        assert!(matches!(verdict.evidence, Evidence::ExitRecord | Evidence::Probe), "P7: success is proven");
    }
    if verdict.evidence == Evidence::None {
        assert_eq!(
            (verdict.outcome, verdict.reason),
            (Outcome::Failed, Some(Reason::Lost)),
            "P7: and says so"
        );
    }
    if verdict.evidence == Evidence::NotStarted {
        assert!(!run.payload);
    }
    if run.operation == Operation::Remove {
        let Subject::Resource { earlier, .. } = &run.subject else { panic!("a resource") };
        let expected = if succeeded { Fate::Gone } else { Fate::Status(*earlier) };
        assert_eq!(run.fate(), Some(expected), "P8");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p7_p8_what_holds_for_every_run(
        seed in any::<u64>(),
        operation in prop::sample::select(vec!["install", "update", "remove", "pause", "resume", "probe", "rollback"]),
        earlier in prop::sample::select(ResourceStatus::ALL.to_vec()),
        attempts_max in 1_u32..6,
    ) {
        let (mut walk, mut now) = (Walk::new(seed), run(operation, earlier, attempts_max));
        while let Some(next) = walk.next(&now) {
            check_always(&now, &next);
            check_verdict(&next);
            now = next;
        }
        if now.verdict().is_some() {
            for _ in 0..100 {
                let event = walk.event(&now);
                prop_assert!(now.clone().apply(event, Timestamp(i64::MAX), &TIMINGS).is_err(), "terminal runs never change");
            }
        }
    }
}
