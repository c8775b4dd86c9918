//! The cases of claims.

use crate::case::{Case, cases};
use crate::claims;
use crate::ctx::Setup;

pub(super) fn cases() -> Vec<Case> {
    cases! { Setup::default();
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
    }
}
