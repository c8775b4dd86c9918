//! Who sees what, as fragments of SQL with the values they bind. Every fragment is a constant:
//! a filter that is not given binds null and lets everything through.

use chrono::{DateTime, Utc};
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

/// The rows of `memories m` that a scope may change: its own, and unowned ones. Binds [`Seen`]
/// without the groups.
macro_rules! owned {
    () => {
        "m.tenant = :tenant and (m.expires_at is null or m.expires_at > :now) \
         and (:agent is null or m.agent_id = :agent) \
         and (:user is null or m.user_id is null or m.user_id = :user)"
    };
}
pub(super) use owned;

/// The rows of `memories m` that a filter lets through. Binds [`Filtered`] and [`Seen`]. `0` follows `/`, so
/// that a namespace's descendants are one range.
macro_rules! filtered {
    () => {
        "(:namespace is null or m.namespace = :namespace \
              or (m.namespace >= :namespace || '/' and m.namespace < :namespace || '0')) \
         and (:tags is null or exists (select 1 from json_each(m.tags) as t \
              where t.value in (select value from json_each(:tags)))) \
         and (:node_types is null or m.node_type in (select value from json_each(:node_types))) \
         and (:created_from is null or m.created_at >= :created_from) \
         and (:created_to is null or m.created_at < :created_to) \
         and (:domains is null or exists (select 1 from json_each(m.domains) as d \
              where d.value in (select value from json_each(:domains)))) \
         and (:metadata is null or mnemon_metadata(m.metadata, :metadata)) \
         and (:valid_from is null or m.valid_until is null or m.valid_until > :valid_from) \
         and (:valid_to is null or m.valid_from is null or m.valid_from < :valid_to) \
         and (:as_of is null or (m.created_at <= :as_of \
              and (m.valid_from is null or m.valid_from <= :as_of) \
              and (m.valid_until is null or m.valid_until > :as_of))) \
         and (:least is null or coalesce((\
              select mnemon_retrievability(s.stability, coalesce(:as_of, :now) - s.last_review) \
              from memory_scheduling s where s.memory = m.memory), 1.0) >= :least)"
    };
}
pub(super) use filtered;

/// The rows of `memories m` in the filter's namespace or below it, by their index. Binds
/// [`Filtered`], whose namespace is given.
macro_rules! below {
    () => {
        "m.namespace <> '' and (m.namespace = :namespace \
              or (m.namespace >= :namespace || '/' and m.namespace < :namespace || '0'))"
    };
}
pub(super) use below;

/// The rows of `memories m` that hold any of some words.
macro_rules! worded {
    () => {
        "m.memory in (select p.memory from text_postings p \
              where p.term_id in (select value from json_each(:words)))"
    };
}
pub(super) use worded;

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

    /// What `owned!` binds.
    pub(super) fn owner(&self) -> Vec<Named<'_>> {
        vec![
            (":tenant", &self.tenant),
            (":user", &self.user),
            (":agent", &self.agent),
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
    domains: Option<String>,
    metadata: Option<String>,
    valid_from: Option<i64>,
    valid_to: Option<i64>,
    as_of: Option<i64>,
    least: Option<f64>,
}

impl<'a> Filtered<'a> {
    pub(super) fn by(filter: &'a MemoryFilter) -> Self {
        let any = |texts: &[String]| (!texts.is_empty()).then(|| json!(texts).to_string());
        let micros = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
        Self {
            // Everything is below the root.
            namespace: filter.namespace.as_ref().map(Namespace::as_str).filter(|n| !n.is_empty()),
            tags: any(&filter.tags),
            node_types: any(&filter.node_types),
            created_from: micros(filter.created_from),
            created_to: micros(filter.created_to),
            domains: any(&filter.domains),
            metadata: (!filter.metadata.is_empty()).then(|| json!(filter.metadata).to_string()),
            valid_from: micros(filter.valid_from),
            valid_to: micros(filter.valid_to),
            as_of: micros(filter.as_of),
            least: filter.min_retrievability,
        }
    }

    pub(super) fn values(&self) -> Vec<Named<'_>> {
        vec![
            (":namespace", &self.namespace),
            (":tags", &self.tags),
            (":node_types", &self.node_types),
            (":created_from", &self.created_from),
            (":created_to", &self.created_to),
            (":domains", &self.domains),
            (":metadata", &self.metadata),
            (":valid_from", &self.valid_from),
            (":valid_to", &self.valid_to),
            (":as_of", &self.as_of),
            (":least", &self.least),
        ]
    }
}
