//! A memory's row, and the one place where it becomes a [`Memory`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use mnemon_core::memories::{Memory, Namespace};
use mnemon_core::{Error, MemoryId};
use serde_json::Value;
use uuid::Uuid;

/// The columns of a [`Row`], for statements that are put together.
pub(super) const COLUMNS: &str = "m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.run_id, \
     m.key, m.namespace, m.visibility, m.shared_with, m.content, m.node_type, m.tags, m.metadata, \
     m.codebase, m.source, m.domains, m.domain_scores, m.valid_from, m.valid_until, m.expires_at, \
     m.created_at, m.updated_at";

/// What a statement reads of a memory.
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) tenant: String,
    pub(super) user_id: Option<String>,
    pub(super) agent_id: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) run_id: Option<String>,
    pub(super) key: Option<String>,
    pub(super) namespace: String,
    pub(super) visibility: String,
    pub(super) shared_with: Vec<String>,
    pub(super) content: String,
    pub(super) node_type: String,
    pub(super) tags: Vec<String>,
    pub(super) metadata: Value,
    pub(super) codebase: Option<String>,
    pub(super) source: Option<String>,
    pub(super) domains: Vec<String>,
    pub(super) domain_scores: Value,
    pub(super) valid_from: Option<DateTime<Utc>>,
    pub(super) valid_until: Option<DateTime<Utc>>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Memory {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let id = row.id;
        let corrupt = |error: Error| Error::corrupt(format!("memory {id}"), error.to_string());
        let domain_scores: BTreeMap<String, f64> = serde_json::from_value(row.domain_scores)
            .map_err(|_| Error::corrupt(format!("memory {id}"), "domain_scores are no numbers"))?;
        Ok(Self {
            id: MemoryId(id),
            tenant: row.tenant,
            user: row.user_id,
            agent: row.agent_id,
            session: row.session_id,
            run: row.run_id,
            key: row.key,
            namespace: Namespace::parse(row.namespace).map_err(corrupt)?,
            visibility: row.visibility.parse().map_err(corrupt)?,
            shared_with: row.shared_with,
            content: row.content,
            node_type: row.node_type,
            tags: row.tags,
            metadata: row.metadata,
            codebase: row.codebase,
            source: row.source,
            domains: row.domains,
            domain_scores,
            valid_from: row.valid_from,
            valid_until: row.valid_until,
            expires_at: row.expires_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
