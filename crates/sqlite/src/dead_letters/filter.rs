//! Which items a call is about, as fragments of SQL with the values they bind. Every fragment is
//! a constant: what is not given binds null and lets everything through. The states say what
//! `mnemon_core::dead_letters::state` says.

use mnemon_core::dead_letters::LetterFilter;
use mnemon_core::scope::Admitted;
use rusqlite::ToSql;

/// An item's state at `:now`.
macro_rules! state {
    () => {
        "case when taken = 1 and visible_at > :now then 'in_flight' \
         when reprocess_eligible = 0 then 'rejected' when manual_review_required = 1 then 'review' \
         when visible_at > :now then 'delayed' else 'ready' end"
    };
}
pub(super) use state;

/// The items that a scope sees and a filter lets through. Binds [`Asked`].
macro_rules! asked {
    () => {
        concat!(
            "tenant = :tenant and (:user is null or user_id = :user) \
             and (:agent is null or agent_id = :agent) and (:queue is null or queue = :queue) \
             and (:signature is null or error_signature = :signature) \
             and (:least is null or attempts >= :least) and (:most is null or attempts <= :most) \
             and (:after is null or buried_at >= :after) \
             and (:before is null or buried_at <= :before) and (:state is null or :state = ",
            $crate::dead_letters::filter::state!(),
            ")"
        )
    };
}
pub(super) use asked;

/// A named value.
pub(super) type Named<'a> = (&'static str, &'a dyn ToSql);

/// What [`asked`] binds.
pub(super) struct Asked<'a> {
    tenant: &'a str,
    user: Option<&'a str>,
    agent: Option<&'a str>,
    queue: Option<&'a str>,
    signature: Option<&'a str>,
    least: Option<u32>,
    most: Option<u32>,
    after: Option<i64>,
    before: Option<i64>,
    state: Option<&'static str>,
    now: i64,
}

impl<'a> Asked<'a> {
    pub(super) fn by(scope: &Admitted<'a>, filter: &'a LetterFilter, now: i64) -> Self {
        Self {
            tenant: scope.tenant,
            user: scope.user,
            agent: scope.agent,
            queue: filter.queue.as_deref(),
            signature: filter.error_signature.as_deref(),
            least: filter.min_attempts,
            most: filter.max_attempts,
            after: filter.after.map(|at| at.timestamp_micros()),
            before: filter.before.map(|at| at.timestamp_micros()),
            state: filter.state.map(mnemon_core::dead_letters::LetterState::as_str),
            now,
        }
    }

    pub(super) fn values(&self) -> Vec<Named<'_>> {
        vec![
            (":tenant", &self.tenant),
            (":user", &self.user),
            (":agent", &self.agent),
            (":queue", &self.queue),
            (":signature", &self.signature),
            (":least", &self.least),
            (":most", &self.most),
            (":after", &self.after),
            (":before", &self.before),
            (":state", &self.state),
            (":now", &self.now),
        ]
    }
}
