//! The cases of upkeep, installation and faults.

use crate::case::{Case, cases};
use crate::ctx::Setup;
use crate::{faults, installation, upkeep};

pub(super) fn cases() -> Vec<Case> {
    cases! { Setup::default();
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
    }
}
