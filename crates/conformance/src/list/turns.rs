//! The cases of turns.

use crate::case::{Case, cases};
use crate::ctx::Setup;
use crate::turns;

pub(super) fn cases() -> Vec<Case> {
    cases! { Setup::default();
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
    }
}
