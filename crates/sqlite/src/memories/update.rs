//! Changing a memory: its words, counts and vector follow in the same transaction.

use mnemon_core::memories::{Memory, MemoryPatch};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, MemoryId};
use rusqlite::{Connection, params};
use serde_json::json;

use super::filter::Seen;
use super::rows;
use super::write::{self, Prepared};
use crate::error::Done;
use crate::models;
use crate::open::now;

pub(crate) mod sql {
    use crate::memories::filter::owned;
    use crate::memories::rows::columns;

    crate::sql::statements! {
        /// What a scope may change: its own, and unowned ones.
        CHANGEABLE = concat!(
            "select ", columns!(), ", m.memory, m.dedup from memories m where ", owned!(),
            " and m.id = :id"
        );
        CHANGE = "update memories set content = ?2, visibility = ?3, shared_with = ?4, \
            node_type = ?5, tags = ?6, metadata = ?7, codebase = ?8, source = ?9, domains = ?10, \
            domain_scores = ?11, valid_from = ?12, valid_until = ?13, expires_at = ?14, \
            updated_at = ?15, content_hash = ?16 where memory = ?1";
        DROP_VECTOR = "delete from embeddings_{set} where memory = ?1";
    }
}

/// A row that a scope may change.
pub(super) struct Changeable {
    pub(super) row: i64,
    pub(super) memory: Memory,
    dedup: bool,
}

/// Finds what the scope owns, and unowned ones; what others share with it is not found.
pub(super) fn changeable(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: MemoryId,
    now: i64,
) -> Done<Changeable> {
    let seen = Seen::by(scope, now);
    let bytes = id.0.as_bytes().as_slice();
    let mut values = seen.owner();
    values.push((":id", &bytes));
    let mut statement = conn.prepare_cached(sql::CHANGEABLE)?;
    let mut found = statement.query(values.as_slice())?;
    let row = found.next()?.ok_or_else(|| Error::not_found("memory", id))?;
    Ok(Changeable { memory: rows::memory(row)?, row: row.get(23)?, dedup: row.get(24)? })
}

/// Changes a memory; answers it as it then stands.
pub(crate) fn update(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: MemoryId,
    patch: &MemoryPatch,
) -> Done<Memory> {
    let now = now(conn)?;
    let Changeable { row, memory: old, dedup } = changeable(conn, scope, id, now)?;
    let language = super::language::wording(conn)?.language;
    let new = Prepared::of(patch.clone().apply(&old)?, language);
    let sets = models::sets(conn)?;
    let placed: Vec<usize> = new.placed(&sets)?.into_iter().map(|(at, _)| at).collect();
    let rewritten = new.memory.content != old.content;
    if rewritten && dedup {
        refuse_equal(conn, &old, &new, now)?;
    }
    if rewritten || new.memory.node_type != old.node_type || new.memory.tags != old.tags {
        write::reindex(conn, &old.tenant, row, &new.document)?;
    }
    let updated_at = if rewritten { now } else { old.updated_at.timestamp_micros() };
    change(conn, row, &new, updated_at)?;
    for (at, set) in sets.iter().enumerate() {
        // Of a new text no set keeps the old vector, whichever writer knows its model.
        if rewritten || placed.contains(&at) {
            conn.prepare_cached(&set.id.statement(sql::DROP_VECTOR))?.execute([row])?;
        }
    }
    write::add_vectors(conn, row, &new, &sets)?;
    // As it stands now: also when the change hides it from the one who made it.
    after(conn, row)
}

fn change(conn: &Connection, row: i64, new: &Prepared, updated_at: i64) -> Done<()> {
    let memory = &new.memory;
    conn.prepare_cached(sql::CHANGE)?.execute(params![
        row,
        memory.content,
        memory.visibility.map(mnemon_core::memories::Visibility::as_str),
        json!(memory.shared_with).to_string(),
        memory.node_type,
        json!(memory.tags).to_string(),
        memory.metadata.to_string(),
        memory.codebase,
        memory.source,
        json!(memory.domains).to_string(),
        json!(memory.domain_scores).to_string(),
        memory.valid_from.map(|at| at.timestamp_micros()),
        memory.valid_until.map(|at| at.timestamp_micros()),
        memory.expires_at.map(|at| at.timestamp_micros()),
        updated_at,
        new.hash.as_slice(),
    ])?;
    Ok(())
}

/// Refuses content that another memory of the owner has already.
fn refuse_equal(conn: &Connection, old: &Memory, new: &Prepared, now: i64) -> Done<()> {
    let (namespace, hash) = (old.namespace.as_str(), new.hash.as_slice());
    let values = params![old.tenant, old.user, old.agent, namespace, hash];
    let found = write::there(conn, write::sql::BY_CONTENT, values)?;
    match write::alive(conn, found, now)? {
        Some(found) => {
            Err(Error::AlreadyExists { kind: "memory", key: found.id.to_string() }.into())
        }
        None => Ok(()),
    }
}

fn after(conn: &Connection, row: i64) -> Done<Memory> {
    let mut statement = conn.prepare_cached(super::recall::sql::ROW)?;
    let mut found = statement.query([row])?;
    let found = found.next()?.ok_or_else(|| Error::corrupt("a memory", "it is gone"))?;
    rows::memory(found)
}
