//! One suite for every Mnemon store: the contracts of `mnemon-core`'s traits as named tests, run
//! alike on SQLite, PostgreSQL 18 and PostgreSQL 16.
//!
//! ```text
//! cargo test -p mnemon-conformance                                 SQLite
//! MNEMON_TEST_POSTGRES=1 cargo test -p mnemon-conformance          all three
//! cargo test -p mnemon-conformance -- sqlite::memories::a_phrase   some
//! ```
//!
//! **A case** is a private `async fn(&Ctx)` in the module of its facet that panics when the
//! contract is broken. It gets a fresh database. Name it in [`cases`]: that list is the only way
//! into the suite, and a case missing there is dead code, which fails the build. Cases ask only
//! through `dyn Store`, with a second handle ([`Ctx::another`]), the database's clock
//! ([`Ctx::move_clock`]) and a count of rows behind the store's back ([`Ctx::rows`]). None
//! depends on how long something takes.
//!
//! **What to expect** is computed, not written down, where a rule exists: the module `model`
//! holds visibility as the scope table says it, and memories with core's own text analysis and
//! BM25 over plain vectors.
//!
//! **A facet** joins the isolation matrix with a `Probe` in `isolation/`: how to write a row of a
//! scope, and what each verb shows. Its key, owner and filter parts come from
//! [`mnemon_core::Facet::rule`]. Until then it stands in `isolation::NOT_BUILT`. Give
//! [`FailingStore`] its trait, too.
//!
//! **Crashes and fights** are the stores' own tests, as only they know where to kill a process and
//! how to move its clock; what the writers write, and what must stand afterwards, is in
//! [`crashes`] and [`fights`].
//!
//! **A database** joins with a [`Provider`] in `tests/conformance.rs`: a fresh database, further
//! handles on it, its clock, a row count. A store that cannot do something says so there
//! ([`Provider::row_level_security`]); the run prints what was left out for it.

// A case that is not in the list must fail every build, not only the one that denies warnings.
#![deny(dead_code)]

mod case;
mod check;
mod checkpoints;
mod claims;
mod consumers;
pub mod crashes;
mod ctx;
mod dead_letters;
mod events;
mod failing;
mod faults;
pub mod fights;
mod installation;
mod isolation;
mod locks;
mod memories;
mod model;
mod steps;
mod subscriptions;
mod turns;
mod upkeep;
mod workflows;

pub use async_trait::async_trait;
pub use case::{Case, Running};
pub use ctx::{Ctx, Database, Provider, Setup};
pub use failing::{FailingStore, Fault, When};

