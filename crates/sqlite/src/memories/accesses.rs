//! Accesses: which memories a recall brought up, noted when its caller asks for it.

use mnemon_core::MemoryId;
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, params};
use serde_json::json;
use uuid::Uuid;

use crate::error::Done;
use crate::open::now;

pub(crate) mod sql {
    crate::sql::statements! {
        NOTE = "insert into memory_accesses (tenant, id, user_id, agent_id, at, memories) \
            values (?1, ?2, ?3, ?4, ?5, ?6) on conflict (tenant, id) do nothing";
    }
}

/// Notes one recall's hits, as one event.
pub(crate) fn note(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: Uuid,
    memories: &[MemoryId],
) -> Done<()> {
    conn.prepare_cached(sql::NOTE)?.execute(params![
        scope.tenant,
        id.as_bytes(),
        scope.user,
        scope.agent,
        now(conn)?,
        json!(memories).to_string()
    ])?;
    Ok(())
}
