//! The cases of steps.

use crate::case::{Case, cases};
use crate::ctx::Setup;
use crate::steps;

pub(super) fn cases() -> Vec<Case> {
    cases! { Setup::default();
        "steps" => steps {
            a_step_writes_every_facet_together,
            a_repeat_answers_the_first_receipt,
            a_differing_repeat_says_so_and_strictly_is_refused,
            a_refused_write_leaves_nothing,
            a_stale_guard_leaves_nothing,
            a_receipt_is_its_scopes,
            receipts_hold_no_payload,
            the_same_id_at_once_is_written_once,
            a_step_of_one_append_happens_once,
            a_step_of_one_append_is_refused_as_any_other,
            steps_of_two_handles_make_one_chain,
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
    }
}
