//! Who sees what, as fragments of SQL with the values they bind. Every fragment is a constant:
//! a filter that is not given binds null and lets everything through.

use mnemon_core::memories::{MemoryFilter, Namespace};
use mnemon_core::scope::Admitted;
use rusqlite::ToSql;
use serde_json::json;

/// The rows of `memories m` that a scope sees. Binds [`Seen`].
macro_rules! visible {
    () => {
        "m.tenant = :tenant and (m.expires_at is null or m.expires_at > :now) \
         and (:agent is null or m.agent_id = :agent) \
         and (:user is null or m.user_id is null or m.user_id = :user \
              or m.visibility = 'tenant' \
              or (m.visibility = 'shared' and exists (select 1 from json_each(m.shared_with) as g \
                  where g.value in (select value from json_each(:groups)))))"
    };
}
pub(super) use visible;

/// The rows of `memories m` that a filter lets through. Binds [`Filtered`]. `0` follows `/`, so
/// that a namespace's descendants are one range.
macro_rules! filtered {
    () => {
        "(:namespace is null or m.namespace = :namespace \
              or (m.namespace >= :namespace || '/' and m.namespace < :namespace || '0')) \
         and (:tags is null or exists (select 1 from json_each(m.tags) as t \
              where t.value in (select value from json_each(:tags)))) \
         and (:node_types is null or m.node_type in (select value from json_each(:node_types))) \
         and (:created_from is null or m.created_at >= :created_from) \
         and (:created_to is null or m.created_at < :created_to)"
    };
}
pub(super) use filtered;

/// A named value.
pub(super) type Named<'a> = (&'static str, &'a dyn ToSql);

/// What `visible!` binds.
pub(super) struct Seen<'a> {
    tenant: &'a str,
    user: Option<&'a str>,
    agent: Option<&'a str>,
    groups: String,
    now: i64,
}

impl<'a> Seen<'a> {
    pub(super) fn by(scope: &Admitted<'a>, now: i64) -> Self {
        Self {
            tenant: scope.tenant,
            user: scope.user,
            agent: scope.agent,
            groups: json!(scope.groups).to_string(),
            now,
        }
    }

    pub(super) fn values(&self) -> Vec<Named<'_>> {
        vec![
            (":tenant", &self.tenant),
            (":user", &self.user),
            (":agent", &self.agent),
            (":groups", &self.groups),
            (":now", &self.now),
        ]
    }
}

/// What `filtered!` binds.
pub(super) struct Filtered<'a> {
    namespace: Option<&'a str>,
    tags: Option<String>,
    node_types: Option<String>,
    created_from: Option<i64>,
    created_to: Option<i64>,
}

impl<'a> Filtered<'a> {
    pub(super) fn by(filter: &'a MemoryFilter) -> Self {
        let any = |texts: &[String]| (!texts.is_empty()).then(|| json!(texts).to_string());
        Self {
            // Everything is below the root.
            namespace: filter.namespace.as_ref().map(Namespace::as_str).filter(|n| !n.is_empty()),
            tags: any(&filter.tags),
            node_types: any(&filter.node_types),
            created_from: filter.created_from.map(|at| at.timestamp_micros()),
            created_to: filter.created_to.map(|at| at.timestamp_micros()),
        }
    }

    pub(super) fn values(&self) -> Vec<Named<'_>> {
        vec![
            (":namespace", &self.namespace),
            (":tags", &self.tags),
            (":node_types", &self.node_types),
            (":created_from", &self.created_from),
            (":created_to", &self.created_to),
        ]
    }
}