/// The list: every case of the suite.
#[expect(clippy::too_many_lines, reason = "one list in one place")]
pub fn cases() -> Vec<Case> {
    let mut cases = case::cases! { Setup::default();
        "memories" => memories::writing {
            every_field_comes_back,
            a_bare_memory_gets_the_documented_defaults,
            blank_scope_parts_count_as_missing,
            text_of_every_script_comes_back,
            scopes_of_every_script_are_kept_apart,
            times_keep_their_microseconds,
            json_of_every_shape_comes_back,
            ids_are_made_in_the_order_of_writing,
        }
        "memories" => memories::limits {
            everything_at_its_limit_is_kept,
            content_of_one_endless_word_is_kept,
            over_a_limit_is_refused_and_nothing_is_written,
            a_nul_is_refused_in_every_text,
            a_scope_over_its_limits_is_refused_by_every_verb,
        }
        "memories" => memories::identity {
            equal_content_is_one_memory,
            content_is_equal_byte_by_byte,
            another_owner_agent_or_namespace_keeps_its_own,
            a_key_names_one_memory,
            a_key_is_its_owners_in_its_namespace,
            equal_content_under_a_new_key_is_the_first,
            a_repeated_request_answers_the_first_outcome,
            a_request_that_found_a_memory_keeps_answering_it,
            a_request_id_is_its_owners,
            a_repeated_duplicate_with_a_request_id_is_one,
            allowed_duplicates_are_rows_of_their_own,
            deleted_content_keys_and_requests_are_free_again,
            an_expired_row_is_not_in_the_way,
            an_expired_request_keeps_answering_its_first_outcome,
            a_key_that_several_have_is_the_nearest_ones,
        }
        "memories" => memories::batches {
            outcomes_come_in_the_order_given,
            equal_content_within_a_batch_is_one_memory,
            a_request_id_twice_in_a_batch_is_one_memory,
            an_empty_batch_does_nothing,
            a_full_batch_is_kept_and_one_more_is_refused,
            one_bad_entry_refuses_all_and_is_named,
            a_taken_key_refuses_the_whole_batch,
            crossing_batches_of_the_same_texts_never_deadlock,
            crossing_batches_of_the_same_keys_are_kept_or_refused_whole,
        }
        "memories" => memories::reading {
            what_is_not_there_is_named,
            a_deleted_memory_is_gone_from_every_verb,
            what_others_share_is_not_ours_to_delete,
            an_unowned_memory_is_everybodys,
            a_count_is_what_the_scope_sees,
        }
        "memories" => memories::pages {
            a_list_is_newest_first_by_id,
            a_page_that_holds_all_has_no_next,
            a_page_limit_goes_from_1_to_500,
            a_foreign_cursor_is_refused,
            a_cursor_outlives_its_row,
            a_cursor_shows_nothing_of_another_scope,
            paging_has_no_gap_and_no_double_while_others_write,
        }
        "memories" => memories::filters {
            a_namespace_finds_itself_and_those_below,
            a_namespace_is_taken_literally,
            any_of_the_tags_and_node_types_is_enough,
            tags_are_taken_literally,
            a_range_includes_its_start_and_not_its_end,
            filters_apply_before_limits,
            a_filter_over_its_limits_is_refused,
            metadata_is_compared_by_its_types,
            any_of_the_domains_is_enough,
            validity_is_a_range_that_may_be_open,
            a_test_that_means_nothing_is_refused,
        }
        "memories" => memories::updating {
            only_what_is_given_changes,
            updated_at_moves_with_the_content_only,
            words_and_counts_follow_the_content,
            the_vector_follows_the_content,
            a_change_is_checked_as_a_new_memory_is,
            what_others_share_is_not_ours_to_change,
            equal_content_of_another_memory_is_refused,
            sixteen_changes_of_one_memory_leave_one_text,
        }
        "memories" => memories::counting {
            namespaces_are_listed_with_their_counts,
            statistics_are_what_the_scope_sees,
            a_sweep_removes_what_is_over_and_the_scope_s,
            either_search_is_its_branch_of_recall,
        }
        "memories" => memories::decay {
            a_review_leads_to_the_state_core_computes,
            the_event_outlives_the_memory,
            the_same_review_again_is_one,
            reviews_at_once_all_count,
            a_review_has_its_place_in_time,
            a_state_is_set_as_given_and_within_limits,
            what_others_share_is_not_ours_to_review,
            due_memories_come_in_pages_longest_due_first,
            retrievability_in_sql_is_core_s_on_a_grid,
            what_faded_is_left_out_before_the_limit,
            reading_strengthens_nothing_unless_asked,
        }
        "memories" => memories::graph {
            a_chain_of_five_is_walked_hop_by_hop,
            a_clique_costs_its_nodes,
            the_best_path_counts,
            one_edge_per_kind_takes_the_new_weight,
            edges_come_in_pages,
            an_edge_to_itself_or_to_nothing_is_refused,
            visibility_holds_on_both_ends,
            activation_spreads_and_names_its_edge,
            what_activation_reaches_is_seen_and_let_through,
        }
        "memories" => memories::domains {
            a_domain_is_kept_replaced_and_deleted,
            domains_are_their_owners_and_everybodys,
            a_domain_counts_what_the_scope_sees_in_it,
            a_vector_is_classified_by_cosine,
            a_tag_becomes_a_domain,
            a_domain_over_its_limits_is_refused,
        }
        "memories" => memories::words {
            scores_are_those_core_computes,
            evidence_of_words_is_rank_and_score,
            a_words_place_weighs,
            equal_scores_are_newest_first,
            a_phrase_must_be_there,
            no_phrase_spans_text_and_tags,
            an_exclusion_must_not_be_there,
            accents_case_and_inflections_meet,
            identifiers_are_found_whole_and_by_their_parts,
            scripts_without_spaces_are_found,
            hostile_questions_are_only_text,
            a_question_may_be_as_long_as_its_limit,
            a_question_needs_text_or_vector_and_a_limit,
            a_limit_takes_the_best,
            another_tenants_words_change_no_score,
            frequencies_are_the_tenants_whoever_asks,
            a_deleted_memory_counts_no_more,
            a_common_word_finds_nothing_of_its_own,
            filters_and_words_agree_with_the_model,
        }
        "memories" => memories::vectors {
            the_order_is_that_of_exact_cosines,
            equal_similarities_are_newest_first,
            a_least_similarity_bounds_what_only_the_vector_found,
            unusable_vectors_are_refused,
            extreme_but_finite_vectors_are_kept_and_found,
            without_a_model_a_vector_is_refused,
            memories_without_a_vector_are_found_by_words_only,
            a_deleted_memory_leaves_no_vector,
            an_equal_memory_keeps_the_vector_it_has,
            visibility_and_filters_hold_before_the_limit,
            the_largest_dimension_works,
            another_handles_vectors_are_seen_at_once,
            what_is_opened_to_others_is_found_by_them_at_once,
            a_filter_of_one_in_a_thousand_finds_all_it_lets_through,
        }
        "memories" => memories::fusion {
            every_fusion_is_cores,
            a_model_without_meaning_never_overtakes_a_word,
            one_branch_alone_keeps_its_order,
            words_beyond_their_bound_count_for_what_the_vector_finds,
        }
        "memories" => memories::planned {
            five_questions_to_twenty_memories,
        }
        "memories" => memories::registry {
            the_same_model_again_is_a_no_op,
            another_model_is_a_mismatch,
            an_unusable_signature_is_refused,
            eight_at_once_register_one,
            of_eight_different_models_one_wins,
            a_model_registered_elsewhere_is_used_at_once,
        }
        "memories" => memories::language {
            questions_meet_the_inflections_of_the_language,
            simple_words_stay_as_they_are,
            names_and_identifiers_match_in_a_language,
            another_language_is_a_mismatch,
            the_first_memory_settles_english_where_nobody_chose,
            of_eight_languages_at_once_one_is_settled,
            a_changed_language_answers_as_if_it_had_been_from_the_start,
            while_a_language_is_changed_nothing_is_lost,
            a_handle_that_knows_the_old_language_writes_in_the_new_one,
            a_change_that_was_interrupted_goes_on_where_it_stopped,
            a_filter_by_tag_holds_in_every_language,
        }
        "memories" => memories::set_filling {
            a_set_is_begun_once_whoever_begins_it,
            the_first_set_of_a_database_is_the_active_one,
            what_a_set_lacks_comes_in_pages_over_all_tenants,
            a_vector_is_filled_only_for_the_text_it_is_of,
            a_set_is_filled_by_one_process_at_a_time,
            a_vector_of_another_model_fills_nothing,
        }
        "memories" => memories::set_writing {
            writers_of_both_models_write_to_both_sets,
            a_writer_of_the_old_model_alone_leaves_work,
            a_vector_of_a_model_without_a_set_is_left_out,
            no_tenant_sees_anothers_vectors_in_any_set,
        }
        "memories" => memories::set_switching {
            a_set_that_lacks_memories_is_not_switched_to,
            what_others_wrote_since_may_be_lacking,
            two_models_of_one_dimension_never_mix,
            a_retired_set_answers_until_it_is_dropped,
            a_retired_set_is_filled_again_with_what_it_has,
            domains_have_their_middle_in_the_set_that_is_searched,
            searches_and_writes_go_on_through_switches_and_drops,
        }
        "memories" => memories::time {
            an_expired_memory_is_invisible_to_every_verb,
            the_clock_of_the_store_writes_times,
            a_clock_that_goes_backwards_breaks_nothing,
        }
        "memories" => memories::concurrency {
            sixteen_writers_and_four_readers_get_along,
            sixteen_writers_of_the_same_words_write_one,
            of_two_texts_under_one_key_one_wins,
            a_row_is_deleted_once,
            a_batch_is_seen_whole_or_not_at_all,
            another_handle_sees_writes_at_once,
        }
        "memories" => memories::random {
            random_operations_agree_with_the_model_seed_1,
            random_operations_agree_with_the_model_seed_2,
            random_operations_agree_with_the_model_seed_3,
            random_operations_agree_with_the_model_seed_4,
        }
        "events" => events {
            notes_are_read_in_order,
            a_stream_is_its_tenants,
            versions_are_gapless_under_sixteen_writers,
            a_note_is_taken_at_most_so_often,
            of_sixteen_rare_notes_at_once_one_is_taken,
            a_clock_that_goes_backwards_keeps_a_stream_in_order,
            a_note_needs_a_tenant_and_a_payload_within_its_limit,
            a_foreign_cursor_is_refused,
            pages_of_a_stream_have_no_gap_and_no_double,
        }
        "events" => events::append {
            every_field_of_an_event_comes_back,
            appended_versions_are_gapless_under_sixteen_writers,
            an_id_appended_again_is_the_first_event,
            the_same_id_at_once_is_one_event,
            another_version_than_expected_is_a_conflict,
            a_bad_append_is_refused,
        }
        "events" => events::log {
            the_log_is_read_in_one_order_from_any_cursor,
            a_cursor_of_another_tenant_or_garbage_is_refused,
            a_filter_finds_what_it_says_and_nothing_else,
            lists_are_newest_first_without_gap_or_double,
            a_stream_in_figures,
            sixteen_writers_and_four_readers_of_the_log,
            a_cursor_ahead_of_the_log_is_refused_and_a_new_epoch_cures_it,
            a_wait_ends_with_an_append_of_any_handle,
            a_wait_goes_on_while_another_tenant_writes,
            random_reads_agree_with_the_model,
        }
        "events" => events::many {
            appends_to_many_streams_are_decided_each_alone,
            gathered_appends_are_gapless_under_sixteen_writers,
            a_repeated_id_within_a_batch_is_the_first_event,
            what_is_too_much_together_is_refused,
            fifty_thousand_events_come_in_one_commit,
        }
        "events" => events::import {
            an_import_keeps_its_times_and_makes_its_months,
            an_import_again_is_the_first_one,
            times_that_go_back_are_refused,
            a_month_ends_between_two_events,
            the_store_s_clock_moves_into_months_made_ahead,
        }
        "events" => events::archive {
            an_archived_month_is_a_file_first_and_then_gone,
            a_reader_behind_what_is_gone_is_told,
            what_was_archived_comes_back_to_its_place,
            an_archive_of_another_log_is_new_here,
            a_month_that_is_not_what_was_archived_stays,
            a_full_disk_removes_nothing,
            an_interrupted_archive_goes_on,
            months_leave_beside_writers_and_subscribers,
        }
        "events" => events::search {
            events_are_found_by_their_words,
            searches_agree_with_the_model,
            a_bad_search_is_refused,
            words_leave_with_their_month,
        }
        "subscriptions" => subscriptions {
            a_subscription_tells_what_is_there_and_then_what_comes,
            an_empty_log_is_caught_up_at_once,
            a_subscriber_is_told_what_its_scope_and_filter_admit,
            a_slow_subscriber_falls_back_and_loses_nothing,
            bad_subscriptions_are_refused_and_closing_ends_them,
            a_store_that_fails_interrupts_and_nothing_is_lost,
            sixteen_writers_and_four_subscribers,
            gathered_appends_answer_each_caller,
        }
        "consumers" => consumers {
            every_event_is_handed_out_in_the_order_of_its_stream,
            what_is_not_committed_is_handed_out_again,
            members_share_the_partitions,
            the_last_failure_buries_the_event,
            a_consumer_whose_fence_is_gone_moves_nothing,
            bad_consumers_are_refused,
        }
        "turns" => turns {
            every_field_of_a_turn_comes_back,
            a_repeated_request_answers_the_first_turn,
            sixteen_writers_of_a_session_lose_nothing,
            a_context_holds_the_newest_within_its_budget,
            a_turn_over_the_budget_is_cut_not_dropped,
            a_key_is_user_session_and_kind,
            bad_input_is_refused,
        }
        "turns" => turns::strategies {
            a_strategy_belongs_to_the_key,
            a_first_turn_brings_its_strategy,
            a_memory_is_configured_before_or_after_its_first_turn,
            what_cannot_work_is_refused_by_field,
            none_keeps_no_turns,
            one_side_is_enough,
            a_rolling_context_is_the_summary_and_what_it_does_not_cover,
            a_rolling_context_keeps_its_budget,
            a_run_scoped_key_is_the_runs_own,
            a_step_appends_by_the_same_rules,
        }
        "turns" => turns::summaries {
            a_chain_covers_every_turn_once,
            what_is_taken_is_what_no_summary_covers,
            a_long_backlog_is_taken_in_pieces,
            one_summarises_at_a_time_and_a_late_one_is_fenced,
            a_lost_answer_to_a_settlement_is_found_again,
            what_was_given_up_is_free_at_once,
            a_memory_that_is_cleared_meanwhile_takes_no_summary,
            an_outage_over_ten_turns_loses_none_of_them,
            a_restart_while_degraded_keeps_everything,
            recovery_goes_on_until_nothing_waits,
            a_failure_is_left_alone_for_a_while,
            a_long_backlog_only_slows_a_failing_summariser_down,
            a_clock_that_goes_back_loses_nothing,
            eight_summarisers_write_each_link_once,
        }
        "turns" => turns::copies {
            a_copy_brings_every_field_to_another_session,
            an_import_replaces_what_stood,
            a_large_copy_comes_whole,
            a_copy_that_does_not_fit_changes_nothing,
            a_copy_goes_to_the_other_database_as_text,
        }
        "turns" => turns::removal {
            a_clear_takes_one_memory_and_leaves_its_settings,
            a_session_goes_with_all_its_memories,
            a_person_goes_with_all_their_sessions,
            a_person_s_sessions_are_listed_and_nobody_else_s,
            turns_go_when_their_time_is_over,
            turns_that_wait_for_a_summary_stay_until_they_have_it,
            a_clock_that_goes_back_removes_nothing,
            what_is_said_while_sessions_are_deleted_is_whole,
        }
        "turns" => turns::harbor {
            get_llm_context_empty_by_default,
            flush_no_op,
            health_returns_healthy,
            snapshot_empty_and_restore_round_trips_it,
            identity_is_mandatory_in_every_call,
            tenants_sessions_users_and_kinds_are_kept_apart,
            concurrent_all_methods_no_race,
            close_is_idempotent_and_every_call_after_it_is_refused,
            none_restore_rejects_non_empty,
            truncation_persists_accumulates_and_enforces_its_budget,
            rolling_summary_summarises_and_its_copy_has_the_summary,
        }
        "turns" => turns::load {
            sixteen_hundred_turns_of_sixteen_writers_are_all_there_once,
            random_operations_agree_with_the_model,
            a_store_that_fails_loses_no_turn,
        }
        "checkpoints" => checkpoints {
            a_thread_grows_by_versions_and_inherits_channels,
            bytes_of_every_kind_come_back,
            a_value_is_stored_once_per_thread,
            of_sixteen_with_the_same_expectation_one_wins,
            sixteen_writers_leave_no_gap,
            a_fork_shows_its_parent,
            ids_grow_however_the_clock_moves,
            a_thread_belongs_to_who_started_it,
            bad_input_is_refused,
        }
        "checkpoints" => checkpoints::tree {
            the_callers_versions_say_what_is_inherited,
            forks_with_one_version_keep_their_own_values,
            a_root_inherits_nothing,
            a_version_is_loaded_by_its_number,
            a_fenced_thread_refuses_writers_without_its_lock,
            a_deleted_thread_starts_anew,
            two_checkpoints_differ_by_channel,
            a_channel_is_made_of_a_seed_and_the_writes_since,
            readable_values_come_back_like_others,
            a_thread_without_activity_is_swept,
        }
        "checkpoints" => checkpoints::writes {
            writes_of_a_task_come_back_in_order,
            tasks_are_ordered_by_path_then_id,
            the_first_ordinary_write_at_a_place_stays,
            special_writes_have_their_places_and_overwrite,
            a_new_checkpoint_starts_without_writes,
            namespaces_have_writes_of_their_own,
            long_values_of_writes_come_back,
            a_write_to_a_checkpoint_that_is_gone_leaves_nothing,
            writers_and_removers_leave_no_orphan,
            writes_of_another_user_are_not_taken,
            bad_writes_are_refused,
        }
        "checkpoints" => checkpoints::lists {
            metadata_is_compared_by_type,
            lists_are_cut_by_thread_namespace_run_and_place,
            a_filtered_list_pages_without_gap_or_double,
            threads_are_listed_last_active_first,
            lists_show_what_a_user_may_see,
            bad_questions_are_refused,
        }
        "checkpoints" => checkpoints::removal {
            a_deleted_thread_leaves_nothing,
            the_newest_are_kept_in_every_namespace,
            old_ones_go_and_the_newest_stays,
            a_dry_run_says_what_would_go,
            bad_policies_are_refused,
            what_runs_put_is_deleted,
            a_thread_of_deleted_runs_only_is_gone,
            a_copy_is_whole_and_stands_alone,
            a_copy_needs_a_source_and_a_free_name,
            a_copy_belongs_to_who_made_it,
        }
        "checkpoints" => checkpoints::storage {
            a_small_change_of_a_long_value_adds_few_rows,
            pruning_leaves_what_is_named_and_nothing_else,
            writers_and_pruners_lose_nothing,
            a_state_at_the_limit_is_kept,
        }
        "checkpoints" => checkpoints::random {
            random_operations_agree_with_a_tree_seed_1,
            random_operations_agree_with_a_tree_seed_2,
        }
        "checkpoints" => checkpoints::whole {
            every_field_of_a_checkpoint_comes_back,
            namespaces_are_threads_of_their_own,
            what_is_not_there_is_not_found,
        }
        "checkpoints" => checkpoints::oracle {
            every_put_is_decided_as_core_decides_it,
        }
        "checkpoints" => checkpoints::sealed {
            what_is_encrypted_comes_back,
            equal_parts_are_stored_once_under_keys_too,
            another_key_is_told_from_a_missing_one,
            a_new_key_takes_over_put_by_put,
            what_is_not_encrypted_is_refused,
            readable_values_and_keys_exclude_each_other,
            a_copy_is_encrypted_for_its_own_place,
            a_step_puts_under_keys,
            random_operations_under_keys_agree_with_a_tree,
        }
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
        "claims" => claims {
            a_lone_claim_is_believed,
            two_values_about_the_same_time_are_contested,
            saying_the_same_again_corroborates,
            dated_windows_that_do_not_overlap_succeed_each_other,
            an_inference_never_contests,
            a_set_has_many_values,
            a_re_entry_writes_only_to_the_ledger,
            a_bogus_reference_is_not_found,
            a_repeated_request_answers_the_first_outcome,
            parents_make_depth_and_depth_decides_nothing,
            the_ledger_is_gapless_and_chained,
            what_was_known_then_is_known_again,
            a_clock_that_goes_backwards_keeps_times_in_order,
            an_agents_claims_are_its_own,
            sixteen_writers_never_believe_two_values,
            bad_input_is_refused,
        }
        "claims" => claims::history {
            an_empty_line_has_no_history,
            a_single_claim_is_its_whole_history,
            a_succession_is_told_in_the_order_of_its_windows,
            what_is_current_in_a_history_is_what_is_believed,
            a_history_says_why_a_claim_counts_no_more,
            both_sides_of_a_contest_are_said_to_be,
            a_history_is_read_as_of_any_time,
            a_history_comes_in_pages,
            each_window_answers_for_its_time,
            the_axes_of_time_are_independent,
            without_a_valid_time_now_is_meant,
            a_gap_between_windows_believes_nothing,
            dates_come_back_as_precise_as_they_were_given,
            a_window_that_is_not_trusted_decides_nothing,
            a_subject_is_told_by_predicate,
        }
        "claims" => claims::resolving {
            a_retracted_claim_counts_no_more_and_a_reinstated_one_again,
            retracting_one_side_ends_a_contest,
            what_stands_on_a_fallen_claim_is_flagged,
            reconciling_picks_no_winner,
            windows_left_open_are_reconciled_into_a_succession,
            equal_starts_are_no_succession,
            without_an_oracle_nothing_is_escalated,
            a_contested_line_can_be_asked_about_again,
            affirming_one_challenger_denies_the_others,
            every_claim_write_fits_into_a_step,
            bad_changes_are_refused,
        }
        "claims" => claims::oracle {
            a_conflict_is_put_to_the_oracle_with_its_claim,
            affirming_makes_the_challenger_the_belief,
            denying_leaves_the_incumbent,
            not_knowing_leaves_the_line_contested_and_open_to_ask,
            while_asked_the_belief_is_contested,
            an_unknown_or_foreign_handle_is_not_found,
            a_handle_is_answered_once,
            of_eight_answers_at_once_one_counts,
            an_answer_that_comes_too_late_counts_no_more,
            the_configured_time_to_answer_holds_unless_the_claim_says,
            a_verdict_is_written_whole_or_not_at_all,
            the_ledger_says_what_was_asked_and_answered,
            a_models_word_does_not_overturn_what_much_depends_on,
            a_reconciliation_leaves_an_open_question_alone,
        }
        "claims" => claims::questions {
            a_sweep_makes_unanswered_claims_contested,
            a_sweep_reaches_its_own_agents_questions_only,
            upkeep_sweeps_every_agents_questions,
            a_question_outlives_its_handle_on_the_store,
            a_question_is_put_until_it_is_taken,
            of_four_takers_one_puts_each_question,
            questions_are_listed_in_pages,
        }
        "claims" => claims::audit {
            an_audit_filters_first_then_pages,
            bad_audits_are_refused,
            a_whole_ledger_is_verified,
            what_is_served_can_be_noted,
            a_flood_of_re_entries_is_kept_apart,
        }
        "claims" => claims::sound {
            a_claim_is_compared_with_every_live_one,
            members_of_a_set_may_exclude_each_other,
            an_unknown_cardinality_is_decided_like_a_functional_one,
            what_begins_later_is_believed_when_it_begins,
            a_belief_ages_until_it_is_said_again,
            every_knob_of_currency_is_read,
            both_caps_of_derivation_are_read,
            every_field_of_a_claim_comes_back,
            a_request_that_says_two_confidences_is_refused,
            a_repeated_request_asks_no_second_question,
            conflicting_pairs_are_never_both_cheap,
            a_reading_can_be_repeated_exactly,
            another_agents_claims_are_not_there,
        }
        "claims" => claims::asking {
            what_counts_no_more_is_not_read,
            a_long_succession_answers_for_every_year,
        }
        "claims" => claims::together {
            agents_that_speak_at_once_are_each_answered,
            one_that_is_refused_spoils_nothing_for_the_others,
            questions_of_many_agents_come_with_their_claims,
            what_is_said_at_once_may_stand_on_other_claims,
        }
        "claims" => claims::random {
            random_claims_agree_with_the_model_seed_1,
            random_claims_agree_with_the_model_seed_2,
            random_claims_agree_with_the_model_seed_3,
        }
        "steps" => steps {
            a_step_writes_every_facet_together,
            a_repeat_answers_the_first_receipt,
            a_differing_repeat_says_so_and_strictly_is_refused,
            a_refused_write_leaves_nothing,
            a_stale_guard_leaves_nothing,
            a_receipt_is_its_scopes,
            receipts_hold_no_payload,
            the_same_id_at_once_is_written_once,
            sixteen_writers_in_random_order_do_not_deadlock,
            a_write_at_fault_is_named,
            bad_steps_are_refused,
            old_receipts_are_swept,
        }
        "steps" => steps::bad_input {
            two_writes_that_decide_the_same_are_refused,
            an_id_may_be_as_long_as_its_limit,
            json_of_a_step_says_the_same,
            another_vector_makes_no_other_step,
            a_used_id_under_a_stale_version_answers_the_first_receipt,
        }
        "steps" => steps::random {
            random_steps_agree_with_the_model_seed_1,
            random_steps_agree_with_the_model_seed_2,
            random_steps_agree_with_the_model_seed_3,
        }
        "upkeep" => upkeep {
            every_task_has_a_status_and_runs_to_its_end,
            of_eight_claimants_one_holds,
            a_task_is_due_again_after_its_interval,
            a_takeover_has_a_larger_fence_and_stops_the_old_holder,
            a_batch_renews_the_lease,
            an_expired_lease_that_nobody_took_still_works,
            a_lease_given_back_works_no_more,
            failures_are_counted_until_a_run_succeeds,
            text_counts_are_exact_before_and_after_folding,
            counts_stay_exact_while_folding_and_writing,
            expired_memories_are_swept_with_words_and_vectors,
            events_are_written_far_into_the_future,
            the_depth_of_the_queues_is_measured_over_all_tenants,
        }
        "installation" => installation {
            health_tells_how_the_database_answers,
            doctor_finds_nothing_wrong_with_a_fresh_database,
            doctor_sees_a_group_that_nobody_works_for,
            no_message_shows_a_secret,
            after_close_every_call_is_refused,
            closing_refuses_new_calls_while_running_ones_drain,
            an_error_leaves_the_store_usable,
            an_abandoned_call_leaves_the_store_usable,
        }
        "faults" => faults {
            a_refused_call_writes_nothing_and_the_next_works,
            a_lost_answer_is_found_again,
            an_import_resumes_wherever_it_fails,
            every_facet_of_a_failing_store_fails,
        }
    };
    cases.extend(under_row_level_security());
    cases.extend(isolation::cases());
    cases
}

/// Those whose statements differ, or could, when every one of them first names its tenant.
#[expect(clippy::too_many_lines, reason = "one list in one place")]
fn under_row_level_security() -> Vec<Case> {
    let setup = Setup { row_level_security: true, model: None };
    case::cases! { setup;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::cases;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let cases = cases();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();

        assert_eq!(names.len(), cases.len());
    }
}
