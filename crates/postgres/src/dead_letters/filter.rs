//! Which items a call is about, as SQL with bound values. The states say what
//! `mnemon_core::dead_letters::state` says.

use mnemon_core::dead_letters::{LetterFilter, LetterState};
use mnemon_core::scope::Admitted;
use sqlx::QueryBuilder;
use sqlx::postgres::Postgres;

/// The items `d` that a scope sees.
pub(super) fn push_visible(query: &mut QueryBuilder<Postgres>, scope: &Admitted<'_>) {
    query.push("d.tenant = ").push_bind(scope.tenant.to_owned());
    if let Some(user) = scope.user {
        query.push(" and d.user_id = ").push_bind(user.to_owned());
    }
    if let Some(agent) = scope.agent {
        query.push(" and d.agent_id = ").push_bind(agent.to_owned());
    }
}

/// The items `d` that a filter lets through. Every part is a constant, every value is bound.
pub(super) fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &LetterFilter) {
    if let Some(queue) = &filter.queue {
        query.push(" and d.queue = ").push_bind(queue.clone());
    }
    if let Some(signature) = &filter.error_signature {
        query.push(" and d.error_signature = ").push_bind(signature.clone());
    }
    if let Some(least) = filter.min_attempts {
        query.push(" and d.attempts >= ").push_bind(i64::from(least));
    }
    if let Some(most) = filter.max_attempts {
        query.push(" and d.attempts <= ").push_bind(i64::from(most));
    }
    if let Some(after) = filter.after {
        query.push(" and d.buried_at >= ").push_bind(after);
    }
    if let Some(before) = filter.before {
        query.push(" and d.buried_at <= ").push_bind(before);
    }
    if let Some(state) = filter.state {
        query.push(" and ").push(condition(state));
    }
}

/// A state's condition.
fn condition(state: LetterState) -> &'static str {
    match state {
        LetterState::InFlight => IN_FLIGHT,
        LetterState::Rejected => {
            "not (d.taken and d.visible_at > (select mnemon.now())) and not d.reprocess_eligible"
        }
        LetterState::Review => {
            "not (d.taken and d.visible_at > (select mnemon.now())) and d.reprocess_eligible \
             and d.manual_review_required"
        }
        LetterState::Delayed => {
            "not d.taken and d.visible_at > (select mnemon.now()) and d.reprocess_eligible \
             and not d.manual_review_required"
        }
        LetterState::Ready => READY,
        // A state of a later core: nothing is in it.
        _ => "false",
    }
}

pub(super) const IN_FLIGHT: &str = "(d.taken and d.visible_at > (select mnemon.now()))";
pub(super) const READY: &str = "(d.visible_at <= (select mnemon.now()) and d.reprocess_eligible \
    and not d.manual_review_required)";
