//! Embedding sets: one table of vectors per model. The active set's model is the registered one.

use mnemon_core::memories::sets::{self, ModelVector};
use mnemon_core::memories::{ModelSignature, SetState};
use mnemon_core::{Error, Result};
use rusqlite::{Connection, Row};

use crate::error::Done;

pub(crate) mod sql {
    crate::sql::statements! {
        SETS = "select id, name, dimension, hash, semantic, state from embedding_sets order by id";
        ACTIVE = "select id, name, dimension, hash, semantic, state from embedding_sets \
            where state = 'active'";
        REGISTER = "insert into embedding_sets (name, dimension, hash, semantic, state, created_at) \
            values (?1, ?2, ?3, ?4, ?5, mnemon_now()) returning id";
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
    pub(crate) state: SetState,
}

impl Set {
    fn read(row: &Row<'_>) -> Done<Self> {
        let model = ModelSignature {
            name: row.get(1)?,
            dimension: row.get(2)?,
            hash: row.get(3)?,
            semantic: row.get(4)?,
        };
        let state: String = row.get(5)?;
        Ok(Self { id: SetId(row.get(0)?), model, state: SetState::read(&state)? })
    }
}

/// The set that recall reads, if a model is registered.
pub(crate) fn active(conn: &Connection) -> Done<Option<Set>> {
    let mut statement = conn.prepare_cached(sql::ACTIVE)?;
    let mut rows = statement.query([])?;
    rows.next()?.map(Set::read).transpose()
}

/// Every set, oldest first.
pub(crate) fn sets(conn: &Connection) -> Done<Vec<Set>> {
    let mut statement = conn.prepare_cached(sql::SETS)?;
    let mut rows = statement.query([])?;
    let mut sets = Vec::new();
    while let Some(row) = rows.next()? {
        sets.push(Set::read(row)?);
    }
    Ok(sets)
}

/// The set that a question's vector is compared with: its model's, where the question names one,
/// else the active one. A set that is still filling answers nobody.
pub(crate) fn searched(conn: &Connection, model: Option<&ModelSignature>) -> Done<Set> {
    let active = active(conn)?.ok_or_else(unregistered)?;
    let Some(model) = model.filter(|model| **model != active.model) else { return Ok(active) };
    let retired = |set: &Set| set.state == SetState::Retired && set.model == *model;
    match sets(conn)?.into_iter().find(retired) {
        Some(set) => Ok(set),
        None => Err(mismatch(active, model).into()),
    }
}

fn mismatch(active: Set, offered: &ModelSignature) -> Error {
    Error::ModelMismatch { registered: active.model, offered: offered.clone() }
}

/// A vector was given where none can be kept or compared.
pub(crate) fn unregistered() -> Error {
    Error::invalid("embedding", "is given, but no model is registered")
}

/// Where vectors go, by place in the sets.
pub(crate) fn place<'v>(
    sets: &[Set],
    bare: Option<&'v [f32]>,
    of_models: &'v [ModelVector],
) -> Result<Vec<(usize, &'v [f32])>> {
    sets::place(sets, |set| (&set.model, set.state), bare, of_models)
}

/// Registers a model; the same one again is a no-op. The writer's transaction makes it safe for
/// many processes at once.
pub(crate) fn register(conn: &Connection, model: &ModelSignature) -> Done<()> {
    match active(conn)? {
        Some(set) if set.model == *model => watch(conn, set.id),
        Some(set) => Err(mismatch(set, model).into()),
        None => make(conn, model, SetState::Active).map(drop),
    }
}

/// Makes a set with its table.
pub(crate) fn make(conn: &Connection, model: &ModelSignature, state: SetState) -> Done<SetId> {
    let values = (&model.name, model.dimension, &model.hash, model.semantic, state.as_str());
    let id = SetId(conn.prepare_cached(sql::REGISTER)?.query_row(values, |row| row.get(0))?);
    conn.execute(&id.statement(sql::MAKE), [])?;
    watch(conn, id)?;
    Ok(id)
}

/// The step of the schema's history that brought the log of changes.
pub(crate) const LOG_SINCE: i64 = 4;
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
            conn.execute(&set.id.statement(statement), [])?;
        }
    }
    Ok(())
}

/// Drops the tables of sets, before the tables they refer to: of all, or of those that an older
/// schema does not know.
pub(crate) fn drop_tables(conn: &Connection, also_active: bool) -> Done<()> {
    for set in sets(conn)? {
        if also_active || set.state != SetState::Active {
            conn.execute(&set.id.statement(sql::DROP), [])?;
        }
    }
    Ok(())
}
