//! The cases of workflows, dead letters and locks.

use crate::case::{Case, cases};
use crate::ctx::Setup;
use crate::{dead_letters, locks, workflows};

pub(super) fn cases() -> Vec<Case> {
    cases! { Setup::default();
        "workflows" => workflows {
            every_field_of_a_run_comes_back,
            only_legal_transitions_are_written,
            a_stale_version_is_a_conflict_that_names_both,
            of_sixteen_saves_on_one_version_one_wins,
            another_scopes_run_is_not_found,
            bad_input_is_refused,
        }
        "workflows" => workflows::runs {
            counters_timings_and_errors_come_back,
            a_status_moves_whatever_the_version,
            every_transition_is_as_the_table_says,
            every_try_is_an_execution,
            executions_and_histories_are_paged,
            runs_are_listed_newest_first_by_what_they_are,
            a_job_belongs_to_one_run,
            a_run_is_deleted_with_what_belongs_to_it,
            a_run_over_its_limits_is_refused,
            random_moves_agree_with_the_model,
        }
        "workflows" => workflows::definitions {
            every_field_of_a_definition_comes_back,
            other_content_is_a_new_version,
            eight_writers_of_a_definition_leave_no_gap,
            what_is_said_about_a_definition_changes_alone,
            definitions_are_listed_by_id_and_filtered,
            a_deleted_definition_leaves_its_runs_history,
            another_scopes_definition_is_not_found,
            bad_definitions_are_refused,
        }
        "dead_letters" => dead_letters {
            items_are_taken_oldest_first_and_acknowledged,
            what_a_dead_worker_took_comes_back,
            a_late_ack_is_fenced_though_nobody_took_it,
            burying_again_is_one_more_attempt,
            what_a_person_must_see_is_not_taken,
            letters_are_listed_by_queue_and_id,
            a_foreign_cursor_is_refused,
            sixteen_takers_share_without_doubles,
            another_scopes_letters_stay,
            bad_input_is_refused,
        }
        "dead_letters" => dead_letters::receipts {
            a_late_ack_is_fenced_whether_taken_again_or_not,
            an_untaken_item_has_no_receipt,
            what_is_given_back_waits_for_its_delay,
            an_extended_item_stays_with_its_worker,
            items_of_lost_workers_are_released,
            an_ack_in_a_step_is_all_or_nothing,
            eight_consumers_never_deliver_twice,
        }
        "dead_letters" => dead_letters::many {
            every_field_of_a_letter_comes_back,
            attempts_are_paged_newest_first,
            a_list_is_by_queue_and_id_byte_by_byte,
            a_filter_lets_through_what_it_says,
            statistics_count_by_state_attempts_and_cause,
            the_most_frequent_causes_are_listed,
            a_retry_makes_ready_what_waits,
            a_retry_takes_the_filter_at_its_word,
            pruning_removes_what_is_old_and_in_nobodys_hands,
            large_sweeps_come_in_batches,
            one_item_is_deleted_with_its_attempts,
        }
        "dead_letters" => dead_letters::random {
            random_operations_agree_with_the_model_seed_1,
            random_operations_agree_with_the_model_seed_2,
        }
        "locks" => locks {
            a_free_key_is_granted_and_a_held_one_refused,
            the_same_holder_goes_on_under_its_fence,
            an_expired_lease_is_taken_over_under_a_larger_fence,
            a_fence_outlives_release_expiry_and_force,
            a_renewal_needs_the_newest_fence,
            a_release_is_a_no_op_the_second_time,
            a_forced_release_is_noted,
            live_leases_are_listed_by_key,
            a_tenants_keys_are_its_own,
            of_sixteen_at_once_one_holds,
            a_stale_guard_stops_every_facet,
            a_guard_holds_until_somebody_newer_comes,
            bad_input_is_refused,
        }
        "locks" => locks::random {
            random_requests_agree_with_the_model_seed_1,
            random_requests_agree_with_the_model_seed_2,
            random_requests_agree_with_the_model_seed_3,
        }
    }
}
