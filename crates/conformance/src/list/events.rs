//! The cases of events, subscriptions and consumers.

use crate::case::{Case, cases};
use crate::ctx::Setup;
use crate::{consumers, events, subscriptions};

pub(super) fn cases() -> Vec<Case> {
    cases! { Setup::default();
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
    }
}
