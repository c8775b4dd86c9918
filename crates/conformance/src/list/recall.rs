//! The cases of memories: finding them, by words and by vectors.

use crate::case::{Case, cases};
use crate::ctx::Setup;
use crate::memories;

pub(super) fn cases() -> Vec<Case> {
    cases! { Setup::default();
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
            what_one_scope_writes_at_once_is_all_there,
            who_gives_up_waiting_keeps_nobody_from_writing,
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
    }
}
