//! The cases of memories: writing, reading, changing, connecting.

use crate::case::{Case, cases};
use crate::ctx::Setup;
use crate::memories;

pub(super) fn cases() -> Vec<Case> {
    cases! { Setup::default();
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
    }
}
