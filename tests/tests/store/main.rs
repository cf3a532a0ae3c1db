//! What every engine must do: one list of tests, run on SQLite and on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

mod bell;
mod enrollments;
mod faults;
mod guards;
mod lanes;
mod notices;
mod objects;
mod opening;
mod order;
mod origin;
mod output;
mod properties;
mod retention;
mod sets;
mod speed;
mod tokens;
mod walk;

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
    bell::a_commit_calls_and_a_refusal_does_not,
    objects::every_object_comes_back_as_it_was_stored,
    objects::names_are_ordered_by_their_bytes_and_paged_by_key,
    objects::ids_are_ordered_by_their_bytes_newest_first,
    objects::what_a_server_says_can_always_be_stored,
    objects::every_reachable_run_comes_back_equal_and_its_transition_is_its_row,
    order::p1_what_is_acknowledged_is_there_for_every_reader,
    order::p10_numbers_have_no_holes_whatever_fails,
    order::p10_a_reader_that_follows_sees_every_number_once_and_in_order,
    order::p10_a_page_is_bounded_in_length_and_has_no_hole,
    order::many_commands_share_few_commits,
    order::a_command_that_writes_nothing_is_not_committed,
    order::a_command_that_panics_harms_no_neighbour,
    order::a_refused_command_leaves_no_trace_in_the_audit,
    guards::p2_a_request_id_is_kept_once,
    guards::a_stale_version_is_a_conflict_and_leaves_nothing,
    guards::p7_a_completed_run_cannot_be_changed,
    guards::p3_one_exclusive_run_is_in_progress_on_a_server,
    guards::one_exclusive_run_is_open_on_a_resource,
    guards::what_is_unique_is_refused_with_the_same_word,
    guards::a_key_parameter_has_one_holder,
    guards::impossible_rows_meet_a_check,
    guards::a_server_with_resources_stays,
    lanes::p3_a_lane_has_one_owner_and_its_epoch_rises,
    lanes::p3_an_older_epoch_writes_nothing,
    lanes::lanes_of_the_dead_are_freed,
    lanes::lanes_with_work_are_found,
    lanes::what_is_unresolved_is_listed_once_until_it_is_resolved,
    output::p5_output_goes_on_exactly_where_it_ends,
    output::an_older_record_of_a_step_does_not_cut_its_output,
    retention::what_is_kept_has_no_holes_and_begins_where_it_says,
    retention::old_runs_go_with_their_steps_and_output_in_batches,
    retention::the_audit_goes_by_its_own_age_in_batches,
    retention::p14_a_row_of_the_audit_cannot_be_changed_or_taken_out_of_the_middle,
    retention::nothing_old_means_nothing_written,
    opening::a_store_is_opened_again_as_the_same_installation,
    opening::a_newer_database_is_refused,
    origin::p10_a_copy_has_a_generation_of_its_own,
    origin::p10_a_counter_that_goes_back_under_a_daemon_ends_it,
    faults::a_read_that_fails_does_not_lose_what_a_neighbour_wrote,
    tokens::p14_a_token_is_found_by_its_digest_until_it_is_revoked_and_its_name_is_free_then,
    tokens::tokens_that_are_over_go_with_the_audit_and_others_stay,
    notices::a_notice_is_stored_with_what_it_tells,
    notices::who_is_told_goes_by_labels_packages_and_events,
    notices::a_notice_is_sent_by_one_daemon_at_a_time,
    notices::what_was_told_goes_with_age_and_what_waits_with_its_notifier,
    sets::a_name_is_taken_once_in_a_batch,
    sets::a_queue_is_full_at_its_limit_in_a_batch,
    sets::a_stale_row_in_a_set_meets_its_own_command,
    sets::a_query_sees_what_is_not_written_yet,
    sets::an_object_can_be_written_twice_in_a_unit,
    enrollments::a_lifecycle_and_its_versions_come_back,
    enrollments::every_enrollment_comes_back_as_it_was_stored,
    enrollments::a_subject_is_enrolled_once_and_a_stale_write_is_refused,
    enrollments::what_is_due_is_found_in_order_and_page_by_page,
    enrollments::the_next_due_is_seen_behind_what_is_due_already,
    enrollments::what_is_due_is_counted_as_the_domain_says,
    enrollments::the_log_is_read_newest_first_and_goes_by_age,
    faults::an_unstorable_name_is_refused_and_harms_no_neighbour,
}
