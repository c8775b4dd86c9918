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
        /// What changes in a set is noted, whoever changes it: by code, by cascade, by hand.
        WATCH_ADDED = "create trigger if not exists embeddings_{set}_added \
            after insert on embeddings_{set} begin \
            insert into vector_changes (memory) values (new.memory); end";
        WATCH_CHANGED = "create trigger if not exists embeddings_{set}_changed \
            after update on embeddings_{set} begin \
            insert into vector_changes (memory) values (new.memory); end";
        WATCH_REMOVED = "create trigger if not exists embeddings_{set}_removed \
            after delete on embeddings_{set} begin \
            insert into vector_changes (memory) values (old.memory); end";
        WATCHES = "select count(*) from sqlite_schema where type = 'trigger' \
            and tbl_name = 'embeddings_' || ?1";
        UNWATCH_ADDED = "drop trigger if exists embeddings_{set}_added";
        UNWATCH_CHANGED = "drop trigger if exists embeddings_{set}_changed";
        UNWATCH_REMOVED = "drop trigger if exists embeddings_{set}_removed";
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
    if let Some(Set { model: registered, id }) = active(conn)? {
        if registered == *model {
            return watch(conn, id);
        }
        return Err(Error::ModelMismatch { registered, offered: model.clone() }.into());
    }
    let id = conn
        .prepare_cached(sql::REGISTER)?
        .query_row((&model.name, model.dimension, &model.hash, model.semantic), |row| row.get(0))?;
    conn.execute(&SetId(id).statement(sql::MAKE), [])?;
    watch(conn, SetId(id))
}

/// The step of the schema's history that brought the log of changes.
pub(crate) const LOG_SINCE: i64 = 8;
/// What notes the changes of one set.
const WATCHES: [&str; 3] = [sql::WATCH_ADDED, sql::WATCH_CHANGED, sql::WATCH_REMOVED];

/// Lets a set's changes be noted; done already, it is a no-op. Every set's table needs it.
pub(crate) fn watch(conn: &Connection, set: SetId) -> Done<()> {
    if !is_watched(conn, set)? {
        for statement in WATCHES {
            conn.execute(&set.statement(statement), [])?;
        }
    }
    Ok(())
}

/// Whether a set's changes are noted: one of an older version's is not until it is registered again.
pub(crate) fn is_watched(conn: &Connection, set: SetId) -> Done<bool> {
    let found: i64 =
        conn.prepare_cached(sql::WATCHES)?.query_row([set.number()], |row| row.get(0))?;
    Ok(usize::try_from(found) == Ok(WATCHES.len()))
}

/// Stops noting, before the log goes.
pub(crate) fn unwatch_sets(conn: &Connection) -> Done<()> {
    for set in sets(conn)? {
        for statement in [sql::UNWATCH_ADDED, sql::UNWATCH_CHANGED, sql::UNWATCH_REMOVED] {
            conn.execute(&set.statement(statement), [])?;
        }
    }
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
