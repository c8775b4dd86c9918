//! The cases of checkpoints.

use crate::case::{Case, cases};
use crate::checkpoints;
use crate::ctx::Setup;

pub(super) fn cases() -> Vec<Case> {
    cases! { Setup::default();
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
    }
}
