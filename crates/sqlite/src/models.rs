//! Embedding sets: one table of vectors per model. The active set's model is the registered one.

use mnemon_core::Error;
use mnemon_core::memories::ModelSignature;
use rusqlite::Connection;

use crate::error::Done;

pub(crate) mod sql {
    crate::sql::statements! {
        ACTIVE = "select id, name, dimension, hash, semantic from embedding_sets \
            where state = 'active'";
        REGISTER = "insert into embedding_sets (name, dimension, hash, semantic, state, created_at) \
            values (?1, ?2, ?3, ?4, 'active', mnemon_now()) returning id";
        MAKE = "create table embeddings_{set} (\
            memory integer primary key references memories (memory) on delete cascade, \
            content_hash blob not null, vector blob not null) strict";
        SETS = "select id from embedding_sets";
        DROP = "drop table embeddings_{set}";
    }
}

/// The number of an embedding set: the only thing put into SQL text, and no text itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SetId(i64);

impl SetId {
    #[cfg(test)]
    pub(crate) fn of(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub(crate) fn number(self) -> i64 {
        self.0
    }

    /// A statement over this set's table.
    pub(crate) fn statement(self, template: &str) -> String {
        template.replace("{set}", &self.0.to_string())
    }
}

/// An embedding set.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) id: SetId,
    pub(crate) model: ModelSignature,
}

/// The set that recall reads, if a model is registered.
pub(crate) fn active(conn: &Connection) -> Done<Option<Set>> {
    let mut statement = conn.prepare_cached(sql::ACTIVE)?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let model = ModelSignature {
        name: row.get(1)?,
        dimension: row.get(2)?,
        hash: row.get(3)?,
        semantic: row.get(4)?,
    };
    Ok(Some(Set { id: SetId(row.get(0)?), model }))
}

/// A vector was given where none can be kept or compared.
pub(crate) fn unregistered() -> Error {
    Error::invalid("embedding", "is given, but no model is registered")
}

/// Registers a model; the same one again is a no-op. The writer's transaction makes it safe for
/// many processes at once.
pub(crate) fn register(conn: &Connection, model: &ModelSignature) -> Done<()> {
    if let Some(Set { model: registered, .. }) = active(conn)? {
        if registered == *model {
            return Ok(());
        }
        return Err(Error::ModelMismatch { registered, offered: model.clone() }.into());
    }
    let id = conn
        .prepare_cached(sql::REGISTER)?
        .query_row((&model.name, model.dimension, &model.hash, model.semantic), |row| row.get(0))?;
    conn.execute(&SetId(id).statement(sql::MAKE), [])?;
    Ok(())
}

/// Every set that vectors are written to.
pub(crate) fn sets(conn: &Connection) -> Done<Vec<SetId>> {
    let mut statement = conn.prepare_cached(sql::SETS)?;
    let sets = statement.query_map([], |row| row.get(0).map(SetId))?;
    Ok(sets.collect::<rusqlite::Result<_>>()?)
}

/// Drops every set's table, before the tables they refer to.
pub(crate) fn drop_sets(conn: &Connection) -> Done<()> {
    let sets: Vec<i64> = conn
        .prepare(sql::SETS)?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for set in sets {
        conn.execute(&SetId(set).statement(sql::DROP), [])?;
    }
    Ok(())
}
