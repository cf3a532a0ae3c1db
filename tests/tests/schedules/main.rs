//! Schedules on the project's own clock: several daemons without anyone who works, on one store, ticking when the test says so.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod chores;
mod commands;
mod enrolling;
mod fixture;
mod overlap;
mod simulation;
mod targets;
mod times;

/// Runs each test on a fresh store of each engine.
macro_rules! conformance {
    ($($module:ident :: $name:ident,)+) => {
        mod sqlite { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::$module::$name(crate::fixture::House::sqlite().await).await;
            }
        )+ }
        mod postgres { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::$module::$name(crate::fixture::House::postgres().await).await;
            }
        )+ }
    };
}

conformance! {
    times::p1_a_due_time_makes_its_run_and_its_record_in_one_commit,
    times::p2_of_three_daemons_one_fires,
    times::p2_a_daemon_that_starts_again_fires_nothing_twice,
    times::what_is_missed_is_recorded_or_made_up_for,
    times::a_time_that_was_never_looked_at_is_recorded_when_its_schedule_changes,
    times::the_next_times_are_told_within_start_and_end,
    times::a_zone_that_is_gone_brings_the_schedule_to_rest_and_says_so,
    overlap::what_overlaps_is_left_out,
    overlap::what_overlaps_waits_for_its_turn,
    overlap::a_queue_has_an_end,
    overlap::what_comes_later_cancels_what_came_earlier,
    overlap::p14_what_is_fired_by_hand_and_waits_is_for_whoever_fired_it,
    overlap::p14_who_may_not_any_more_gets_no_run,
    overlap::p14_a_schedule_is_not_for_who_may_on_some_servers_only,
    overlap::p4_a_hundred_schedules_of_whom_nobody_can_tell_keep_nobody_elses_waiting,
    overlap::p14_of_whom_nobody_can_tell_the_occurrence_comes_with_a_later_tick,
    targets::labels_are_looked_at_when_it_fires,
    targets::a_target_that_cannot_be_accepted_is_told_with_its_sentence,
    targets::an_install_makes_resources_where_there_are_none,
    enrolling::p1_an_occurrence_and_whom_it_enrolls_are_one_commit,
    enrolling::p2_of_three_daemons_one_enrolls,
    enrolling::whom_labels_mean_is_looked_at_when_it_fires,
    enrolling::what_is_completed_begins_anew_only_when_the_schedule_says_so,
    enrolling::what_overlaps_waits_until_all_are_through,
    enrolling::what_comes_later_begins_anew_what_came_earlier_and_nobody_else,
    enrolling::enrolling_that_cannot_be_is_refused_by_field_and_told_when_it_fires,
    enrolling::p14_who_may_not_any_more_enrolls_nobody,
    commands::p2_asking_twice_gives_one_schedule,
    commands::bad_input_names_its_field,
    commands::every_change_is_a_transition,
    commands::what_its_jitter_holds_back_is_not_dropped_by_a_change,
    commands::firing_by_hand_is_whoever_asks_and_moves_no_time,
    commands::a_paused_schedule_is_not_due_and_makes_up_for_nothing,
    commands::a_removed_schedule_leaves_its_history,
    chores::a_chore_that_did_nothing_leaves_no_trace,
    chores::a_chore_is_done_by_one_daemon_and_its_work_is_told,
    chores::chores_can_be_re_timed_and_paused_but_not_what_settling_rests_on,
    chores::what_a_chore_has_not_done_in_its_time_goes_on_with_the_next_tick,
    chores::a_chore_by_hand_is_done_by_the_next_tick,
    chores::old_occurrences_go_and_those_that_wait_stay,
}
