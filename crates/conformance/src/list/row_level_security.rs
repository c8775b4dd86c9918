//! Cases whose statements differ, or could, when every one of them first names its tenant.

use crate::case::{Case, cases};
use crate::ctx::Setup;
use crate::{
    checkpoints, claims, consumers, dead_letters, events, installation, locks, memories, steps,
    subscriptions, turns, upkeep, workflows,
};

pub(super) fn cases() -> Vec<Case> {
    let setup = Setup { row_level_security: true, model: None };
    cases! { setup;
        "memories_rls" => memories::writing {
            text_of_every_script_comes_back,
            scopes_of_every_script_are_kept_apart,
        }
        "memories_rls" => memories::identity {
            a_key_names_one_memory,
            a_repeated_request_answers_the_first_outcome,
            an_expired_row_is_not_in_the_way,
        }
        "subscriptions_rls" => subscriptions {
            a_subscription_tells_what_is_there_and_then_what_comes,
            a_subscriber_is_told_what_its_scope_and_filter_admit,
        }
        "consumers_rls" => consumers {
            every_event_is_handed_out_in_the_order_of_its_stream,
            the_last_failure_buries_the_event,
        }
        "events_rls" => events::log {
            the_log_is_read_in_one_order_from_any_cursor,
            a_filter_finds_what_it_says_and_nothing_else,
            lists_are_newest_first_without_gap_or_double,
            a_stream_in_figures,
        }
        "events_rls" => events::many {
            appends_to_many_streams_are_decided_each_alone,
            fifty_thousand_events_come_in_one_commit,
        }
        "events_rls" => events::archive {
            an_archived_month_is_a_file_first_and_then_gone,
            what_was_archived_comes_back_to_its_place,
        }
        "events_rls" => events::search {
            events_are_found_by_their_words,
            searches_agree_with_the_model,
        }
        "events_rls" => events::import {
            an_import_keeps_its_times_and_makes_its_months,
        }
        "memories_rls" => memories::batches {
            equal_content_within_a_batch_is_one_memory,
            a_taken_key_refuses_the_whole_batch,
            crossing_batches_of_the_same_texts_never_deadlock,
        }
        "memories_rls" => memories::pages {
            paging_has_no_gap_and_no_double_while_others_write,
        }
        "memories_rls" => memories::words {
            scores_are_those_core_computes,
            a_phrase_must_be_there,
            an_exclusion_must_not_be_there,
            hostile_questions_are_only_text,
            a_question_may_be_as_long_as_its_limit,
            another_tenants_words_change_no_score,
            frequencies_are_the_tenants_whoever_asks,
            a_common_word_finds_nothing_of_its_own,
            filters_and_words_agree_with_the_model,
        }
        "memories_rls" => memories::concurrency {
            sixteen_writers_and_four_readers_get_along,
            sixteen_writers_of_the_same_words_write_one,
            what_one_scope_writes_at_once_is_all_there,
            who_gives_up_waiting_keeps_nobody_from_writing,
        }
        "memories_rls" => memories::set_filling {
            what_a_set_lacks_comes_in_pages_over_all_tenants,
            a_vector_is_filled_only_for_the_text_it_is_of,
        }
        "memories_rls" => memories::set_writing {
            writers_of_both_models_write_to_both_sets,
            no_tenant_sees_anothers_vectors_in_any_set,
        }
        "memories_rls" => memories::set_switching {
            a_set_that_lacks_memories_is_not_switched_to,
            two_models_of_one_dimension_never_mix,
            domains_have_their_middle_in_the_set_that_is_searched,
            searches_and_writes_go_on_through_switches_and_drops,
        }
        "memories_rls" => memories::random {
            random_operations_agree_with_the_model_seed_1,
        }
        "events_rls" => events {
            versions_are_gapless_under_sixteen_writers,
            a_note_is_taken_at_most_so_often,
        }
        "events_rls" => events::append {
            appended_versions_are_gapless_under_sixteen_writers,
            an_id_appended_again_is_the_first_event,
        }
        "turns_rls" => turns::summaries {
            a_chain_covers_every_turn_once,
            one_summarises_at_a_time_and_a_late_one_is_fenced,
            an_outage_over_ten_turns_loses_none_of_them,
        }
        "turns_rls" => turns::copies {
            a_copy_brings_every_field_to_another_session,
        }
        "turns_rls" => turns::removal {
            a_person_goes_with_all_their_sessions,
            turns_go_when_their_time_is_over,
        }
        "turns_rls" => turns::load {
            sixteen_hundred_turns_of_sixteen_writers_are_all_there_once,
            random_operations_agree_with_the_model,
        }
        "locks_rls" => locks {
            of_sixteen_at_once_one_holds,
            a_forced_release_is_noted,
            a_stale_guard_stops_every_facet,
        }
        "claims_rls" => claims {
            sixteen_writers_never_believe_two_values,
        }
        "claims_rls" => claims::questions {
            a_sweep_reaches_its_own_agents_questions_only,
            upkeep_sweeps_every_agents_questions,
            a_question_is_put_until_it_is_taken,
        }
        "claims_rls" => claims::together {
            agents_that_speak_at_once_are_each_answered,
            one_that_is_refused_spoils_nothing_for_the_others,
        }
        "claims_rls" => claims::random {
            random_claims_agree_with_the_model_seed_1,
        }
        "checkpoints_rls" => checkpoints::tree {
            a_fenced_thread_refuses_writers_without_its_lock,
            a_thread_without_activity_is_swept,
        }
        "checkpoints_rls" => checkpoints::writes {
            writers_and_removers_leave_no_orphan,
        }
        "checkpoints_rls" => checkpoints::storage {
            writers_and_pruners_lose_nothing,
        }
        "checkpoints_rls" => checkpoints::random {
            random_operations_agree_with_a_tree_seed_1,
        }
        "checkpoints_rls" => checkpoints::oracle {
            every_put_is_decided_as_core_decides_it,
        }
        "checkpoints_rls" => checkpoints::sealed {
            random_operations_under_keys_agree_with_a_tree,
        }
        "steps_rls" => steps {
            a_step_writes_every_facet_together,
            a_refused_write_leaves_nothing,
            the_same_id_at_once_is_written_once,
            a_step_of_one_append_happens_once,
            steps_of_two_handles_make_one_chain,
            sixteen_writers_in_random_order_do_not_deadlock,
        }
        "workflows_rls" => workflows::runs {
            every_try_is_an_execution,
            runs_are_listed_newest_first_by_what_they_are,
        }
        "workflows_rls" => workflows::definitions {
            definitions_are_listed_by_id_and_filtered,
        }
        "dead_letters_rls" => dead_letters {
            sixteen_takers_share_without_doubles,
        }
        "dead_letters_rls" => dead_letters::receipts {
            an_ack_in_a_step_is_all_or_nothing,
        }
        "dead_letters_rls" => dead_letters::many {
            a_filter_lets_through_what_it_says,
            statistics_count_by_state_attempts_and_cause,
            a_retry_makes_ready_what_waits,
            pruning_removes_what_is_old_and_in_nobodys_hands,
        }
        "upkeep_rls" => upkeep {
            every_task_has_a_status_and_runs_to_its_end,
            a_takeover_has_a_larger_fence_and_stops_the_old_holder,
            text_counts_are_exact_before_and_after_folding,
            events_are_written_far_into_the_future,
        }
        "installation_rls" => installation {
            health_tells_how_the_database_answers,
            doctor_finds_nothing_wrong_with_a_fresh_database,
            no_message_shows_a_secret,
            an_abandoned_call_leaves_the_store_usable,
        }
    }
}
